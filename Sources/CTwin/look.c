#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task.h"

const char *proc_text(pid_t pid, const char *name, size_t *length) {
    static char *text;
    static size_t room;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    size_t count = 0;
    for (;;) {
        if (room - count < 4096) {
            char *larger = realloc(text, room ? 2 * room : 65536);
            if (!larger) break;
            text = larger;
            room = room ? 2 * room : 65536;
        }
        ssize_t got = read(file, text + count, room - count - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        count += (size_t)got;
    }
    close(file);
    if (!text) return NULL;
    text[count] = 0;
    if (length) *length = count;
    return text;
}

size_t proc_children(pid_t pid, pid_t *children, size_t limit) {
    char name[40];
    snprintf(name, sizeof name, "task/%d/children", pid);
    const char *text = proc_text(pid, name, NULL);
    size_t count = 0;
    for (char *end; text; text = end) {
        long child = strtol(text, &end, 10);
        if (end == text) break;
        if (count < limit) children[count] = (pid_t)child;
        count++;
    }
    return count;
}

static const char *field(const char *status, const char *name) {
    const char *at = strstr(status, name);
    return at ? at + strlen(name) : "";
}

pid_t proc_inner(pid_t pid) {
    const char *status = proc_text(pid, "status", NULL);
    if (!status) return 0;
    // The last of the line is the innermost namespace's.
    const char *at = field(status, "\nNSpid:");
    long inner = 0;
    while (*at == '\t' || *at == ' ') {
        char *end;
        inner = strtol(at, &end, 10);
        if (end == at) break;
        at = end;
    }
    return (pid_t)inner;
}

unsigned long find_system_call(const struct task *task) {
    unsigned char two[2];
    unsigned long before = task->registers.rip - 2;
    if ((long)task->registers.orig_rax >= 0 && memory_read(task->pid, before, two, 2) && two[0] == 0x0f &&
        two[1] == 0x05)
        return before;
    const char *maps = proc_text(task->pid, "maps", NULL);
    const char *vdso = maps ? strstr(maps, "[vdso]") : NULL;
    if (!vdso) return 0;
    while (vdso > maps && vdso[-1] != '\n') vdso--;
    unsigned long start, end;
    static unsigned char code[65536];
    if (sscanf(vdso, "%lx-%lx", &start, &end) != 2 || end - start > sizeof code) return 0;
    if (!memory_read(task->pid, start, code, end - start)) return 0;
    for (size_t i = 0; i + 1 < end - start; i++)
        if (code[i] == 0x0f && code[i + 1] == 0x05) return start + i;
    return 0;
}

/// Zero in hexadecimal digits.
static bool is_zero(const char *mask) {
    while (*mask == '\t' || *mask == '0') mask++;
    return *mask == '\n';
}

static bool has_quiet_state(pid_t pid, const char *name) {
    const char *status = proc_text(pid, "status", NULL);
    if (!status) return refuse("process %d ended meanwhile", pid);
    if (atoi(field(status, "\nThreads:")) != 1) return refuse("%s has several threads", name);
    if (!is_zero(field(status, "\nSigPnd:")) || !is_zero(field(status, "\nShdPnd:")))
        return refuse("%s has a signal to come", name);
    if (strtoull(field(status, "\nSigIgn:"), NULL, 16) >> (SIGTRAP - 1) & 1)
        return refuse("%s ignores SIGTRAP, which a step would undo", name);
    if (atoi(field(status, "\nVmLck:")) != 0) return refuse("%s has locked memory, which a fork has not", name);
    return true;
}

/// A session leader without a terminal: its copy can be one again under its old pid.
static bool leads_a_session(pid_t pid, const char *name) {
    const char *stat = proc_text(pid, "stat", NULL);
    const char *at = stat ? strrchr(stat, ')') : NULL;
    int group, session, terminal;
    if (!at || sscanf(at, ") %*c %*d %d %d %d", &group, &session, &terminal) != 3)
        return refuse("process %d ended meanwhile", pid);
    if (terminal) return refuse("%s has a terminal", name);
    if (session != pid || group != pid) return refuse("%s is not the leader of its session", name);
    return true;
}

static bool has_flag(const char *flags, const char *end, const char *flag) {
    for (const char *at = flags; at + 2 <= end; at += 3)
        if (!strncmp(at, flag, 2)) return true;
    return false;
}

/// What a fork leaves out of memory, or shares (proc_pid_smaps(5), VmFlags).
static bool has_plain_memory(pid_t pid, const char *name) {
    static const char *const refused[][2] = {
        {"wf", "memory that is wiped in a fork"}, {"dp", "memory that may be dropped"},
        {"lo", "locked memory"},                  {"ht", "huge pages of its own"},
        {"um", "a userfaultfd"},                  {"uw", "a userfaultfd"},
    };
    const char *text = proc_text(pid, "smaps", NULL);
    if (!text) return refuse("process %d ended meanwhile", pid);
    while ((text = strstr(text, "\nVmFlags: "))) {
        text += 10;
        const char *end = strchr(text, '\n');
        if (!end) break;
        // The kernel's own pages, which every process has.
        if (has_flag(text, end, "pf") || has_flag(text, end, "io")) continue;
        if (has_flag(text, end, "sh") && has_flag(text, end, "wr"))
            return refuse("%s has memory that it shares and writes to", name);
        if (has_flag(text, end, "dc")) return refuse("%s has memory that a fork has not", name);
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
            if (has_flag(text, end, refused[i][0])) return refuse("%s has %s", name, refused[i][1]);
    }
    return true;
}

static bool shares_namespaces(pid_t pid, pid_t init, const char *name) {
    static const char *const kinds[] = {"mnt", "net", "ipc", "uts", "user", "cgroup", "pid_for_children",
                                        "time_for_children"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];
        struct stat its, inits;
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kinds[i]);
        if (stat(path, &its)) return refuse("process %d ended meanwhile", pid);
        snprintf(path, sizeof path, "/proc/%d/ns/%s", init, kinds[i]);
        if (stat(path, &inits)) return refuse("process %d ended meanwhile", init);
        if (its.st_ino != inits.st_ino) return refuse("%s has a namespace of its own", name);
    }
    return true;
}

void name_process(char *name, size_t size, pid_t pid) {
    pid_t inner = proc_inner(pid);
    const char *command = proc_text(pid, "comm", NULL);
    if (!command) command = "";
    snprintf(name, size, "process %d (%.*s)", inner, (int)strcspn(command, "\n"), command);
}

bool can_be_copied(const struct task *task, pid_t init) {
    pid_t child, pid = task->pid;
    char name[64];
    name_process(name, sizeof name, pid);
    if (!has_quiet_state(pid, name) || !leads_a_session(pid, name)) return false;
    if (proc_children(pid, &child, 1)) return refuse("%s has children", name);
    size_t timers = 0;
    if (!proc_text(pid, "timers", &timers) || timers) return refuse("%s has a timer of its own", name);
    return shares_namespaces(pid, init, name) && has_plain_memory(pid, name);
}

bool init_can_be_copied(const struct task *task) {
    const char *status = proc_text(task->pid, "status", NULL);
    if (!status || atoi(field(status, "\nThreads:")) != 1) return refuse("PID 1 is gone");
    return true;
}
