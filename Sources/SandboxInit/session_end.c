#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A call ends when bash is back at its top level, when bash itself ends, or when time is up. In the last
// case bash and its older jobs are to survive: SIGINT throws bash back to its top level, and what the call
// started is killed.

static uint32_t syncs;
/// Between two steps against a call, and until bash is given up, in nanoseconds.
static const uint64_t STEP = 100000000, PATIENCE = 3000000000;

static void call_ended(struct session *s, int status, uint32_t flags) {
    if (s->timed_out) flags |= CKPT_EXIT_TIMED_OUT;
    s->deadline = NONE;
    if (s->call && s->call->state == RUNNING) command_ended(s->call, status, flags);
}

/// One line of the control pipe: a status, or the answer to a sync. Anything else is a trace (`set -x`).
static void control_line(struct session *s, const char *line) {
    char *end;
    bool answer = *line == '=';
    unsigned long number = strtoul(line + answer, &end, 10);
    if (*end || end == line + answer) return;
    if (s->state == SYNCING) {
        if (!answer || number != s->sync) return;
        s->state = IDLE;
        s->deadline = NONE;
        s->interrupted = false;
        session_next_call(s);
    } else if (answer) {
        return;
    } else if (s->state == STARTING) {
        s->state = IDLE;
        if (s->call) session_run_call(s);
    } else if (s->state == BUSY) {
        call_ended(s, (int)(number & 255) << 8, 0);
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
    }
    close_fd(&s->control);  // bash has closed it or is gone: SIGCHLD tells
}

void session_bash_ended(struct session *s, int status) {
    session_control_readable(s);
    s->pid = 0;
    if (s->call && s->call->state == RUNNING) {
        if (s->give_up != NONE && s->steps < 0)
            command_say(s->call, "ckpt: session %s did not come back from its timeout and was ended\n", s->name);
        call_ended(s, status, CKPT_EXIT_SESSION_ENDED);
    } else if (!s->call) {
        session_next_call(s);
    }
}

void session_signal(struct session *s, int signal) {
    if (s->pid <= 0 || s->state != BUSY) return;
    signal_descendants(s->pid, signal, s->older, s->older_count);
    // Bash does not end of SIGTERM, and is not to end of SIGKILL: whatever ends a call interrupts it.
    if (signal == SIGINT || signal == SIGTERM || signal == SIGKILL || signal == SIGHUP || signal == SIGQUIT) {
        s->interrupted = true;
        kill(s->pid, SIGINT);
    }
}

static void sync_again(struct session *s, uint64_t now) {
    char line[64];
    if (++s->steps > 30) {
        kill(s->pid, SIGKILL);
        s->deadline = NONE;
        return;
    }
    s->sync = ++syncs;
    int length = snprintf(line, sizeof line, "{ builtin echo =%u;} >&251 2>&1\n", s->sync);
    session_say(s, line, (size_t)length);
    s->deadline = now + STEP;
}

void session_deadline_passed(struct session *s) {
    uint64_t now = now_ns();
    if (s->state == SYNCING) {
        sync_again(s, now);
        return;
    }
    if (s->give_up == NONE) {
        s->give_up = now + PATIENCE;
        s->timed_out = s->interrupted = true;
    }
    if (now >= s->give_up) {
        s->steps = -1;
        s->deadline = NONE;
        signal_descendants(s->pid, SIGKILL, s->older, s->older_count);
        kill(s->pid, SIGKILL);
        return;
    }
    signal_descendants(s->pid, s->steps++ ? SIGKILL : SIGINT, s->older, s->older_count);
    kill(s->pid, SIGINT);
    s->deadline = now + STEP;
}
