#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Handed over by the runtime.
enum { PLAN_FD = 3, STATUS_FD = 4 };

char *scratch;

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);  // the time namespace keeps it continuous over a restore
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void ignore_signal(int signal) { (void)signal; }

static void prepare_process(void) {
    setsid();  // CRIU refuses a tree whose session leader is outside of it
    umask(022);
    prctl(PR_SET_NAME, "ckpt-init");
    prctl(PR_SET_DUMPABLE, 1);
    // Not signal(3): glibc keeps 32 and 33 for itself and leaves them as whoever started us had them.
    const struct {
        void *handler;
        unsigned long flags, restorer, mask;
    } plain = {SIG_DFL, 0, 0, 0};
    for (int i = 1; i < NSIG; i++) syscall(SYS_rt_sigaction, i, &plain, NULL, sizeof plain.mask);
    signal(SIGPIPE, SIG_IGN);
    // Blocked but while ppoll waits: a child that ends in between makes ppoll return at once.
    struct sigaction noted = {.sa_handler = ignore_signal};
    sigaction(SIGCHLD, &noted, NULL);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
}

static bool prepare_memory(void) {
    size_t rings = (size_t)CKPT_INIT_COMMANDS * 3 * CKPT_INIT_RING, frames = 2 * INCOMING + OUTGOING;
    char *memory = mmap(NULL, rings + frames, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    // A monitor has no use for the rings; its fork need not look at them. (The frame it needs: the
    // arguments of the command it starts are there.)
    madvise(memory, rings, MADV_DONTFORK);
    commands_prepare(memory);
    scratch = memory + rings + OUTGOING;
    connection_prepare(scratch + INCOMING, memory + rings);
    return true;
}

static bool open_stdio(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        if (dup2(null, i) < 0) return false;
    if (null > 2) close(null);
    return chdir("/") == 0;
}

/// Makes it a directory with mode 0711; one that is right already is not copied up by overlayfs.
static bool passable(const char *path) {
    struct stat now;
    if (mkdir(path, 0711) < 0 && errno != EEXIST) return false;
    return stat(path, &now) == 0 && ((now.st_mode & 07777) == 0711 || chmod(path, 0711) == 0);
}

static bool listen_inside(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = CKPT_INIT_SOCKET};
    // Others may pass through to a session's file of theirs; the socket itself checks who connects.
    if (!passable(CKPT_INIT_DIRECTORY) || !passable(CKPT_INIT_DIRECTORY "/session")) return false;
    unlink(CKPT_INIT_SOCKET);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listener >= 0 && bind(listener, (void *)&address, sizeof address) == 0 &&
           chmod(CKPT_INIT_SOCKET, 0600) == 0 && listen(listener, 8) == 0;
}

/// Leaves nothing open but stdio, the listener in the plan's place, and what is reported on.
static void close_the_rest(void) {
    close(PLAN_FD);
    int low = fcntl(listener, F_DUPFD_CLOEXEC, PLAN_FD);
    close(listener);
    listener = low;
    syscall(SYS_close_range, STATUS_FD + 1u + keeps_device, ~0u, 0);
}

static void reap(void) {
    int status;
    pid_t pid;
    // __WALL: of what is traced every thread is waited for.
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid < 0) continue;
        if (WIFSTOPPED(status)) {
            crash_stopped(pid, status);
            continue;
        }
        crash_task_ended(pid);
        bool known = false;
        for (int i = 0; i < CKPT_INIT_SESSIONS && !known; i++)
            if ((known = sessions[i].pid == pid)) session_bash_ended(&sessions[i], status);
        for (int i = 0; i < commands_used && !known; i++) {
            struct command *c = &commands[i];
            if (c->state == RUNNING && (c->pid == pid || c->monitor == pid)) {
                command_child_ended(c, pid, status);
                known = true;
            }
        }
    }
}

// What is polled is told by numbers: a descriptor, and what to do when something is there.
enum watched {
    LISTENER,
    CONNECTION,
    COMMAND_STREAM,
    COMMAND_STDIN,
    COMMAND_MONITOR,
    SESSION_CONTROL,
    SESSION_OUTPUT,
    DROPPED_FD,
};
enum { WATCHED = 2 + 4 * CKPT_INIT_COMMANDS + 3 * CKPT_INIT_SESSIONS + DROPPED };
static struct pollfd polled[WATCHED];
static struct {
    enum watched kind;
    int index, stream;
} watched[WATCHED];
static nfds_t watched_count;

static void watch(enum watched kind, int index, int stream, int fd, short events) {
    if (fd < 0) return;
    polled[watched_count] = (struct pollfd){.fd = fd, .events = events};
    watched[watched_count].kind = kind;
    watched[watched_count].index = index;
    watched[watched_count++].stream = stream;
}

static void watch_all(bool sending, uint64_t now) {
    watched_count = 0;
    watch(LISTENER, 0, 0, listener, POLLIN);
    watch(CONNECTION, 0, 0, connection_ended() ? -1 : connection, POLLIN);
    if (sending) watch(CONNECTION, 1, 0, connection, POLLOUT);
    for (int i = 0; i < commands_used; i++) {
        struct command *c = &commands[i];
        if (c->state == FREE || c->state == QUEUED) continue;
        for (int s = STDOUT; s <= STDERR && c->closed_until == NONE && c->listen_from <= now; s++)
            if (c->forget || ring_room(&c->stream[s])) watch(COMMAND_STREAM, i, s, c->stream[s].fd, POLLIN);
        bool waiting = c->stream[STDIN].acked < c->stream[STDIN].produced;
        // A pipe is watched even then: it tells that its reader has gone.
        if (waiting || !c->tty) watch(COMMAND_STDIN, i, 0, c->stream[STDIN].fd, waiting ? POLLOUT : 0);
        watch(COMMAND_MONITOR, i, 0, c->monitor_fd, POLLIN);
    }
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++) {
        const struct session *s = &sessions[i];
        // What comes from one that is lent is not for us.
        if (s->state != NO_SESSION && s->state != LENT) watch(SESSION_CONTROL, i, 0, s->control, POLLIN);
        if (s->state != RECLAIMING || !s->orphaned) continue;
        for (int f = STDOUT; f <= STDERR; f++) watch(SESSION_OUTPUT, i, f, s->fd[f], POLLIN);
    }
    for (int i = 0; i < dropped_count; i++) watch(DROPPED_FD, i, 0, dropped[i], POLLIN);
}

static void act(nfds_t n) {
    struct command *c = &commands[watched[n].index];
    int fd = polled[n].fd, stream = watched[n].stream;
    // An earlier event of this round may have closed the descriptor: then another holds its number.
    switch (watched[n].kind) {
    case LISTENER:
        connection_accept();
        break;
    case CONNECTION:
        if (connection == fd && watched[n].index == 0) connection_readable();
        break;
    case COMMAND_STREAM:
        if (c->stream[stream].fd == fd) command_readable(c, stream);
        command_settle(c);
        break;
    case COMMAND_STDIN:
        if (c->stream[STDIN].fd == fd && polled[n].revents & POLLERR) close_fd(&c->stream[STDIN].fd);
        command_writable(c);
        break;
    case COMMAND_MONITOR:
        if (c->monitor_fd == fd) command_monitor_reported(c);
        break;
    case SESSION_CONTROL:
        if (sessions[watched[n].index].control == fd) session_control_readable(&sessions[watched[n].index]);
        break;
    case SESSION_OUTPUT:
        // It may have been taken back in this round, and the next call have begun.
        if (sessions[watched[n].index].state == RECLAIMING && sessions[watched[n].index].fd[stream] == fd)
            session_output_readable(&sessions[watched[n].index], stream);
        break;
    case DROPPED_FD:
        dropped_readable(fd);
        break;
    }
}

/// Does what is due by the clock; returns when something will be.
static uint64_t tick(uint64_t now) {
    uint64_t next = NONE;
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++) {
        if (sessions[i].state == NO_SESSION) continue;
        uint64_t one = session_tick(&sessions[i], now);
        if (one < next) next = one;
    }
    for (int i = 0; i < commands_used; i++) {
        struct command *c = &commands[i];
        if (c->closed_until <= now) {
            c->closed_until = NONE;
            command_readable(c, STDOUT);
        }
        if (c->closed_until < next) next = c->closed_until;
        if (c->listen_from > now && c->listen_from < next) next = c->listen_from;
    }
    return next;
}

static void serve(void) __attribute__((noreturn));
static void serve(void) {
    sigset_t none;
    sigemptyset(&none);
    while (true) {
        reap();
        uint64_t now = now_ns(), deadline = tick(now);
        uint64_t left = deadline > now ? deadline - now : 0;
        struct timespec wait = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        bool sending = connection_pump();
        for (int i = 0; i < CKPT_INIT_SESSIONS; i++) session_prepare_next(&sessions[i]);
        watch_all(sending, now);
        // EINTR, after a child's end or a restore, is one more turn of the loop.
        int ready = ppoll(polled, watched_count, deadline == NONE ? NULL : &wait, &none);
        for (nfds_t i = 0; ready > 0 && i < watched_count; i++)
            if (polled[i].revents) act(i);
    }
}

int main(void) {
    prepare_process();
    if (!prepare_memory()) return 1;
    if (!apply_plan(PLAN_FD, STATUS_FD)) return 1;
    madvise(scratch, INCOMING, MADV_DONTNEED);
    raise_file_limit();
    bool ok = open_stdio() && listen_inside();
    char text[64] = "ok\n";
    if (!ok) snprintf(text, sizeof text, "%d listen \n", errno);
    // Whoever hears of it may stop this process at once, and make another of it.
    if (ok) close_the_rest();
    size_t length = strlen(text);
    if (write(STATUS_FD, text, length) < 0 || !ok) return 1;
    close(STATUS_FD);
    serve();
}
