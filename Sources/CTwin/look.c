#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task.h"

const char *proc_text(pid_t pid, const char *name, size_t *length) {
    static _Thread_local char *text;
    static _Thread_local size_t room;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    size_t count = 0;
    // Those of one record come whole; of the others a piece may be short before a long record.
    bool is_short = strcmp(name, "maps") && strcmp(name, "smaps");
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
        if (is_short && got < 2048) break;
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

static pid_t inner_in(const char *status) {
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

pid_t proc_inner(pid_t pid) {
    const char *status = proc_text(pid, "status", NULL);
    return status ? inner_in(status) : 0;
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

bool refuse_of(pid_t pid, const char *format, ...) {
    char what[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    pid_t inner = proc_inner(pid);
    const char *command = proc_text(pid, "comm", NULL);
    if (inner == 0 || !command) return refuse("process %d ended meanwhile", pid);
    return refuse("process %d (%.*s) %s", inner, (int)strcspn(command, "\n"), command, what);
}

/// Zero in hexadecimal digits.
static bool is_zero(const char *mask) {
    while (*mask == '\t' || *mask == '0') mask++;
    return *mask == '\n';
}

static bool is_quiet_in(const char *status, pid_t pid, pid_t *inner) {
    if (!status) return refuse("process %d ended meanwhile", pid);
    *inner = inner_in(status);
    if (atoi(field(status, "\nThreads:")) != 1) return refuse_of(pid, "has several threads");
    if (!is_zero(field(status, "\nSigPnd:")) || !is_zero(field(status, "\nShdPnd:")))
        return for_now(refuse_of(pid, "has a signal to come"));
    if (strtoull(field(status, "\nSigIgn:"), NULL, 16) >> (SIGTRAP - 1) & 1)
        return refuse_of(pid, "ignores SIGTRAP, which a step would undo");
    return true;
}

bool is_quiet(pid_t pid, pid_t *inner) { return is_quiet_in(proc_text(pid, "status", NULL), pid, inner); }

static bool has_memory_for_a_fork(const char *status, pid_t pid) {
    if (atoi(field(status, "\nHugetlbPages:")) != 0) return refuse_of(pid, "has huge pages of its own");
    if (atoi(field(status, "\nVmLck:")) != 0)
        return refuse_of(pid, "has locked memory, which a fork has not");
    return true;
}

/// A session leader without a terminal: its copy can be one again under its old pid.
static bool leads_a_session(pid_t pid) {
    const char *stat = proc_text(pid, "stat", NULL);
    const char *at = stat ? strrchr(stat, ')') : NULL;
    int group, session, terminal;
    if (!at || sscanf(at, ") %*c %*d %d %d %d", &group, &session, &terminal) != 3)
        return refuse("process %d ended meanwhile", pid);
    if (terminal) return refuse_of(pid, "has a terminal");
    if (session != pid || group != pid) return refuse_of(pid, "is not the leader of its session");
    return true;
}

// <linux/fs.h> of Linux 6.11; older headers have none of it.
struct map_query {
    uint64_t size, flags, address, start, end, rights, page_size, offset, inode;
    uint32_t major_number, minor_number, name_size, build_id_size;
    uint64_t name, build_id;
};
enum { WRITABLE = 2, SHARED = 8, OR_NEXT = 16 };

/// Whether a process has a mapping that is shared and writable: 1 or 0, or -1 where the kernel does not
/// answer.
static int asks_for_shared(pid_t pid) {
    char path[32];
    struct map_query query = {.size = sizeof query, .flags = WRITABLE | SHARED | OR_NEXT};
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    int maps = open(path, O_RDONLY | O_CLOEXEC);
    if (maps < 0) return -1;
    int found = ioctl(maps, _IOWR('f', 17, struct map_query), &query) == 0 ? 1 : errno == ENOENT ? 0 : -1;
    close(maps);
    return found;
}

/// The same on an older kernel.
static int reads_for_shared(pid_t pid) {
    const char *line = proc_text(pid, "maps", NULL);
    if (!line) return -1;
    while (*line) {
        const char *rights = strchr(line, ' ');
        if (!rights) break;
        if (rights[2] == 'w' && rights[4] == 's') return 1;
        line = strchr(rights, '\n');
        if (!line) break;
        line++;
    }
    return 0;
}

static bool shares_no_memory(pid_t pid) {
    int found = asks_for_shared(pid);
    if (found < 0) found = reads_for_shared(pid);
    if (found < 0) return refuse("process %d ended meanwhile", pid);
    return found == 0 || refuse_of(pid, "has memory that it shares and writes to");
}

/// In PID 1's user namespace nobody can enter or make another namespace: a sandbox with CAP_SYS_ADMIN has no
/// twins.
static bool shares_namespaces(pid_t pid, pid_t init) {
    char path[32], its[40] = "", inits[40] = "";
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    if (readlink(path, its, sizeof its - 1) < 0) return refuse("process %d ended meanwhile", pid);
    snprintf(path, sizeof path, "/proc/%d/ns/user", init);
    if (readlink(path, inits, sizeof inits - 1) < 0) return refuse("process %d ended meanwhile", init);
    return !strcmp(its, inits) || refuse_of(pid, "has a namespace of its own");
}

bool can_make_calls(const struct task *task, pid_t *inner) {
    if (task_is_in_sequence(task)) return for_now(refuse_of(task->pid, "is in a restartable sequence"));
    const char *status = proc_text(task->pid, "status", NULL);
    return is_quiet_in(status, task->pid, inner) && has_memory_for_a_fork(status, task->pid);
}

bool can_be_copied(pid_t pid, pid_t init) {
    pid_t child;
    if (!leads_a_session(pid)) return false;
    if (proc_children(pid, &child, 1)) return refuse_of(pid, "has children");
    size_t timers = 0;
    if (!proc_text(pid, "timers", &timers) || timers) return refuse_of(pid, "has a timer of its own");
    return shares_namespaces(pid, init) && shares_no_memory(pid);
}

bool init_can_be_copied(const struct task *task) {
    enum { DIRECTORIES = 2 };  // "." and "..", of which a directory of one thread has one more
    char path[32];
    struct stat threads;
    snprintf(path, sizeof path, "/proc/%d/task", task->pid);
    return (stat(path, &threads) == 0 && threads.st_nlink == DIRECTORIES + 1) || refuse("PID 1 is gone");
}
