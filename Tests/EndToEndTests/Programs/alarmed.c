// A call without a limit that an alarm ends: a number on stdin is in how many milliseconds, and it is answered by how
// the call ended.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { file_count = 3000 };

static void by_alarm(int number) { (void)number; }

int main(void) {
	struct sigaction alarmed = { .sa_handler = by_alarm };
	char line[100];
	sigaction(SIGALRM, &alarmed, NULL);
	// What takes CRIU some time.
	for (int i = 0; i < file_count; i++)
		if (open("/dev/null", O_RDONLY) < 0)
			return 1;
	while (fgets(line, sizeof line, stdin)) {
		struct itimerval once = { .it_value = { 0, atoi(line) * 1000 } };
		setitimer(ITIMER_REAL, &once, NULL);
		int result = poll(NULL, 0, -1);
		printf("%d %s\n", result, strerror(errno));
		fflush(stdout);
	}
	return 0;
}
