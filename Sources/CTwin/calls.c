#include "ccalls.h"

#include <sys/syscall.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_futex_wait
#define SYS_futex_wait 455
#endif

int32_t call_restart(uint64_t number) {
    switch (number) {
        case SYS_pause:
        case SYS_rt_sigsuspend:
        case SYS_select:
        case SYS_pselect6:
        case SYS_poll:
        case SYS_ppoll:
        case SYS_msgsnd:
        case SYS_msgrcv:
        case SYS_nanosleep:
        case SYS_clock_nanosleep:
        // These return EINTR of themselves.
        case SYS_epoll_wait:
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
        case SYS_rt_sigtimedwait:
        case SYS_semop:
        case SYS_semtimedop:
        case SYS_io_getevents:
        case SYS_io_pgetevents: return CALL_ERESTARTNOHAND;
        // Of pipes, terminals and sockets.
        case SYS_read:
        case SYS_write:
        case SYS_readv:
        case SYS_writev:
        case SYS_splice:
        case SYS_tee:
        case SYS_vmsplice:
        // Of a FIFO.
        case SYS_open:
        case SYS_openat:
        case SYS_wait4:
        case SYS_waitid:
        // Of locks.
        case SYS_fcntl:
        case SYS_flock:
        case SYS_futex:
        case SYS_futex_waitv:
        case SYS_futex_wait:
        case SYS_accept:
        case SYS_accept4:
        case SYS_sendto:
        case SYS_recvfrom:
        case SYS_sendmsg:
        case SYS_recvmsg:
        case SYS_recvmmsg:
        case SYS_sendmmsg:
        case SYS_mq_timedsend:
        case SYS_mq_timedreceive: return CALL_ERESTARTSYS;
        default: return 0;
    }
}
