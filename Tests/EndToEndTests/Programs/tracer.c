// Traces a child of its own, as a debugger does.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, "traced");
		for (;;)
			pause();
	}
	if (ptrace(PTRACE_SEIZE, child, 0, 0)) {
		perror("ptrace");
		kill(child, SIGKILL);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
