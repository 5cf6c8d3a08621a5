#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// A call ends when bash is back at its top level, when bash itself ends, or when time is up. In the last
// case bash and its older jobs are to survive: SIGINT throws bash back to its top level, and what the call
// started is killed.

/// Between two steps against a call, until bash is given up, and until a lost sync is repeated.
static const uint64_t STEP = 100000000, PATIENCE = 3000000000, SYNC = 1000000000;
/// Until a prompt is known to be the last.
static const uint64_t SETTLE = 5000000;

static void call_ended(struct session *s, int status, uint32_t flags) {
    if (s->timed_out) {
        flags |= CKPT_EXIT_TIMED_OUT;
        if (s->pid > 0) signal_descendants(s->pid, SIGKILL, s->older, s->older_count);
    }
    s->deadline = NONE;
    if (s->call && s->call->state == RUNNING) command_ended(s->call, status, flags);
}

/// One line of the control pipe: a status and the number of commands read. Anything else is a trace
/// (`set -x`).
static void control_line(struct session *s, char *line) {
    char *end;
    unsigned long status = strtoul(line, &end, 10), number = 0;
    if (s->state == RECLAIMING && !s->reclaimed) {
        size_t length = strlen(line);
        s->reclaimed = length >= 4 && !strcmp(line + length - 4, "back");
        // What else comes before that is the prompt of a call whose output nobody has read.
        if (!s->reclaimed) s->orphaned = true;
        return;
    }
    if (end == line || (*end && *end != ' ')) return;
    if (*end) number = strtoul(end + 1, &end, 10);
    if (number && !*end) s->numbered = true;
    if (s->state == RECLAIMING && number && !*end) {
        s->commands = number;
        s->state = IDLE;
        s->deadline = NONE;
        if (s->orphaned) session_drop_output(s);
        session_next_call(s);
        return;
    }
    if (s->state == SYNCING && !s->sync_sent) s->deadline = now_ns() + SETTLE;
    if (*end || (number && number < s->commands)) return;
    if (number) s->commands = number;
    if (s->state == SYNCING) {
        if (!s->sync_sent) return;
        s->state = IDLE;
        s->deadline = NONE;
        s->interrupted = false;
        session_next_call(s);
    } else if (s->state == STARTING) {
        s->state = IDLE;
        if (s->call) session_run_call(s);
    } else if (s->state == BUSY) {
        call_ended(s, (int)(status & 255) << 8, 0);
    }
}

void session_control_readable(struct session *s) {
    char text[256];
    ssize_t got;
    while (s->control >= 0 && (got = read(s->control, text, sizeof text)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return;
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] != '\n') {
                if (s->line_length < sizeof s->line - 1) s->line[s->line_length++] = text[i];
                continue;
            }
            s->line[s->line_length] = 0;
            s->line_length = 0;
            control_line(s, s->line);
        }
        if (got < (ssize_t)sizeof text) return;
    }
    close_fd(&s->control);  // bash has closed it or is gone: SIGCHLD tells
}

void session_bash_ended(struct session *s, int status) {
    if (s->state == LENT) {
        s->pid = 0;
        s->status = status;
        if (s->deadline != NONE) session_reclaim(s);
        return;
    }
    session_control_readable(s);
    s->pid = 0;
    if (s->call && s->call->state == RUNNING) {
        if (s->given_up)
            command_say(
                s->call, "ckpt: session %s did not come back from its timeout and was ended\n", s->name);
        call_ended(s, status, CKPT_EXIT_SESSION_ENDED);
    } else if (!s->call) {
        session_next_call(s);
    }
}

// A SIGINT on its way may cost bash the first byte it reads, so what is sent is a command of one character
// that fails silently, and its number tells that it was read.
static void send_sync(struct session *s, uint64_t now) {
    // Bash came back from a child that it was just forking; it would wait for it before it reads on.
    if (!s->sync_sent && interrupted_children(s->pid, s->older, s->older_count) & CHILD_DIES) {
        signal_descendants(s->pid, SIGINT, s->older, s->older_count);
        s->deadline = now + SETTLE;
        return;
    }
    if (!s->sync_sent) s->commands++;
    s->sync_sent = true;
    session_say(s, "!\n", 2);
    s->deadline = now + SYNC;
}

void session_sync(struct session *s) {
    s->state = SYNCING;
    s->sync_sent = false;
    s->deadline = now_ns() + SETTLE;
}

static void give_up(struct session *s) {
    s->given_up = true;
    s->deadline = NONE;
    kill(s->pid, SIGKILL);
}

static void press_on(struct session *s, uint64_t now) {
    if (s->give_up == NONE) {
        s->give_up = now + PATIENCE;
        s->timed_out = s->interrupted = true;
    }
    if (now >= s->give_up) {
        signal_descendants(s->pid, SIGKILL, s->older, s->older_count);
        give_up(s);
        return;
    }
    // Bash first: a child that dies of SIGINT makes it come back at once, and then it would meet ours late.
    kill(s->pid, SIGINT);
    signal_descendants(s->pid, s->steps++ ? SIGKILL : SIGINT, s->older, s->older_count);
    s->deadline = now + STEP;
}

/// Whether bash waits in read(2) on the pipe its commands come through.
static bool waits_for_command(const struct session *s) {
    char path[64], text[64], pipe[64];
    struct stat ours;
    snprintf(path, sizeof path, "/proc/%d/syscall", s->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close_fd(&fd);
    if (got <= 0 || fstat(s->in, &ours) < 0) return false;
    text[got] = 0;
    char reading[32];
    int length = snprintf(reading, sizeof reading, "%d 0x0 ", (int)SYS_read);
    if (strncmp(text, reading, (size_t)length)) return false;
    snprintf(path, sizeof path, "/proc/%d/fd/0", s->pid);
    got = readlink(path, text, sizeof text - 1);
    if (got < 0) return false;
    text[got] = 0;
    snprintf(pipe, sizeof pipe, "pipe:[%lu]", (unsigned long)ours.st_ino);
    return !strcmp(text, pipe);
}

bool session_is_waiting(const struct session *s) {
    int unread = 0;
    ioctl(s->in, FIONREAD, &unread);
    return !unread && waits_for_command(s);
}

/// A call that removed PROMPT_COMMAND ends without a word; so a long one is looked at, less and less often.
static void look(struct session *s, uint64_t now) {
    if (s->patience < 1000000000) s->patience *= 2;
    s->look = now + s->patience;
    if (!session_is_waiting(s)) return;
    session_control_readable(s);
    if (s->state != BUSY || !s->call || s->call->state != RUNNING) return;
    s->interrupted = true;
    session_repair(s);
}

/// A SIGINT may have cost bash what it was sent, and a call that was made meanwhile have removed PROMPT_COMMAND.
static void look_whether_lost(struct session *s, uint64_t now) {
    s->deadline = now + STEP;
    if (!session_is_waiting(s)) return;
    session_control_readable(s);
    if (s->state != RECLAIMING) return;
    if (s->steps++ * STEP >= PATIENCE) {
        give_up(s);
        return;
    }
    session_say(s, "!\n", 2);
    if (s->reclaimed) session_repair(s);
    else session_say_back(s);
}

uint64_t session_tick(struct session *s, uint64_t now) {
    if (s->state == LENT && s->deadline <= now) session_reclaim(s);
    if (s->state == LENT) return s->deadline;
    if (s->pid > 0 && s->deadline <= now) {
        if (s->state == RECLAIMING) look_whether_lost(s, now);
        else if (s->state == SYNCING) send_sync(s, now);
        else press_on(s, now);
    }
    if (s->pid > 0 && s->state == BUSY && s->look <= now) look(s, now);
    if (s->pid > 0 && s->state == BUSY && s->again <= now) session_interrupt_again(s);
    if (s->pid <= 0) return NONE;
    uint64_t next = s->deadline < s->look ? s->deadline : s->look;
    return next < s->again ? next : s->again;
}
