#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

// A session can be lent: somebody outside gets its descriptors and makes its calls, which then cost two wake-ups, its own and
// bash's. Neither side has to answer the other for that. The borrower holds a write lock on the file with the call's text while
// it makes a call, through an open file of its own, so that the kernel lets go of it when the borrower dies. Who gets the
// lock here and makes the file read-only has the session back: the borrower looks at its mode before each call. It is not
// unlinked yet, for bash may be about to open it.
//
// In a sandbox that was restored there is no borrower, and so no lock.

/// Until a borrower's call is looked at again: at first and at most, in nanoseconds.
static const uint64_t RETRY = 1000000, RETRY_LATE = 32000000;
/// Until bash is looked at that does not come back.
static const uint64_t PATIENCE = 100000000;

static uint64_t loans;

static struct session *session_named(const char *name) {
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++)
        if (sessions[i].state != NO_SESSION && !strcmp(sessions[i].name, name)) return &sessions[i];
    return NULL;
}

void session_lend(const char *name, struct ckpt_lent *lent) {
    struct session *s = session_named(name);
    if (!s || s->pid <= 0) {
        lent->code = ENOENT;
    } else if (s->state != IDLE || s->call) {
        lent->code = EBUSY;
    } else if (!s->numbered || s->control < 0 || s->fd[STDOUT] < 0 || s->fd[STDERR] < 0) {
        lent->code = EOPNOTSUPP;  // nothing would tell one call's end from another's, or bash has closed what it prints to
    } else {
        char text[64];
        session_prepare_next(s);
        snprintf(text, sizeof text, CKPT_LOAN_TEXT, (unsigned long long)++loans);
        lent->code = session_write_text(s, text);
    }
    if (lent->code) return;
    lent->in = s->in;
    lent->control = s->control;
    lent->out = s->fd[STDOUT];
    lent->error = s->fd[STDERR];
    lent->text = s->text;
    lent->commands = s->commands;
    lent->loan = s->loan = loans;
    s->patience = RETRY;
    s->state = LENT;
    s->deadline = NONE;
    s->status = 0;
}

static bool is_calling(const struct session *s) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(s->text, F_OFD_SETLK, &lock) < 0;
}

/// Whether bash is at a call though nobody says so: its borrower died, or was not saved with it.
static bool runs_on(const struct session *s) {
    enum { LOOKS = 25, MICROSECONDS = 200 };
    for (int i = 0; i < LOOKS; i++) {
        if (session_is_waiting(s)) return false;
        // A background job that ends has it look up for a moment.
        usleep(MICROSECONDS);
    }
    return true;
}

/// The borrower finds out before its next call; with the file the lock goes.
static void end_loan(struct session *s) {
    fchmod(s->text, 0400);
    close_fd(&s->text);
    s->deadline = NONE;
}

void session_say_back(struct session *s) {
    static const char back[] = "{ builtin echo back;} >&251 2>&1\n";
    session_say(s, back, sizeof back - 1);
}

void session_reclaim(struct session *s) {
    if (is_calling(s)) {
        s->deadline = now_ns() + s->patience;
        if (s->patience < RETRY_LATE) s->patience *= 2;
        return;
    }
    end_loan(s);
    if (s->pid <= 0) {
        session_next_call(s);
        return;
    }
    // In a sandbox that was restored a call may run: bash comes to this when that is over.
    s->state = RECLAIMING;
    s->reclaimed = s->older_known = false;
    s->orphaned = runs_on(s);
    s->steps = 0;
    s->deadline = now_ns() + PATIENCE;
    session_say_back(s);
}

/// Makes what runs in a session that was lent a call of ours.
static void take_over(struct session *s, struct command *c, uint64_t commands, uint64_t elapsed, uint64_t remaining) {
    uint64_t now = now_ns();
    end_loan(s);
    strcpy(c->session_name, s->name);
    c->session = s;
    c->started = now - (elapsed < now ? elapsed : now);
    c->pid = s->pid;
    c->stream[STDOUT].fd = s->fd[STDOUT];
    c->stream[STDERR].fd = s->fd[STDERR];
    session_take_call(s, c);
    s->commands = commands;
    s->state = BUSY;
    s->older_known = false;
    s->again = NONE;
    s->deadline = remaining < NONE - now ? now + remaining : NONE;
    s->patience = FIRST_LOOK;
    s->look = now + s->patience;
    if (s->pid <= 0) session_bash_ended(s, s->status);
}

/// The borrower has gone: a call that it made is ended, as one is whose caller goes away.
static void end_orphan(struct session *s) {
    char id[CKPT_INIT_NAME + 1];
    snprintf(id, sizeof id, "lent-%llu", (unsigned long long)s->loan);
    bool runs = s->pid > 0 && !is_calling(s) && runs_on(s);
    struct command *c = runs && !command_by_id(id) ? command_claim(id) : NULL;
    if (!c) {
        session_reclaim(s);
        return;
    }
    c->forget = true;
    take_over(s, c, s->commands + 1, 0, 0);
}

/// Who had it says that bash waits for a command: nothing has to be found out.
static void given_back(struct session *s, uint64_t commands) {
    s->commands = commands;
    s->state = IDLE;
    s->deadline = NONE;
    s->older_known = false;
    session_next_call(s);
}

int session_take_back(const struct ckpt_take_back *back) {
    struct session *s = session_named(back->session);
    if (!s || s->state != LENT || s->loan != back->loan) return ENOENT;
    if (!*back->id) {
        if (back->commands) given_back(s, back->commands);
        else end_orphan(s);
        return 0;
    }
    if (command_by_id(back->id)) return EEXIST;
    struct command *c = command_claim(back->id);
    if (!c) return EAGAIN;
    take_over(s, c, back->commands, back->elapsed_ns, back->remaining_ns);
    return 0;
}

void session_output_readable(struct session *s, int stream) {
    if (read(s->fd[stream], scratch, CKPT_INIT_RING) == 0) close_fd(&s->fd[stream]);
}

void session_drop_output(struct session *s) {
    for (int i = STDOUT; i <= STDERR; i++) {
        int held = 0;
        if (s->fd[i] >= 0 && ioctl(s->fd[i], FIONREAD, &held) == 0 && held > 0) session_output_readable(s, i);
    }
}
