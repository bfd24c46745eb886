/* SPDX-License-Identifier: Apache-2.0 */
/* What a count of rare events says about their rate. */
#ifndef ISOLBENCH_POISSON_H
#define ISOLBENCH_POISSON_H

#include <stdint.h>

/*
 * The one-sided 95 % upper bound of a Poisson mean after `count` events: the mean m
 * with P(X <= count | m) = 0.05, which is chi-square(0.95, 2 * count + 2) / 2. No event
 * at all: 2.996. Relative error under 1e-9.
 */
double poisson_upper95(uint64_t count);

#endif
