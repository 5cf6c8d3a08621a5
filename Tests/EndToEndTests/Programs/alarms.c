// Many timers that signal once, a millisecond apart: "arm" on stdin winds them up, any other line is answered, when
// the last has been due for a second, with how many have not signalled exactly once. Every second one signals a
// thread, the others the process; one of them all is alarm(2)'s.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { timer_count = 500, file_count = 3000 };

static volatile unsigned signalled[timer_count + 1];
static volatile pid_t second;

static void by_timer(int number, siginfo_t *information, void *context) {
	(void)number, (void)context;
	__atomic_add_fetch(&signalled[information->si_value.sival_int], 1, __ATOMIC_SEQ_CST);
}

static void by_alarm(int number) {
	(void)number;
	signalled[timer_count]++;
}

static void *wait_for_signals(void *unused) {
	second = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return unused;
}

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(void) {
	struct sigaction timed = { .sa_sigaction = by_timer, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction alarmed = { .sa_handler = by_alarm, .sa_flags = SA_RESTART };
	timer_t timers[timer_count];
	pthread_t thread;
	char line[100];
	double last = 0;
	sigaction(SIGRTMIN, &timed, NULL);
	sigaction(SIGALRM, &alarmed, NULL);
	// What takes CRIU some time.
	for (int i = 0; i < file_count; i++)
		if (open("/dev/null", O_RDONLY) < 0)
			return 1;
	if (pthread_create(&thread, NULL, wait_for_signals, NULL))
		return 2;
	while (!second)
		usleep(1000);
	for (int i = 0; i < timer_count; i++) {
		struct sigevent event = { .sigev_signo = SIGRTMIN, .sigev_value.sival_int = i };
		event.sigev_notify = i % 2 ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
		event._sigev_un._tid = second;
		if (timer_create(CLOCK_MONOTONIC, &event, &timers[i]))
			return 3;
	}
	while (fgets(line, sizeof line, stdin)) {
		if (!strcmp(line, "arm\n")) {
			memset((void *)signalled, 0, sizeof signalled);
			for (int i = 0; i < timer_count; i++) {
				struct itimerspec once = { .it_value = { 0, (i + 1) * 1000000L } };
				if (timer_settime(timers[i], 0, &once, NULL))
					return 4;
			}
			struct itimerval once = { .it_value = { 0, (40 + rand() % 80) * 1000 } };
			setitimer(ITIMER_REAL, &once, NULL);
			last = now() + timer_count / 1e3;
			puts("armed");
		} else {
			int wrong = 0;
			while (now() < last + 1)
				usleep(10000);
			for (int i = 0; i <= timer_count; i++)
				wrong += signalled[i] != 1;
			printf("%d\n", wrong);
		}
		fflush(stdout);
	}
	return 0;
}
