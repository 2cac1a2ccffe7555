/* test_redis_socket.c - where it connects, what it refuses, and that no other program gets it. */
#include "redis_socket.h"
#include "unit.h"
#include <arpa/inet.h>
#include <evbus.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_on(int family, struct evb_address *address)
{
    struct sockaddr_storage name = {.ss_family = (sa_family_t)family};
    socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (family == AF_INET6)
        ((struct sockaddr_in6 *)&name)->sin6_addr = in6addr_loopback;
    else
        ((struct sockaddr_in *)&name)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, length) != 0)
        return -1;
    ck_assert_int_eq(listen(fd, 5), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &length), 0);
    *address = (struct evb_address){.port = ntohs(family == AF_INET
                                                      ? ((struct sockaddr_in *)&name)->sin_port
                                                      : ((struct sockaddr_in6 *)&name)->sin6_port)};
    snprintf(address->host, sizeof address->host, "%s", family == AF_INET ? "127.0.0.1" : "::1");
    return fd;
}

/* Connected or failed: SO_ERROR. */
static int outcome(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    int error = -1;
    socklen_t length = sizeof error;
    ck_assert_int_eq(poll(&poller, 1, 5000), 1);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    return error;
}

static void expect_flags(int fd, bool tcp)
{
    int value = 0;
    socklen_t length = sizeof value;
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    if (!tcp)
        return;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    ck_assert_int_ne(value, 0);
}

START_TEST(tcp)
{
    struct evb_address address;
    int listener = listen_on(_i ? AF_INET6 : AF_INET, &address);
    if (listener < 0 && _i) {
        fprintf(stderr, "SKIPPED: this machine has no IPv6 loopback\n");
        return;
    }
    ck_assert_int_ge(listener, 0);
    int fd = evb_socket_open("x", &address);
    ck_assert_msg(fd >= 0, "%s", evbus_last_error());
    expect_flags(fd, true);
    ck_assert_int_eq(outcome(fd), 0);
    close(fd);
    close(listener);
    fd = evb_socket_open("x", &address); /* refused: at once, or soon */
    ck_assert(fd >= 0 || strstr(evbus_last_error(), "Connection refused"));
    if (fd >= 0) {
        ck_assert_int_eq(outcome(fd), ECONNREFUSED);
        close(fd);
    }
}
END_TEST

START_TEST(unix_socket)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/evbus-socket-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(name.sun_path, sizeof name.sun_path, "%s/s", folder);
    struct evb_address address = {.path = name.sun_path};
    ck_assert_int_eq(evb_socket_open("x connection", &address), EVBUS_ESYS);
    ck_assert_str_eq(evbus_last_error(), "x connection: No such file or directory");
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    int fd = evb_socket_open("x", &address);
    ck_assert_int_ge(fd, 0);
    expect_flags(fd, false);
    ck_assert_int_eq(outcome(fd), 0);
    close(fd);
    close(listener);
    remove(name.sun_path);
    rmdir(folder);
}
END_TEST

START_TEST(no_address)
{
    static const struct evb_address addresses[] = {{.host = "localhost", .port = 1},
                                                   {.host = "", .port = 1},
                                                   {.host = "1.2.3.4.5", .port = 1}};
    char path[200];
    struct evb_address longer = {.path = path};
    for (size_t i = 0; i < EVB_COUNT(addresses); i++) {
        ck_assert_int_eq(evb_socket_open("x", &addresses[i]), EVBUS_EINVAL);
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "is no address"));
    }
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(evb_socket_open("x", &longer), EVBUS_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_socket");
    TCase *tests = unit_case(suite, "redis_socket");
    tcase_add_loop_test(tests, tcp, 0, 2);
    tcase_add_test(tests, unix_socket);
    tcase_add_test(tests, no_address);
    return unit_run(suite);
}
