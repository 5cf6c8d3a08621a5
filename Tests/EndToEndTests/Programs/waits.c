// A thread, or with the argument "processes" a process, for each system call that waits for a time. None may come
// back early, be interrupted or stand still, whatever is done to the process from outside. Further arguments name the
// calls to make; none means all. A line on stdin is answered with "NAME ROUNDS FAULTS" lines and "end".
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/aio_abi.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { wait_ms = 250 };

struct wait {
	const char *name;
	// Waits for wait_ms; returns 0 when it was the time that ended it.
	int (*once)(void);
	volatile unsigned rounds, faults;
};

static struct timespec span(void) { return (struct timespec){ 0, wait_ms * 1000000L }; }

static struct timespec until(clockid_t clock) {
	struct timespec now;
	clock_gettime(clock, &now);
	now.tv_nsec += wait_ms * 1000000L;
	now.tv_sec += now.tv_nsec / 1000000000;
	now.tv_nsec %= 1000000000;
	return now;
}

static int failed(int expected) { return errno == expected ? 0 : -1; }

static int by_poll(void) { return poll(NULL, 0, wait_ms); }

static int by_ppoll(void) {
	struct timespec time = span();
	return ppoll(NULL, 0, &time, NULL);
}

static int by_select(void) {
	struct timeval time = { 0, wait_ms * 1000 };
	return select(0, NULL, NULL, NULL, &time);
}

static int by_pselect(void) {
	struct timespec time = span();
	return pselect(0, NULL, NULL, NULL, &time, NULL);
}

static int by_nanosleep(void) {
	struct timespec time = span();
	return nanosleep(&time, NULL);
}

static int by_clock_nanosleep(void) {
	struct timespec time = until(CLOCK_MONOTONIC);
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int by_epoll(void) {
	static int epoll = -1;
	struct epoll_event event;
	if (epoll < 0)
		epoll = epoll_create1(EPOLL_CLOEXEC);
	return epoll_wait(epoll, &event, 1, wait_ms);
}

static int by_semaphore(void) {
	static sem_t semaphore;
	static int made;
	if (!made++)
		sem_init(&semaphore, 0, 0);
	struct timespec time = until(CLOCK_MONOTONIC);
	return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &time) ? failed(ETIMEDOUT) : -1;
}

static int by_condition(void) {
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec time = until(CLOCK_MONOTONIC);
	pthread_mutex_lock(&mutex);
	int result = pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &time);
	pthread_mutex_unlock(&mutex);
	return result == ETIMEDOUT ? 0 : -1;
}

static int by_sigtimedwait(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	struct timespec time = span();
	return sigtimedwait(&set, NULL, &time) < 0 ? failed(EAGAIN) : -1;
}

static int by_receive(void) {
	static int pair[2] = { -1, -1 };
	char byte;
	if (pair[0] < 0) {
		struct timeval time = { 0, wait_ms * 1000 };
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
		    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time))
			return -1;
	}
	return recv(pair[0], &byte, 1, 0) < 0 ? failed(EAGAIN) : -1;
}

static int by_accept(void) {
	static int listener = -1;
	if (listener < 0) {
		struct sockaddr_in any = { .sin_family = AF_INET };
		struct timeval time = { 0, wait_ms * 1000 };
		listener = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 1) ||
		    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time))
			return -1;
	}
	return accept(listener, NULL, NULL) < 0 ? failed(EAGAIN) : -1;
}

static int by_futex_waitv(void) {
	static unsigned word;
	struct { unsigned long value, address; unsigned flags, reserved; } waiter = {
		0, (unsigned long)&word, 2 /* FUTEX2_SIZE_U32 */ | 128 /* FUTEX2_PRIVATE */, 0
	};
	struct timespec time = until(CLOCK_MONOTONIC);
	return syscall(449, &waiter, 1, 0, &time, CLOCK_MONOTONIC) < 0 ? failed(ETIMEDOUT) : -1;
}

static int by_futex(void) {
	static unsigned word;
	struct timespec time = span();
	return syscall(SYS_futex, &word, 128 /* FUTEX_WAIT_PRIVATE */, 0, &time) < 0 ? failed(ETIMEDOUT) : -1;
}

static int by_epoll_pwait2(void) {
	static int epoll = -1;
	struct epoll_event event;
	struct timespec time = span();
	if (epoll < 0)
		epoll = epoll_create1(EPOLL_CLOEXEC);
	return syscall(441, epoll, &event, 1, &time, NULL, 8);
}

static int by_io_getevents(void) {
	static aio_context_t context;
	struct io_event event;
	struct timespec time = span();
	if (!context && syscall(SYS_io_setup, 4, &context))
		return -1;
	return syscall(SYS_io_getevents, context, 1, 1, &event, &time);
}

static int by_semtimedop(void) {
	static int set = -1;
	if (set < 0)
		set = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf down = { 0, -1, 0 };
	struct timespec time = span();
	return semtimedop(set, &down, 1, &time) < 0 ? failed(EAGAIN) : -1;
}

static int by_timerfd(void) {
	static int timer = -1;
	unsigned long expirations;
	if (timer < 0)
		timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec time = { { 0, 0 }, span() };
	timerfd_settime(timer, 0, &time, NULL);
	return read(timer, &expirations, sizeof expirations) == sizeof expirations ? 0 : -1;
}

static struct wait known[] = {
	{ "poll", by_poll, 0, 0 },
	{ "ppoll", by_ppoll, 0, 0 },
	{ "select", by_select, 0, 0 },
	{ "pselect", by_pselect, 0, 0 },
	{ "nanosleep", by_nanosleep, 0, 0 },
	{ "clock_nanosleep", by_clock_nanosleep, 0, 0 },
	{ "epoll_wait", by_epoll, 0, 0 },
	{ "sem_clockwait", by_semaphore, 0, 0 },
	{ "pthread_cond_clockwait", by_condition, 0, 0 },
	{ "sigtimedwait", by_sigtimedwait, 0, 0 },
	{ "recv", by_receive, 0, 0 },
	{ "semtimedop", by_semtimedop, 0, 0 },
	{ "timerfd", by_timerfd, 0, 0 },
	{ "accept", by_accept, 0, 0 },
	{ "futex", by_futex, 0, 0 },
	{ "futex_waitv", by_futex_waitv, 0, 0 },
	{ "epoll_pwait2", by_epoll_pwait2, 0, 0 },
	{ "io_getevents", by_io_getevents, 0, 0 },
};
enum { wait_count = sizeof known / sizeof *known };

// Shared by all processes.
static struct wait *waits;

static int is_wanted(const char *name, int argc, char **argv) {
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], name))
			return 1;
	return argc == 0;
}

static void *work(void *argument) {
	struct wait *wait = argument;
	for (;;) {
		struct timespec before, after;
		clock_gettime(CLOCK_MONOTONIC, &before);
		int result = wait->once();
		int error = errno;
		clock_gettime(CLOCK_MONOTONIC, &after);
		long elapsed = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
		wait->rounds++;
		if (result == 0 && elapsed >= wait_ms * 1000L)
			continue;
		wait->faults++;
		fprintf(stderr, "%s: result %d (%s) after %ld us\n", wait->name, result, strerror(error), elapsed);
	}
	return NULL;
}

static int start(struct wait *wait, int in_process) {
	pthread_t thread;
	if (!in_process)
		return pthread_create(&thread, NULL, work, wait);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(wait);
	}
	return child < 0;
}

int main(int argc, char **argv) {
	int in_processes = argc > 1 && !strcmp(argv[1], "processes");
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	waits = mmap(NULL, sizeof known, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (waits == MAP_FAILED)
		return 1;
	memcpy(waits, known, sizeof known);
	int first = 1 + in_processes;
	for (int i = 0; i < wait_count; i++)
		if (!is_wanted(waits[i].name, argc - first, argv + first))
			waits[i].name = NULL;
		else if (start(&waits[i], in_processes))
			return 1;
	char line[64];
	while (fgets(line, sizeof line, stdin)) {
		for (int i = 0; i < wait_count; i++)
			if (waits[i].name)
				printf("%s %u %u\n", waits[i].name, waits[i].rounds, waits[i].faults);
		puts("end");
		fflush(stdout);
	}
	return 0;
}
