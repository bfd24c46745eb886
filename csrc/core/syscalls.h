/* SPDX-License-Identifier: Apache-2.0 */
/* System calls by name. */
#ifndef ISOLBENCH_SYSCALLS_H
#define ISOLBENCH_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>

/* Of this architecture's 64-bit table; NULL: newer than that, or none. */
const char *syscall_name(uint64_t number);

#endif
