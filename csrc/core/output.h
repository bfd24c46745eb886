/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a run. A write counts as done only after fsync() and close() agreed;
 * the result appears last, by rename, so that whoever sees it sees everything it names.
 * When anything fails, what was written is removed again and the probe ends with
 * PROBE_EXIT_ENVIRONMENT: there is no half result.
 */
#ifndef ISOLBENCH_OUTPUT_H
#define ISOLBENCH_OUTPUT_H

#include <stddef.h>

#define OUTPUT_RESULT "result.json"

struct output;

/* Opens the directory, which must exist and hold no result yet. Before measuring. */
struct output *output_open(const char *directory);

/* A file in one piece. `name` must outlive the output. */
void output_write(struct output *output, const char *name, const void *bytes, size_t length);

/* A file in pieces: begin, any number of appends, end. One at a time. */
void output_begin(struct output *output, const char *name);
void output_append(struct output *output, const void *bytes, size_t length);
void output_end(struct output *output);

/* Writes OUTPUT_RESULT and closes. */
void output_commit(struct output *output, const void *bytes, size_t length);

#endif
