// Many timers behind descriptors that are due at one moment: "arm MS" on stdin winds them up, any other line is
// answered with how many have not fired two seconds after they were due.
#include <poll.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { timer_count = 4000 };

static struct timespec after(long milliseconds) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_nsec += milliseconds * 1000000L;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	return time;
}

int main(void) {
	static struct pollfd timers[timer_count];
	for (int i = 0; i < timer_count; i++) {
		timers[i] = (struct pollfd){ timerfd_create(CLOCK_MONOTONIC, 0), POLLIN, 0 };
		if (timers[i].fd < 0)
			return 1;
	}
	char line[100];
	struct itimerspec due = { { 0, 0 }, { 0, 0 } };
	while (fgets(line, sizeof line, stdin)) {
		long milliseconds;
		if (sscanf(line, "arm %ld", &milliseconds) == 1) {
			due.it_value = after(milliseconds);
			for (int i = 0; i < timer_count; i++)
				if (timerfd_settime(timers[i].fd, TFD_TIMER_ABSTIME, &due, NULL) < 0)
					return 2;
			puts("armed");
		} else {
			int ready;
			while ((ready = poll(timers, timer_count, 0)) < timer_count && after(0).tv_sec < due.it_value.tv_sec + 3)
				usleep(10000);
			printf("%d\n", timer_count - ready);
		}
		fflush(stdout);
	}
	return 0;
}
