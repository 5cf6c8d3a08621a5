#include "init.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// A signal for a call goes to what the call started and, where it is to end the call, as SIGINT to bash: the
// session goes on. A terminal would signal the whole foreground group at once, but without one bash and its
// children are separate targets, and a SIGINT can get lost between them:
// - bash that waits for a child takes a SIGINT for the child's business when the child then ends well;
// - a child between fork and exec still has bash's own handler, which forgets the signal at the exec;
// - bash that was just about to fork waits for a child that has not had the signal.
// So bash stands still while its children are looked at, and where one of these may have happened they are
// looked at again.

/// Until the second look, in nanoseconds, and how many looks there are at most.
static const uint64_t AGAIN = 10000000;
enum { LOOKS = 50 };

/// Stops bash and waits until it stands: the signal alone takes effect when it next returns from the kernel.
static void stop_bash(const struct session *s) {
    char path[32], text[256];
    kill(s->pid, SIGSTOP);
    snprintf(path, sizeof path, "/proc/%d/stat", s->pid);
    for (int tries = 0; tries < 1000; tries++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        close_fd(&fd);
        if (got <= 0) return;
        text[got] = 0;
        const char *name_end = strrchr(text, ')');
        if (!name_end || !strncmp(name_end, ") T", 3) || !strncmp(name_end, ") Z", 3)) return;
        sched_yield();
    }
}

/// Signals bash and what is below it but older than the call; says what it found there.
static int signal_call(struct session *s, int signal) {
    stop_bash(s);
    int found = interrupted_children(s->pid, s->older, s->older_count);
    kill(s->pid, SIGINT);
    signal_descendants(s->pid, signal, s->older, s->older_count);
    kill(s->pid, SIGCONT);
    return found;
}

void session_signal(struct session *s, int signal) {
    if (s->pid <= 0 || s->state != BUSY) return;
    bool ends = signal == SIGINT || signal == SIGTERM || signal == SIGKILL || signal == SIGHUP ||
                signal == SIGQUIT;
    if (!ends) {
        signal_descendants(s->pid, signal, s->older, s->older_count);
        return;
    }
    s->interrupted = true;
    s->found = signal_call(s, signal);
    s->looks = LOOKS;
    s->again = now_ns() + AGAIN;
}

void session_interrupt_again(struct session *s) {
    s->again = NONE;
    bool lost = s->found & (CHILD_ENDED | CHILD_FORKED);
    // A child that came after the signal may be a trap's, and deserves none: it is taken for one that was
    // being forked only once, and only when there was no other.
    bool late = !s->found && interrupted_children(s->pid, s->older, s->older_count) & CHILD_DIES;
    if (!(lost || late) || s->looks-- == 0) return;
    s->found = signal_call(s, SIGINT);
    if (late && !lost) return;
    s->again = now_ns() + AGAIN;
}
