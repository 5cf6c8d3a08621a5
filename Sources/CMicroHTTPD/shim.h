#include <microhttpd.h>

// Swift cannot call functions with variable arguments; these fix the ones the server passes.

typedef void *(*ckpt_uri_callback)(void *context, const char *uri, struct MHD_Connection *connection);

struct ckpt_http_callbacks {
    void *context;
    ckpt_uri_callback begin;
    MHD_AccessHandlerCallback handle;
    MHD_RequestCompletedCallback end;
    MHD_NotifyConnectionCallback connection;
};

// One thread a connection on a socket that listens already; timeouts are in seconds, sizes in bytes.
static inline struct MHD_Daemon *ckpt_http_start(int socket, unsigned int connections, unsigned int timeout,
                                                 const struct ckpt_http_callbacks *callbacks) {
    return MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC |
            MHD_ALLOW_UPGRADE,
        0, NULL, NULL, callbacks->handle, callbacks->context, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)socket,
        MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT, timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(128 << 10), MHD_OPTION_URI_LOG_CALLBACK,
        callbacks->begin, callbacks->context, MHD_OPTION_NOTIFY_COMPLETED, callbacks->end, callbacks->context,
        MHD_OPTION_NOTIFY_CONNECTION, callbacks->connection, callbacks->context, MHD_OPTION_END);
}

// 0 stands for no timeout. Going from 0 to a value restarts the clock.
static inline void ckpt_http_set_timeout(struct MHD_Connection *connection, unsigned int seconds) {
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static inline int ckpt_http_socket(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static inline void ckpt_http_close_upgraded(struct MHD_UpgradeResponseHandle *handle) {
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}
