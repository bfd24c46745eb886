/* SPDX-License-Identifier: Apache-2.0 */
/* The measured task's side: what it does when it is due, and what its signals stamp. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/disturb_own.h"
#include "core/fault.h"
#include "core/syscalls.h"

#define FAULT_PAGES_MAX ((size_t)1 << 18)
#define TIMER_AFTER_NS 1000000	/* of CPU time: arming it is over by then. It expires in the tick after that */
#define CALM 2		/* intervals without a gap: one to end in peace, one to begin what is done */
#define TRIES_MAX 1000

/* The kernel's struct sigevent: C libraries do not agree on the name of its last field. */
struct signal_event {
	union sigval value;
	int32_t number, notify, tid;
	int32_t padding[(64 - sizeof(union sigval)) / 4 - 3];
};

#define NOTIFY_THREAD 4

struct disturb_shared disturb_shared;

/* Cheap, without effect, and never answered by the C library or the vDSO. */
static const long calls[DISTURB_CALLS] = { SYS_getppid, SYS_getuid, SYS_getpgid, SYS_getpriority };

static int timer;
static unsigned char *pages;	/* none of them ever touched before its time */
static size_t page_bytes, page_count, pages_used;
static uint64_t armed, clean;
static unsigned int calm, tries;

const char *disturb_call_name(uint8_t call)
{
	return syscall_name((uint64_t)calls[call]);
}

bool disturb_page_left(void)
{
	return pages_used < page_count;
}

uint64_t disturb_faults(void)
{
	return pages_used;
}

static void stamp(int number)
{
	(void)number;
	atomic_store_explicit(&disturb_shared.effect, counter_read_ordered(), memory_order_release);
}

static inline void act_as(uint8_t kind, long call)
{
	static const struct kernel_itimerspec {
		int64_t interval_s, interval_ns, value_s, value_ns;
	} once = { .value_ns = TIMER_AFTER_NS };

	switch (kind) {
	case DISTURB_TICK:
		(void)syscall(SYS_timer_settime, timer, 0, &once, NULL);
		break;
	case DISTURB_FAULT:
		/* Read: the page of zeros that all of them share costs no memory. */
		(void)*(volatile unsigned char *)(pages + page_bytes * pages_used++);
		break;
	default:
		(void)syscall(call, 0, 0);
		break;
	}
}

/*
 * Called with a reading that is due. The first ones only end the intervals so far; what is
 * done begins with the next, if nothing has come in between. So no gap is open at its instant, nor
 * ends there, and the loop's own reading is the begin of the gap that it makes. Where that never comes about
 * (everything is longer than a gap here), it is done all the same, and says that it was within one.
 */
__attribute__((noinline, cold)) uint64_t disturb_act(uint64_t now)
{
	uint8_t kind;
	long call;

	/* Again, in the order in which it publishes what is wanted. */
	(void)atomic_load_explicit(&disturb_shared.due, memory_order_acquire);
	kind = disturb_shared.kind;
	call = calls[disturb_shared.call];
	now = counter_read_ordered();
	calm = armed && now - armed <= clean ? calm + 1 : 0;
	if (calm < CALM && ++tries < TRIES_MAX) {
		armed = now;
		return now;
	}
	disturb_shared.at = calm ? armed : now;
	if (kind != DISTURB_ANSWER) {
		act_as(kind, call);
		now = counter_read_ordered();
	}
	disturb_shared.end = now;
	armed = 0;
	calm = tries = 0;
	atomic_store_explicit(&disturb_shared.due, disturb_never(now), memory_order_release);
	return now;
}

/* ---- what it takes ---- */

static void listen_to(int number)
{
	struct sigaction action = { .sa_handler = stamp, .sa_flags = SA_RESTART };
	sigset_t set;

	sigemptyset(&action.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, number);
	if (sigaction(number, &action, NULL) || pthread_sigmask(SIG_UNBLOCK, &set, NULL))
		fault_internal("signal %d cannot be handled", number);
}

static bool make_timer(void)
{
	struct signal_event event = {
		.number = DISTURB_TICK_SIGNAL, .notify = NOTIFY_THREAD, .tid = (int32_t)syscall(SYS_gettid),
	};

	return !syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &timer);
}

/*
 * Memory of which no page is there: unlocked, as all that is mapped now would be locked and filled,
 * and in small pages.
 */
static bool make_pages(size_t count)
{
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	page_count = count < FAULT_PAGES_MAX ? count : FAULT_PAGES_MAX;
	pages = mmap(NULL, page_count * page_bytes, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		return false;
	(void)madvise(pages, page_count * page_bytes, MADV_NOHUGEPAGE);
	return !munlock(pages, page_count * page_bytes) &&
	       !mprotect(pages, page_count * page_bytes, PROT_READ);
}

void disturb_task_warm(const bool *wanted, size_t most, uint64_t clean_units)
{
	clean = clean_units;
	disturb_shared.effect = 0;
	atomic_store_explicit(&disturb_shared.due, disturb_never(counter_read()), memory_order_release);
	listen_to(DISTURB_SIGNAL_SIGNAL);
	listen_to(DISTURB_TICK_SIGNAL);
	if (wanted[DISTURB_TICK] && !make_timer())
		disturb_cannot(DISTURB_TICK, errno, "no timer of CPU time");
	if (wanted[DISTURB_FAULT] && !make_pages(most))
		disturb_cannot(DISTURB_FAULT, errno, "no memory that is not there yet");
}
