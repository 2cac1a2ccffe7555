/* it_history_kept.c - what Redis keeps, and for how long: bounded in events, bytes and age, without
 * what is excluded; and what a node does whose user may not run scripts. */
#include "harness/bus.h"
#include "harness/listener.h"
#include "harness/stream.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000, DAY_MS = 86400000 };

static struct server *server;
static evbus *bus;
static struct listener ear;

static void publish(evbus *from, const char *type, int publisher, int first, int last)
{
    for (int n = first; n <= last; n++)
        ck_assert_int_gt(publish_numbered(from, type, publisher, n), 0);
    ck_assert_int_eq(evbus_flush(from, suite_patience(SOON)), 0);
}

static void expect_zero(const char *command)
{
    struct wait wait = wait_for(SOON);
    while (server_command(server, command) != 0 && wait_more(&wait))
        ;
    ck_assert_msg(server_command(server, command) == 0, "%s: %lld", command,
                  server_command(server, command));
}

/* ---- bounds ---- */

START_TEST(bounded_in_events)
{
    server = server_start(NULL);
    bus = server_bus(server, "outbox.events", "1000000", "history.max.events", "1000", NULL);
    expect_connected(bus, SOON);
    for (int i = 0; i < 20; i++) {
        publish(bus, "t.a", 0, i * 1000 + 1, i * 1000 + 1000);
        ck_assert_int_ge(stream_length(server), 1000);
        ck_assert_int_le(stream_length(server), 1000 + 200); /* blocks of 100, calls of 64 */
    }
    ck_assert_int_eq(stream_expect_sound(server, NULL).last, 20000);
    bus_end(bus);
    server_free(server);
}
END_TEST

START_TEST(bounded_in_bytes)
{
    const long long limit = 1 << 20;
    long long most = 0, bytes;
    server = server_start(NULL);
    bus = server_bus(server, "outbox.events", "1000000", "history.max.bytes", "1MiB", NULL);
    expect_connected(bus, SOON);
    for (int i = 0; i < 20; i++) {
        for (int n = 1; n <= 500; n++) {
            evbus_event *event = event_numbered("t.a", 0, i * 500 + n, 500);
            ck_assert_int_gt(evbus_publish_event(bus, event, 0), 0);
            evbus_event_unref(event);
        }
        ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
        bytes = server_command(server, "MEMORY USAGE " STREAM_KEY " SAMPLES 0");
        most = bytes > most ? bytes : most;
    }
    printf("figure: history.max.bytes of 1 MiB: at most %lld bytes, %lld events at the end\n", most,
           stream_length(server));
    ck_assert_int_le(most, limit + limit / 2);
    ck_assert_int_ge(most, limit / 2);
    stream_expect_sound(server, NULL);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* A second after they came, by the fences of whoever is there; the last of each channel, too. */
START_TEST(bounded_in_age)
{
    enum { CHANNELS = 3000 };
    server = server_start(NULL);
    bus = server_bus(server, "history.ttl", "1s", "redis.ping.interval", "100ms", NULL);
    expect_connected(bus, SOON);
    int64_t start = now_us();
    for (int i = 1; i <= CHANNELS; i++) {
        char type[32];
        snprintf(type, sizeof type, "order.%d", i);
        ck_assert_int_gt(publish_numbered(bus, type, 0, i), 0);
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    long long length = stream_length(server),
              latest = server_command(server, "HLEN " STREAM_LATEST);
    if (now_us() - start < 900000) {
        ck_assert_int_eq(length, CHANNELS);
        ck_assert_int_eq(latest, CHANNELS);
    }
    expect_zero("XLEN " STREAM_KEY);
    ck_assert_int_ge(now_us() - start, 1000000);
    expect_zero("HLEN " STREAM_LATEST);
    printf("figure: %d channels forgotten after %lld ms\n", CHANNELS,
           (long long)(now_us() - start) / 1000);
    publish(bus, "order.1", 0, 1, 1); /* and it goes on */
    ck_assert_int_eq(stream_expect_sound(server, NULL).last, CHANNELS + 1);
    ck_assert_int_eq(server_command(server, "HLEN " STREAM_LATEST), 1);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* A key that nobody touches any more goes away, even that of a process that lived for a moment. */
START_TEST(idle_keys_expire)
{
    static const char *const keys[] = {STREAM_KEY, STREAM_STATE, STREAM_LATEST};
    const char *ttl = _i ? "48h" : "1h";
    long long idle_ms = _i ? 4LL * DAY_MS : DAY_MS;
    char node[32];
    server = server_start(NULL);
    bus = server_bus(server, "history.ttl", ttl, "redis.ping.interval", "1h", NULL);
    expect_connected(bus, SOON);
    publish(bus, "t.a", 0, 1, 1);
    snprintf(node, sizeof node, "%s", evbus_node(bus));
    bus_end(bus);
    for (size_t i = 0; i < 3; i++) {
        long long left = server_command(server, "PTTL %s", keys[i]);
        ck_assert_msg(left > idle_ms - 60000 && left <= idle_ms, "%s: %lld", keys[i], left);
    }
    long long left = server_command(server, "PTTL " STREAM_MARK "%s", node);
    ck_assert_msg(left > idle_ms - 60000 && left <= idle_ms, "the mark: %lld", left);
    ck_assert_int_eq(server_command(server, "DBSIZE"), 4);
    server_free(server);
}
END_TEST

/* ---- what is not kept ---- */

static void expect_unkept(const char *type, int publisher, int number)
{
    long long before = stream_length(server);
    publish(bus, type, publisher, number, number);
    listener_expect(&ear, publisher, number);
    ck_assert_int_eq(stream_length(server), before);
}

START_TEST(excluded)
{
    server = server_start(NULL);
    bus = server_bus(server, "history.exclude", "noise glob:secret.*", NULL);
    listener_open(&ear, server, ">", NULL);
    expect_connected(bus, SOON);
    publish(bus, "t.a", 0, 1, 10);
    ck_assert_int_eq(stream_length(server), 10);
    expect_unkept("noise", 1, 1);
    expect_unkept("secret.a.b", 2, 1);
    evbus_event *event = event_numbered("t.a", 3, 1, 0);
    ck_assert_int_gt(evbus_publish_event(bus, event, EVBUS_NO_HISTORY), 0);
    evbus_event_unref(event);
    listener_expect(&ear, 3, 1);
    publish(bus, "noise.b", 4, 1, 10);
    ck_assert_int_eq(stream_length(server), 20);
    ck_assert_int_eq(evbus_stat(bus, "acked"), 23);
    ck_assert_int_eq(evbus_stat(bus, "kept"), 20);
    listener_expect(&ear, 4, 10);
    ck_assert_int_eq(atomic_load(&ear.live), 23);
    listener_close(&ear);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* Who has heard what is not kept, must expect to have missed some; nobody else. */
START_TEST(unkept_is_a_gap)
{
    static struct listener other;
    server = server_start(NULL);
    bus = server_bus(server, "history.exclude", "noise", NULL);
    listener_open(&ear, server, "noise", NULL);
    listener_open(&other, server, "t.*", NULL);
    expect_connected(bus, SOON);
    publish(bus, "noise", 0, 1, 1);
    publish(bus, "t.a", 1, 1, 1);
    listener_expect(&ear, 0, 1);
    listener_expect(&other, 1, 1);
    listener_cut(&ear); /* the name is that of both */
    expect_stat(other.bus, "disconnects", 1, SOON);
    int64_t lost_us = now_wall_us();
    publish(bus, "noise", 0, 2, 5);
    publish(bus, "t.a", 1, 2, 5);
    int64_t end_us = now_wall_us();
    listener_back(&ear);
    listener_back(&other);
    publish(bus, "noise", 0, 6, 6);
    publish(bus, "t.a", 1, 6, 6);
    listener_expect(&ear, 0, 6);
    listener_expect(&other, 1, 6);
    listener_expect_gap(&ear, "unkept", lost_us, end_us);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, 6), 4);
    listener_expect_no_gap(&other);
    ck_assert_int_eq(recorder_lost(&other.got, 1, 6), 0);
    listener_close(&ear);
    listener_close(&other);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- without the right to run scripts ---- */

static atomic_int lines;

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    if (level <= EVBUS_LOG_WARNING && strstr(line, "no history")) {
        printf("figure: %s\n", line);
        atomic_fetch_add(&lines, 1);
    }
}

static void expect_in_health(evbus *of, const char *part)
{
    char *health = evbus_health_json(of);
    ck_assert_msg(health && strstr(health, part), "no %s in %s", part, health);
    evbus_string_free(health);
}

START_TEST(no_right_to_scripts)
{
    static const char *const rules[] = {"-@scripting", "-eval -evalsha", "-xadd",
                                        "resetkeys ~else:*", "-get"};
    server = server_start(NULL);
    ck_assert_int_eq(server_command(server, "ACL SETUSER plain on nopass +@all ~* &*"), 0);
    char command[100];
    snprintf(command, sizeof command, "ACL SETUSER plain %s", rules[_i]);
    ck_assert_int_eq(server_command(server, command), 0);
    listener_open(&ear, server, "t.*", NULL);
    evbus_set_log(NULL, EVBUS_LOG_WARNING, on_log, NULL);
    bus = server_bus(server, "redis.username", "plain", "redis.ping.interval", "50ms", NULL);
    expect_connected(bus, SOON);
    publish(bus, "t.a", 0, 1, 1000);
    listener_expect(&ear, 0, 1000);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, 1000), 0);
    ck_assert_int_eq(ear.got.reordered, 0);
    ck_assert_int_eq(stream_length(server), 0);
    expect_stat(bus, "bytes_in", evbus_stat(bus, "bytes_in") + 2000, SOON); /* heartbeats */
    ck_assert_int_eq(evbus_stat(bus, "acked"), 1000);
    ck_assert_int_eq(evbus_stat(bus, "kept"), 0);
    ck_assert_int_eq(atomic_load(&lines), 1);
    expect_in_health(bus, "\"history\":{\"enabled\":true,\"reason\":\"");
    expect_in_health(bus, "\"state\":\"lacking\"}");
    expect_in_health(ear.bus, "\"history\":{\"enabled\":true,\"reason\":null,\"state\":\"on\"}");
    listener_close(&ear);
    bus_end(bus);
    server_free(server);
}
END_TEST

START_TEST(not_wanted)
{
    server = server_start(NULL);
    bus = server_bus(server, "history.enabled", "no", NULL);
    expect_connected(bus, SOON);
    publish(bus, "t.a", 0, 1, 100);
    ck_assert_int_eq(server_command(server, "DBSIZE"), 0);
    expect_in_health(bus, "\"history\":{\"enabled\":false,\"reason\":null,\"state\":\"off\"}");
    bus_end(bus);
    server_free(server);
}
END_TEST

static void add_loop(Suite *suite, const char *name, const TTest *test, int count)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, suite_patience(40));
    tcase_add_loop_test(tcase, test, 0, count);
    suite_add_tcase(suite, tcase);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("history_kept");
    suite_add(suite, "bounded_in_events", bounded_in_events, 40);
    suite_add(suite, "bounded_in_bytes", bounded_in_bytes, 40);
    suite_add(suite, "bounded_in_age", bounded_in_age, 40);
    add_loop(suite, "idle_keys_expire", idle_keys_expire, 2);
    suite_add(suite, "excluded", excluded, 40);
    suite_add(suite, "unkept_is_a_gap", unkept_is_a_gap, 40);
    add_loop(suite, "no_right_to_scripts", no_right_to_scripts, 5);
    suite_add(suite, "not_wanted", not_wanted, 40);
    return suite_run(suite, argc, argv);
}
