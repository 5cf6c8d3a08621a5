#include "looker.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>

#include "task.h"

static bool (*job)(void);
static bool found;
static char its_why[sizeof why];
static bool its_is_passing;
static sem_t wanted, done;
/// Whether there is a thread for it; else the caller looks itself.
static bool is_there;

static bool look(void) {
    why[0] = 0;
    is_passing = false;
    return job();
}

static void *serve(void *nothing) {
    (void)nothing;
    // It was born on the holder's processor.
    tasks_roam();
    // As what the holder does itself (tasks_gather). It sleeps unless it is asked.
    const struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
    for (;;) {
        while (sem_wait(&wanted)) {}
        found = look();
        memcpy(its_why, why, sizeof why);
        its_is_passing = is_passing;
        sem_post(&done);
    }
    return NULL;
}

static bool start(void) {
    pthread_t thread;
    sigset_t all, before;
    if (sem_init(&wanted, 0, 0) || sem_init(&done, 0, 0)) return false;
    // What interrupts a wait is for the holder.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = pthread_create(&thread, NULL, serve, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

void looker_begin(bool (*look)(void)) {
    static bool was_tried;
    if (!was_tried) is_there = start();
    was_tried = true;
    job = look;
    if (is_there) sem_post(&wanted);
}

bool looker_end(void) {
    if (!is_there) return look();
    while (sem_wait(&done)) {}
    if (found) return true;
    memcpy(why, its_why, sizeof why);
    is_passing = its_is_passing;
    return false;
}
