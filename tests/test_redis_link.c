/* test_redis_link.c - one connection against a server in the same loop: comes up, fails, is closed.
 */
#include "alloc.h"
#include "clock.h"
#include "harness/failing.h"
#include "harness/scripted.h"
#include "list.h"
#include "redis_link.h"
#include <arpa/inet.h>
#include "harness/check.h"
#include <event2/event.h>
#include <evbus.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME = 100000 };

/* What a hook does with its link. */
enum act { NOTHING, CLOSE, REOPEN, FAIL };

static struct event_base *base;
static struct scripted *server;
static struct evb_loop loop;
static struct evb_metrics metrics;
static struct evb_link conn;
static struct evb_address address;
static int ups, downs, replies;
static int last_error;
static char last_why[300], last_text[64];
static enum act on_up_do, on_reply_do, on_down_do;

static void act(enum act *what)
{
    enum act now = *what;
    *what = NOTHING; /* once */
    if (now == CLOSE)
        evb_link_close(&conn);
    if (now == REOPEN)
        ck_assert_int_eq(evb_link_open(&conn, &address, NULL), 0);
    if (now == FAIL)
        evb_link_fail(&conn, EVBUS_EAWAY, "told so");
}

static void on_up(struct evb_link *of, void *user)
{
    ck_assert_ptr_eq(of, &conn);
    ck_assert_ptr_eq(user, &base);
    ups++;
    act(&on_up_do);
}

static void on_reply(struct evb_link *of, const struct evb_reply *reply, void *user)
{
    (void)user;
    ck_assert_ptr_eq(of, &conn);
    replies++;
    snprintf(last_text, sizeof last_text, "%s", reply->text);
    act(&on_reply_do);
}

static void on_down(struct evb_link *of, int error, const char *why, void *user)
{
    (void)user;
    ck_assert_ptr_eq(of, &conn);
    ck_assert_uint_eq(evb_link_backlog(&conn), 0);
    downs++;
    last_error = error;
    snprintf(last_why, sizeof last_why, "%s", why);
    act(&on_down_do);
}

static const struct evb_link_hooks hooks = {on_up, on_reply, on_down};

static void setup(void)
{
    failing_install();
    base = event_base_new();
    server = scripted_start(base);
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    evb_metrics_init(&metrics);
    evb_link_init(&conn, &loop, &metrics, "publisher", FRAME, &hooks, &base);
    address = (struct evb_address){.path = scripted_path(server)};
}

static void teardown(void)
{
    evb_link_close(&conn);
    scripted_free(server);
    evb_loop_fini(&loop);
    event_base_free(base);
    ck_assert_int_eq(failing_live(), 0);
}

static bool is_one(void *count)
{
    return *(int *)count >= 1;
}

static void wait_one(int *count)
{
    ck_assert(run_until(base, is_one, count, 10000));
}

static bool is_met(void *arg)
{
    (void)arg;
    return ups && scripted_connections(server, SCRIPTED_PUBLISHER) == 1;
}

static void come_up(void)
{
    ups = 0;
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), 0);
    ck_assert(run_until(base, is_met, NULL, 10000));
    ck_assert_int_eq(conn.stage, EVB_LINK_UP);
}

static void say(const char *bytes)
{
    scripted_send(server, SCRIPTED_PUBLISHER, bytes, strlen(bytes));
}

START_TEST(answers)
{
    const char *ping[] = {"PING", NULL}, *echo[] = {"SET", "a b", "", "c\r\nd", NULL};
    come_up();
    int64_t before_us = conn.last_read_us;
    evb_link_command(&conn, ping);
    ck_assert_uint_eq(evb_link_backlog(&conn), strlen("*1\r\n$4\r\nPING\r\n"));
    evb_link_flush(&conn);
    ck_assert_uint_eq(evb_link_backlog(&conn), 0);
    wait_one(&replies);
    ck_assert_str_eq(last_text, "PONG");
    ck_assert_int_ge(conn.last_read_us, before_us);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_bytes_in), 7);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_bytes_out), 14);
    replies = 0;
    evb_link_command(&conn, echo);
    evb_link_flush(&conn);
    wait_one(&replies);
    ck_assert_str_eq(scripted_last(server, "SET"), "SET a b  c\r\nd");
    ck_assert_int_eq(downs, 0);
}
END_TEST

START_TEST(half_frames)
{
    static const char frame[] = "*2\r\n$3\r\nabc\r\n:1\r\n+LATER\r\n";
    come_up();
    for (size_t i = 0; i + 1 < sizeof frame; i++) {
        scripted_send(server, SCRIPTED_PUBLISHER, frame + i, 1);
        run_for(base, 1);
        ck_assert_int_eq(replies, (i + 2 == sizeof frame) + (i >= 16));
    }
    ck_assert_str_eq(last_text, "LATER");
    say("*2\r\n$3\r\nab");
    run_for(base, 1);
    scripted_close(server, SCRIPTED_PUBLISHER);
    wait_one(&downs);
    ck_assert_int_eq(replies, 2);
    ck_assert_str_eq(last_why, "publisher connection: closed by the server");
}
END_TEST

/* ---- no connection ---- */

static int closed_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    close(fd);
    return ntohs(at.sin_port);
}

START_TEST(refused)
{
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    scripted_listen(server, false);
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), EVBUS_ESYS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "publisher connection: "));
    address.path = path;
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), EVBUS_EINVAL);
    address = (struct evb_address){.host = "127.0.0.1", .port = closed_port()};
    int rc = evb_link_open(&conn, &address, NULL);
    if (rc == 0)
        wait_one(&downs);
    ck_assert_int_eq(rc == 0 ? last_error : rc, EVBUS_ESYS);
    ck_assert_msg(strstr(rc == 0 ? last_why : evbus_last_error(), "refused") != NULL, "%s",
                  last_why);
    ck_assert_ptr_null(conn.context);
    address = (struct evb_address){.host = "no number", .port = 1};
    ck_assert_int_ne(evb_link_open(&conn, &address, NULL), 0);
    ck_assert_int_eq(ups, 0);
}
END_TEST

START_TEST(tcp)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 4), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    address = (struct evb_address){.host = "127.0.0.1", .port = ntohs(at.sin_port)};
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), 0);
    wait_one(&ups);
    int peer = accept(fd, NULL, NULL);
    ck_assert_int_eq((int)send(peer, "+HI\r\n", 5, 0), 5);
    wait_one(&replies);
    ck_assert_str_eq(last_text, "HI");
    struct linger reset = {.l_onoff = 1}; /* RST, not FIN */
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(peer);
    wait_one(&downs);
    ck_assert_int_eq(last_error, EVBUS_ESYS);
    close(fd);
}
END_TEST

/* ---- what a peer may do ---- */

static const struct {
    const char *bytes;
    int error;
    const char *why;
} broken[] = {
    {"HTTP/1.1 400 Bad Request\r\n\r\n", EVBUS_EPARSE, "protocol error"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", EVBUS_EPARSE, "protocol error: arrays are nested too deep"},
    {"*4294967295\r\n", EVBUS_EPARSE, "protocol error"},
    {"%1\r\n", EVBUS_EPARSE, "RESP3"},
    {"+OK\r\n>1\r\n+x\r\n", EVBUS_EPARSE, "RESP3"},
};

START_TEST(breaks_the_protocol)
{
    come_up();
    say(broken[_i].bytes);
    wait_one(&downs);
    ck_assert_int_eq(last_error, broken[_i].error);
    ck_assert_msg(strstr(last_why, broken[_i].why) != NULL, "%s", last_why);
    ck_assert_ptr_null(conn.context);
    run_for(base, 5);
    ck_assert_int_eq(downs, 1);
    come_up(); /* and is good again */
}
END_TEST

START_TEST(too_large)
{
    static char bytes[FRAME * 2];
    come_up();
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "$900000000\r\n", 12);
    scripted_send(server, SCRIPTED_PUBLISHER, bytes, sizeof bytes);
    wait_one(&downs);
    ck_assert_int_eq(last_error, EVBUS_EPARSE);
    ck_assert_ptr_nonnull(strstr(last_why, "larger than this bus takes"));
    ck_assert_int_eq(replies, 0);
    come_up(); /* many frames, more than the limit together */
    for (int i = 0; i < 5; i++) {
        snprintf(bytes, sizeof bytes, "$50000\r\n%050000d\r\n", i);
        say(bytes);
    }
    replies = -4;
    wait_one(&replies);
    ck_assert_int_eq(downs, 1);
}
END_TEST

START_TEST(peer_closes)
{
    static const char *const words[] = {"PING", NULL};
    static char bytes[1 << 20];
    come_up();
    signal(SIGPIPE, SIG_DFL);
    scripted_close(server, SCRIPTED_PUBLISHER);
    /* writing to it is no SIGPIPE */
    evb_link_send(&conn, bytes, sizeof bytes);
    evb_link_command(&conn, words);
    evb_link_flush(&conn);
    if (!downs)
        wait_one(&downs);
    ck_assert_int_eq(last_error, EVBUS_ESYS);
    ck_assert_int_eq(downs, 1);
    /* on a closed link nothing happens */
    evb_link_command(&conn, words);
    evb_link_flush(&conn);
    evb_link_read(&conn);
    evb_link_close(&conn);
    ck_assert_uint_eq(evb_link_backlog(&conn), 0);
    ck_assert_int_eq(downs, 1);
}
END_TEST

START_TEST(backlog)
{
    static char bytes[4 << 20];
    come_up();
    scripted_deafen(server, SCRIPTED_PUBLISHER, true);
    int n = snprintf(bytes, sizeof bytes, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$%d\r\n", 3 << 20);
    memset(bytes + n, 'x', 3 << 20);
    memcpy(bytes + n + (3 << 20), "\r\n", 2);
    evb_link_send(&conn, bytes, (size_t)n + (3 << 20) + 2);
    evb_link_flush(&conn);
    run_for(base, 20);
    ck_assert_uint_gt(evb_link_backlog(&conn), EVB_LINK_FULL);
    ck_assert_int_eq(replies, 0);
    scripted_deafen(server, SCRIPTED_PUBLISHER, false);
    wait_one(&replies);
    ck_assert_uint_eq(evb_link_backlog(&conn), 0);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_bytes_out), n + (3 << 20) + 2);
}
END_TEST

/* ---- hooks that end their link ---- */

START_TEST(in_up)
{
    on_up_do = (enum act)_i;
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), 0);
    wait_one(&ups);
    run_for(base, 5);
    ck_assert_int_eq(ups, _i == REOPEN ? 2 : 1);
    ck_assert_int_eq(downs, _i == FAIL);
    ck_assert_int_eq(conn.stage == EVB_LINK_UP, _i == REOPEN);
}
END_TEST

START_TEST(in_reply)
{
    come_up();
    on_reply_do = (enum act)_i;
    say("+A\r\n+B\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n");
    wait_one(&replies);
    run_for(base, 5);
    ck_assert_int_eq(replies, 1); /* what else was in the buffer is gone with the connection */
    ck_assert_int_eq(downs, _i == FAIL);
    ck_assert_int_eq(conn.stage == EVB_LINK_UP, _i == REOPEN);
    if (_i == FAIL)
        ck_assert_str_eq(last_why, "publisher connection: told so");
}
END_TEST

START_TEST(in_down)
{
    come_up();
    on_down_do = (enum act)_i;
    scripted_close(server, SCRIPTED_PUBLISHER);
    wait_one(&downs);
    run_for(base, 5);
    ck_assert_int_eq(downs, _i == FAIL ? 2 : 1);
    ck_assert_int_eq(conn.stage == EVB_LINK_UP, _i == REOPEN);
    ck_assert_int_eq(ups, _i == REOPEN ? 2 : 1);
}
END_TEST

static bool is_told(void *arg)
{
    (void)arg;
    return downs || replies;
}

/* Every n-th allocation fails: opening says so, or the link goes down; never anything else. */
START_TEST(no_memory)
{
    static const char *const words[] = {"PING", NULL};
    bool failed = true;
    long n;
    for (n = 0; failed; n++) {
        ck_assert_int_lt(n, 100);
        downs = ups = replies = 0;
        failing_at(n, _i);
        int rc = evb_link_open(&conn, &address, NULL);
        ck_assert(rc == 0 || rc == EVBUS_ENOMEM || rc == EVBUS_ESYS);
        if (rc == 0) {
            wait_one(&ups);
            evb_link_command(&conn, words);
            evb_link_flush(&conn);
            ck_assert(
                run_until(base, is_told, NULL, 5000)); /* soon, though nothing is to be read */
        }
        failed = failing_off();
        ck_assert(!failed || rc != 0 || downs);
        if (downs)
            ck_assert(strstr(last_why, "out of memory") && last_error == EVBUS_ENOMEM);
        evb_link_close(&conn);
        ck_assert_int_eq(failing_live(), 0);
    }
    ck_assert_int_gt(n, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis link");
    TCase *tests = tcase_create("redis link");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, answers);
    tcase_add_test(tests, half_frames);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, tcp);
    tcase_add_loop_test(tests, breaks_the_protocol, 0, (int)EVB_COUNT(broken));
    tcase_add_test(tests, too_large);
    tcase_add_test(tests, peer_closes);
    tcase_add_test(tests, backlog);
    tcase_add_loop_test(tests, in_up, CLOSE, FAIL + 1);
    tcase_add_loop_test(tests, in_reply, CLOSE, FAIL + 1);
    tcase_add_loop_test(tests, in_down, NOTHING, REOPEN + 1);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
