#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

// A command's life: FREE → (QUEUED →) RUNNING → ENDED → REPORTED → FREE. It is ENDED when its process has
// been reaped, and REPORTED when what it had written by then is in the rings. A daemon it left may hold the
// pipes; its output is relayed under the same id until FORGET, and read and dropped from then on, so it
// never blocks or gets SIGPIPE. A terminal is hung up at FORGET instead, as when a window is closed.

struct command commands[CKPT_INIT_COMMANDS];
int commands_used;

/// Bytes of a ring that stay in memory between two commands.
enum { KEPT = 8192 };
/// Whether a free command's rings hold memory.
static bool untrimmed;

static void command_clear(struct command *c) {
    char *data[3] = {c->stream[0].data, c->stream[1].data, c->stream[2].data};
    memset(c, 0, sizeof *c);
    for (int i = 0; i < 3; i++) {
        c->stream[i].data = data[i];
        c->stream[i].fd = -1;
    }
    c->monitor_fd = -1;
    c->stdin_end = c->closed_until = NONE;
}

void commands_prepare(char *rings) {
    for (int i = 0; i < CKPT_INIT_COMMANDS; i++) {
        for (int s = 0; s < 3; s++) commands[i].stream[s].data = rings + (size_t)(i * 3 + s) * CKPT_INIT_RING;
        command_clear(&commands[i]);
    }
}

struct command *command_by_id(const char *id) {
    for (int i = 0; i < commands_used; i++)
        if (commands[i].state != FREE && !strcmp(commands[i].id, id)) return &commands[i];
    return NULL;
}

struct command *command_by_tag(uint32_t tag) {
    for (int i = 0; tag && i < commands_used; i++)
        if (commands[i].state != FREE && commands[i].tag == tag) return &commands[i];
    return NULL;
}

static bool command_is_free(void) {
    for (int i = 0; i < CKPT_INIT_COMMANDS; i++)
        if (commands[i].state == FREE) return true;
    return false;
}

struct command *command_claim(const char *id) {
    if (commands_used == CKPT_INIT_COMMANDS && !command_is_free()) job_make_room(1);
    for (int i = 0; i < CKPT_INIT_COMMANDS; i++) {
        struct command *c = &commands[i];
        if (c->state != FREE) continue;
        if (i >= commands_used) commands_used = i + 1;
        strcpy(c->id, id);
        c->state = RUNNING;
        c->started = now_ns();
        return c;
    }
    return NULL;
}

void command_release(struct command *c) {
    if (c->job) job_remove_files(c);
    // A page or two are kept for the next command; commands_trim has them leave before a save.
    for (int i = 0; i < 3; i++) {
        uint64_t used = c->stream[i].produced;
        if (used > KEPT) madvise(c->stream[i].data, CKPT_INIT_RING, MADV_DONTNEED);
        else if (used) untrimmed = true;
    }
    command_clear(c);
}

void commands_trim(void) {
    if (!untrimmed) return;
    untrimmed = false;
    for (int i = 0; i < commands_used; i++)
        for (int s = 0; s < 3 && commands[i].state == FREE; s++)
            madvise(commands[i].stream[s].data, CKPT_INIT_RING, MADV_DONTNEED);
}

static bool pipe_pair(int ours, int *kept, int *given) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    *kept = ends[ours];
    *given = ends[!ours];
    // Each end is an open file of its own: the command's side goes on blocking.
    return fcntl(*kept, F_SETFL, O_NONBLOCK) == 0;
}

static bool open_terminal(struct command *c, int given[3], const struct ckpt_spawn *head, uid_t owner) {
    int unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0) return false;
    c->stream[STDOUT].fd = master;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0) return false;
    given[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (given[0] < 0 || fchown(given[0], owner, (gid_t)-1) < 0) return false;
    struct winsize size = {.ws_row = head->rows, .ws_col = head->columns};
    ioctl(master, TIOCSWINSZ, &size);
    c->stream[STDIN].fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
    return c->stream[STDIN].fd >= 0;
}

static bool open_streams(struct command *c, int given[3], const struct request *r) {
    if (c->tty) {
        if (!open_terminal(c, given, r->head, r->launch.uid)) return false;
        given[1] = given[2] = given[0];
        return true;
    }
    if (r->head->flags & CKPT_SPAWN_STDIN) {
        if (!pipe_pair(1, &c->stream[STDIN].fd, &given[STDIN])) return false;
    } else if ((given[STDIN] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
        return false;
    }
    return pipe_pair(0, &c->stream[STDOUT].fd, &given[STDOUT]) &&
           pipe_pair(0, &c->stream[STDERR].fd, &given[STDERR]);
}

void command_start(struct command *c, const struct request *r) {
    struct launch what = r->launch;
    struct launch_failure failure = {CKPT_STEP_STREAMS, 0};
    int given[3] = {-1, -1, -1};
    c->tty = r->head->flags & CKPT_SPAWN_TTY;
    c->timeout_ms = r->head->timeout_ms;
    what.tty = c->tty;
    what.watch = r->head->flags & (CKPT_SPAWN_WATCH | CKPT_SPAWN_WATCH_ALL);
    bool started = false;
    if (!open_streams(c, given, r)) {
        failure.code = errno;
    } else {
        memcpy(what.fd, given, sizeof given);
        if (!c->timeout_ms) {
            started = (c->pid = launch(&what, &failure)) > 0;
        } else {
            c->monitor = monitor_start(&what, c->timeout_ms, &c->monitor_fd);
            started = c->monitor > 0;
            if (!started) failure = (struct launch_failure){CKPT_STEP_FORK, errno};
        }
    }
    if (started && r->head->flags & (CKPT_SPAWN_WATCH | CKPT_SPAWN_WATCH_ALL))
        crash_watch(c->monitor ? c->monitor : c->pid, r->head->flags & CKPT_SPAWN_WATCH_ALL);
    close_fd(&given[0]);
    if (!c->tty) {
        close_fd(&given[1]);
        close_fd(&given[2]);
    }
    if (!started) {
        c->pid = c->monitor = 0;
        char text[512];
        failure_text(text, &what, failure);
        command_say(c, "%s", text);
        command_failed(c, failure);
    }
}

void command_say(struct command *c, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof text - 1) length = sizeof text - 1;
    int stream = c->tty ? STDOUT : STDERR;
    ring_put(&c->stream[stream], text, (size_t)length);
    if (c->job) job_store(c, stream);
}

void failure_text(char text[512], const struct launch *what, struct launch_failure failure) {
    static const char *const steps[] = {
        [CKPT_STEP_STREAMS] = "streams of", [CKPT_STEP_USER] = "user of", [CKPT_STEP_CHDIR] = "chdir",
        [CKPT_STEP_EXEC] = "exec", [CKPT_STEP_FORK] = "fork of",
        [CKPT_STEP_WALLS] = "walls around",
    };
    const char *on = failure.step == CKPT_STEP_CHDIR ? what->cwd : what->argv[0];
    snprintf(text, 512, "ckpt: %s %.300s: %s\n", steps[failure.step], on, strerror(failure.code));
}

void command_failed(struct command *c, struct launch_failure failure) {
    c->exit.failed_step = (uint32_t)failure.step;
    c->exit.failed_errno = (uint32_t)failure.code;
    bool missing = failure.step == CKPT_STEP_EXEC && (failure.code == ENOENT || failure.code == ENOTDIR);
    command_ended(c, (missing ? 127 : 126) << 8, 0);
}

void command_ended(struct command *c, int status, uint32_t flags) {
    if (c->state != RUNNING) return;
    c->state = ENDED;
    c->pid = 0;
    c->exit.status = status;
    c->exit.flags |= flags;
    c->exit.duration_ns = now_ns() - c->started;
    if (c->job) job_ended(c);
    for (int i = STDOUT; i <= STDERR; i++) {
        struct stream *s = &c->stream[i];
        int held = 0;
        if (s->fd < 0) continue;
        // A terminal's bytes may still be on their way through the line discipline, which only a read
        // waits for; a bound keeps a chatty daemon from holding the exit up.
        if (c->tty) held = 4 * CKPT_INIT_RING;
        else ioctl(s->fd, FIONREAD, &held);
        s->drain = (uint64_t)held;
        if (held) command_readable(c, i);
    }
    command_settle(c);
}

void command_child_ended(struct command *c, pid_t pid, int status) {
    if (pid != c->monitor) {
        command_ended(c, status, 0);
        return;
    }
    c->monitor = 0;
    command_monitor_reported(c);
    // Killed before it could say more: what it watched is PID 1's own child now, or never was.
    if (c->state == RUNNING && !c->pid) command_ended(c, status, 0);
}

void command_monitor_reported(struct command *c) {
    struct monitor_report r;
    ssize_t got;
    while (c->monitor_fd >= 0 && (got = read(c->monitor_fd, &r, sizeof r)) != -1) {
        if (got != sizeof r) {
            close_fd(&c->monitor_fd);
        } else if (r.failure.step) {
            command_failed(c, r.failure);  // the monitor has said why on its stderr
        } else if (!r.ended) {
            c->pid = r.pid;
            for (int signal = 1; signal <= 64; signal++)
                if (c->early_signals >> (signal - 1) & 1) kill(-c->pid, signal);
            c->tell_started = c->tag != 0;
        } else {
            command_ended(c, r.status, r.timed_out ? CKPT_EXIT_TIMED_OUT : 0);
        }
    }
    if (c->monitor_fd >= 0 && errno != EAGAIN && errno != EINTR) close_fd(&c->monitor_fd);
}
