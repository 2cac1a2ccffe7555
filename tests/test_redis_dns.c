/*
 * test_redis_dns.c - names to addresses, with a name server of the test's own: this program's
 * evdns_base_resolv_conf_parse() stands before libevent's and names it.
 */
#include "harness/failing.h"
#include "list.h"
#include "redis_dns.h"
#include "harness/scripted.h"
#include <arpa/inet.h>
#include "harness/check.h"
#include <event2/dns.h>
#include <event2/event.h>
#include <evbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum server_mood { SILENT, ANSWERS, NO_SUCH_NAME, GARBAGE };

static struct event_base *base;
static struct event *server_event;
static struct evb_loop loop;
static struct evb_dns dns;
static int server_fd, server_port, queries;
static enum server_mood mood;

static int calls, last_count;
static struct evb_address last[EVB_ADDRESSES];
static char last_why[200];
static bool stop_in_done;

int evdns_base_resolv_conf_parse(struct evdns_base *of, int flags, const char *const file)
{
    char address[32];
    (void)flags;
    ck_assert_str_eq(file, "/etc/resolv.conf");
    snprintf(address, sizeof address, "127.0.0.1:%d", server_port);
    evdns_base_load_hosts(of, NULL); /* localhost alone */
    return evdns_base_nameserver_ip_add(of, address);
}

/* RFC 1035 section 4: the question comes back, with addresses 10.0.0.1, 10.0.0.2, ... of an A. */
static void on_query(evutil_socket_t fd, short what, void *user)
{
    unsigned char packet[1500];
    struct sockaddr_in from;
    socklen_t room = sizeof from;
    (void)what;
    (void)user;
    ssize_t n = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &room);
    queries++;
    if (n < 17 || mood == SILENT)
        return;
    bool is_a = packet[n - 4] == 0 && packet[n - 3] == 1;
    packet[2] |= 0x80;
    packet[3] = mood == NO_SUCH_NAME ? 3 : 0;
    if (mood == ANSWERS && is_a) {
        packet[7] = 20; /* answers: more than anybody wants */
        for (unsigned char i = 1; i <= 20; i++) {
            const unsigned char answer[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, i};
            memcpy(packet + n, answer, sizeof answer);
            n += (ssize_t)sizeof answer;
        }
    }
    if (mood == GARBAGE) {
        memset(packet + 2, 0xff, (size_t)n - 2);
        packet[2] = 0x80;
    }
    sendto(fd, packet, (size_t)n, 0, (struct sockaddr *)&from, room);
}

static void on_done(const struct evb_address *addresses, int count, const char *why, void *user)
{
    ck_assert_ptr_eq(user, &calls);
    calls++;
    last_count = count;
    ck_assert_int_le(count, EVB_ADDRESSES);
    memcpy(last, addresses, (size_t)count * sizeof *addresses);
    snprintf(last_why, sizeof last_why, "%s", why ? why : "");
    if (stop_in_done)
        evb_dns_stop(&dns);
}

static void setup(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    failing_install();
    base = event_base_new();
    server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(server_fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(server_fd, (struct sockaddr *)&at, &length), 0);
    server_port = ntohs(at.sin_port);
    server_event = event_new(base, server_fd, EV_READ | EV_PERSIST, on_query, NULL);
    event_add(server_event, NULL);
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    evb_dns_init(&dns, &loop, on_done, &calls);
}

static void teardown(void)
{
    evb_dns_stop(&dns);
    run_for(base, 1);
    event_free(server_event);
    evb_loop_fini(&loop);
    event_base_free(base);
    close(server_fd);
    ck_assert_int_eq(failing_live(), 0);
}

static bool is_told(void *arg)
{
    (void)arg;
    return calls > 0;
}

static bool was_asked(void *arg)
{
    (void)arg;
    return queries > 0;
}

static const struct {
    const char *host;
    bool numeric;
} hosts[] = {
    {"127.0.0.1", true},      {"10.0.0.255", true},     {"::1", true},        {"fe80::1", true},
    {"::ffff:1.2.3.4", true}, {"localhost", false},     {"", false},          {"1.2.3", false},
    {"1.2.3.4.5", false},     {"1.2.3.4 ", false},      {"256.1.1.1", false}, {"0x7f.1", false},
    {"[::1]", false},         {"redis.example", false}, {"1.2.3.4\n", false}, {"::g", false},
};

START_TEST(numeric)
{
    ck_assert_int_eq(evb_dns_is_numeric(hosts[_i].host), hosts[_i].numeric);
}
END_TEST

START_TEST(localhost)
{
    bool found = false;
    stop_in_done = _i;
    ck_assert_int_eq(evb_dns_start(&dns, "localhost", 6379), 0);
    ck_assert(run_until(base, is_told, NULL, 5000));
    for (int i = 0; i < last_count; i++) {
        ck_assert_int_eq(last[i].port, 6379);
        ck_assert_ptr_null(last[i].path);
        found = found || !strcmp(last[i].host, "127.0.0.1") || !strcmp(last[i].host, "::1");
    }
    ck_assert(found);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(queries, 0);
}
END_TEST

START_TEST(found)
{
    char expected[32];
    mood = ANSWERS;
    stop_in_done = _i;
    ck_assert_int_eq(evb_dns_start(&dns, "redis.example", 7000), 0);
    ck_assert(run_until(base, is_told, NULL, 10000));
    ck_assert_int_eq(last_count, EVB_ADDRESSES);
    for (int i = 0; i < last_count; i++) {
        snprintf(expected, sizeof expected, "10.0.0.%d", i + 1);
        ck_assert_str_eq(last[i].host, expected);
        ck_assert_int_eq(last[i].port, 7000);
    }
    run_for(base, 5);
    ck_assert_int_eq(calls, 1);
    calls = 0; /* once more, from the start */
    ck_assert_int_eq(evb_dns_start(&dns, "redis.example", 7001), 0);
    ck_assert(run_until(base, is_told, NULL, 10000));
    ck_assert_int_eq(last[0].port, 7001);
}
END_TEST

START_TEST(unknown)
{
    mood = NO_SUCH_NAME;
    stop_in_done = _i;
    ck_assert_int_eq(evb_dns_start(&dns, "nobody.example", 1), 0);
    ck_assert(run_until(base, is_told, NULL, 10000));
    ck_assert_int_eq(last_count, 0);
    ck_assert_str_ne(last_why, "");
}
END_TEST

/* Nobody is called after a stop, and what comes late touches nothing. */
START_TEST(stopped)
{
    struct evb_dns *mine = malloc(sizeof *mine);
    mood = _i == 1 ? GARBAGE : SILENT;
    evb_dns_init(mine, &loop, on_done, &calls);
    ck_assert_int_eq(evb_dns_start(mine, "silent.example", 1), 0);
    if (_i < 2)
        ck_assert(run_until(base, was_asked, NULL, 5000));
    evb_dns_stop(mine);
    evb_dns_stop(mine);
    free(mine); /* its owner may be gone, too */
    run_for(base, 20);
    ck_assert_int_eq(calls, 0);
}
END_TEST

/* A new question at once: the old one's end is not taken for its own. */
START_TEST(started_again)
{
    ck_assert_int_eq(evb_dns_start(&dns, "silent.example", 1), 0);
    ck_assert(run_until(base, was_asked, NULL, 5000));
    queries = 0;
    ck_assert_int_eq(evb_dns_start(&dns, "silent.example", 2), 0);
    ck_assert(run_until(base, was_asked, NULL, 5000));
    run_for(base, 5);
    ck_assert_ptr_nonnull(dns.lookup);
    evb_dns_stop(&dns);
    mood = ANSWERS;
    run_for(base, 5);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(evb_dns_start(&dns, "redis.example", 3), 0);
    ck_assert(run_until(base, is_told, NULL, 10000));
    ck_assert_int_eq(last[0].port, 3);
}
END_TEST

/* The loop ends while a question is open. */
START_TEST(loop_ends)
{
    struct evb_loop own;
    struct evb_dns mine;
    ck_assert_int_eq(evb_loop_init(&own, NULL), 0);
    evb_dns_init(&mine, &own, on_done, &calls);
    ck_assert_int_eq(evb_dns_start(&mine, "silent.example", 1), 0);
    if (_i)
        event_base_loop(own.base, EVLOOP_NONBLOCK);
    evb_dns_stop(&mine);
    evb_loop_fini(&own);
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(no_memory)
{
    failing_at(0, _i);
    ck_assert_int_eq(evb_dns_start(&dns, "redis.example", 1), EVBUS_ENOMEM);
    ck_assert(failing_off());
    run_for(base, 1);
    ck_assert_int_eq(calls, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis dns");
    TCase *tests = tcase_create("redis dns");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, numeric, 0, (int)EVB_COUNT(hosts));
    tcase_add_loop_test(tests, localhost, 0, 2);
    tcase_add_loop_test(tests, found, 0, 2);
    tcase_add_loop_test(tests, unknown, 0, 2);
    tcase_add_loop_test(tests, stopped, 0, 3);
    tcase_add_test(tests, started_again);
    tcase_add_loop_test(tests, loop_ends, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
