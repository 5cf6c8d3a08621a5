// What the server and ckpt-init (PID 1 of a sandbox) say to each other; both sides include this file.
//
// A frame is a header followed by `length` bytes of payload, all in the machine's own byte order: the two
// sides always run on one machine. Streams carry byte offsets, so that nothing is lost or doubled when a
// connection ends in mid-air: what has not been acknowledged stays in PID 1's rings and is sent again.
#ifndef CKPT_INIT_PROTOCOL_H
#define CKPT_INIT_PROTOCOL_H

#include <stdint.h>

enum {
    /// Said in HELLO. A restored sandbox brings the PID 1 it was saved with, and one that outlived an upgrade of the
    /// server the one it was started with, so the server must read it.
    CKPT_INIT_VERSION = 4,
    /// The first version that knows LEND.
    CKPT_INIT_LENDS = 2,
    /// The first version that knows PREPARE and UNPREPARE.
    CKPT_INIT_PREPARES = 3,
    /// The first version that believes who gives a session back that no call runs in it.
    CKPT_INIT_BELIEVES = 4,
    /// The oldest version that a server of this one still speaks. What a newer PID 1 can do beyond the server it tells
    /// in HELLO: the oldest server's version that it still serves.
    CKPT_INIT_OLDEST = 1,
    /// Bytes of a ring; a stream runs at most this far ahead of its acknowledgement.
    CKPT_INIT_RING = 65536,
    /// Commands that can be known at once, running or waiting to be forgotten.
    CKPT_INIT_COMMANDS = 256,
    /// Sessions that can live at once.
    CKPT_INIT_SESSIONS = 64,
    /// Characters of a command's id or a session's name, which are of `[A-Za-z0-9_-]`.
    CKPT_INIT_NAME = 64,
    /// Bytes of the largest payload the server may send.
    CKPT_INIT_PAYLOAD = 4 << 20,
    /// Arguments and environment entries together, and supplementary groups.
    CKPT_INIT_STRINGS = 65536,
    CKPT_INIT_GROUPS = 1024,
    /// Bytes of a job's command line that are kept.
    CKPT_INIT_LABEL = 255,
    /// Jobs that have ended and are kept; the one that ended first goes when another is started.
    CKPT_INIT_ENDED_JOBS = 64,
    /// Bytes of one file of a job's output.
    CKPT_JOB_SEGMENT = 1 << 20,
    /// Of each stream the first files are kept, and of the others the last.
    CKPT_JOB_HEAD = 32,
    CKPT_JOB_TAIL = 32,
};

/// Where PID 1 lies and listens, as seen from inside.
#define CKPT_INIT_DIRECTORY "/.ckpt"
#define CKPT_INIT_SOCKET "/.ckpt/socket"
/// Where the output of jobs lies: `ID.STREAM.NUMBER` holds the bytes from NUMBER * CKPT_JOB_SEGMENT on.
#define CKPT_INIT_JOBS "/.ckpt/job"

struct ckpt_frame {
    uint32_t length;
    uint16_t type;
    /// 0 stdin, 1 stdout (and a terminal), 2 stderr.
    uint16_t stream;
    /// The number by which the server calls a command on this connection; never 0 for a command.
    uint32_t tag;
    uint32_t value;
    uint64_t offset;
};

/// Server to PID 1.
enum {
    /// tag; payload `ckpt_spawn`. Attaches when the id exists.
    CKPT_SPAWN = 1,
    /// tag; payload `ckpt_attach` and the id. Answered by STARTED or REFUSED.
    CKPT_ATTACH = 2,
    /// tag: nothing more is sent about the command on this connection.
    CKPT_DETACH = 3,
    /// tag, stream, offset: the bytes before `offset` are not needed any more.
    CKPT_ACK = 4,
    /// tag, offset of the first byte; payload the bytes. What was taken before is skipped.
    CKPT_STDIN = 5,
    /// tag, offset: stdin ends there.
    CKPT_STDIN_END = 6,
    /// tag, value: a signal for the command's process group.
    CKPT_SIGNAL = 7,
    /// value: a signal for every process but PID 1.
    CKPT_KILL_ALL = 8,
    /// tag, value = rows << 16 | columns.
    CKPT_RESIZE = 9,
    /// tag: the exit was delivered. A command still running is forgotten when it ends.
    CKPT_FORGET = 10,
    /// Answered by ENTRY and SESSION frames and LIST_END.
    CKPT_LIST = 11,
    /// value = pid: the crash was dealt with, and the process may die.
    CKPT_CRASH_DONE = 12,
    /// tag; payload the name of a session that does nothing, for whoever gets hold of its descriptors. Answered by LENT.
    CKPT_LEND = 13,
    /// tag; payload `ckpt_take_back`. Answered by LENT.
    CKPT_TAKE_BACK = 14,
    /// Payload as for SPAWN of a call in a session, of which neither id nor session nor text matter: starts a bash for the
    /// first call of all, where that is as this. Whatever else is started first ends it.
    CKPT_PREPARE = 15,
    /// Ends the bash that PREPARE started, if nobody has got it.
    CKPT_UNPREPARE = 16,
};

/// PID 1 to server.
enum {
    /// value: CKPT_INIT_VERSION, offset: CKPT_INIT_OLDEST, or 0 for no other than `value`, stream = 1 while there is a bash
    /// that PREPARE started. The first frame of a connection.
    CKPT_HELLO = 64,
    /// tag, value = pid inside (0 while it waits for its session), offset = stdin taken so far.
    CKPT_STARTED = 65,
    /// tag, value = errno; payload says why.
    CKPT_REFUSED = 66,
    /// tag, stream, offset of the first byte; payload the bytes.
    CKPT_OUTPUT = 67,
    /// tag, offset = stdin taken so far, value = how many bytes more may be sent.
    CKPT_STDIN_TAKEN = 68,
    /// tag; payload `ckpt_exit`. After all output up to the exit.
    CKPT_EXIT = 69,
    /// payload `ckpt_entry`.
    CKPT_ENTRY = 70,
    /// value = pid of its bash, stream = 1 while a call runs; payload the name.
    CKPT_SESSION = 71,
    CKPT_LIST_END = 72,
    /// payload `ckpt_job`; instead of ENTRY for a job.
    CKPT_JOB = 73,
    /// payload `ckpt_crash`: a process stands still that is about to die. Said once on each connection until
    /// CRASH_DONE.
    CKPT_CRASH = 74,
    /// tag; payload `ckpt_lent`.
    CKPT_LENT = 75,
};

/// Flags of `ckpt_spawn`.
enum {
    /// stdin is a pipe that STDIN frames feed; else /dev/null.
    CKPT_SPAWN_STDIN = 1,
    /// A terminal of `rows` by `columns`; implies CKPT_SPAWN_STDIN.
    CKPT_SPAWN_TTY = 2,
    /// A call in a session: argv is one string, the shell text.
    CKPT_SPAWN_SESSION = 4,
    /// Go to `/` when the working directory is missing.
    CKPT_SPAWN_ANY_CWD = 8,
    /// STARTED may wait until there is something else to tell: one wake-up of the server less.
    CKPT_SPAWN_QUIET = 16,
    /// A job: its output goes to files inside the sandbox and never waits for the server, and it is kept
    /// with its exit until FORGET.
    CKPT_SPAWN_JOB = 32,
    /// Whatever of the command is about to die of a signal is held and told with CRASH.
    CKPT_SPAWN_WATCH = 64,
    /// The same for all of the sandbox, from now on.
    CKPT_SPAWN_WATCH_ALL = 128,
};

/// What to start. After it: `groups` group ids (uint32_t), then NUL-terminated strings: the id, the
/// session's name (empty for none), the working directory, `argc` arguments, `envc` NAME=VALUE entries.
struct ckpt_spawn {
    uint32_t flags;
    uint32_t uid;
    uint32_t gid;
    uint32_t groups;
    uint32_t argc;
    uint32_t envc;
    uint16_t rows;
    uint16_t columns;
    uint32_t reserved;
    /// 0 for none.
    uint64_t timeout_ms;
    /// From where output is wanted when the id exists; see ckpt_attach.
    uint64_t from[2];
};

/// From which offsets on stdout and stderr are to be sent (again); clamped to what is there. It
/// acknowledges nothing.
struct ckpt_attach {
    uint64_t from[2];
};

/// Where starting a command failed.
enum ckpt_spawn_step {
    CKPT_STEP_NONE = 0,
    CKPT_STEP_STREAMS = 1,
    CKPT_STEP_USER = 2,
    CKPT_STEP_CHDIR = 3,
    CKPT_STEP_EXEC = 4,
    CKPT_STEP_FORK = 5,
    /// Its limits, capabilities or system call filter.
    CKPT_STEP_WALLS = 6,
};

/// Flags of `ckpt_exit`.
enum {
    CKPT_EXIT_TIMED_OUT = 1,
    /// The session's bash ended with this call; the next one starts a fresh bash.
    CKPT_EXIT_SESSION_ENDED = 2,
};

struct ckpt_exit {
    /// As waitpid(2) gives it.
    int32_t status;
    uint32_t flags;
    /// `ckpt_spawn_step` and its errno, when the program could not be started.
    uint32_t failed_step;
    uint32_t failed_errno;
    /// From spawn to exit, by CLOCK_MONOTONIC inside the sandbox.
    uint64_t duration_ns;
    /// Bytes of stdout and stderr up to the exit.
    uint64_t total[2];
};

/// A process about to die.
struct ckpt_crash {
    int32_t pid;
    /// The thread that the signal is for.
    int32_t tid;
    /// The signal, and its si_code and si_addr (sigaction(2)).
    int32_t signal;
    int32_t code;
    uint64_t address;
    /// The process's command name, NUL-terminated.
    char command[16];
};

/// A session whose calls somebody else makes, who has its descriptors and makes no call without a write lock on `text`, of
/// an open file of its own (fcntl(2), F_OFD_SETLK): one that is read-only tells that the session was taken back.
struct ckpt_lent {
    /// An errno; 0 when it is lent, or taken back.
    int32_t code;
    /// PID 1's: of the pipes to bash and from where it is back, of its output, and of the file that it reads.
    int32_t in, control, out, error, text;
    /// The loan's number, by which it is taken back. The file holds CKPT_LOAN_TEXT with it: `text` may be another's descriptor
    /// by the time it is looked at, and even its inode's number.
    uint64_t loan;
    /// How many commands bash was given so far: a call is one, and ends with a prompt that tells as many.
    uint64_t commands;
};

#define CKPT_LOAN_TEXT "# loan %llu\n"

/// A session that is taken back.
struct ckpt_take_back {
    char session[CKPT_INIT_NAME + 1];
    /// Of the call that runs, which becomes one of ours; empty for none. Its output up to here is with the borrower.
    char id[CKPT_INIT_NAME + 1];
    uint64_t loan;
    /// The number that its end tells. Without a call the one that the last call's end told, where bash waits for the next;
    /// 0 where that is not known.
    uint64_t commands;
    /// How long it has run, and how long it still may; UINT64_MAX for as long as it takes.
    uint64_t elapsed_ns, remaining_ns;
};

/// Flags of `ckpt_entry`.
enum {
    CKPT_ENTRY_EXITED = 1,
    CKPT_ENTRY_TTY = 2,
    CKPT_ENTRY_QUEUED = 4,
};

/// One command PID 1 knows.
struct ckpt_entry {
    char id[CKPT_INIT_NAME + 1];
    char session[CKPT_INIT_NAME + 1];
    uint16_t flags;
    uint32_t pid;
    /// Milliseconds since it ended, UINT32_MAX at most; meaningful as `exit` is.
    uint32_t ended_ms;
    uint64_t acknowledged[2];
    uint64_t produced[2];
    uint64_t stdin_taken;
    /// Meaningful when CKPT_ENTRY_EXITED is set.
    struct ckpt_exit exit;
};

/// One job PID 1 knows.
struct ckpt_job {
    struct ckpt_entry entry;
    /// By CLOCK_REALTIME; 0 for one that has not ended.
    uint64_t started_ns;
    uint64_t ended_ns;
    /// From which offset on stdout and stderr could not be stored; UINT64_MAX for none.
    uint64_t lost_from[2];
    /// The command line, NUL-terminated.
    char label[CKPT_INIT_LABEL + 1];
};

#endif
