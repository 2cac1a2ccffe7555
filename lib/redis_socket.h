/*
 * redis_socket.h - a socket on its way to a server. hiredis's own would be open in whatever another
 * thread executes between socket(2) and fcntl(2). Loop only.
 */
#ifndef EVB_REDIS_SOCKET_H
#define EVB_REDIS_SOCKET_H

struct evb_address { /* where a server is: numeric, or a Unix socket */
    char host[64];   /* "127.0.0.1", "::1"; "" for a Unix socket */
    int port;
    const char *path; /* borrowed; NULL for TCP */
};

/* A descriptor, close-on-exec and not blocking, that becomes writable when it is connected or has
 * failed (SO_ERROR tells); EVBUS_ESYS or EVBUS_EINVAL with a sentence that begins with `label`. */
int evb_socket_open(const char *label, const struct evb_address *address);

#endif
