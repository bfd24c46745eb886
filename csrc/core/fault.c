/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program = "probe";

void fault_set_program(const char *name)
{
	program = name;
}

static void say(const char *kind, const char *format, va_list args)
{
	fprintf(stderr, "%s: %s: ", program, kind);
	vfprintf(stderr, format, args);
}

void fault_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("error", format, args);
	va_end(args);
	fprintf(stderr, " (see %s --help)\n", program);
	exit(PROBE_EXIT_USAGE);
}

void fault_internal(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("error", format, args);
	va_end(args);
	fputs("; this is a bug of the probe\n", stderr);
	exit(PROBE_EXIT_INTERNAL);
}

void fault_environment(int error, const char *advice, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("error", format, args);
	va_end(args);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fprintf(stderr, "; %s\n", advice);
	exit(PROBE_EXIT_ENVIRONMENT);
}

void fault_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("warning", format, args);
	va_end(args);
	fputc('\n', stderr);
}
