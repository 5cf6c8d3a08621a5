#include "init.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// Half of what a new sandbox's first call in a session takes is the start of its bash. A sandbox that waits for somebody to
// want it can have started that: the first call of all gets it, where it would have started one just like it. Whoever starts
// anything else first, saves the sandbox or looks at its processes finds none.

/// The name of a session that nobody has asked for yet, which none can be asked for by.
static const char PREPARED[] = ".";
enum { HOST_NAME = 64 };

static struct session *prepared(void) {
    for (int i = 0; i < CKPT_INIT_SESSIONS; i++)
        if (sessions[i].name[0] == *PREPARED) return &sessions[i];
    return NULL;
}

bool session_is_prepared(void) { return prepared() != NULL; }
bool session_is_somebodys(const struct session *s) { return s->name[0] != *PREPARED; }

static uint64_t mixed(uint64_t sum, const void *bytes, size_t length) {
    // FNV-1a
    for (const unsigned char *at = bytes; length--; at++) sum = (sum ^ *at) * 0x100000001b3;
    return sum;
}

/// Two launches of a bash that have the same are the same.
static uint64_t likeness(const struct launch *what) {
    uint64_t sum = 0xcbf29ce484222325;
    sum = mixed(sum, &what->uid, sizeof what->uid);
    sum = mixed(sum, &what->gid, sizeof what->gid);
    sum = mixed(sum, &what->any_cwd, sizeof what->any_cwd);
    sum = mixed(sum, &what->group_count, sizeof what->group_count);
    sum = mixed(sum, what->groups, what->group_count * sizeof *what->groups);
    sum = mixed(sum, what->cwd, strlen(what->cwd) + 1);
    for (char **entry = what->envp; *entry; entry++) sum = mixed(sum, *entry, strlen(*entry) + 1);
    return sum;
}

/// The hostname, where it is one that needs no quotes.
static bool plain_hostname(char name[HOST_NAME + 1]) {
    name[HOST_NAME] = 0;
    if (gethostname(name, HOST_NAME + 1) < 0 || !*name) return false;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("-._", *at)) return false;
    return true;
}

void session_prepare(const struct request *r) {
    struct launch what;
    struct launch_failure failure;
    struct session *s = prepared() ? NULL : session_free();
    if (!s) return;
    strcpy(s->name, PREPARED);
    s->text = -1;
    s->uid = r->launch.uid;
    s->likeness = likeness(&r->launch);
    session_take_call(s, NULL);
    s->deadline = NONE;
    s->state = STARTING;
    s->pid = session_start_bash(s, r, &what, &failure);
    if (s->pid > 0) return;
    session_close(s);
    s->name[0] = 0;
}

void session_unprepare(void) {
    struct session *s = prepared();
    if (!s) return;
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {}
    // It has no jobs that write.
    for (int i = STDOUT; i <= STDERR; i++) close_fd(&s->fd[i]);
    session_close(s);
    s->name[0] = 0;
}

struct session *session_take_prepared(const struct request *r) {
    char host[HOST_NAME + 1];
    struct session *s = prepared();
    bool watched = r->head->flags & (CKPT_SPAWN_WATCH | CKPT_SPAWN_WATCH_ALL);
    if (!s) return NULL;
    if (watched || s->likeness != likeness(&r->launch) || !plain_hostname(host)) {
        session_unprepare();
        return NULL;
    }
    strcpy(s->name, r->session);
    s->renamed = true;
    return s;
}

void session_news(struct session *s, char text[NEWS]) {
    char host[HOST_NAME + 1];
    *text = 0;
    if (s->renamed && plain_hostname(host)) snprintf(text, NEWS, "HOSTNAME=%s SECONDS=0;", host);
    s->renamed = false;
}
