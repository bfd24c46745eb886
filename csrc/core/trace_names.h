/* SPDX-License-Identifier: Apache-2.0 */
/* What events are called, for people and for comparing: "kind:name", the same on every boot. */
#ifndef ISOLBENCH_TRACE_NAMES_H
#define ISOLBENCH_TRACE_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "core/trace_match.h"

/*
 * Sets the label of each link. Functions are named by `symbols` (as /proc/kallsyms), addresses
 * of texts by `formats` (as tracefs' printk_formats): descriptors, or -1 where there is none,
 * and then they stay addresses.
 */
void trace_names_set(struct trace_findings *findings, int symbols, int formats);

#endif
