/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the fields of a tracepoint lie in its record, by the kernel's own description (a file
 * `format` of tracefs). They differ between kernels, so nothing is assumed.
 */
#ifndef ISOLBENCH_TRACE_FORMAT_H
#define ISOLBENCH_TRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_field {
	uint16_t offset, size;		/* size 0: there is no such field */
	bool is_signed;
	bool located;			/* it says where in the record the text is, */
	uint16_t base;			/* counted from here */
};

/*
 * Looks up `names` in the description, a NULL among them being no field. Returns the
 * tracepoint's id, or -1 where `text` is no description.
 */
int trace_format_parse(const char *text, const char *const *names, struct trace_field *fields,
		       size_t count);

/* A field of a record of `size` bytes; false where it is not within it. */
bool trace_field_number(const struct trace_field *field, const uint8_t *record, size_t size,
			uint64_t *value);

/* The same of a text, cut to `room` bytes with its NUL. */
bool trace_field_text(const struct trace_field *field, const uint8_t *record, size_t size,
		      char *text, size_t room);

#endif
