/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say about a CPU. To be asked before and after measuring only. */
#ifndef ISOLBENCH_SYSFS_H
#define ISOLBENCH_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json;

/* The first line of a small file, named by a format; false and "" if it cannot be read. */
__attribute__((format(printf, 3, 4))) bool
sysfs_line(char *line, size_t size, const char *format, ...);

/* A decimal number alone on the first line. */
__attribute__((format(printf, 2, 3))) bool
sysfs_u64(uint64_t *value, const char *format, ...);

/* Is `cpu` in a list as the kernel writes it: "0-3,8"? */
bool sysfs_list_has(const char *list, int cpu);

/* Bytes of the data or unified cache of `level` that `cpu` uses; 0 when nobody says. */
uint64_t sysfs_cache_bytes(int cpu, unsigned int level);

#define SYSFS_NODES_MAX 1024

/* The NUMA node of a CPU; -1 in a kernel without NUMA. */
int sysfs_node(int cpu);

/* ---- idle states ---- */

#define SYSFS_IDLE_STATES_MAX 16

struct sysfs_idle {
	size_t states;			/* 0: no cpuidle here */
	struct {
		char name[32];
		uint64_t usage;		/* how often it was entered */
		uint64_t time_us;	/* how long the CPU was in it */
	} state[SYSFS_IDLE_STATES_MAX];
};

/* Of a CPU now; of no CPU (-1) there are none. */
void sysfs_idle_read(struct sysfs_idle *idle, int cpu);

/* Entered and spent between the two: an array of states, or null if there are none. */
void sysfs_idle_json(struct json *json, const char *key, const struct sysfs_idle *before,
		     const struct sysfs_idle *after);

/* ---- interrupts ---- */

#define SYSFS_INTERRUPT_ROWS_MAX 768

/* A row of /proc/interrupts, of one CPU. */
struct sysfs_interrupt_row {
	char name[12];		/* "36", "LOC" */
	char what[52];		/* what is behind the counts, or the end of it */
	uint64_t count;
};

struct sysfs_interrupts {
	size_t rows;		/* those beyond the maximum are left out */
	struct sysfs_interrupt_row row[SYSFS_INTERRUPT_ROWS_MAX];
};

/* ---- what the host took ---- */

/* The unit in which /proc/stat counts time: 10 ms nearly everywhere. */
uint64_t sysfs_tick_ns(void);

/* Of a CPU since boot: time that the host gave to others while it wanted to run. */
bool sysfs_steal_ns(uint64_t *ns, int cpu);

/* All that came to a CPU so far; false where the kernel does not say, and of no CPU (-1). */
bool sysfs_interrupts_read(struct sysfs_interrupts *interrupts, int cpu);

/* The row of that name; NULL: none. */
const struct sysfs_interrupt_row *sysfs_interrupt(const struct sysfs_interrupts *interrupts,
						  const char *name);

/*
 * Interrupts of the CPU's own timer so far, by /proc/interrupts: they say whether timers
 * expire on it, or on another CPU for it. False where this architecture's row is unknown.
 */
bool sysfs_timer_interrupts(uint64_t *count, int cpu);

#endif
