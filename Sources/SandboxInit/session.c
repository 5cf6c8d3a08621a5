#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A session is a long-lived interactive bash fed through a pipe. A call's text lies in a file that bash
// reads with `.`: not `eval`, because inside `.` bash counts as not interactive, so a background job prints
// no "[1] 1234", while SIGINT still throws it back to its top level instead of ending it. PROMPT_COMMAND
// writes `$?` to the control pipe whenever bash is back there, so the end of a call is seen after a syntax
// error and after SIGINT too. It sits in element 9 of the array (bash 5.1), so that a script which sets
// PROMPT_COMMAND for itself does not remove it. With it goes the number of commands bash has read (`\#`, bash
// 4.4): a prompt that a late SIGINT caused tells an old number. A prompt that a script sets (`activate` of a Python
// environment does) would be printed to stderr, so it is taken away again before bash comes to that.

struct session sessions[CKPT_INIT_SESSIONS];
static uint64_t turns;

/// How long the output of a call that nobody follows live may wait in its pipe, in nanoseconds.
enum { LISTEN_AFTER = 1000000 };

// An unset number is no number, and a version without `@P` gives none: 0 stands for both.
#define STATUS(number) "'{ builtin echo $? " number ";PS1=;} >&251 2>&1'"
#define VERSION "(BASH_VERSINFO[0]*100+BASH_VERSINFO[1]"
#define REPORT                                                                        \
    "__ckpt='\\#';if(" VERSION ">500));then PROMPT_COMMAND[9]=" STATUS("${__ckpt@P}")   \
    ";elif(" VERSION ">403));then PROMPT_COMMAND=" STATUS("${__ckpt@P}")                \
    ";else PROMPT_COMMAND=" STATUS("0") ";fi"
static const char setup[] =
    "PS1= PS2=;set +H +o history;unset MAILCHECK HISTFILE TMOUT PROMPT_COMMAND;" REPORT
    ";exec 2>&252 252>&-\n";
static const char repair[] = "{ builtin echo $? 0;} >&251 2>&1;" REPORT "\n";
_Static_assert(EXTRA_FD == 251, "the shell text names the descriptors");

void session_say(struct session *s, const char *text, size_t length) {
    if (write(s->in, text, length) < 0) {}  // bash is gone, or will be interrupted again
}

static void session_path(char path[128], const struct session *s) {
    snprintf(path, 128, CKPT_INIT_DIRECTORY "/session/%s", s->name);
}

static void queued_path(char path[128], const struct command *c) {
    snprintf(path, 128, CKPT_INIT_DIRECTORY "/session/.queued-%d", (int)(c - commands));
}

static int open_file(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/// Makes `bytes` a file's content and `owner` its owner. It is not truncated first: ext4 starts writing
/// back a file that was truncated to nothing when it is closed.
static int fill_file(int fd, const struct stat *before, uid_t owner, const void *bytes, size_t length) {
    ssize_t put = pwrite(fd, bytes, length, 0);
    if (put != (ssize_t)length) return put < 0 ? errno : ENOSPC;
    if (before->st_size > (off_t)length && ftruncate(fd, (off_t)length) < 0) return errno;
    if (before->st_uid != owner && fchown(fd, owner, (gid_t)-1) < 0) return errno;
    return 0;
}

int session_write_text(struct session *s, const char *text) {
    char path[128];
    struct stat now;
    session_path(path, s);
    if (s->text >= 0 && (fstat(s->text, &now) < 0 || now.st_nlink == 0)) close_fd(&s->text);
    // A new one: who borrowed the session may still have the old.
    if (s->text < 0) unlink(path);
    if (s->text < 0 && ((s->text = open_file(path)) < 0 || fstat(s->text, &now) < 0)) return errno;
    return fill_file(s->text, &now, s->uid, text, strlen(text));
}

void sessions_put_texts_away(void) {
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++) {
        struct session *s = &sessions[i];
        if (s->state != IDLE || s->call || s->text < 0) continue;
        char path[128];
        session_path(path, s);
        unlink(path);
        close_fd(&s->text);
    }
}

/// Keeps a request until its turn, out of memory.
static int write_request(const struct command *c, const void *payload, size_t length) {
    char path[128];
    struct stat now = {0};
    queued_path(path, c);
    int fd = open_file(path);
    if (fd < 0) return errno;
    int code = fill_file(fd, &now, 0, payload, length);
    close(fd);
    return code;
}

void session_close(struct session *s) {
    close_fd(&s->in);
    close_fd(&s->control);
    close_fd(&s->text);
    for (int i = STDOUT; i <= STDERR; i++) drop_fd(s->fd[i]);  // its jobs may still write
    s->fd[STDOUT] = s->fd[STDERR] = -1;
    s->state = NO_SESSION;
    s->pid = 0;
}

static bool open_pipe(int *reading, int *writing) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    *reading = ends[0];
    *writing = ends[1];
    return true;
}

pid_t session_start_bash(struct session *s, const struct request *r, struct launch *what,
                         struct launch_failure *failure) {
    static char *arguments[] = {NULL, "bash", "--norc", "--noprofile", "--noediting", "-i", NULL};
    arguments[1] = "bash";
    *what = r->launch;
    what->argv = arguments + 1;
    what->tty = false;
    what->fd[0] = what->fd[1] = what->fd[2] = what->extra[0] = what->extra[1] = -1;
    s->in = s->control = s->fd[STDOUT] = s->fd[STDERR] = -1;
    *failure = (struct launch_failure){CKPT_STEP_STREAMS, 0};
    pid_t pid = -1;
    // Until the setup line has run stderr is /dev/null: bash would complain that it has no job control.
    if (open_pipe(&what->fd[0], &s->in) && open_pipe(&s->fd[STDOUT], &what->fd[1]) &&
        open_pipe(&s->fd[STDERR], &what->extra[1]) && open_pipe(&s->control, &what->extra[0]) &&
        (what->fd[2] = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0) {
        int ours[] = {s->in, s->control, s->fd[STDOUT], s->fd[STDERR]};
        for (int i = 0; i < 4; i++) fcntl(ours[i], F_SETFL, O_NONBLOCK);
        pid = launch(what, failure);
    } else {
        failure->code = errno;
    }
    for (int i = 0; i < 3; i++) close_fd(&what->fd[i]);
    for (int i = 0; i < 2; i++) close_fd(&what->extra[i]);
    s->line_length = 0;
    s->look = s->again = NONE;
    s->older_known = s->numbered = false;
    if (pid > 0) session_say(s, setup, sizeof setup - 1);
    s->commands = 1;
    return pid;
}

void session_repair(struct session *s) {
    s->commands++;
    session_say(s, repair, sizeof repair - 1);
}

static void look_for_children(struct session *s) {
    s->older_count = children_of_single(s->pid, s->older, MANY);
    s->older_known = true;
}

void session_prepare_next(struct session *s) {
    if (s->state == IDLE && s->pid > 0 && !s->older_known) look_for_children(s);
}

/// Lets bash read the call's file.
void session_run_call(struct session *s) {
    static const char form[] = "%s. " CKPT_INIT_DIRECTORY "/session/%s </dev/null 251>&-\n";
    char line[160 + NEWS], first[NEWS];
    if (!s->older_known) look_for_children(s);
    s->older_known = false;
    s->state = BUSY;
    s->commands++;
    s->patience = FIRST_LOOK;
    s->look = now_ns() + s->patience;
    session_news(s, first);
    int length = snprintf(line, sizeof line, form, first, s->name);
    session_say(s, line, (size_t)length);
}

/// Makes `c` the session's call; bash is idle, or not there yet.
static void begin_call(struct session *s, struct command *c, const struct request *r) {
    char path[128];
    struct launch what;
    struct launch_failure failure = {0, 0};
    c->state = RUNNING;
    c->started = now_ns();
    c->timeout_ms = r->head->timeout_ms;
    if (s->pid <= 0) s->uid = r->launch.uid;
    failure.code = session_write_text(s, r->launch.argv[0]);
    if (failure.code) {
        session_path(path, s);
        command_say(c, "ckpt: %s: %s\n", path, strerror(failure.code));
    } else if (s->pid <= 0) {
        s->state = STARTING;
        s->pid = session_start_bash(s, r, &what, &failure);
        if (s->pid < 0) {
            char text[512];
            failure_text(text, &what, failure);
            command_say(c, "%s", text);
            session_close(s);
        }
    }
    session_take_call(s, c);
    s->deadline = c->timeout_ms ? c->started + c->timeout_ms * 1000000 : NONE;
    if (failure.code) {
        command_failed(c, failure);
        return;
    }
    c->pid = s->pid;
    if (r->head->flags & (CKPT_SPAWN_WATCH | CKPT_SPAWN_WATCH_ALL))
        crash_watch(s->pid, r->head->flags & CKPT_SPAWN_WATCH_ALL);
    c->stream[STDOUT].fd = s->fd[STDOUT];
    c->stream[STDERR].fd = s->fd[STDERR];
    // Most calls end before that, and what they printed is read with their end: one wake-up instead of two.
    if (c->quiet) c->listen_from = c->started + LISTEN_AFTER;
    if (s->state == IDLE) session_run_call(s);
}

void session_take_call(struct session *s, struct command *c) {
    s->call = c;
    s->interrupted = s->timed_out = s->given_up = false;
    s->steps = 0;
    s->give_up = NONE;
}

static struct command *first_queued(const struct session *s) {
    struct command *first = NULL;
    for (int i = 0; i < commands_used; i++) {
        struct command *c = &commands[i];
        if (c->state == QUEUED && c->session == s && (!first || c->turn < first->turn)) first = c;
    }
    return first;
}

void session_next_call(struct session *s) {
    struct command *c = first_queued(s);
    if (s->pid <= 0 && s->state != NO_SESSION) session_close(s);
    if (!c) {
        if (s->state == NO_SESSION) s->name[0] = 0;
        return;
    }
    char path[128];
    queued_path(path, c);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, scratch, INCOMING);
    close_fd(&fd);
    unlink(path);
    struct request r;
    if (got > 0 && parse_request(scratch, (size_t)got, &r)) {
        begin_call(s, c, &r);
        return;
    }
    command_say(c, "ckpt: %s was changed\n", path);
    c->state = RUNNING;
    s->call = c;
    command_failed(c, (struct launch_failure){CKPT_STEP_STREAMS, EIO});
}

struct session *session_free(void) {
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++)
        if (!sessions[i].name[0]) return &sessions[i];
    return NULL;
}

int session_call(struct command *c, const struct request *r, const void *payload, size_t length) {
    struct session *s = NULL;
    for (int i = 0; i < CKPT_INIT_SESSIONS && !s; i++)
        if (!strcmp(sessions[i].name, r->session)) s = &sessions[i];
    if (!s) s = session_take_prepared(r);
    if (!s) {
        s = session_free();
        if (!s) return EAGAIN;
        s->text = -1;
        strcpy(s->name, r->session);
    }
    strcpy(c->session_name, s->name);
    c->session = s;
    // One that is starting and has no call was prepared.
    if (!s->call && (s->state == IDLE || s->state == NO_SESSION || s->state == STARTING)) {
        begin_call(s, c, r);
        return 0;
    }
    int code = write_request(c, payload, length);
    if (code) return code;
    c->state = QUEUED;
    c->turn = ++turns;
    if (s->state == LENT) session_reclaim(s);
    return 0;
}

void session_cancel_queued(struct command *c) {
    char path[128];
    queued_path(path, c);
    unlink(path);
    c->session = NULL;
    c->state = RUNNING;
}

void session_call_settled(struct session *s) {
    struct command *c = s->call;
    s->call = NULL;
    s->deadline = s->look = s->again = NONE;
    c->session = NULL;
    c->stream[STDOUT].fd = c->stream[STDERR].fd = -1;
    if (s->interrupted && s->pid > 0) {
        // A SIGINT still on its way would make one more prompt; wait until there is none to come.
        session_sync(s);
        return;
    }
    if (s->pid > 0) s->state = IDLE;
    session_next_call(s);
}
