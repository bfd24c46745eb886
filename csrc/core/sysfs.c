/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sysfs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/options.h"

#define CPU_DIR "/sys/devices/system/cpu/cpu%d"

static bool read_line(char *line, size_t size, const char *format, va_list args)
{
	char path[PATH_MAX];
	ssize_t n = 0;
	int fd;

	vsnprintf(path, sizeof(path), format, args);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, line, size - 1);
		close(fd);
	}
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return line[0];
}

bool sysfs_line(char *line, size_t size, const char *format, ...)
{
	va_list args;
	bool found;

	va_start(args, format);
	found = read_line(line, size, format, args);
	va_end(args);
	return found;
}

bool sysfs_u64(uint64_t *value, const char *format, ...)
{
	char line[32];
	va_list args;
	bool found;

	va_start(args, format);
	found = read_line(line, sizeof(line), format, args);
	va_end(args);
	return found && options_parse_int(line, value);
}

bool sysfs_list_has(const char *list, int cpu)
{
	while (*list) {
		char *end;
		const long first = strtol(list, &end, 10);
		long last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		if (cpu >= first && cpu <= last)
			return true;
		list = *end == ',' ? end + 1 : end;
		if (*end && *end != ',')
			return false;
	}
	return false;
}

uint64_t sysfs_cache_bytes(int cpu, unsigned int level)
{
	char line[32];
	uint64_t found;

	for (int i = 0; i < 16; i++) {
		char *end;
		uint64_t size;

		if (!sysfs_u64(&found, CPU_DIR "/cache/index%d/level", cpu, i))
			break;
		if (found != level ||
		    !sysfs_line(line, sizeof(line), CPU_DIR "/cache/index%d/type", cpu, i) ||
		    !strcmp(line, "Instruction") ||
		    !sysfs_line(line, sizeof(line), CPU_DIR "/cache/index%d/size", cpu, i))
			continue;
		size = strtoull(line, &end, 10);
		if (*end == 'K')
			return size << 10;
		if (*end == 'M')
			return size << 20;
		return *end ? 0 : size;
	}
	return 0;
}

int sysfs_node(int cpu)
{
	char path[PATH_MAX];

	for (int node = 0; node < SYSFS_NODES_MAX; node++) {
		snprintf(path, sizeof(path), CPU_DIR "/node%d", cpu, node);
		if (!access(path, F_OK))
			return node;
	}
	return -1;
}

void sysfs_idle_read(struct sysfs_idle *idle, int cpu)
{
	idle->states = 0;
	if (cpu < 0)
		return;
	for (int i = 0; i < SYSFS_IDLE_STATES_MAX; i++) {
		if (!sysfs_line(idle->state[i].name, sizeof(idle->state[i].name),
				CPU_DIR "/cpuidle/state%d/name", cpu, i) ||
		    !sysfs_u64(&idle->state[i].usage, CPU_DIR "/cpuidle/state%d/usage", cpu, i) ||
		    !sysfs_u64(&idle->state[i].time_us, CPU_DIR "/cpuidle/state%d/time", cpu, i))
			break;
		idle->states++;
	}
}

void sysfs_idle_json(struct json *json, const char *key, const struct sysfs_idle *before,
		     const struct sysfs_idle *after)
{
	if (!before->states || before->states != after->states) {
		json_null(json, key);
		return;
	}
	json_open(json, key, '[');
	for (size_t i = 0; i < before->states; i++) {
		json_open(json, NULL, '{');
		json_string(json, "name", after->state[i].name);
		json_u64(json, "entered", after->state[i].usage - before->state[i].usage);
		json_u64(json, "time_ns",
			 (after->state[i].time_us - before->state[i].time_us) * 1000);
		json_close(json, '}');
	}
	json_close(json, ']');
}

/* The column of a CPU in the header, which names those that are online: "CPU0 CPU2"; -1: none. */
static int column_of(const char *header, int cpu)
{
	char name[16];
	int column = 0;

	snprintf(name, sizeof(name), "CPU%d", cpu);
	for (const char *at = header + strspn(header, " "); *at; column++) {
		const size_t length = strcspn(at, " ");

		if (length == strlen(name) && !strncmp(at, name, length))
			return column;
		at += length;
		at += strspn(at, " ");
	}
	return -1;
}

static bool number_in(const char *row, int column, uint64_t *value)
{
	for (int i = 0; i <= column; i++) {
		char *end;

		*value = strtoull(row, &end, 10);
		if (end == row)
			return false;
		row = end;
	}
	return true;
}

static void note_row(struct sysfs_interrupts *interrupts, const char *line, int columns, int column)
{
	struct sysfs_interrupt_row *row = &interrupts->row[interrupts->rows];
	const char *rest = strchr(line, ':');
	size_t length;

	if (!rest || (size_t)(rest - line) >= sizeof(row->name) ||
	    interrupts->rows == SYSFS_INTERRUPT_ROWS_MAX || !number_in(rest + 1, column, &row->count))
		return;
	memcpy(row->name, line, (size_t)(rest - line));
	row->name[rest - line] = '\0';
	rest++;
	for (int i = 0; i < columns; i++) {
		rest += strspn(rest, " ");
		rest += strspn(rest, "0123456789");
	}
	rest += strspn(rest, " ");
	length = strlen(rest);
	/* The end of it: the names of the handlers come last. */
	snprintf(row->what, sizeof(row->what), "%s",
		 rest + (length < sizeof(row->what) ? 0 : length - sizeof(row->what) + 1));
	interrupts->rows++;
}

static int columns_of(const char *header)
{
	int columns = 0;

	while ((header = strstr(header, "CPU"))) {
		columns++;
		header += 3;
	}
	return columns;
}

/* Line by line in memory that is there: this is also called within a run's account of faults. */
bool sysfs_interrupts_read(struct sysfs_interrupts *interrupts, int cpu)
{
	static char text[128 * 1024];
	size_t used = 0;
	int columns = 0, column = -2;		/* before the header */
	ssize_t n;
	int fd;

	interrupts->rows = 0;
	fd = cpu < 0 ? -1 : open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (column != -1 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
		char *line = text, *end;

		used += (size_t)n;
		text[used] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			line += strspn(line, " ");
			if (column == -2) {
				column = column_of(line, cpu);
				columns = columns_of(line);
			} else if (column >= 0) {
				note_row(interrupts, line, columns, column);
			}
		}
		used -= (size_t)(line - text);
		memmove(text, line, used);
	}
	close(fd);
	return interrupts->rows;
}

const struct sysfs_interrupt_row *sysfs_interrupt(const struct sysfs_interrupts *interrupts,
						  const char *name)
{
	for (size_t i = 0; i < interrupts->rows; i++)
		if (!strcmp(interrupts->row[i].name, name))
			return &interrupts->row[i];
	return NULL;
}

bool sysfs_timer_interrupts(uint64_t *count, int cpu)
{
	static struct sysfs_interrupts interrupts;
	const struct sysfs_interrupt_row *row;

	row = sysfs_interrupts_read(&interrupts, cpu) ? sysfs_interrupt(&interrupts, "LOC") : NULL;
	if (row)
		*count = row->count;
	return row;
}

uint64_t sysfs_tick_ns(void)
{
	const long hz = sysconf(_SC_CLK_TCK);

	return UINT64_C(1000000000) / (uint64_t)(hz > 0 ? hz : 100);
}

#define STEAL_COLUMN 7

/* "cpu3 user nice system idle iowait irq softirq steal guest guest_nice": those of CPUs come first. */
bool sysfs_steal_ns(uint64_t *ns, int cpu)
{
	static char text[256 * 1024];
	char name[32];
	uint64_t ticks;
	size_t used = 0;
	const char *line;
	ssize_t n;
	const int fd = cpu < 0 ? -1 : open("/proc/stat", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	while (used < sizeof(text) - 1 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	text[used] = '\0';
	snprintf(name, sizeof(name), "\ncpu%d ", cpu);
	line = strstr(text, name);
	if (!line || !number_in(line + strlen(name), STEAL_COLUMN, &ticks))
		return false;
	*ns = ticks * sysfs_tick_ns();
	return true;
}
