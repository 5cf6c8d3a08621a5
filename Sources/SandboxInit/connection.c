#include "init.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

// One connection at a time; a new one replaces the old. All that is sent is derived from the tables when
// there is room for it, so nothing has to be remembered for a server that is not there: a new connection
// starts with nothing sent and the server says where it wants to go on.

int listener = -1, connection = -1;
static char *incoming, *outgoing;
static size_t received, out_start, out_end;
static bool half_closed;
static bool listed;
static int list_at = -1;  // the next slot LIST has to tell, sessions after commands

/// Room kept free of output, for what cannot wait.
enum { RESERVE = 64 << 10, PIECE = 32 << 10 };

void connection_prepare(char *in, char *out) {
    incoming = in;
    outgoing = out;
}

void connection_close(void) {
    sessions_put_texts_away();
    close_fd(&connection);
    madvise(incoming, INCOMING, MADV_DONTNEED);
    madvise(outgoing, OUTGOING, MADV_DONTNEED);
    madvise(scratch, INCOMING, MADV_DONTNEED);
    commands_trim();
    received = out_start = out_end = 0;
    half_closed = listed = false;
    list_at = -1;
    for (int i = 0; i < commands_used; i++) commands[i].tag = 0;
}

static bool emit(struct ckpt_frame frame, const void *payload, size_t length, size_t reserve) {
    size_t need = sizeof frame + length;
    if (out_start == out_end) out_start = out_end = 0;
    if (out_end - out_start + need + reserve > OUTGOING) return false;
    if (out_end + need > OUTGOING) {
        memmove(outgoing, outgoing + out_start, out_end - out_start);
        out_end -= out_start;
        out_start = 0;
    }
    frame.length = (uint32_t)length;
    memcpy(outgoing + out_end, &frame, sizeof frame);
    memcpy(outgoing + out_end + sizeof frame, payload, length);
    out_end += need;
    return true;
}

void refuse(uint32_t tag, int code, const char *why) {
    struct ckpt_frame frame = {.type = CKPT_REFUSED, .tag = tag, .value = (uint32_t)code};
    // Refusals that nobody reads have filled the reserve: the server is out of its mind.
    if (!emit(frame, why, strlen(why), 0)) connection_close();
}

void answer_lent(uint32_t tag, const struct ckpt_lent *lent) {
    struct ckpt_frame frame = {.type = CKPT_LENT, .tag = tag};
    if (!emit(frame, lent, sizeof *lent, 0)) connection_close();
}

void connection_accept(void) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    struct ucred peer = {.pid = -1};
    socklen_t length = sizeof peer;
    // A pid that our pid namespace cannot name is 0: only who is outside of the sandbox commands PID 1.
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid != 0) {
        close(fd);
        return;
    }
    connection_close();
    connection = fd;
    struct ckpt_frame hello = {.type = CKPT_HELLO, .value = CKPT_INIT_VERSION, .offset = CKPT_INIT_OLDEST};
    hello.stream = session_is_prepared();
    emit(hello, "", 0, 0);
    crash_connected();
}

void connection_readable(void) {
    ssize_t got = read(connection, incoming + received, INCOMING - received);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) {
        connection_close();
        return;
    }
    if (got == 0) half_closed = true;
    received += (size_t)got;
    size_t at = 0;
    struct ckpt_frame frame;
    while (connection >= 0 && received - at >= sizeof frame) {
        memcpy(&frame, incoming + at, sizeof frame);
        if (frame.length > CKPT_INIT_PAYLOAD) {
            connection_close();
            return;
        }
        if (received - at - sizeof frame < frame.length) break;
        handle_frame(&frame, incoming + at + sizeof frame);
        at += sizeof frame + frame.length;
    }
    if (connection < 0) return;
    memmove(incoming, incoming + at, received - at);
    received -= at;
}

bool connection_ended(void) { return half_closed; }

void list_commands(void) { list_at = 0; }

static void describe(const struct command *c, struct ckpt_entry *entry) {
    *entry = (struct ckpt_entry){.pid = (uint32_t)c->pid, .exit = c->exit};
    strcpy(entry->id, c->id);
    strcpy(entry->session, c->session_name);
    entry->flags = (c->state == REPORTED ? CKPT_ENTRY_EXITED : 0) | (c->tty ? CKPT_ENTRY_TTY : 0) |
                  (c->state == QUEUED ? CKPT_ENTRY_QUEUED : 0);
    for (int i = 0; i < 2; i++) {
        entry->acknowledged[i] = c->stream[STDOUT + i].acked;
        entry->produced[i] = c->stream[STDOUT + i].produced;
    }
    entry->stdin_taken = c->stream[STDIN].produced;
    if (c->state != REPORTED) return;
    uint64_t now = now_ns(), ended = c->started + c->exit.duration_ns;
    uint64_t ago = now > ended ? (now - ended) / 1000000 : 0;
    entry->ended_ms = ago < UINT32_MAX ? (uint32_t)ago : UINT32_MAX;
}

static bool emit_entry(const struct command *c) {
    struct ckpt_job job;
    describe(c, &job.entry);
    if (!c->job) return emit((struct ckpt_frame){.type = CKPT_ENTRY}, &job.entry, sizeof job.entry, 0);
    job_describe(c, &job);
    return emit((struct ckpt_frame){.type = CKPT_JOB}, &job, sizeof job, 0);
}

static bool emit_list(void) {
    for (; list_at >= 0 && list_at < commands_used; list_at++)
        if (commands[list_at].state != FREE && !commands[list_at].forget && !emit_entry(&commands[list_at]))
            return false;
    for (int i = 0; list_at >= 0 && i < CKPT_INIT_SESSIONS; i++) {
        const struct session *s = &sessions[i];
        struct ckpt_frame frame = {
            .type = CKPT_SESSION, .value = (uint32_t)s->pid, .stream = s->call != NULL};
        if (s->pid > 0 && session_is_somebodys(s) && !emit(frame, s->name, strlen(s->name), 0)) return false;
    }
    if (list_at >= 0 && !emit((struct ckpt_frame){.type = CKPT_LIST_END}, "", 0, 0)) return false;
    listed |= list_at >= 0;
    list_at = -1;
    return true;
}

static bool emit_output(struct command *c, int stream) {
    struct stream *s = &c->stream[stream];
    while (s->sent < s->produced) {
        const char *bytes;
        size_t count = ring_piece(s, s->sent, &bytes);
        if (count > PIECE) count = PIECE;
        struct ckpt_frame frame = {
            .type = CKPT_OUTPUT, .tag = c->tag, .stream = (uint16_t)stream, .offset = s->sent};
        if (!emit(frame, bytes, count, RESERVE)) return false;
        s->sent += count;
    }
    return true;
}

static bool emit_command(struct command *c) {
    struct ckpt_frame frame = {.tag = c->tag, .offset = c->stream[STDIN].produced};
    bool news = c->stream[STDOUT].sent < c->stream[STDOUT].produced ||
                c->stream[STDERR].sent < c->stream[STDERR].produced || c->state == REPORTED;
    if (c->tell_started && (news || !c->quiet)) {
        frame.type = CKPT_STARTED;
        frame.value = (uint32_t)c->pid;
        if (!emit(frame, "", 0, 0)) return false;
        c->tell_started = false;
    }
    if (c->tell_stdin) {
        frame.type = CKPT_STDIN_TAKEN;
        frame.value = (uint32_t)ring_room(&c->stream[STDIN]);
        if (!emit(frame, "", 0, 0)) return false;
        c->tell_stdin = false;
    }
    if (!emit_output(c, STDOUT) || !emit_output(c, STDERR)) return false;
    if (c->state == REPORTED && !c->exit_sent) {
        frame.type = CKPT_EXIT;
        if (!emit(frame, &c->exit, sizeof c->exit, 0)) return false;
        c->exit_sent = true;
    }
    return true;
}

/// Not before the server has been told what there is: it asks for that first.
static bool emit_crashes(void) {
    if (!listed) return true;
    for (const struct ckpt_crash *c; (c = crash_to_tell()); crash_told())
        if (!emit((struct ckpt_frame){.type = CKPT_CRASH}, c, sizeof *c, 0)) return false;
    return true;
}

static bool flush(void) {
    while (out_start < out_end) {
        ssize_t put = send(connection, outgoing + out_start, out_end - out_start, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) return false;
        if (put < 0) {
            connection_close();
            return true;
        }
        out_start += (size_t)put;
    }
    return true;
}

bool connection_pump(void) {
    while (connection >= 0) {
        bool all = true;
        // After the server's half of the connection only what was promised is sent; then ours is closed,
        // and a process image of the sandbox holds no connection.
        if (!half_closed) {
            all = emit_list() && emit_crashes();
            for (int i = 0; all && i < commands_used; i++)
                if (commands[i].tag && commands[i].state != FREE) all = emit_command(&commands[i]);
        }
        if (!flush()) return true;
        // A process image can hold nothing that is traced.
        if (all && half_closed && !crash_let_go()) return false;
        if (all && half_closed) connection_close();
        if (all) return false;
    }
    return false;
}
