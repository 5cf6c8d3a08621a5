#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctwin.h"
#include "note.h"
#include "rebuild.h"
#include "sets.h"

static void noticed(int signal) { (void)signal; }

/// A twin that was killed from elsewhere has to be let go by us, or its namespace would never end.
static void reap_twins(void) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0;) {
        if (WIFSTOPPED(status)) continue;
        for (struct set *set = sets; set; set = set->next) {
            if (set->init.kept.pid == pid) set->init.kept.held = false;
            for (size_t i = 0; i < set->count; i++)
                if (set->list[i].kept.pid == pid) set->list[i].kept.held = false;
        }
    }
}

static bool is_whole(const struct set *set) {
    if (!set->init.kept.held) return false;
    for (size_t i = 0; i < set->count; i++)
        if (!set->list[i].kept.held) return false;
    return true;
}

/// Whether the server has asked already to let all go on.
static bool is_to_go(int socket) {
    struct ctwin_request next;
    if (recv(socket, &next, sizeof next, MSG_DONTWAIT | MSG_PEEK) != sizeof next || next.kind != CTWIN_GO) return false;
    return recv(socket, &next, sizeof next, MSG_DONTWAIT) == sizeof next;
}

/// Whether all went on already goes to `gone`.
static enum ctwin_answer make(int socket, const struct ctwin_request *request, struct ctwin_reply *reply, bool *gone) {
    if (!live_hold(request->init)) return CTWIN_REFUSED;
    // The server looks at the files meanwhile.
    const struct ctwin_reply held = {.answer = CTWIN_HELD};
    send(socket, &held, sizeof held, MSG_NOSIGNAL);
    if (!set_copy(request->set)) return CTWIN_REFUSED;
    reply->processes = (uint32_t)live_count + 1;
    *gone = is_to_go(socket);
    if (*gone) live_release();
    return CTWIN_DONE;
}

static enum ctwin_answer note(int socket, const struct ctwin_request *request) {
    if (!notes_hold(request->init)) return CTWIN_REFUSED;
    // The server looks at what does not change meanwhile.
    struct ctwin_reply held = {.answer = CTWIN_HELD};
    held.processes = (uint32_t)notes_pids(held.pids, CTWIN_TOLD_PIDS);
    send(socket, &held, sizeof held, MSG_NOSIGNAL);
    return notes_take() ? CTWIN_DONE : CTWIN_REFUSED;
}

/// The set of that number, where all of its twins live; null with `why` set.
static struct set *find_whole(uint64_t number) {
    struct set *set = set_find(number);
    if (set && is_whole(set)) return set;
    refuse("its twins are gone");
    return NULL;
}

static enum ctwin_answer note_set(const struct ctwin_request *request) {
    struct set *set = find_whole(request->set);
    return set && notes_take_set(set) ? CTWIN_DONE : CTWIN_REFUSED;
}

static enum ctwin_answer rebuild(int socket, const struct ctwin_request *request) {
    if (!rebuild_begin(request->init, getppid(), request->set)) return CTWIN_REFUSED;
    struct ctwin_reply held = {.answer = CTWIN_HELD};
    held.processes = (uint32_t)rebuild_pids(held.pids, CTWIN_TOLD_PIDS);
    send(socket, &held, sizeof held, MSG_NOSIGNAL);
    return CTWIN_DONE;
}

static enum ctwin_answer clear(const struct ctwin_request *request) {
    if (!find_whole(request->set)) return CTWIN_REFUSED;
    bool is_touched = false;
    if (live_clear(request->init, &is_touched)) return CTWIN_DONE;
    return is_touched ? CTWIN_BROKEN : CTWIN_REFUSED;
}

/// Waits until the server has put the files back; whether it has.
static bool await_files(int socket) {
    struct ctwin_request next;
    ssize_t got;
    while ((got = recv(socket, &next, sizeof next, 0)) < 0 && errno == EINTR) {}
    begin_time();
    return (got == sizeof next && next.kind == CTWIN_GO) || refuse("its files could not be put back");
}

/// Whether the server's next request is done with goes to `gone`.
static enum ctwin_answer revive(int socket, const struct ctwin_request *request, struct ctwin_reply *reply,
                                bool *gone) {
    struct set *set = set_find(request->set);
    if (!set || !init_task.held || !set_revive(set)) return CTWIN_BROKEN;
    *gone = true;
    if (!await_files(socket) || !set_go_back_to_files(set)) return CTWIN_BROKEN;
    reply->processes = (uint32_t)live_count + 1;
    is_cleared = false;
    live_release();
    return CTWIN_DONE;
}

static void answer(int socket, const struct ctwin_request *request) {
    struct ctwin_reply reply = {0};
    bool gone = false;
    why[0] = 0;
    is_passing = false;
    tasks_gather(request->asker);
    switch (request->kind) {
    case CTWIN_MAKE:
        reply.answer = make(socket, request, &reply, &gone);
        break;
    case CTWIN_GO:
        // What is half brought back must not run.
        if (!is_cleared) live_release();
        notes_release();
        rebuild_release();
        break;
    case CTWIN_REBUILD:
        reply.answer = rebuild(socket, request);
        break;
    case CTWIN_REBUILD_END:
        reply.answer = rebuild_end() ? CTWIN_DONE : CTWIN_REFUSED;
        break;
    case CTWIN_REBUILD_DROP:
        rebuild_drop();
        break;
    case CTWIN_NOTE:
    case CTWIN_NOTE_SET:
        reply.answer = request->kind == CTWIN_NOTE ? note(socket, request) : note_set(request);
        reply.processes = (uint32_t)notes_count;
        reply.notes = (uint64_t)(uintptr_t)notes;
        reply.notes_size = notes_size;
        break;
    case CTWIN_CLEAR:
        reply.answer = clear(request);
        break;
    case CTWIN_REVIVE:
        reply.answer = revive(socket, request, &reply, &gone);
        break;
    case CTWIN_DROP: {
        struct set *set = set_find(request->set);
        if (set) set_drop(set);
        break;
    }
    default:
        reply.answer = CTWIN_REFUSED;
    }
    const bool is_made = request->kind == CTWIN_MAKE && reply.answer == CTWIN_DONE;
    // The server need not wait for what is left to do.
    if (!is_made) tasks_part();
    memcpy(reply.text, why, sizeof reply.text);
    reply.is_passing = is_passing;
    if (reply.answer == CTWIN_DONE) reply.text[0] = 0;
    send(socket, &reply, sizeof reply, MSG_NOSIGNAL);
    if (gone) send(socket, &reply, sizeof reply, MSG_NOSIGNAL);
    if (is_made) {
        set_settle(sets);
        tasks_part();
    }
}

void ctwin_hold(int socket) {
    // Of stops wait(2) tells.
    struct sigaction action = {.sa_handler = noticed};
    struct sigaction death = {.sa_handler = noticed, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGCHLD, &death, NULL);
    prctl(PR_SET_NAME, "ckpt-twins");
    sigset_t child, none;
    sigemptyset(&none);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    // Else one that ends between the look and the wait would be missed.
    sigprocmask(SIG_SETMASK, &child, NULL);
    for (;;) {
        reap_twins();
        struct pollfd waiting = {.fd = socket, .events = POLLIN};
        int ready = ppoll(&waiting, 1, NULL, &none);
        if (ready <= 0) continue;
        struct ctwin_request request;
        ssize_t got = recv(socket, &request, sizeof request, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got != sizeof request) break;
        answer(socket, &request);
    }
    // The server is gone. What stands still goes on; where a rollback was cut short there is nothing that
    // could.
    if (is_cleared) kill(init_task.pid, SIGKILL);
    live_release();
    notes_release();
    rebuild_drop();
    _exit(0);
}
