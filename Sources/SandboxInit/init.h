// ckpt-init: PID 1 of every sandbox. Static, one thread, and no allocation after start: everything is in
// the tables below, whose untouched pages cost neither memory nor room in a process image.
#ifndef SANDBOX_INIT_H
#define SANDBOX_INIT_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ckpt_init_protocol.h"

#define NONE UINT64_MAX

enum { STDIN, STDOUT, STDERR };

// ---- ring.c: one stream and the bytes of it that are not acknowledged yet

struct stream {
    int fd;  // -1 once it is closed
    char *data;
    uint64_t acked, produced;  // the ring holds [acked, produced)
    uint64_t sent;             // to the server, on this connection
    uint64_t drain;            // after the exit: how many bytes of its time are still in the pipe
};

size_t ring_room(const struct stream *s);
/// Puts at most ring_room bytes in; returns how many.
size_t ring_put(struct stream *s, const void *bytes, size_t count);
/// The bytes from `offset` that lie in one piece.
size_t ring_piece(const struct stream *s, uint64_t offset, const char **bytes);
void ring_acknowledge(struct stream *s, uint64_t offset);
/// Reads what fits: bytes read, 0 at the end of the file, -1 when there is nothing now.
ssize_t ring_fill(struct stream *s);

// ---- spawn.c

struct launch {
    char **argv, **envp;  // argv[-1] is writable
    const char *cwd;
    bool any_cwd, tty, watch;
    uid_t uid;
    gid_t gid;
    size_t group_count;
    const gid_t *groups;
    int fd[3];
    int extra[2];  // become descriptors EXTRA_FD and EXTRA_FD + 1; -1 for none
};
enum { EXTRA_FD = 251 };

struct launch_failure {
    int step, code;
};

/// Starts a process and returns its pid when its exec has succeeded; -1 with `failure` set otherwise.
pid_t launch(const struct launch *what, struct launch_failure *failure);
void close_fd(int *fd);
/// Lets PID 1 open as many files as the hard limit allows; what it starts has the limit from before.
void raise_file_limit(void);

// ---- walls.c: what commands are kept from

struct rlimit;
/// Each takes a part of the plan; 0, or -1 with errno set.
int walls_capabilities(uint64_t keep);
int walls_no_new_privileges(void);
int walls_limit(unsigned long resource, struct rlimit limit);
/// A seccomp filter: instructions of BPF as the kernel takes them, in hexadecimal digits.
int walls_filter(const char *hex);
/// Between the clone and the exec of a command, in this order; false with errno set.
bool walls_limit_process(void);
bool walls_before_user(uid_t uid);
bool walls_before_exec(uid_t uid);

// ---- monitor.c: the parent of a command with a timeout

struct monitor_report {
    int pid;  // of the command; 0 when it could not be started
    int ended, status, timed_out;
    struct launch_failure failure;
};

/// Starts a monitor that starts the command; its reports are read from *reports.
pid_t monitor_start(const struct launch *what, uint64_t timeout_ms, int *reports);

// ---- crash.c: commands that are watched for their death

/// Watches a process and all it starts; with `all` everything in the sandbox.
void crash_watch(pid_t pid, bool all);
/// Watches a child of ours that waits for it; false where it cannot be traced now.
bool crash_watch_new(pid_t pid);
/// Waits until a child that crash_watch_new took up executes its program; false when it ended instead.
bool crash_wait_for_exec(pid_t pid);
/// There is a connection (again): what is watched is traced.
void crash_connected(void);
/// Lets all that is traced go, for the connection is about to end; whether nothing is traced any more.
bool crash_let_go(void);
/// What waitpid(2) tells of a thread that is traced.
void crash_stopped(pid_t tid, int status);
void crash_task_ended(pid_t tid);
/// A crash that this connection has not been told of; NULL when there is none.
const struct ckpt_crash *crash_to_tell(void);
void crash_told(void);
void crash_done(pid_t pid);

// ---- descendants.c

enum { MANY = 512 };
/// The children of a process; returns how many there are, at most `limit`.
size_t children_of(pid_t pid, pid_t *children, size_t limit);
/// The same for one that has a single thread, at half the price.
size_t children_of_single(pid_t pid, pid_t *children, size_t limit);
/// What a SIGINT will do to the children of `pid` that are not in `spared`.
enum {
    CHILD_DIES = 1,     // one has the default action
    CHILD_HANDLES = 2,  // one handles or ignores it
    CHILD_FORKED = 4,   // one is a copy of its parent that has not executed its program yet
    CHILD_ENDED = 8,    // one has ended and was not waited for
};
int interrupted_children(pid_t pid, const pid_t *spared, size_t spared_count);
/// Sends `signal` to everything below `pid`, except what is below a child in `spared`.
size_t signal_descendants(pid_t pid, int signal, const pid_t *spared, size_t spared_count);

// ---- command.c

enum command_state { FREE, QUEUED, RUNNING, ENDED, REPORTED };

struct command {
    enum command_state state;
    char id[CKPT_INIT_NAME + 1];
    uint32_t tag;  // 0 when the server does not listen to it
    bool tty, job, forget, quiet, tell_started, tell_stdin, exit_sent;
    pid_t pid, monitor;
    int monitor_fd;
    uint64_t listen_from;  // when its output is first looked at, by CLOCK_MONOTONIC
    struct stream stream[3];
    uint64_t stdin_end;    // NONE until it is known
    uint64_t closed_until;  // nobody has the terminal open; when to look again, NONE otherwise
    uint64_t timeout_ms, started;
    uint64_t early_signals;  // a bit each: came before the monitor had told the pid
    struct ckpt_exit exit;
    struct session *session;  // of a call that is queued or running
    uint64_t turn;
    char session_name[CKPT_INIT_NAME + 1];
};
extern struct command commands[CKPT_INIT_COMMANDS];
extern int commands_used;  // slots from here on have never been used

/// A SPAWN request, taken apart; pointers go into the frame.
struct request {
    const struct ckpt_spawn *head;
    const char *id, *session;
    struct launch launch;
};
bool parse_request(char *payload, size_t length, struct request *r);
bool is_name(const char *text, bool may_be_empty);

void commands_prepare(char *rings);
struct command *command_by_id(const char *id);
struct command *command_by_tag(uint32_t tag);
struct command *command_claim(const char *id);
/// Starts a fresh process for a claimed command.
void command_start(struct command *c, const struct request *r);
void command_say(struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// The line for stderr that says what could not be started and why.
void failure_text(char text[512], const struct launch *what, struct launch_failure failure);
void command_failed(struct command *c, struct launch_failure failure);
void command_release(struct command *c);
/// Gives back what free commands' rings hold: the pages leave memory, and with it every process image to come.
void commands_trim(void);
void command_ended(struct command *c, int status, uint32_t flags);
void command_child_ended(struct command *c, pid_t pid, int status);
void command_monitor_reported(struct command *c);

// ---- job.c: commands whose output goes to files

/// Makes a claimed command a job.
void job_begin(struct command *c, const struct request *r);
/// Moves what is in the ring of one stream to its files; the ring is empty afterwards.
void job_store(struct command *c, int stream);
void job_ended(struct command *c);
/// Kills the command, its process group and all that is below it.
void job_kill(struct command *c);
void job_remove_files(struct command *c);
/// Forgets the job that ended first where there are at least `limit` of them; whether there was one.
bool job_make_room(int limit);
void job_describe(const struct command *c, struct ckpt_job *job);

// ---- relay.c

/// Relays one stream as far as it goes now.
void command_readable(struct command *c, int stream);
void command_writable(struct command *c);
void command_settle(struct command *c);
void command_signal(struct command *c, int signal);
void command_forget(struct command *c);
/// Reads and drops what comes on a pipe until its end, so that who writes to it never blocks.
void drop_fd(int fd);
void dropped_readable(int fd);
enum { DROPPED = 1024 };
extern int dropped[DROPPED], dropped_count;

// ---- session.c

enum session_state { NO_SESSION, STARTING, IDLE, BUSY, SYNCING, LENT, RECLAIMING };

struct session {
    enum session_state state;
    char name[CKPT_INIT_NAME + 1];
    pid_t pid;  // of bash; 0 when there is none
    uid_t uid;
    int in, control, text, fd[3];  // fd[STDIN] is unused
    struct command *call;
    uint64_t deadline;  // of the call, or of the next step against it
    uint64_t give_up;   // NONE until the call has run out of time
    bool timed_out, interrupted, given_up, sync_sent;
    bool numbered;    // its bash tells the numbers of its commands
    bool reclaimed;   // RECLAIMING: bash has come to what was sent it
    bool orphaned;    // RECLAIMING: a call runs that nobody follows
    int status;       // LENT: how bash ended, where it did
    uint64_t loan;    // LENT: its number
    uint64_t likeness;  // of the launch of its bash, where that was prepared
    bool renamed;       // it was prepared, and has not been told yet where it is
    int steps;
    uint64_t again;           // when to look for what a SIGINT was lost on
    int looks, found;         // how often yet, and what was there last
    uint64_t look, patience;  // when to look whether bash has come back unnoticed
    unsigned long commands;   // that bash was given to read at its top level
    pid_t older[MANY];
    size_t older_count;
    bool older_known;  // since the last call ended
    char line[64];
    size_t line_length;
};
extern struct session sessions[CKPT_INIT_SESSIONS];

/// Queues a call, or starts it when its turn is now; returns an errno.
int session_call(struct command *c, const struct request *r, const void *payload, size_t length);
void session_say(struct session *s, const char *text, size_t length);
void session_run_call(struct session *s);
/// Makes bash tell the status of its last command, and tell it at each prompt again.
void session_repair(struct session *s);
void session_next_call(struct session *s);
void session_close(struct session *s);
/// Makes it the session's call, against which nothing has been done yet.
void session_take_call(struct session *s, struct command *c);
/// Puts a call's text where bash will read it. The file stays open from call to call; returns an errno.
int session_write_text(struct session *s, const char *text);
/// Does what is better done between two calls than at the start of the next.
void session_prepare_next(struct session *s);
/// Removes the files of sessions that do nothing: a restore would have to open each again, and the kernel copies it up for that
/// and waits for the disk.
void sessions_put_texts_away(void);

/// Starts bash as the user, in the directory and with the environment of the session's first call.
pid_t session_start_bash(struct session *s, const struct request *r, struct launch *what, struct launch_failure *failure);
/// One that has no name; NULL when there is none.
struct session *session_free(void);

// ---- session_prepare.c: a bash that waits for the first call

/// Starts a bash for a session that is yet to be asked for.
void session_prepare(const struct request *r);
/// Whether there is one that nobody has asked for.
bool session_is_prepared(void);
/// Ends it; it is gone when this returns.
void session_unprepare(void);
/// Whether it is one that somebody has asked for.
bool session_is_somebodys(const struct session *s);
/// The prepared one, for the session that a call asks for, where its bash was started as that would be; else it is ended.
struct session *session_take_prepared(const struct request *r);
enum { NEWS = 128 };
/// What a bash that was prepared has to be told before its first call: it asked for the hostname when it started, and has
/// counted seconds since. Empty where there is nothing to tell.
void session_news(struct session *s, char text[NEWS]);

// ---- session_end.c: how a call ends

void session_control_readable(struct session *s);
void session_bash_ended(struct session *s, int status);
/// Whether bash has done all that it was given, and waits for more.
bool session_is_waiting(const struct session *s);
void session_call_settled(struct session *s);
void session_cancel_queued(struct command *c);
/// Makes sure that bash has met all signals it was sent, before its next call.
void session_sync(struct session *s);
/// Does what is due; returns when to come back.
uint64_t session_tick(struct session *s, uint64_t now);
enum { FIRST_LOOK = 50000000 };

// ---- session_lend.c: calls that somebody else makes

void session_lend(const char *name, struct ckpt_lent *lent);
/// Takes a session back from who asks for that; an errno.
int session_take_back(const struct ckpt_take_back *back);
/// Takes it back from whoever has it, as soon as no call runs.
void session_reclaim(struct session *s);
void session_say_back(struct session *s);
/// Drops what comes of calls that nobody follows; what there is now, or a piece of it as it comes.
void session_drop_output(struct session *s);
void session_output_readable(struct session *s, int stream);

// ---- session_signal.c

/// Signals what the session's call started and, where that is to end the call, bash.
void session_signal(struct session *s, int signal);
void session_interrupt_again(struct session *s);

// ---- connection.c

extern int listener, connection;
/// Room a scratch frame may take: the largest payload.
extern char *scratch;

void connection_prepare(char *incoming, char *outgoing);
void connection_accept(void);
/// Drops the connection; what it was not told yet stays in the tables.
void connection_close(void);
void connection_readable(void);
/// Sends all that is due, as far as the socket takes it; true while something waits for the socket.
bool connection_pump(void);
/// Whether the server has closed its half: nothing more comes.
bool connection_ended(void);
void refuse(uint32_t tag, int code, const char *why);
void answer_lent(uint32_t tag, const struct ckpt_lent *lent);
void handle_frame(const struct ckpt_frame *frame, char *payload);
void list_commands(void);
enum { OUTGOING = 256 << 10, INCOMING = sizeof(struct ckpt_frame) + CKPT_INIT_PAYLOAD };

// ---- plan.c

/// Applies the plan on `plan` and says on `status` which step failed; returns whether none did.
bool apply_plan(int plan, int status);
/// Whether the descriptor after `status` is kept.
extern bool keeps_device;

uint64_t now_ns(void);

#endif
