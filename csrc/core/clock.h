/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cycle counter, and what it takes to read it as time.
 *
 * A *unit* is one step of the counter's value (a TSC cycle, a CNTVCT tick). All
 * arithmetic of a probe is done in units; nanoseconds appear where a value is
 * recorded or reported.
 *
 * Two frequencies exist. The *initial* one comes from a calibration of some 10 ms
 * and is what values are converted with while measuring: it cannot be revised
 * later, because a histogram has forgotten its values. The *final* one spans the
 * whole run and converts offsets and the duration, where an error would add up.
 * Both are reported, and the drift between them.
 */
#ifndef ISOLBENCH_CLOCK_H
#define ISOLBENCH_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "isolbench probes know the cycle counters of x86_64 and aarch64 only"
#endif

__extension__ typedef unsigned __int128 clock_u128;

/*
 * The plain read: not ordered against its neighbours, hence cheap. A probe whose
 * intervals are contiguous needs no more: time that one interval does not show,
 * the next one does.
 */
static inline __attribute__((always_inline)) uint64_t counter_read(void)
{
#if defined(__x86_64__)
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
#else
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#endif
}

/* The ordered read, for brackets: neither side of it may move across. */
static inline __attribute__((always_inline)) uint64_t counter_read_ordered(void)
{
	uint64_t value;

#if defined(__x86_64__)
	__asm__ volatile("lfence" ::: "memory");
	value = counter_read();
	__asm__ volatile("lfence" ::: "memory");
#else
	__asm__ volatile("isb" ::: "memory");
	value = counter_read();
	__asm__ volatile("isb" ::: "memory");
#endif
	return value;
}

/*
 * Fixed-point units -> ns, rounded to nearest (truncation would turn the 10 ns of
 * a coarse counter into 9). 40 fractional bits: 1e-11 at 5 GHz, far below
 * what any calibration knows.
 */
#define CLOCK_SHIFT 40
#define CLOCK_HALF (UINT64_C(1) << (CLOCK_SHIFT - 1))

struct clock_scale {
	uint64_t mult;		/* ns per unit << CLOCK_SHIFT */
};

/* For results under 2^(64 - CLOCK_SHIFT) ns = 16 ms only: the hot path's. */
static inline __attribute__((always_inline)) uint64_t
clock_small_ns(uint64_t mult, uint64_t units)
{
	return (units * mult + CLOCK_HALF) >> CLOCK_SHIFT;
}

/* The same conversion for any interval; saturates at UINT64_MAX. */
static inline uint64_t clock_ns(uint64_t mult, uint64_t units)
{
	const clock_u128 ns = ((clock_u128)units * mult + CLOCK_HALF) >> CLOCK_SHIFT;

	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

struct clock_scale clock_scale_from(double frequency_hz);

/* The largest interval, in units, that converts to at most `ns`. */
uint64_t clock_units_within(struct clock_scale scale, uint64_t ns);

/* A kernel clock, in ns. By the vDSO where the kernel uses a counter; else a system call. */
static inline int64_t clock_now_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000000 + (int64_t)now.tv_nsec;
}

/* What reading a clock takes and shows, from many reads back to back. */
struct clock_cost {
	double read_ns;		/* mean time of one read */
	uint64_t step_ns;	/* the smallest step seen; 0: it never moved */
	uint64_t resolution_ns;	/* as the kernel states it */
};

struct clock_cost clock_cost_of(clockid_t id);

/* Mean time between two ordered reads of the counter in a row. */
double counter_cost_ns(struct clock_scale scale);

/* A reading of the counter and of a kernel clock at one instant. */
struct clock_bracket {
	uint64_t counter;	/* the middle of the bracket */
	uint64_t width;		/* its width, in units: the instant is known to half of it */
	int64_t clock_ns;
};

/* Reads (counter, clock, counter) many times and keeps the narrowest. */
struct clock_bracket clock_bracket_take(clockid_t id);

struct clock_frequency {
	double hz;
	double error_ppm;	/* bound from the widths of both brackets */
};

/* From two brackets of CLOCK_MONOTONIC_RAW; hz is 0 if they do not span any time. */
struct clock_frequency clock_frequency_between(const struct clock_bracket *begin,
					       const struct clock_bracket *end);

/* The initial calibration: busy for some 10 ms. */
struct clock_frequency clock_calibrate(void);

/* What the clock of `bracket` showed when the counter was at `counter`. */
int64_t clock_at(const struct clock_bracket *bracket, uint64_t counter, double frequency_hz);

/*
 * The step by which the counter really advances, in units. A counter may run at
 * 2.6 GHz and yet move 26 units at a time; intervals are multiples of that.
 */
double clock_granularity(void);

/* The estimate itself, for `n` observed non-zero steps (sorts them). */
double clock_granularity_of(uint64_t *steps, size_t n);

enum tristate { STATE_UNKNOWN = -1, STATE_NO = 0, STATE_YES = 1 };

struct clock_identity {
	const char *source;		/* "tsc" or "cntvct" */
	enum tristate invariant;	/* one rate, whatever the CPU does */
	enum tristate virtualised;	/* a guest: gaps may have causes outside this kernel */
	char kernel_clocksource[64];	/* "" when unknown */
};

void clock_identify(struct clock_identity *identity);

#endif
