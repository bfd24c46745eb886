/* SPDX-License-Identifier: Apache-2.0 */
#include "core/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/sysfs.h"

#define CALIBRATION_NS INT64_C(10000000)
#define BRACKET_TRIES 200
#define GRANULARITY_READS 4096

#define COST_READS 4096

struct clock_scale clock_scale_from(double frequency_hz)
{
	const double ns_per_unit = 1e9 / frequency_hz;

	return (struct clock_scale){
		.mult = (uint64_t)(ns_per_unit * (double)(UINT64_C(1) << CLOCK_SHIFT) + 0.5),
	};
}

uint64_t clock_units_within(struct clock_scale scale, uint64_t ns)
{
	/* The largest u with u * mult + HALF < (ns + 1) << SHIFT. */
	const clock_u128 limit = ((clock_u128)ns + 1) << CLOCK_SHIFT;

	return (uint64_t)((limit - CLOCK_HALF - 1) / scale.mult);
}

struct clock_bracket clock_bracket_take(clockid_t id)
{
	struct clock_bracket best = { .width = UINT64_MAX };

	for (int i = 0; i < BRACKET_TRIES; i++) {
		const uint64_t before = counter_read_ordered();
		const int64_t clock_ns = clock_now_ns(id);
		const uint64_t width = counter_read_ordered() - before;

		/* A counter that went backwards gives a huge width: never the best. */
		if (width < best.width)
			best = (struct clock_bracket){ before + width / 2, width, clock_ns };
	}
	return best;
}

struct clock_frequency clock_frequency_between(const struct clock_bracket *begin,
					       const struct clock_bracket *end)
{
	const int64_t units = (int64_t)(end->counter - begin->counter);
	const int64_t ns = end->clock_ns - begin->clock_ns;
	struct clock_frequency frequency = { 0.0, 0.0 };

	if (units <= 0 || ns <= 0)
		return frequency;
	frequency.hz = (double)units / (double)ns * 1e9;
	/* Half a bracket at each end, and the kernel clock's 1 ns. */
	frequency.error_ppm = (((double)begin->width + (double)end->width) / 2.0 / (double)units +
			       1.0 / (double)ns) * 1e6;
	return frequency;
}

struct clock_frequency clock_calibrate(void)
{
	const struct clock_bracket begin = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	struct clock_bracket end;

	while (clock_now_ns(CLOCK_MONOTONIC_RAW) - begin.clock_ns < CALIBRATION_NS)
		;
	end = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	return clock_frequency_between(&begin, &end);
}

int64_t clock_at(const struct clock_bracket *bracket, uint64_t counter, double frequency_hz)
{
	const double units = (double)(int64_t)(counter - bracket->counter);

	return bracket->clock_ns + (int64_t)llround(units / frequency_hz * 1e9);
}

/* ---- cost ---- */

struct clock_cost clock_cost_of(clockid_t id)
{
	struct clock_cost cost = { 0 };
	struct timespec resolution = { 0 };
	const int64_t first = clock_now_ns(id);
	int64_t previous = first;

	for (int i = 0; i < COST_READS; i++) {
		const int64_t now = clock_now_ns(id);
		const uint64_t step = (uint64_t)(now - previous);

		if (now > previous && (!cost.step_ns || step < cost.step_ns))
			cost.step_ns = step;
		previous = now;
	}
	cost.read_ns = (double)(previous - first) / COST_READS;
	if (!clock_getres(id, &resolution))
		cost.resolution_ns = (uint64_t)resolution.tv_sec * 1000000000 +
				     (uint64_t)resolution.tv_nsec;
	return cost;
}

double counter_cost_ns(struct clock_scale scale)
{
	const uint64_t first = counter_read_ordered();
	uint64_t last = first;

	for (int i = 0; i < COST_READS; i++)
		last = counter_read_ordered();
	return (double)clock_ns(scale.mult, last - first) / COST_READS;
}

/* ---- granularity ---- */

static int compare_u64(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		const uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/*
 * Are all steps multiples of about `smallest`? So it is where a hypervisor scales a
 * coarse counter by a fraction: steps of 25, 26 and 52. `steps` is sorted. Returns the
 * refined step, or 0. Under 12 units the roundings are too large a part to tell.
 */
static double scaled_step(const uint64_t *steps, size_t n, uint64_t smallest)
{
	double step = (double)smallest;
	double units = 0.0, multiples = 0.0, before = 1.0;

	if (smallest < 12)
		return 0.0;
	for (size_t i = 0; i < n; i++) {
		const double value = (double)steps[i];
		const double multiple = floor(value / step + 0.5);

		if (multiple > 16.0)
			break;
		/*
		 * Both ends of a step are rounded: it is off by less than 1, and so far the
		 * estimate knows the multiple `before` as well as that.
		 */
		if (fabs(value - multiple * step) > 1.0 + multiple / before)
			return 0.0;
		units += value;
		multiples += multiple;
		step = units / multiples;
		before = multiple;
	}
	/* One distinct step proves nothing about its divisors. */
	return steps[0] + 1 < steps[n - 1] ? step : 0.0;
}

double clock_granularity_of(uint64_t *steps, size_t n)
{
	uint64_t divisor = 0;
	double step;

	if (!n)
		return 0.0;
	qsort(steps, n, sizeof(*steps), compare_u64);
	for (size_t i = 0; i < n; i++)
		divisor = gcd(steps[i], divisor);
	if (divisor > 1)
		return (double)divisor;
	/* The longest are interruptions, and say nothing that the others do not. */
	step = scaled_step(steps, n - n / 64, steps[0]);
	return step > 0.0 ? step : 1.0;
}

double clock_granularity(void)
{
	static uint64_t steps[GRANULARITY_READS];
	uint64_t previous = counter_read_ordered();
	size_t n = 0;

	for (unsigned int i = 0; i < GRANULARITY_READS; i++) {
		uint64_t now;

		/* Delays of many lengths: evenly spaced reads would look like a coarse counter. */
		for (unsigned int delay = i * 7 % 61; delay; delay--)
			__asm__ volatile("" : "+r"(delay));
		now = counter_read_ordered();
		if ((int64_t)(now - previous) > 0)
			steps[n++] = now - previous;
		previous = now;
	}
	return clock_granularity_of(steps, n);
}

/* ---- identity ---- */

#if defined(__x86_64__)

static void identify_counter(struct clock_identity *identity)
{
	unsigned int a, b, c, d;

	identity->source = "tsc";
	if (__get_cpuid(0x80000007, &a, &b, &c, &d))
		identity->invariant = d >> 8 & 1 ? STATE_YES : STATE_NO;
	if (__get_cpuid(1, &a, &b, &c, &d))
		identity->virtualised = c >> 31 ? STATE_YES : STATE_NO;
}

#else

/* The generic timer runs at one rate by architecture; the rest is hearsay. */
static void identify_counter(struct clock_identity *identity)
{
	static const char *const guests[] = {
		"QEMU", "KVM", "VMware", "innotek", "Xen", "Microsoft Corporation",
		"Amazon EC2", "Google", "Parallels", "Apple Virtualization",
		"Alibaba Cloud", "OpenStack", "Red Hat", "linux,dummy-virt",
	};
	static const char *const sources[] = {
		"/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name",
		"/sys/firmware/devicetree/base/compatible",
	};
	char line[128];

	identity->source = "cntvct";
	identity->invariant = STATE_YES;
	if (!access("/sys/hypervisor/type", F_OK) ||
	    !access("/sys/firmware/devicetree/base/hypervisor", F_OK)) {
		identity->virtualised = STATE_YES;
		return;
	}
	for (size_t s = 0; s < sizeof(sources) / sizeof(sources[0]); s++) {
		if (!sysfs_line(line, sizeof(line), "%s", sources[s]))
			continue;
		if (identity->virtualised == STATE_UNKNOWN)
			identity->virtualised = STATE_NO;
		for (size_t g = 0; g < sizeof(guests) / sizeof(guests[0]); g++)
			if (strstr(line, guests[g]))
				identity->virtualised = STATE_YES;
	}
	/* A bare-metal cloud instance names its cloud as well: then it is not known. */
	if (sysfs_line(line, sizeof(line), "/sys/class/dmi/id/product_name") &&
	    strstr(line, ".metal"))
		identity->virtualised = STATE_NO;
}

#endif

void clock_identify(struct clock_identity *identity)
{
	identity->invariant = STATE_UNKNOWN;
	identity->virtualised = STATE_UNKNOWN;
	identify_counter(identity);
	(void)sysfs_line(identity->kernel_clocksource, sizeof(identity->kernel_clocksource),
			 "/sys/devices/system/clocksource/clocksource0/current_clocksource");
}
