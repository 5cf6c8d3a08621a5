#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// The output of a job lies in files of the sandbox itself, so it is saved, restored and forked with the rest
// of it, and is written on while no server is there. Each file covers a fixed range of the stream: a save
// copies the one that grows and no other, and what is missing shows by the files that are.

static struct job {
    uint64_t started, ended;
    uint64_t lost_from[2];
    char label[CKPT_INIT_LABEL + 1];
} jobs[CKPT_INIT_COMMANDS];

static struct job *job_of(const struct command *c) { return &jobs[c - commands]; }

static uint64_t wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void job_begin(struct command *c, const struct request *r) {
    struct job *j = job_of(c);
    c->job = true;
    *j = (struct job){.started = wall_clock(), .lost_from = {NONE, NONE}};
    size_t length = 0;
    for (char **word = r->launch.argv; *word && length < CKPT_INIT_LABEL; word++) {
        int put = snprintf(j->label + length, sizeof j->label - length, length ? " %s" : "%s", *word);
        length += put > 0 ? (size_t)put : 0;
    }
    // Stays as it is where it is there: nothing is copied up.
    mkdir(CKPT_INIT_JOBS, 0700);
}

enum { SEGMENT_PATH = sizeof CKPT_INIT_JOBS + CKPT_INIT_NAME + 32 };

static void segment_path(char path[SEGMENT_PATH], const struct command *c, int stream, uint64_t number) {
    snprintf(path, SEGMENT_PATH, CKPT_INIT_JOBS "/%s.%d.%llu", c->id, stream, (unsigned long long)number);
}

/// Who is root in the sandbox may have put anything in the file's place; that must neither block nor mislead us.
static bool write_segment(const char *path, size_t at, const char *bytes, size_t count) {
    int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (at ? 0 : O_TRUNC);
    int fd = open(path, flags, 0600);
    struct stat status;
    bool good = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    while (good && count) {
        ssize_t put = pwrite(fd, bytes, count, (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        good = put > 0;
        if (!good) break;
        bytes += put;
        at += (size_t)put;
        count -= (size_t)put;
    }
    close_fd(&fd);
    return good;
}

void job_store(struct command *c, int stream) {
    struct stream *s = &c->stream[stream];
    uint64_t *lost_from = &job_of(c)->lost_from[stream - STDOUT];
    while (s->acked < s->produced) {
        char path[SEGMENT_PATH];
        const char *bytes;
        uint64_t number = s->acked / CKPT_JOB_SEGMENT;
        size_t at = (size_t)(s->acked % CKPT_JOB_SEGMENT), count = ring_piece(s, s->acked, &bytes);
        if (count > CKPT_JOB_SEGMENT - at) count = CKPT_JOB_SEGMENT - at;
        segment_path(path, c, stream, number);
        // A full disk ends the storing and not the job.
        if (*lost_from == NONE && !write_segment(path, at, bytes, count)) *lost_from = s->acked;
        if (*lost_from == NONE && !at && number >= CKPT_JOB_HEAD + CKPT_JOB_TAIL) {
            segment_path(path, c, stream, number - CKPT_JOB_TAIL);
            unlink(path);
        }
        ring_acknowledge(s, s->acked + count);
    }
}

void job_ended(struct command *c) { job_of(c)->ended = wall_clock(); }

void job_kill(struct command *c) {
    kill(c->pid, SIGSTOP);  // what is stopped cannot fork away from the kill
    size_t seen = 0, now;
    while ((now = signal_descendants(c->pid, SIGSTOP, NULL, 0)) > seen) seen = now;
    signal_descendants(c->pid, SIGKILL, NULL, 0);
    kill(-c->pid, SIGKILL);
}

void job_remove_files(struct command *c) {
    for (int stream = STDOUT; stream <= STDERR; stream++) {
        if (!c->stream[stream].produced) continue;
        uint64_t last = c->stream[stream].produced / CKPT_JOB_SEGMENT;
        for (uint64_t number = 0; number <= last; number++) {
            char path[SEGMENT_PATH];
            if (number == CKPT_JOB_HEAD && last > CKPT_JOB_HEAD + CKPT_JOB_TAIL) number = last - CKPT_JOB_TAIL;
            segment_path(path, c, stream, number);
            unlink(path);
        }
    }
}

bool job_make_room(int limit) {
    struct command *oldest = NULL;
    int count = 0;
    for (int i = 0; i < commands_used; i++) {
        struct command *c = &commands[i];
        if (!c->job || c->state != REPORTED) continue;
        count++;
        if (!oldest || job_of(c)->ended < job_of(oldest)->ended) oldest = c;
    }
    if (!oldest || count < limit) return false;
    command_forget(oldest);
    return true;
}

void job_describe(const struct command *c, struct ckpt_job *job) {
    const struct job *j = job_of(c);
    job->started_ns = j->started;
    job->ended_ns = c->state == REPORTED ? j->ended : 0;
    memcpy(job->lost_from, j->lost_from, sizeof job->lost_from);
    memcpy(job->label, j->label, sizeof job->label);
}
