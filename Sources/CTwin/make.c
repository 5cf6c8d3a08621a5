#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "look.h"
#include "looker.h"
#include "pages.h"
#include "sets.h"

struct set *sets;
struct task init_task, live[MOST];
size_t live_count;

bool is_twin(pid_t pid) {
    for (struct set *set = sets; set; set = set->next) {
        if (set->init.kept.pid == pid) return true;
        for (size_t i = 0; i < set->count; i++)
            if (set->list[i].kept.pid == pid) return true;
    }
    return false;
}

size_t live_children(pid_t init, pid_t *children, size_t limit) {
    static pid_t all[65536];
    size_t count = proc_children(init, all, sizeof all / sizeof *all), kept = 0;
    for (size_t i = 0; i < count && i < sizeof all / sizeof *all; i++) {
        if (is_twin(all[i])) continue;
        if (kept < limit) children[kept] = all[i];
        kept++;
    }
    return kept;
}

static void end_copy(struct twin *twin) {
    if (twin->kept.held) {
        kill(twin->kept.pid, SIGKILL);
        while (waitpid(twin->kept.pid, NULL, __WALL) < 0 && errno == EINTR) {}
    }
    twin->kept.held = false;
    files_free(&twin->files);
}

static void set_free(struct set *set) {
    end_copy(&set->init);
    pages_free(&set->withheld);
    for (size_t i = 0; i < set->count; i++) end_copy(&set->list[i]);
    free(set->list);
    free(set);
}

void set_drop(struct set *set) {
    for (struct set **at = &sets; *at; at = &(*at)->next)
        if (*at == set) {
            *at = set->next;
            break;
        }
    set_free(set);
}

struct set *set_find(uint64_t number) {
    for (struct set *set = sets; set; set = set->next)
        if (set->number == number) return set;
    return NULL;
}

void live_release(void) {
    for (size_t i = 0; i < live_count; i++) task_release(&live[i]);
    live_count = 0;
    task_release(&init_task);
}

/// Stops PID 1 and then its children: then nobody is left who could make another.
static bool hold_all(pid_t init) {
    pid_t children[MOST];
    if (!task_hold(&init_task, init)) return false;
    size_t count = live_children(init, children, MOST);
    if (count > MOST) return refuse("it has more than %d processes", MOST);
    for (live_count = 0; live_count < count; live_count++)
        if (!task_hold(&live[live_count], children[live_count])) return false;
    if (live_children(init, children, MOST) != count) return for_now(refuse("a process was starting"));
    return true;
}

/// What a fork does not inherit and can be given again; as it lies in the process's memory for the while.
struct rest {
    struct itimerval timers[3];
    unsigned long clear_at;
    int death_signal, is_subreaper;
};

static bool ask_all(struct task *task, unsigned long place) {
    const unsigned long timers = place + offsetof(struct rest, timers);
    for (unsigned long which = ITIMER_REAL; which <= ITIMER_PROF; which++)
        if (task_call(task, SYS_getitimer, which, timers + which * sizeof(struct itimerval), 0,
                      0)) return false;
    const unsigned long asked[][2] = {{PR_GET_PDEATHSIG, offsetof(struct rest, death_signal)},
                                      {PR_GET_CHILD_SUBREAPER, offsetof(struct rest, is_subreaper)},
                                      {PR_GET_TID_ADDRESS, offsetof(struct rest, clear_at)}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        if (task_call(task, SYS_prctl, asked[i][0], place + asked[i][1], 0, 0)) return false;
    return true;
}

static bool ask_for_the_rest(struct twin *twin, struct task *task) {
    struct rest rest = {0}, own;
    unsigned long place = task_scratch(task);
    if (!memory_read(task->pid, place, &own, sizeof own) || !memory_write(task->pid, place, &rest,
                                                                          sizeof rest))
        return false;
    bool good = ask_all(task, place) && memory_read(task->pid, place, &rest, sizeof rest);
    if (!memory_write(task->pid, place, &own, sizeof own)) return false;
    if (!good) return refuse("process %d: its attributes cannot be read", task->pid);
    if (rest.is_subreaper) return refuse("process %d takes up orphans", task->pid);
    memcpy(twin->timers, rest.timers, sizeof rest.timers);
    twin->clear_at = rest.clear_at;
    twin->death_signal = rest.death_signal;
    void *list = NULL;
    if (syscall(SYS_get_robust_list, task->pid, &list, &twin->robust_size))
        return refuse("process %d: its robust futexes cannot be read", task->pid);
    twin->robust_list = (unsigned long)list;
    return true;
}

/// Forks a process that is held; the copy never runs an instruction of its own but what it is made to.
static bool copy(struct twin *twin, struct task *task, unsigned long flags) {
    pid_t born;
    if (!task_leave(task)) return false;
    long pid = task_fork(task, flags, 0, &born);
    if (pid < 0) return refuse("process %d cannot be forked: %s", task->pid, strerror((int)-pid));
    if (!task_adopt(&twin->kept, born, task)) return false;
    twin->kept_inner = (pid_t)pid;
    return task_die_with_us(&twin->kept);
}

/// In the original's session a twin would keep the original's pid from being used again.
static bool leave_session(struct twin *twin) {
    long session = task_call(&twin->kept, SYS_setsid, 0, 0, 0, 0);
    return session >= 0 || refuse("a twin cannot leave the session");
}

static bool copy_child(struct twin *twin, struct task *task) {
    // As its sibling it is PID 1's child, and sends no signal to the original.
    return can_make_calls(task, &twin->inner) && ask_for_the_rest(twin, task) &&
           copy(twin, task, CLONE_PARENT | SIGCHLD) && copy_has_all(task->pid, twin->kept.pid);
}

/// The set that is being made.
static struct set *made;

/// What can be seen while the processes are made to call and to fork.
static bool look_at_all(void) {
    if (!init_can_be_copied(&init_task) || !files_note(&made->init.files, init_task.pid, true)) return false;
    for (size_t i = 0; i < live_count; i++)
        if (!can_be_copied(live[i].pid, init_task.pid) || !files_note(&made->list[i].files, live[i].pid, false))
            return false;
    return true;
}

/// Memory that PID 1 does not give whom it makes (MADV_DONTFORK): what its commands have printed. It is mapped once and
/// for all.
enum { MOST_RANGES = 8 };
static struct {
    unsigned long start, end;
} withheld[MOST_RANGES];
static size_t withheld_count;

static bool has_flag(const char *flags, const char *end, const char *flag) {
    const char *found = strstr(flags, flag);
    return found && (!end || found < end);
}

static bool find_withheld(pid_t init) {
    static bool is_known;
    if (is_known) return true;
    const char *text = proc_text(init, "smaps", NULL);
    if (!text) return refuse("PID 1 is gone");
    unsigned long start = 0, end = 0;
    for (; text; text = strchr(text, '\n')) {
        if (*text == '\n') text++;
        unsigned long its_start, its_end;
        if (sscanf(text, "%lx-%lx ", &its_start, &its_end) == 2) {
            start = its_start;
            end = its_end;
        }
        if (strncmp(text, "VmFlags: ", 9)) continue;
        const char *line_end = strchr(text, '\n');
        // The kernel's own are left out too.
        if (!has_flag(text, line_end, " dc") || has_flag(text, line_end, " io") || has_flag(text, line_end, " pf"))
            continue;
        if (withheld_count == MOST_RANGES) return refuse("PID 1 has too much memory that a fork leaves out");
        withheld[withheld_count].start = start;
        withheld[withheld_count++].end = end;
    }
    return is_known = true;
}

/// Reads what of it there is: the copy gets it in its own mapping, when the originals run on.
static bool keep_withheld(struct set *set) {
    if (!find_withheld(init_task.pid)) return false;
    for (size_t i = 0; i < withheld_count; i++)
        if (!pages_keep(&set->withheld, init_task.pid, withheld[i].start, withheld[i].end)) return false;
    return true;
}

static bool give_withheld(struct set *set) {
    enum { RIGHTS = PROT_READ | PROT_WRITE, FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE };
    struct task *kept = &set->init.kept;
    for (size_t i = 0; i < withheld_count; i++) {
        const unsigned long start = withheld[i].start, size = withheld[i].end - start;
        if (task_call(kept, SYS_mmap, start, size, RIGHTS, FLAGS) != (long)start)
            return refuse("PID 1's copy: mmap failed");
        if (task_call(kept, SYS_madvise, start, size, MADV_DONTFORK, 0)) return refuse("PID 1's copy: madvise failed");
    }
    bool good = pages_give(&set->withheld, kept->pid);
    pages_free(&set->withheld);
    return good;
}

static bool copy_processes(struct set *set) {
    for (size_t i = 0; i < live_count; i++)
        if (!copy_child(&set->list[i], &live[i])) return false;
    // Who is a namespace's PID 1 has no siblings (fork(2), CLONE_PARENT).
    return keep_withheld(set) && copy(&set->init, &init_task, SIGCHLD);
}

static bool copy_all(struct set *set) {
    made = set;
    set->count = live_count;
    looker_begin(look_at_all);
    bool good = ipc_look(init_task.pid, false) && copy_processes(set);
    return looker_end() && good;
}

void set_settle(struct set *set) {
    bool good = files_leave_line(&set->init.files, &set->init.kept) && give_withheld(set);
    task_send(&set->init.kept);
    for (size_t i = 0; i < set->count; i++) {
        good = good && leave_session(&set->list[i]);
        task_send(&set->list[i].kept);
    }
    // Who asks for it is told that it is gone.
    if (!good) set_drop(set);
}

bool live_hold(pid_t init) {
    if (hold_all(init)) return true;
    live_release();
    return false;
}

bool set_copy(uint64_t number) {
    struct set *set = calloc(1, sizeof *set);
    if (set) set->list = calloc(MOST, sizeof *set->list);
    if (!set || !set->list) {
        free(set);
        live_release();
        return refuse("out of memory");
    }
    set->number = number;
    if (copy_all(set)) {
        set->next = sets;
        sets = set;
        return true;
    }
    live_release();
    set_free(set);
    return false;
}
