/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_tracefs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/mount.h>, which C libraries' own headers collide with. */
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define FSOPEN_CLOEXEC_FLAG 1
#define FSMOUNT_CLOEXEC_FLAG 1
#define FSCONFIG_CREATE 6

bool tracefs_read(int folder, const char *name, char *text, size_t size)
{
	const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return false;
	while (used < size - 1 && (n = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fd);
	if (!used)
		errno = ENODATA;
	return used;
}

static int open_folder(const char *path)
{
	const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return -1;
	if (!faccessat(folder, "events", R_OK | X_OK, 0))
		return folder;
	close(folder);
	return -1;
}

/*
 * A mount that no name space has: it is gone with its descriptor, and nobody but us sees it.
 * (Not through debugfs: looking at its folder `tracing` would mount it there for everybody.)
 */
static int mount_privately(void)
{
	const int context = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC_FLAG);
	int folder = -1, error;

	if (context < 0)
		return -1;
	if (!syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0))
		folder = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC_FLAG, 0);
	error = errno;
	close(context);
	errno = error;
	return folder;
}

static void note_others(int folder, struct trace_tracing *tracing)
{
	char text[32];

	if (tracefs_read(folder, "current_tracer", text, sizeof(text))) {
		text[strcspn(text, "\n")] = '\0';
		if (strcmp(text, "nop"))
			memcpy(tracing->tracer, text, sizeof(text));
	}
	if (tracefs_read(folder, "events/enable", text, sizeof(text)))
		tracing->others = text[0] != '0';
}

int tracefs_open(const char *path, struct trace_tracing *tracing)
{
	int folder = open_folder(path ? path : "/sys/kernel/tracing");

	*tracing = (struct trace_tracing){ .private_mount = false };
	if (folder < 0 && !path && errno != EACCES && errno != EPERM) {
		folder = mount_privately();
		tracing->private_mount = folder >= 0;
	}
	if (folder >= 0)
		note_others(folder, tracing);
	return folder;
}
