/* redis_socket.c - connect(2) without waiting. Loop only. */
#include "redis_socket.h"
#include "err.h"
#include <arpa/inet.h>
#include <errno.h>
#include <evbus.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union name {
    struct sockaddr any;
    struct sockaddr_un path;
    struct sockaddr_storage room;
};

static socklen_t name_path(const char *path, union name *name)
{
    size_t length = strlen(path);
    if (length >= sizeof name->path.sun_path)
        return 0;
    name->path.sun_family = AF_UNIX;
    memcpy(name->path.sun_path, path, length + 1);
    return sizeof name->path;
}

/* getaddrinfo(3) for its scopes: "fe80::1%eth0". It asks nobody. */
static socklen_t name_host(const struct evb_address *address, union name *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found;
    char port[16];
    snprintf(port, sizeof port, "%d", address->port);
    if (getaddrinfo(address->host, port, &hints, &found) != 0)
        return 0;
    socklen_t length = found->ai_addrlen <= sizeof *name ? found->ai_addrlen : 0;
    memcpy(name, found->ai_addr, length);
    freeaddrinfo(found);
    return length;
}

int evb_socket_open(const char *label, const struct evb_address *address)
{
    union name name = {0};
    int one = 1;
    socklen_t length = address->path ? name_path(address->path, &name) : name_host(address, &name);
    if (length == 0)
        return evb_fail(EVBUS_EINVAL, "%s: %s is no address", label,
                        address->path ? address->path : address->host);
    int fd = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return evb_fail(EVBUS_ESYS, "%s: socket: %s", label, strerrordesc_np(errno));
    if (!address->path)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &name.any, length) == 0 || errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    return evb_fail(EVBUS_ESYS, "%s: %s", label, strerrordesc_np(error));
}
