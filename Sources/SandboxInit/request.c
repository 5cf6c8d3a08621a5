#include "init.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

bool is_name(const char *text, bool may_be_empty) {
    size_t length = strlen(text);
    if (length > CKPT_INIT_NAME || (!length && !may_be_empty)) return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && *text != '_' && *text != '-') return false;
    return true;
}

/// The next NUL-terminated string of the payload; NULL when there is none.
static char *next_string(char **at, const char *end) {
    char *text = *at;
    char *stop = memchr(text, 0, (size_t)(end - text));
    if (!stop) return NULL;
    *at = stop + 1;
    return text;
}

bool parse_request(char *payload, size_t length, struct request *r) {
    // One place in front of the arguments, for `sh` (see spawn.c), and a NULL after each list.
    static char *strings[CKPT_INIT_STRINGS + 3];
    static struct ckpt_spawn head;
    static gid_t groups[CKPT_INIT_GROUPS];
    if (length < sizeof head) return false;
    memcpy(&head, payload, sizeof head);
    char *at = payload + sizeof head, *end = payload + length;
    if (head.groups > CKPT_INIT_GROUPS || (size_t)(end - at) < head.groups * sizeof *groups) return false;
    if (!head.argc || head.argc > CKPT_INIT_STRINGS) return false;
    if (head.envc > CKPT_INIT_STRINGS - head.argc) return false;
    memcpy(groups, at, head.groups * sizeof *groups);
    at += head.groups * sizeof *groups;
    *r = (struct request){.head = &head};
    r->id = next_string(&at, end);
    r->session = r->id ? next_string(&at, end) : NULL;
    r->launch.cwd = r->session ? next_string(&at, end) : NULL;
    if (!r->launch.cwd || !is_name(r->id, false) || !is_name(r->session, true)) return false;
    char **list = r->launch.argv = strings + 1;
    for (uint32_t i = 0; i < head.argc; i++)
        if (!(*list++ = next_string(&at, end))) return false;
    *list++ = NULL;
    r->launch.envp = list;
    for (uint32_t i = 0; i < head.envc; i++)
        if (!(*list++ = next_string(&at, end))) return false;
    *list = NULL;
    bool session = head.flags & CKPT_SPAWN_SESSION;
    if (at != end || session != (*r->session != 0) || (session && head.argc != 1)) return false;
    r->launch.any_cwd = head.flags & CKPT_SPAWN_ANY_CWD;
    r->launch.uid = head.uid;
    r->launch.gid = head.gid;
    r->launch.groups = groups;
    r->launch.group_count = head.groups;
    r->launch.extra[0] = r->launch.extra[1] = -1;
    return true;
}

static void attach(struct command *c, uint32_t tag, const uint64_t from[2]) {
    struct command *other = command_by_tag(tag);
    if (other) other->tag = 0;
    c->tag = tag;
    c->tell_started = true;
    c->tell_stdin = true;
    c->exit_sent = false;
    for (int i = 0; i < 2; i++) {
        struct stream *s = &c->stream[STDOUT + i];
        s->sent = from[i] < s->acked ? s->acked : from[i] > s->produced ? s->produced : from[i];
    }
}

static bool handle_spawn(uint32_t tag, char *payload, size_t length) {
    struct request r;
    if (!tag || !parse_request(payload, length, &r)) return false;
    struct command *c = command_by_id(r.id);
    if (c && c->forget) {
        refuse(tag, EBUSY, "a forgotten command of that id still runs");
        return true;
    }
    bool job = r.head->flags & CKPT_SPAWN_JOB;
    if (c && c->job != job) {
        refuse(tag, EEXIST, job ? "a command of that id is followed" : "a job has that id");
        return true;
    }
    if (c) {
        attach(c, tag, r.head->from);
        return true;
    }
    if (job) job_make_room(CKPT_INIT_ENDED_JOBS);
    c = command_claim(r.id);
    if (!c) {
        refuse(tag, EAGAIN, "as many commands as a sandbox may have are running or not fetched yet");
        return true;
    }
    const uint64_t from[2] = {0, 0};
    attach(c, tag, from);
    if (job) job_begin(c, &r);
    c->quiet = r.head->flags & CKPT_SPAWN_QUIET;
    c->tell_stdin = !c->quiet || r.head->flags & (CKPT_SPAWN_STDIN | CKPT_SPAWN_TTY);
    if (!*r.session) {
        session_unprepare();
        command_start(c, &r);
        return true;
    }
    int code = session_call(c, &r, payload, length);
    if (code) {
        command_release(c);
        refuse(tag, code, code == EAGAIN ? "it has as many sessions as it may" : "cannot queue the call");
    }
    return true;
}

static bool handle_attach(uint32_t tag, char *payload, size_t length) {
    struct ckpt_attach head;
    char id[CKPT_INIT_NAME + 1] = {0};
    if (!tag || length < sizeof head || length - sizeof head > CKPT_INIT_NAME) return false;
    memcpy(&head, payload, sizeof head);
    memcpy(id, payload + sizeof head, length - sizeof head);
    struct command *c = command_by_id(id);
    if (c && !c->forget) attach(c, tag, head.from);
    else refuse(tag, ENOENT, "no command of that id");
    return true;
}

static void take_stdin(struct command *c, uint64_t offset, const char *bytes, size_t count) {
    struct stream *s = &c->stream[STDIN];
    if (offset > s->produced || s->produced == c->stdin_end) return;
    uint64_t known = s->produced - offset;
    if (known < count) ring_put(s, bytes + known, count - (size_t)known);
    c->tell_stdin = true;
    command_writable(c);
}

static void end_of_stdin(struct command *c, uint64_t offset) {
    if (c->stdin_end != NONE || offset < c->stream[STDIN].produced) return;
    c->stdin_end = offset;
    command_writable(c);
}

static void resize(struct command *c, uint32_t size) {
    struct winsize window = {.ws_row = (unsigned short)(size >> 16), .ws_col = (unsigned short)size};
    if (c->tty && c->stream[STDOUT].fd >= 0) ioctl(c->stream[STDOUT].fd, TIOCSWINSZ, &window);
}

static bool handle_for_command(const struct ckpt_frame *frame, const char *payload) {
    struct command *c = command_by_tag(frame->tag);
    if (!c) return frame->tag != 0;  // forgotten in the meantime
    switch (frame->type) {
    case CKPT_DETACH:
        c->tag = 0;
        return true;
    case CKPT_ACK:
        if (frame->stream != STDOUT && frame->stream != STDERR) return false;
        ring_acknowledge(&c->stream[frame->stream], frame->offset);
        if (c->stream[frame->stream].drain) command_readable(c, frame->stream);
        command_settle(c);
        return true;
    case CKPT_STDIN:
        take_stdin(c, frame->offset, payload, frame->length);
        return true;
    case CKPT_STDIN_END:
        end_of_stdin(c, frame->offset);
        return true;
    case CKPT_SIGNAL:
        if (frame->value < 1 || frame->value > 64) return false;
        command_signal(c, (int)frame->value);
        return true;
    case CKPT_RESIZE:
        resize(c, frame->value);
        return true;
    case CKPT_FORGET:
        command_forget(c);
        return true;
    default:
        return false;
    }
}

static bool handle_prepare(char *payload, size_t length) {
    struct request r;
    if (!parse_request(payload, length, &r) || !*r.session) return false;
    session_prepare(&r);
    return true;
}

static bool handle_lend(uint32_t tag, const char *payload, size_t length) {
    char name[CKPT_INIT_NAME + 1] = {0};
    struct ckpt_lent lent = {0};  // which holds nothing where it is refused
    if (!tag || length > CKPT_INIT_NAME) return false;
    memcpy(name, payload, length);
    if (!is_name(name, false)) return false;
    session_lend(name, &lent);
    answer_lent(tag, &lent);
    return true;
}

static bool handle_take_back(uint32_t tag, const char *payload, size_t length) {
    struct ckpt_take_back back;
    struct ckpt_lent lent = {0};  // which holds nothing where it is refused
    if (!tag || length != sizeof back) return false;
    memcpy(&back, payload, sizeof back);
    back.session[CKPT_INIT_NAME] = back.id[CKPT_INIT_NAME] = 0;
    if (!is_name(back.session, false) || !is_name(back.id, true)) return false;
    lent.code = session_take_back(&back);
    answer_lent(tag, &lent);
    return true;
}

void handle_frame(const struct ckpt_frame *frame, char *payload) {
    bool understood = true;
    switch (frame->type) {
    case CKPT_SPAWN:
        understood = handle_spawn(frame->tag, payload, frame->length);
        break;
    case CKPT_ATTACH:
        understood = handle_attach(frame->tag, payload, frame->length);
        break;
    case CKPT_LIST:
        list_commands();
        break;
    case CKPT_LEND:
        understood = handle_lend(frame->tag, payload, frame->length);
        break;
    case CKPT_TAKE_BACK:
        understood = handle_take_back(frame->tag, payload, frame->length);
        break;
    case CKPT_PREPARE:
        understood = handle_prepare(payload, frame->length);
        break;
    case CKPT_UNPREPARE:
        session_unprepare();
        break;
    case CKPT_CRASH_DONE:
        crash_done((pid_t)frame->value);
        break;
    case CKPT_KILL_ALL:
        understood = frame->value >= 1 && frame->value <= 64;
        if (understood) kill(-1, (int)frame->value);
        break;
    default:
        understood = handle_for_command(frame, payload);
    }
    if (!understood) connection_close();
}
