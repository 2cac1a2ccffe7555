/* it_tls_wire.c - TLS on a bad line: bytes turned, bytes one by one, cuts and resets anywhere, a
 * server that stops in the handshake; no damaged event, no lost one, no SIGPIPE. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/middle.h"
#include "harness/suite.h"
#include "harness/traffic.h"
#include "harness/until.h"
#include <dirent.h>
#include <event2/event.h>
#include <evbus_libevent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, PACE_US = 1000 };

static struct cert ca, of_server;
static struct server *server;
static struct middle *middle;
static atomic_int lines_of_tls;
static char last_line[200]; /* a break's; the loop's thread writes */

static void on_log(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    if (strstr(line, " connection: "))
        snprintf(last_line, sizeof last_line, "%s", line);
    if (strstr(line, " connection: TLS: "))
        atomic_fetch_add(&lines_of_tls, 1);
}

/* The default disposition: who writes to a closed socket carelessly, dies. */
static void setup(void)
{
    ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    of_server = cert_make(
        "server",
        (struct cert_wish){.name = "s", .alt = "DNS:localhost,IP:127.0.0.1", .issuer = &ca});
    server = server_plan_tls(&of_server, ca.cert, NULL);
    server_run(server);
    middle = middle_start();
    evbus_set_log(NULL, EVBUS_LOG_DEBUG, on_log, NULL);
}

static void teardown(void)
{
    middle_free(middle);
    server_free(server);
}

static struct middle_act clean_act(void)
{
    return (struct middle_act){.kind = MIDDLE_PASS, .port = server->tls_port};
}

static evbus_config *config_to(int port)
{
    char url[64];
    evbus_config *config = evbus_config_new();
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", port);
    const char *pairs[][2] = {{"redis.url", url},
                              {"tls.ca.file", ca.cert},
                              {"reconnect.backoff", "1ms"},
                              {"reconnect.backoff.max", "20ms"},
                              {"redis.connect.timeout", "1s"},
                              {"redis.ping.interval", "1s"},
                              {"redis.ping.timeout", suite_sanitized() ? "6s" : "3s"},
                              {"outbox.events", "1000000"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        ck_assert_int_eq(evbus_config_set(config, pairs[i][0], pairs[i][1]), 0);
    return config;
}

static evbus *open_at(int port)
{
    evbus_config *config = config_to(port);
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    ck_assert_msg(bus != NULL, "%s", evbus_last_error());
    return bus;
}

/* The library's threads block all signals: there it would wait for ever, unseen. */
static void expect_no_sigpipe(void)
{
    DIR *tasks = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        char path[300], line[200];
        unsigned long long pending = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "SigPnd: %llx", &pending) == 1)
                ck_assert_msg(!(pending >> (SIGPIPE - 1) & 1), "SIGPIPE waits for thread %s",
                              task->d_name);
        if (file)
            fclose(file);
    }
    closedir(tasks);
}

/* ---- trouble under traffic ---- */

static const struct trouble {
    const char *what;
    struct middle_act act; /* .kind and .port are the clean one's */
    bool second_is_clean;
    bool by_tls; /* it is TLS that finds out */
} troubles[] = {
    {"type of the first record turned", {.flip_at = 1}, false, true},
    {"length of the first record turned", {.flip_at = 4}, false, false},
    {"ServerHello turned", {.flip_at = 40}, false, true},
    {"encrypted handshake turned", {.flip_at = 300}, false, true},
    {"handshake turned on its way to the server", {.flip_in_at = 60}, false, false},
    {"Finished turned on its way to the server", {.flip_in_at = 550}, false, false},
    {"a byte from the server turned", {.flip_at = 4000}, false, true},
    {"a later byte from the server turned", {.flip_at = 9001}, false, true},
    {"a byte to the server turned", {.flip_in_at = 3000}, false, true},
    {"a later byte to the server turned", {.flip_in_at = 60007}, false, true},
    {"one of two connections turned", {.flip_at = 3333}, true, true},
    {"cut in the handshake", {.cut_at = 100}, false, true},
    {"reset in the handshake", {.cut_at = 700, .reset = true}, false, true},
    {"cut in a record", {.cut_at = 5003}, false, false},
    {"reset in a record", {.cut_at = 5003, .reset = true}, false, false},
    {"reset early and often", {.cut_at = 2600, .reset = true}, false, false},
    {"byte by byte and cut", {.cut_at = 5003, .drip = true}, false, false},
};

/* At the bus that nothing happened to: all of them, once, in order, undamaged. */
static void expect_all_there(struct traffic *traffic, struct recorder *recorder, const char *what)
{
    int published[TRAFFIC_THREADS], total = 0;
    struct wait wait = wait_for(SOON);
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        total += published[i] = atomic_load(&traffic->threads[i].published);
    while (recorder_received(recorder) < total && wait_more(&wait))
        continue;
    recorder_expect_perfect(recorder, what, TRAFFIC_THREADS, published);
}

START_TEST(trouble)
{
    const struct trouble *row = &troubles[_i];
    struct middle_act act = row->act, clean = clean_act();
    struct recorder recorder;
    act.kind = clean.kind;
    act.port = clean.port;
    recorder_init(&recorder);
    evbus *there = open_at(server->tls_port);
    evbus_sub *sub = bus_subscribe(there, "traffic.*", "scope=redis size=1000000 bytes=1GiB",
                                   recorder_handle, &recorder);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    middle_become(middle, &act, row->second_is_clean ? &clean : NULL);
    evbus *bus = open_at(middle_port(middle));
    struct traffic *traffic = traffic_start(bus, PACE_US);
    struct wait wait = wait_for(SOON);
    while (evbus_stat(bus, "disconnects") + evbus_stat(bus, "connect_errors") < 3)
        ck_assert_msg(wait_more(&wait), "%s: nothing broke", row->what);
    middle_become(middle, &clean, NULL);
    expect_connected(bus, SOON);
    traffic_stop(traffic);
    traffic_expect_even(traffic, row->what);
    expect_all_there(traffic, &recorder, row->what);
    if (row->by_tls)
        ck_assert_msg(atomic_load(&lines_of_tls) > 0, "%s: nobody says TLS: %s", row->what,
                      last_line);
    ck_assert_int_eq(evbus_stat(bus, "decode_errors") + evbus_stat(bus, "protocol_errors"), 0);
    ck_assert_int_eq(middle_no_tls(middle), 0);
    expect_no_sigpipe();
    bus_end(bus);
    bus_end(there);
    traffic_free(traffic);
    recorder_fini(&recorder);
}
END_TEST

/* ---- slow, not broken ---- */

START_TEST(byte_by_byte)
{
    enum { EVENTS = 300 };
    struct middle_act act = clean_act();
    atomic_int got = 0;
    act.drip = true;
    middle_become(middle, &act, NULL);
    evbus *bus = open_at(middle_port(middle)), *there = open_at(server->tls_port);
    evbus_sub *sub = bus_subscribe(bus, "far.*", "scope=redis", handle_count, &got);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    expect_connected(there, SOON);
    for (int i = 0; i < EVENTS; i++) {
        bus_publish(there, "far.in", "{\"text\":\"every byte of it in a write of its own\"}");
        bus_publish(bus, "far.out", "{}");
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_count(&got, EVENTS, SOON);
    ck_assert_int_eq(evbus_stat(bus, "acked"), EVENTS);
    ck_assert_int_eq(evbus_stat(bus, "disconnects") + evbus_stat(bus, "connect_errors"), 0);
    bus_end(bus);
    bus_end(there);
}
END_TEST

START_TEST(stopped_in_the_handshake)
{
    atomic_int got = 0;
    evbus_config *config = config_to(server->tls_port);
    ck_assert_int_eq(evbus_config_set(config, "redis.connect.timeout", "200ms"), 0);
    server_stop(server);
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    ck_assert_ptr_nonnull(bus);
    bus_subscribe(bus, "here", "deliver=inline", handle_count, &got);
    expect_stat(bus, "connect_errors", 2, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    bus_publish(bus, "here", "{}");
    ck_assert_int_eq(atomic_load(&got), 1);
    char *health = evbus_health_json(bus);
    ck_assert_msg(strstr(health, "no answer to TLS") != NULL, "%s", health);
    evbus_string_free(health);
    server_continue(server);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "acked"), 1);
    bus_end(bus);
}
END_TEST

/* ---- on the test's own thread, which takes signals ---- */

static void turn_until(struct event_base *base, evbus *bus, const char *name, int64_t at_least)
{
    struct wait wait = wait_for(SOON);
    do {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
        bus_publish(bus, "here", "{}");
        ck_assert_msg(wait_more(&wait), "%s stays %lld", name, (long long)evbus_stat(bus, name));
    } while (evbus_stat(bus, name) < at_least);
}

START_TEST(no_sigpipe)
{
    struct middle_act act = clean_act();
    struct event_base *base = event_base_new();
    evbus_config *config = config_to(middle_port(middle));
    sigset_t pipe_alone;
    sigemptyset(&pipe_alone);
    sigaddset(&pipe_alone, SIGPIPE);
    ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &pipe_alone, NULL), 0);
    act.reset = _i;
    middle_become(middle, &act, NULL);
    evbus *bus = evbus_open_on(base, config);
    evbus_config_free(config);
    ck_assert_msg(bus != NULL, "%s", evbus_last_error());
    for (int i = 0; i < 20; i++) {
        turn_until(base, bus, "connects", i + 1);
        middle_cut(middle);
        turn_until(base, bus, "disconnects", i + 1);
    }
    bus_end(bus);
    event_base_free(base);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tls_wire");
    TCase *tests = tcase_create("tls_wire");
    tcase_set_timeout(tests, suite_patience(40));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, trouble, 0, sizeof troubles / sizeof troubles[0]);
    tcase_add_test(tests, byte_by_byte);
    tcase_add_test(tests, stopped_in_the_handshake);
    tcase_add_loop_test(tests, no_sigpipe, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
