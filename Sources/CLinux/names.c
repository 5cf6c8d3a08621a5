#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

int clinux_enter_names(pid_t pid, struct clinux_names *names) {
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0) return errno;
    int code = setns(process, CLONE_NEWUTS | CLONE_NEWIPC) ? errno : 0;
    close(process);
    if (code) return code;
    struct utsname host;
    struct shm_info segments;
    struct seminfo sets;
    struct msginfo queues;
    union {
        struct seminfo *buffer;
    } argument = {&sets};
    if (uname(&host) || shmctl(0, SHM_INFO, (struct shmid_ds *)&segments) < 0 ||
        semctl(0, 0, SEM_INFO, argument) < 0 || msgctl(0, MSG_INFO, (struct msqid_ds *)&queues) < 0) {
        return errno;
    }
    memcpy(names->hostname, host.nodename, sizeof names->hostname);
    memcpy(names->domainname, host.domainname, sizeof names->domainname);
    // What *_INFO counts: segments, sets and queues that are in use (shmctl(2), semctl(2), msgctl(2)).
    names->objects = (long)segments.used_ids + sets.semusz + queues.msgpool;
    return 0;
}

int clinux_unshare_ipc(void) { return unshare(CLONE_NEWIPC) ? errno : 0; }
