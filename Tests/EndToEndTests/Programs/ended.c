// Processes of which each is in a call without a limit until its alarm goes off: "arm MS" on stdin starts them, with
// alarms spread over that time, "late" waits for them and is answered by those that did not end as they should.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { alarm_count = 10, patience = 10000 };

static const char *const calls[] = {"poll", "select", "pause", "sigsuspend", "read", "futex", "wait", "restarted"};
enum { call_count = sizeof calls / sizeof *calls };

static const char *call;
static int ends[2];
static volatile sig_atomic_t handled;

static bool is(const char *name) { return strcmp(call, name) == 0; }

// An alarm that goes off before the call was begun, for its process did not get a processor for so long, ends nothing: it
// is set again. Who is in a call stands behind its instruction with EINTR, or at it where the call is begun again.
static bool is_in_call(const ucontext_t *where) {
	const unsigned char *at = (const unsigned char *)where->uc_mcontext.gregs[REG_RIP];
	const long result = where->uc_mcontext.gregs[REG_RAX];
	if (at[-2] == 0x0f && at[-1] == 0x05) return result == -EINTR;
	return at[0] == 0x0f && at[1] == 0x05 && result != SYS_setitimer;
}

static void by_alarm(int number, siginfo_t *information, void *where) {
	(void)number;
	(void)information;
	if (!is_in_call(where)) {
		const struct itimerval again = {.it_value = {0, 20000}};
		setitimer(ITIMER_REAL, &again, NULL);
		return;
	}
	handled++;
	if (is("restarted") && write(ends[1], "x", 1) < 0) _exit(2);
}

static long make_call(void) {
	sigset_t none;
	sigemptyset(&none);
	if (is("poll")) return poll(NULL, 0, -1);
	if (is("select")) return select(0, NULL, NULL, NULL, NULL);
	if (is("pause")) return pause();
	if (is("sigsuspend")) return sigsuspend(&none);
	if (is("futex")) return syscall(SYS_futex, &handled, FUTEX_WAIT, 0, NULL);
	if (is("wait")) return wait(NULL);
	char byte;
	return read(ends[0], &byte, 1);
}

static void *as_thread(void *alarm) {
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	// sigsuspend(2) as it is meant: blocked until then.
	pthread_sigmask(is("sigsuspend") ? SIG_BLOCK : SIG_UNBLOCK, &alarms, NULL);
	setitimer(ITIMER_REAL, alarm, NULL);
	long result = make_call();
	bool good = is("restarted") ? result == 1 : result == -1 && errno == EINTR;
	_exit(good && handled == 1 ? 0 : 1);
}

static void be(const char *name, bool thread, int milliseconds) {
	struct itimerval once = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000 + 1}};
	call = name;
	struct sigaction action = {.sa_sigaction = by_alarm, .sa_flags = SA_SIGINFO | (is("restarted") ? SA_RESTART : 0)};
	sigaction(SIGALRM, &action, NULL);
	if (pipe(ends)) _exit(2);
	if (is("wait") && fork() == 0)
		for (;;) pause();
	if (!thread) as_thread(&once);
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarms, NULL);
	pthread_t other;
	if (pthread_create(&other, NULL, as_thread, &once)) _exit(2);
	pthread_join(other, NULL);
}

static struct {
	pid_t group;
	char name[32];
} all[call_count * 2 * alarm_count];
enum { all_count = sizeof all / sizeof *all };

int main(void) {
	char line[100];
	while (fgets(line, sizeof line, stdin)) {
		int span = 0;
		if (sscanf(line, "arm %d", &span) == 1) {
			for (int i = 0; i < all_count; i++) {
				const char *name = calls[i % call_count];
				bool thread = i / call_count % 2;
				snprintf(all[i].name, sizeof all[i].name, "%s%s", name, thread ? " of a thread" : "");
				fflush(stdout);
				all[i].group = fork();
				if (all[i].group == 0) {
					setpgid(0, 0);
					be(name, thread, (int)((long)span * i / all_count) + 20);
				}
				setpgid(all[i].group, all[i].group);
			}
			puts("armed");
		} else {
			int status, left = all_count;
			char bad[all_count * 40] = "";
			for (int waited = 0; left && waited < patience; waited++, usleep(1000))
				for (int i = 0; i < all_count; i++)
					if (all[i].group && waitpid(all[i].group, &status, WNOHANG) == all[i].group) {
						kill(-all[i].group, SIGKILL);
						if (status) sprintf(bad + strlen(bad), "%s: %x, ", all[i].name, (unsigned)status);
						all[i].group = 0, left--;
					}
			for (int i = 0; i < all_count; i++)
				if (all[i].group) {
					sprintf(bad + strlen(bad), "%s: did not end, ", all[i].name);
					kill(-all[i].group, SIGKILL);
					waitpid(all[i].group, &status, 0);
				}
			puts(*bad ? bad : "good");
		}
		fflush(stdout);
	}
	return 0;
}
