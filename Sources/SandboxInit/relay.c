#include "init.h"

#include <errno.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

int dropped[DROPPED], dropped_count;

/// How often a terminal that nobody has open is looked at, in nanoseconds: somebody may open it again.
static const uint64_t LOOK_AGAIN = 20000000;

void drop_fd(int fd) {
    if (fd < 0) return;
    if (dropped_count < DROPPED) dropped[dropped_count++] = fd;
    else close(fd);
}

void dropped_readable(int fd) {
    ssize_t got = read(fd, scratch, CKPT_INIT_RING);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
    close(fd);
    for (int i = 0; i < dropped_count; i++)
        if (dropped[i] == fd) dropped[i--] = dropped[--dropped_count];
}

void command_readable(struct command *c, int stream) {
    struct stream *s = &c->stream[stream];
    do {
        if (s->fd < 0) break;
        if (c->forget) ring_acknowledge(s, s->produced);
        if (!ring_room(s)) return;  // back pressure, until the server acknowledges
        ssize_t got = ring_fill(s);
        c->closed_until = NONE;
        if (got > 0) {
            if (c->job) job_store(c, stream);
            s->drain -= s->drain < (uint64_t)got ? s->drain : (uint64_t)got;
            continue;
        }
        s->drain = 0;
        // Closing the master now would send SIGHUP to a program that has closed its files and is just ending.
        if (got == 0 && c->tty && c->state == RUNNING) {
            c->closed_until = now_ns() + LOOK_AGAIN;
            return;
        }
        if (got == 0) {
            close_fd(&s->fd);
            if (c->session) c->session->fd[stream] = -1;
        }
    } while (s->drain);
    if (s->fd < 0) s->drain = 0;
}

static void end_stdin(struct command *c) {
    struct stream *s = &c->stream[STDIN];
    struct termios mode;
    // A terminal has no end; what people type there for it is the end-of-file character.
    if (c->tty && s->fd >= 0 && tcgetattr(s->fd, &mode) == 0 && (mode.c_lflag & ICANON))
        if (write(s->fd, &mode.c_cc[VEOF], 1) < 0) {}
    close_fd(&s->fd);
}

void command_writable(struct command *c) {
    struct stream *s = &c->stream[STDIN];
    while (s->fd >= 0 && s->acked < s->produced) {
        const char *bytes;
        size_t count = ring_piece(s, s->acked, &bytes);
        ssize_t put = write(s->fd, bytes, count);
        if (put >= 0) {
            s->acked += (uint64_t)put;
            c->tell_stdin = true;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            close_fd(&s->fd);  // nobody reads it any more
        }
    }
    // What nobody can read is taken and dropped, as a pipe into a finished program would fail to.
    if (s->fd < 0 && s->acked < s->produced) {
        s->acked = s->produced;
        c->tell_stdin = true;
    }
    if (s->fd >= 0 && s->produced == c->stdin_end) end_stdin(c);
}

void command_settle(struct command *c) {
    if (c->state != ENDED || c->stream[STDOUT].drain || c->stream[STDERR].drain) return;
    c->state = REPORTED;
    c->exit.total[0] = c->stream[STDOUT].produced;
    c->exit.total[1] = c->stream[STDERR].produced;
    if (c->session) session_call_settled(c->session);
    if (c->forget) command_forget(c);
}

void command_signal(struct command *c, int signal) {
    if (c->state == QUEUED) {
        session_cancel_queued(c);
        command_ended(c, signal, 0);
    } else if (c->state == RUNNING && c->session) {
        session_signal(c->session, signal);
    } else if (c->state == RUNNING && c->pid > 0 && c->job && signal == SIGKILL) {
        job_kill(c);
    } else if (c->state == RUNNING && c->pid > 0) {
        kill(-c->pid, signal);
    } else if (c->state == RUNNING) {
        c->early_signals |= 1ull << (signal - 1);
    }
}

void command_forget(struct command *c) {
    c->tag = 0;
    if (c->state == QUEUED) {
        session_cancel_queued(c);
        command_release(c);
        return;
    }
    if (c->state != REPORTED) {
        c->forget = true;
        return;
    }
    close_fd(&c->stream[STDIN].fd);
    for (int i = STDOUT; i <= STDERR; i++) {
        if (c->tty) close_fd(&c->stream[i].fd);
        else drop_fd(c->stream[i].fd);
    }
    close_fd(&c->monitor_fd);
    command_release(c);
}
