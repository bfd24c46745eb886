/* SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"

static void append(struct json *json, const char *text, size_t length)
{
	if (json->used + length + 1 > json->size) {
		while (json->used + length + 1 > json->size)
			json->size *= 2;
		json->text = realloc(json->text, json->size);
		if (!json->text)
			fault_environment(0, "free memory", "no memory for the result's text");
	}
	memcpy(json->text + json->used, text, length);
	json->used += length;
	json->text[json->used] = '\0';
}

static void append_quoted(struct json *json, const char *text)
{
	append(json, "\"", 1);
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;
		char escape[8];

		if (c == '"' || c == '\\')
			append(json, "\\", 1);
		/* Bytes beyond ASCII may be no UTF-8: each becomes the code point of its value. */
		if (c < 0x20 || c >= 0x7f)
			append(json, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
		else
			append(json, text, 1);
	}
	append(json, "\"", 1);
}

static void begin(struct json *json, const char *key)
{
	if (json->comma)
		append(json, ",", 1);
	if (key) {
		append_quoted(json, key);
		append(json, ":", 1);
	}
	json->comma = true;
}

static void raw(struct json *json, const char *key, const char *text)
{
	begin(json, key);
	append(json, text, strlen(text));
}

void json_init(struct json *json)
{
	*json = (struct json){ .size = 4096 };
	json->text = malloc(json->size);
	if (!json->text)
		fault_environment(0, "free memory", "no memory for the result's text");
	json->text[0] = '\0';
}

void json_reset(struct json *json)
{
	json->used = 0;
	json->comma = false;
}

void json_free(struct json *json)
{
	free(json->text);
	json->text = NULL;
}

void json_open(struct json *json, const char *key, char bracket)
{
	begin(json, key);
	append(json, &bracket, 1);
	json->comma = false;
}

void json_close(struct json *json, char bracket)
{
	append(json, &bracket, 1);
	json->comma = true;
}

void json_string(struct json *json, const char *key, const char *value)
{
	if (!value) {
		json_null(json, key);
		return;
	}
	begin(json, key);
	append_quoted(json, value);
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	raw(json, key, text);
}

void json_i64(struct json *json, const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	raw(json, key, text);
}

void json_double(struct json *json, const char *key, double value)
{
	char text[40];

	if (!isfinite(value)) {
		json_null(json, key);
		return;
	}
	for (int precision = 15; precision <= 17; precision++) {
		snprintf(text, sizeof(text), "%.*g", precision, value);
		if (fabs(strtod(text, NULL) - value) <= 0.0)
			break;
	}
	raw(json, key, text);
}

void json_bool(struct json *json, const char *key, bool value)
{
	raw(json, key, value ? "true" : "false");
}

void json_tristate(struct json *json, const char *key, enum tristate value)
{
	if (value == STATE_UNKNOWN)
		json_null(json, key);
	else
		json_bool(json, key, value == STATE_YES);
}

void json_null(struct json *json, const char *key)
{
	raw(json, key, "null");
}

void json_newline(struct json *json)
{
	append(json, "\n", 1);
}
