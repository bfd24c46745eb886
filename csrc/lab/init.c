/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole user space of a count board. As process 1 it runs one program, given by the lines of /job, and beside it
 * another, if a line "&" and its own lines follow; it says over the serial console what the kernel counted meanwhile and
 * what they left in /out/result.json and /beside/result.json (and, of `sense`, gap by gap); then it switches the machine off.
 *
 * Each thing said is one block:
 *
 *     isolbench-file NAME SIZE CRC32
 *     ...hex, 64 digits a line...
 *     isolbench-end
 *
 * The kernel's own messages go to the same console: they are silenced before the first block, and a block that one of
 * them got into is found out by its CRC.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MOST = 8 << 20, MOST_WORDS = 64, LINE_BYTES = 32, SYSLOG_CONSOLE_OFF = 6 };

static char buffer[MOST];

static uint32_t crc32_of(const char *data, size_t size)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < size; i++) {
		crc ^= (unsigned char)data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (UINT32_C(0xedb88320) & -(crc & 1));
	}
	return ~crc;
}

static void say(const char *name, const char *data, size_t size)
{
	printf("\nisolbench-file %s %zu %08" PRIx32 "\n", name, size, crc32_of(data, size));
	for (size_t i = 0; i < size; i++)
		printf("%02x%s", (unsigned char)data[i], i % LINE_BYTES == LINE_BYTES - 1 || i == size - 1 ? "\n" : "");
	printf("isolbench-end\n");
	fflush(stdout);
}

/* A file of /proc has no size: it is read until it ends. What is longer than the buffer is cut, and so is its CRC. */
static size_t take(const char *path, char *into, size_t most)
{
	size_t size = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	while (size < most && (got = read(fd, into + size, most - size)) > 0)
		size += (size_t)got;
	close(fd);
	return size;
}

static void say_file(const char *name, const char *path)
{
	size_t size = take(path, buffer, sizeof(buffer));

	say(name, buffer, size);
}

/* "offline:1@1500": takes CPU 1 away after 1500 ms. */
static int take_down(const char *word)
{
	char path[64];
	int cpu, ms, fd;

	if (sscanf(word, "offline:%d@%d", &cpu, &ms) != 2)
		return 127;
	usleep((useconds_t)ms * 1000);
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, "0", 1) != 1;
}

static pid_t start(char **argv)
{
	pid_t child = fork();

	if (child == 0 && strncmp(argv[0], "offline:", 8) == 0)
		_exit(take_down(argv[0]));
	if (child == 0) {
		int log = open("/out/stderr", O_WRONLY | O_CREAT | O_APPEND, 0600);

		if (log >= 0) {
			dup2(log, STDOUT_FILENO);
			dup2(log, STDERR_FILENO);
		}
		execv(argv[0], argv);
		_exit(127);
	}
	return child;
}

static int end_of(pid_t child)
{
	int status = 0;

	if (child < 0)
		return 126;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Both at once. The first status that is not 0, the program's own before that of the one beside it. */
static int run(char **argv, char **beside)
{
	pid_t first = start(argv), second = beside ? start(beside) : 0;
	int status = end_of(first), other = beside ? end_of(second) : 0;

	return status ? status : other;
}

int main(void)
{
	static char job[1 << 14];
	char *argv[MOST_WORDS + 1] = {0}, **beside = NULL;
	char before[1 << 16];
	size_t size, before_size;
	int words = 0, length;
	char status[16];

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/out", 0755);
	mkdir("/beside", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);

	size = take("/job", job, sizeof(job) - 1);
	for (char *word = strtok(job, "\n"); word && words < MOST_WORDS; word = strtok(NULL, "\n")) {
		if (strcmp(word, "&") == 0)
			beside = &argv[words + 1], word = NULL;
		argv[words++] = word;
	}

	/* Device probes that the kernel put off end within the first second; nothing of theirs is to be counted. */
	if (words)
		sleep(1);
	before_size = take("/proc/interrupts", before, sizeof(before));
	length = snprintf(status, sizeof(status), "%d", words ? run(argv, beside) : 0);
	size = take("/proc/interrupts", buffer, sizeof(buffer));

	klogctl(SYSLOG_CONSOLE_OFF, NULL, 0);
	say("interrupts-after", buffer, size);
	say("interrupts-before", before, before_size);
	say("status", status, (size_t)length);
	say_file("cmdline", "/proc/cmdline");
	say_file("version", "/proc/version");
	say_file("isolated", "/sys/devices/system/cpu/isolated");
	say_file("nohz_full", "/sys/devices/system/cpu/nohz_full");
	say_file("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource");
	say_file("stderr", "/out/stderr");
	say_file("result.json", "/out/result.json");
	/* A serial line takes its time: only for those who hold one against the other. */
	if (access("/out/disturbances.jsonl", R_OK) == 0) {
		say_file("gaps.jsonl", "/out/gaps.jsonl");
		say_file("disturbances.jsonl", "/out/disturbances.jsonl");
	}
	say_file("beside.json", "/beside/result.json");
	say("done", "", 0);
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
