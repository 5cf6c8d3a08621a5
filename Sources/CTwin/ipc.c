#include <sched.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sets.h"

// System V's shared memory, semaphores and message queues belong to no process: no fork has them. A sandbox
// that has any gets no twin, and what came since goes when it is rolled back.

struct kind {
    int (*control)(int id, int command, void *to);
    int info, stat;       // the commands of the call
    size_t count_offset;  // where the answer to `info` has how many there are, an int
};

static int memory(int id, int command, void *to) { return shmctl(id, command, to); }
static int semaphores(int id, int command, void *to) { return semctl(id, 0, command, to); }
static int queues(int id, int command, void *to) { return msgctl(id, command, to); }

static const struct kind kinds[] = {
    {memory, SHM_INFO, SHM_STAT, offsetof(struct shm_info, used_ids)},
    {semaphores, SEM_INFO, SEM_STAT, offsetof(struct seminfo, semusz)},
    {queues, MSG_INFO, MSG_STAT, offsetof(struct msginfo, msgpool)},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/// How many objects of a kind there are; the highest index goes to `highest`.
static int count(const struct kind *kind, char *to, int *highest) {
    *highest = kind->control(0, kind->info, to);
    return *highest < 0 ? -1 : *(int *)(to + kind->count_offset);
}

static bool look(const struct kind *kind, bool removes) {
    char to[SCRATCH] __attribute__((aligned(16)));
    int highest, found = count(kind, to, &highest);
    if (found == 0) return true;
    if (found < 0) return refuse("its System V objects cannot be counted");
    if (!removes) return refuse("it has System V objects, which belong to no process");
    for (int index = 0; index <= highest; index++) {
        int id = kind->control(index, kind->stat, to);
        if (id >= 0) kind->control(id, IPC_RMID, NULL);
    }
    return count(kind, to, &highest) == 0 || refuse("its System V objects cannot be removed");
}

/// The holder is one sandbox's, so it can stay in the sandbox's IPC namespace.
static bool enter(pid_t init) {
    static pid_t entered;
    if (entered == init) return true;
    int process = (int)syscall(SYS_pidfd_open, init, 0);
    bool good = process >= 0 && setns(process, CLONE_NEWIPC) == 0;
    if (process >= 0) close(process);
    if (good) entered = init;
    return good || refuse("its IPC namespace cannot be entered");
}

bool ipc_look(pid_t init, bool removes) {
    if (!enter(init)) return false;
    for (int i = 0; i < KINDS; i++)
        if (!look(&kinds[i], removes)) return false;
    return true;
}
