/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_format.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `key` in the line; -1: there is none. */
static long number_of(const char *line, size_t length, const char *key)
{
	const char *at = memmem(line, length, key, strlen(key));
	char *end;
	long value;

	if (!at)
		return -1;
	at += strlen(key);
	value = strtol(at, &end, 10);
	return end == at ? -1 : value;
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* "char prev_comm[16]" -> "prev_comm", "__data_loc char[] name" -> "name". */
static const char *name_in(const char *declaration, size_t length, size_t *name_length)
{
	size_t end = length;

	if (end && declaration[end - 1] == ']')
		while (end && declaration[end - 1] != '[')
			end--;
	while (end && !isalnum((unsigned char)declaration[end - 1]) && declaration[end - 1] != '_')
		end--;
	length = end;
	while (end && (isalnum((unsigned char)declaration[end - 1]) || declaration[end - 1] == '_'))
		end--;
	*name_length = length - end;
	return declaration + end;
}

static void note_field(const char *line, size_t length, const char *const *names,
		       struct trace_field *fields, size_t count)
{
	static const char opening[] = "field:";
	const char *declaration = memmem(line, length, opening, sizeof(opening) - 1);
	const long offset = number_of(line, length, "offset:");
	const long size = number_of(line, length, "size:");
	const char *semicolon, *name;
	bool relative;
	size_t name_length;

	if (!declaration || offset < 0 || offset > UINT16_MAX || size <= 0 || size > UINT16_MAX)
		return;
	declaration += sizeof(opening) - 1;
	semicolon = memchr(declaration, ';', (size_t)(line + length - declaration));
	if (!semicolon)
		return;
	name = name_in(declaration, (size_t)(semicolon - declaration), &name_length);
	relative = begins(declaration, "__rel_loc ");
	for (size_t i = 0; i < count; i++)
		if (names[i] && strlen(names[i]) == name_length &&
		    !strncmp(names[i], name, name_length))
			fields[i] = (struct trace_field){
				.offset = (uint16_t)offset,
				.size = (uint16_t)size,
				.is_signed = number_of(line, length, "signed:") == 1,
				.located = relative || begins(declaration, "__data_loc "),
				.base = relative ? (uint16_t)(offset + size) : 0,
			};
}

int trace_format_parse(const char *text, const char *const *names, struct trace_field *fields,
		       size_t count)
{
	long id = -1;

	memset(fields, 0, count * sizeof(*fields));
	for (const char *line = text; *line;) {
		const size_t length = strcspn(line, "\n");

		if (!strncmp(line, "ID:", 3))
			id = number_of(line, length, "ID:");
		else
			note_field(line, length, names, fields, count);
		line += length;
		line += *line == '\n';
	}
	return id > 0 && id <= INT32_MAX ? (int)id : -1;
}

bool trace_field_number(const struct trace_field *field, const uint8_t *record, size_t size,
			uint64_t *value)
{
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
	} raw;

	if (!field->size || field->size > sizeof(raw) ||
	    (size_t)field->offset + field->size > size)
		return false;
	memcpy(&raw, record + field->offset, field->size);
	switch (field->size) {
	case 1: *value = field->is_signed ? (uint64_t)(int64_t)(int8_t)raw.u8 : raw.u8; return true;
	case 2: *value = field->is_signed ? (uint64_t)(int64_t)(int16_t)raw.u16 : raw.u16; return true;
	case 4: *value = field->is_signed ? (uint64_t)(int64_t)(int32_t)raw.u32 : raw.u32; return true;
	case 8: *value = raw.u64; return true;
	default: return false;
	}
}

bool trace_field_text(const struct trace_field *field, const uint8_t *record, size_t size,
		      char *text, size_t room)
{
	size_t offset = field->offset, length = field->size;
	uint32_t location;

	text[0] = '\0';
	if (!length || offset + length > size)
		return false;
	if (field->located) {
		if (length != sizeof(location))
			return false;
		memcpy(&location, record + offset, sizeof(location));
		offset = field->base + (location & 0xffff);
		length = location >> 16;
		if (offset + length > size)
			return false;
	}
	if (length > room - 1)
		length = room - 1;
	memcpy(text, record + offset, length);
	text[length] = '\0';
	return true;
}
