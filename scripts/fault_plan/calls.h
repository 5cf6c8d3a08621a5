// Which system calls are steps, and how each of them may fail.
#pragma once

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/reg.h>
#include <sys/types.h>

// Where ptrace(2) finds them in `struct user` of x86-64.
enum { offset_of_call_number = ORIG_RAX * 8, offset_of_result = RAX * 8 };

struct call {
    int number;
    const char *name;
    // What it acts on: decides whether it is a step, and what the report shows.
    enum subject { on_nothing, on_path, on_path_at, on_descriptor, on_open, on_open_at, on_clone, on_ptrace, on_map }
        subject;
    // What it may fail with; 0 ends the list.
    int errors[4];
};

// The call that a task is entering when it is a step, else NULL; `detail` tells what it acts on.
const struct call *step_of(pid_t tid, const struct __ptrace_syscall_info *info, char *detail, size_t size);

// One of the errors of a call; those of a socket are its own.
int errno_of(const struct call *call, int variant);

// Whether what is opened to be read, and what is received, are steps too.
extern int counts_reading;

// Whether somebody traces the task.
int is_traced(pid_t tid);
