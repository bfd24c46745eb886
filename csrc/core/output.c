/* SPDX-License-Identifier: Apache-2.0 */
#include "core/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/fault.h"

#define FILES_MAX 16
#define RESULT_TEMPORARY ".result.json.part"

struct output {
	const char *directory;
	int directory_fd;
	int fd;				/* the file being written */
	const char *names[FILES_MAX];	/* written so far, the open one last */
	size_t files;
	size_t pending;
	char buffer[64 * 1024];
};

static struct output the_output;

__attribute__((format(printf, 3, 4))) static _Noreturn void
fail(struct output *output, int error, const char *format, ...)
{
	const char *advice = "check the disk and the directory's rights";
	char what[PATH_MAX];
	va_list args;

	for (size_t i = 0; i < output->files; i++)
		unlinkat(output->directory_fd, output->names[i], 0);
	if (error == ENOSPC || error == EDQUOT || error == EFBIG)
		advice = "free space (or raise the limit) there; no result was written";
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	fault_environment(error, advice, "%s", what);
}

struct output *output_open(const char *directory)
{
	struct output *output = &the_output;

	output->directory = directory;
	output->fd = -1;
	output->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (output->directory_fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			fault_usage("--out %s: %s", directory, strerror(errno));
		fault_environment(errno, "choose another directory or change its rights",
				  "cannot open the directory %s", directory);
	}
	if (!faccessat(output->directory_fd, OUTPUT_RESULT, F_OK, 0))
		fault_usage("--out %s: there is a " OUTPUT_RESULT
			    " already, which is never overwritten", directory);
	if (faccessat(output->directory_fd, ".", W_OK | X_OK, AT_EACCESS))
		fault_environment(errno, "choose another directory or change its rights",
				  "cannot write in %s", directory);
	/* A file over RLIMIT_FSIZE is an error to report, not a death. */
	signal(SIGXFSZ, SIG_IGN);
	return output;
}

void output_begin(struct output *output, const char *name)
{
	if (output->fd >= 0 || output->files == FILES_MAX)
		fault_internal("file %s was begun out of turn", name);
	/* What a killed run left is replaced; a link is never followed. */
	output->fd = openat(output->directory_fd, name,
			    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (output->fd < 0)
		fail(output, errno, "cannot create %s/%s", output->directory, name);
	output->names[output->files++] = name;
	output->pending = 0;
}

static const char *current(const struct output *output)
{
	return output->names[output->files - 1];
}

static void put(struct output *output, const char *bytes, size_t length)
{
	while (length) {
		const ssize_t n = write(output->fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail(output, n < 0 ? errno : ENOSPC, "cannot write %s/%s",
			     output->directory, current(output));
		bytes += n;
		length -= (size_t)n;
	}
}

void output_append(struct output *output, const void *bytes, size_t length)
{
	if (length > sizeof(output->buffer) - output->pending) {
		put(output, output->buffer, output->pending);
		output->pending = 0;
	}
	if (length > sizeof(output->buffer)) {
		put(output, bytes, length);
		return;
	}
	memcpy(output->buffer + output->pending, bytes, length);
	output->pending += length;
}

void output_end(struct output *output)
{
	const int fd = output->fd;

	put(output, output->buffer, output->pending);
	output->pending = 0;
	/* Some file systems only notice here that there is no room. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOSYS)
		fail(output, errno, "cannot write %s/%s", output->directory, current(output));
	output->fd = -1;
	if (close(fd) < 0)
		fail(output, errno, "cannot write %s/%s", output->directory, current(output));
}

void output_write(struct output *output, const char *name, const void *bytes, size_t length)
{
	output_begin(output, name);
	output_append(output, bytes, length);
	output_end(output);
}

void output_commit(struct output *output, const void *bytes, size_t length)
{
	output_write(output, RESULT_TEMPORARY, bytes, length);
	if (renameat(output->directory_fd, RESULT_TEMPORARY, output->directory_fd, OUTPUT_RESULT) < 0)
		fail(output, errno, "cannot rename %s/" RESULT_TEMPORARY, output->directory);
	(void)fsync(output->directory_fd);
	close(output->directory_fd);
}
