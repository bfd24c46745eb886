/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON into a growing text. Commas and escapes are its business; numbers are
 * always finite, a double that is not is written as null.
 */
#ifndef ISOLBENCH_JSON_H
#define ISOLBENCH_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"

struct json {
	char *text;		/* NUL-terminated */
	size_t used, size;
	bool comma;		/* the next element needs one before it */
};

void json_init(struct json *json);
void json_free(struct json *json);
/* Begins anew, in the memory that it has. */
void json_reset(struct json *json);

/* `key` is NULL inside an array and at the top. */
void json_open(struct json *json, const char *key, char bracket);	/* '{' or '[' */
void json_close(struct json *json, char bracket);			/* '}' or ']' */
void json_string(struct json *json, const char *key, const char *value);	/* NULL: null */
void json_u64(struct json *json, const char *key, uint64_t value);
void json_i64(struct json *json, const char *key, int64_t value);
/* The shortest decimal that reads back as the same double. */
void json_double(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
void json_tristate(struct json *json, const char *key, enum tristate value);
void json_null(struct json *json, const char *key);
/* Line breaks are for readers only. */
void json_newline(struct json *json);

#endif
