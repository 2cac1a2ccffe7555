/* it_hostile_wire.c - a server that sends what Redis never would, or answers what it may: counted,
 * the link comes back, the next good event arrives, memory stays bounded. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/rude.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000, BOTH = RUDE_PUBLISHER | RUDE_SUBSCRIBER };

static struct rude *rude;
static evbus *bus;
static atomic_int seen;

static void open_bus(const char *key, const char *value)
{
    char port[16];
    snprintf(port, sizeof port, "%d", rude_port(rude));
    bus = bus_with("redis.port", port, "reconnect.backoff", "10ms", "reconnect.backoff.max", "50ms",
                   key, value, NULL);
    bus_subscribe(bus, "t", "scope=redis", handle_count, &seen);
}

static void open_all(void)
{
    rude = rude_start();
    open_bus("bus.name", "rude");
    expect_connected(bus, SOON);
}

static void close_all(void)
{
    bus_end(bus);
    rude_free(rude);
}

/* The link is, or comes, up and a message comes through. */
static void expect_next_good(void)
{
    struct wait wait = wait_for(SOON);
    int before = atomic_load(&seen);
    expect_connected(bus, SOON);
    while (atomic_load(&seen) == before && wait_more(&wait)) {
        rude_message(rude, "evbus:events:t", "{\"data\":1}", 10);
        until_count(&seen, before + 1, 100);
    }
    ck_assert_msg(atomic_load(&seen) > before, "no good event any more: %s",
                  evbus_mode_name(evbus_mode(bus)));
}

/* ---- frames ---- */

#define MESSAGE "*3\r\n$7\r\nmessage\r\n$14\r\nevbus:events:t\r\n"

static const struct {
    int to;
    const char *bytes;
} frames[] = {
    {RUDE_SUBSCRIBER, "*0\r\n"},
    {RUDE_SUBSCRIBER, "*-1\r\n"},
    {RUDE_SUBSCRIBER, "*1\r\n$7\r\nmessage\r\n"},
    {RUDE_SUBSCRIBER, "*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n"},
    {RUDE_SUBSCRIBER, "*4\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$-1\r\n$-1\r\n$-1\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n:1\r\n:2\r\n:3\r\n"},
    {RUDE_SUBSCRIBER, MESSAGE "*1\r\n$1\r\nx\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$8\r\npmessage\r\n$1\r\nx\r\n$1\r\ny\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$9\r\nsubscribe\r\n$7\r\nunknown\r\n:1\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$9\r\nsubscribe\r\n$14\r\nevbus:events:t\r\n$1\r\n1\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"},
    {RUDE_SUBSCRIBER, "*3\r\n$7\r\nwhisper\r\n$1\r\na\r\n$1\r\nb\r\n"},
    {RUDE_SUBSCRIBER, ":1\r\n"},
    {RUDE_SUBSCRIBER, "$-1\r\n"},
    {RUDE_SUBSCRIBER, "$3\r\nabc\r\n"},
    {RUDE_SUBSCRIBER, "+OK\r\n"},
    {RUDE_SUBSCRIBER, "-ERR out of the blue\r\n"},
    {RUDE_SUBSCRIBER, ">1\r\n$1\r\nx\r\n"},
    {RUDE_SUBSCRIBER, ">3\r\n$7\r\nmessage\r\n$14\r\nevbus:events:t\r\n$2\r\n{}\r\n"},
    {RUDE_SUBSCRIBER, "%1\r\n+a\r\n+b\r\n"},
    {RUDE_SUBSCRIBER, "_\r\n"},
    {RUDE_SUBSCRIBER, "#t\r\n"},
    {RUDE_SUBSCRIBER, ",3.14\r\n"},
    {RUDE_SUBSCRIBER, "(12345678901234567890\r\n"},
    {RUDE_SUBSCRIBER, "=7\r\ntxt:abc\r\n"},
    {RUDE_SUBSCRIBER, "~1\r\n+a\r\n"},
    {RUDE_SUBSCRIBER, "*4294967295\r\n"},
    {RUDE_SUBSCRIBER, "*99999999999999999999\r\n"},
    {RUDE_SUBSCRIBER, "$999999999999\r\n"},
    {RUDE_SUBSCRIBER, "$99999999999999999999999\r\n"},
    {RUDE_SUBSCRIBER, "$-7\r\n"},
    {RUDE_SUBSCRIBER, "*1000000\r\n"},
    {RUDE_SUBSCRIBER, "$3\r\nabcXX"},
    {RUDE_SUBSCRIBER, "garbage\r\n"},
    {RUDE_SUBSCRIBER, "\r\n"},
    {RUDE_SUBSCRIBER, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
    {RUDE_PUBLISHER, ":1\r\n"},
    {RUDE_PUBLISHER, "+OK\r\n"},
    {RUDE_PUBLISHER, "-ERR out of the blue\r\n"},
    {RUDE_PUBLISHER, "*0\r\n"},
    {RUDE_PUBLISHER, "*1\r\n:1\r\n"},
    {RUDE_PUBLISHER, "$-1\r\n"},
    {RUDE_PUBLISHER, "*4294967295\r\n"},
    {RUDE_PUBLISHER, "$999999999999\r\n"},
    {RUDE_PUBLISHER, ">1\r\n$1\r\nx\r\n"},
    {RUDE_PUBLISHER, "garbage\r\n"},
    {RUDE_PUBLISHER, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
};

static void break_link(int i, int (*send)(struct rude *, int, const void *, size_t))
{
    int64_t breaks = evbus_stat(bus, "disconnects"), errors = evbus_stat(bus, "protocol_errors");
    /* Byte by byte the link may be gone before the last one. */
    (void)!send(rude, frames[i].to, frames[i].bytes, strlen(frames[i].bytes));
    struct wait wait = wait_for(SOON);
    while (evbus_stat(bus, "disconnects") == breaks && wait_more(&wait))
        ;
    ck_assert_msg(evbus_stat(bus, "disconnects") > breaks, "the link lives after %s",
                  frames[i].bytes);
    if (evbus_stat(bus, "protocol_errors") == errors)
        ck_abort_msg("not counted in protocol_errors: %s", frames[i].bytes);
    expect_next_good();
}

START_TEST(frames_that_break_the_protocol)
{
    open_all();
    for (int i = 0; i < (int)(sizeof frames / sizeof frames[0]); i++)
        break_link(i, rude_send);
    close_all();
}
END_TEST

START_TEST(the_same_byte_by_byte)
{
    open_all();
    for (int i = 0; i < (int)(sizeof frames / sizeof frames[0]); i += 3)
        break_link(i, rude_drip);
    close_all();
}
END_TEST

START_TEST(everything_byte_by_byte)
{
    rude = rude_start();
    rude_set_drip(rude, true);
    open_bus("bus.name", "rude");
    expect_next_good();
    for (int n = 0; n < 50; n++)
        bus_publish(bus, "u", "{}");
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "acked"), 50);
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    close_all();
}
END_TEST

static void flood(int to, const char *unit, int times, const char *what)
{
    size_t length = strlen(unit);
    char *text = malloc(length * (size_t)times);
    for (int i = 0; i < times; i++)
        memcpy(text + length * (size_t)i, unit, length);
    open_all();
    long before = process_rss_kib();
    process_peak_reset();
    int64_t breaks = evbus_stat(bus, "disconnects");
    rude_send(rude, to, text, length * (size_t)times); /* it may hang up in the middle */
    free(text);
    expect_stat(bus, "disconnects", breaks + 1, SOON);
    expect_next_good();
    printf("figure: %s: RSS grew by %ld KiB at most\n", what, process_peak_kib() - before);
    if (!suite_sanitized())
        ck_assert_int_lt(process_peak_kib() - before, 64 * 1024);
    close_all();
}

START_TEST(three_million_nested_arrays)
{
    flood(RUDE_SUBSCRIBER, "*1\r\n", suite_scaled(3000000), "3 M nested arrays");
}
END_TEST

START_TEST(three_million_nested_arrays_to_the_publisher)
{
    flood(RUDE_PUBLISHER, "*1\r\n", suite_scaled(3000000), "3 M nested arrays, publisher");
}
END_TEST

START_TEST(a_line_without_end)
{
    flood(RUDE_SUBSCRIBER, "+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx+", 6 << 20, "a line of 192 MB");
}
END_TEST

START_TEST(a_string_larger_than_announced_limits)
{
    static char chunk[1 << 20];
    open_all();
    long before = process_rss_kib();
    int64_t breaks = evbus_stat(bus, "disconnects");
    memset(chunk, 'x', sizeof chunk);
    process_peak_reset();
    rude_send(rude, RUDE_SUBSCRIBER, MESSAGE "$400000000\r\n", strlen(MESSAGE "$400000000\r\n"));
    for (int i = 0; i < 400 && evbus_stat(bus, "disconnects") == breaks; i++)
        rude_send(rude, RUDE_SUBSCRIBER, chunk, sizeof chunk);
    expect_stat(bus, "disconnects", breaks + 1, SOON);
    printf("figure: a message of 400 MB: RSS grew by %ld KiB at most\n",
           process_peak_kib() - before);
    if (!suite_sanitized())
        ck_assert_int_lt(process_peak_kib() - before, 64 * 1024);
    expect_next_good();
    close_all();
}
END_TEST

/* ---- answers of the sign-in ---- */

static const struct {
    const char *command, *bytes, *error; /* a part of the last error */
} refusals[] = {
    {"HELLO", "-LOADING Redis is loading the dataset in memory\r\n", "LOADING"},
    {"HELLO", "-NOAUTH HELLO must be called with the client already authenticated\r\n", "NOAUTH"},
    {"HELLO", "-WRONGPASS invalid username-password pair\r\n", "WRONGPASS"},
    {"HELLO", "-NOPERM this user has no permissions\r\n", "NOPERM"},
    {"HELLO", "-ERR unknown command `HELLO`\r\n", "unknown command"},
    {"HELLO", "-ERR max number of clients reached\r\n", "max number"},
    {"HELLO", "-ERR \xff\x01 nonsense\r\n", ""},
    {"HELLO", ":1\r\n", "protocol"},
    {"HELLO", "*0\r\n", "role"},
    {"HELLO", "*1\r\n$4\r\nrole\r\n", "protocol"},
    {"HELLO", "*2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", "replica"},
    {"HELLO", "*4\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$4\r\nrole\r\n$6\r\nmaster\r\n", "Sentinel"},
    {"HELLO", "*2\r\n:1\r\n:2\r\n", "role"},
    {"HELLO", "*2\r\n$4\r\nrole\r\n*2\r\n:1\r\n:2\r\n", "role"},
    {"SUBSCRIBE", "-ERR no\r\n", "ERR no"},
    {"SUBSCRIBE", "-NOAUTH Authentication required.\r\n", "NOAUTH"},
    {"SUBSCRIBE", "+OK\r\n", "protocol"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$5\r\nwrong\r\n:1\r\n", "protocol"},
    {"PUBLISH", "+OK\r\n", "protocol error: not the answer to a fence"},
    {"EVAL", "+OK\r\n", "protocol error: not the answer to a fence"},
    {"EVAL", "*0\r\n", "protocol error: not the answer to a fence"},
    {"EVAL", "*8\r\n:1\r\n$1\r\ne\r\n$3\r\nx-y\r\n$0\r\n\r\n:1\r\n:1\r\n:1\r\n$3\r\n0-0\r\n",
     "protocol error: not the answer to a fence"},
    {"EVAL", "*8\r\n:0\r\n$1\r\ne\r\n$3\r\n0-0\r\n$0\r\n\r\n:-1\r\n:1\r\n:0\r\n$3\r\n0-0\r\n",
     "same server"},
    {"PUBLISH", ":0\r\n", "same server"},
};

START_TEST(refused_sign_in)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        rude = rude_start();
        rude_answer(rude, refusals[i].command, refusals[i].bytes, 0);
        open_bus("bus.name", "rude");
        bool login = strstr(refusals[i].bytes, "NOAUTH") || strstr(refusals[i].bytes, "WRONGPASS");
        expect_stat(bus, "connect_errors", login ? 1 : 3, SOON); /* and it tries again */
        ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
        char *health = evbus_health_json(bus);
        ck_assert_msg(strstr(health, refusals[i].error), "%s answered %s: %s", refusals[i].command,
                      refusals[i].bytes, health);
        evbus_string_free(health);
        ck_assert_int_eq(bus_publish(bus, "u", "{}"), EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX);
        rude_answer(rude, refusals[i].command, NULL, 0);
        if (login) /* a wrong login is not tried again for half a minute */
            ck_assert_int_eq(evbus_reconnect(bus), 0);
        expect_next_good();
        ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
        ck_assert_int_eq(evbus_stat(bus, "acked"), 1);
        close_all();
    }
}
END_TEST

START_TEST(setname_and_select_refused)
{
    rude = rude_start();
    rude_answer(rude, "CLIENT", "-NOPERM no\r\n", 0); /* only a pity */
    open_bus("bus.name", "rude");
    expect_next_good();
    bus_end(bus);
    rude_answer(rude, "SELECT", "-ERR DB index is out of range\r\n", 0);
    open_bus("redis.db", "3");
    expect_stat(bus, "connect_errors", 2, SOON);
    char *health = evbus_health_json(bus);
    ck_assert_msg(strstr(health, "DB index"), "%s", health);
    evbus_string_free(health);
    close_all();
}
END_TEST

START_TEST(an_http_server_on_the_port)
{
    rude = rude_start();
    rude_set_greeting(rude, "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n"
                            "<html>400</html>");
    open_bus("bus.name", "rude");
    expect_stat(bus, "connect_errors", 5, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    rude_set_greeting(rude, NULL);
    expect_next_good();
    close_all();
}
END_TEST

/* ---- answers to PUBLISH ---- */

static atomic_int outcomes[8], errors_seen[32];

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    (void)receivers;
    (void)user;
    atomic_fetch_add(&errors_seen[-error], 1);
    atomic_fetch_add(&outcomes[outcome], 1);
}

static void publish_reported(void)
{
    evbus_event *event = evbus_event_new("u");
    ck_assert_int_gt(evbus_publish_report(bus, event, 0, on_report, NULL), 0);
    evbus_event_unref(event);
}

static const struct {
    const char *bytes;
    int outcome, error; /* EVBUS_ACKED: tried again until it passes */
} answers[] = {
    {"-LOADING Redis is loading\r\n", EVBUS_ACKED, 0},
    {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", EVBUS_ACKED, 0},
    {"-MISCONF Redis is configured to save RDB snapshots\r\n", EVBUS_ACKED, 0},
    {"-BUSY Redis is busy running a script.\r\n", EVBUS_ACKED, 0},
    {"-MASTERDOWN Link with MASTER is down\r\n", EVBUS_ACKED, 0},
    {"-READONLY You can't write against a read only replica.\r\n", EVBUS_ACKED, 0},
    {"-NOREPLICAS Not enough good replicas to write.\r\n", EVBUS_ACKED, 0},
    {"-NOPERM this user has no permissions to access one of the channels\r\n", EVBUS_FAILED,
     EVBUS_EDENIED},
    {"-ERR something else\r\n", EVBUS_FAILED, EVBUS_EREMOTE},
};

START_TEST(errors_to_publish)
{
    open_all();
    for (int i = 0; i < (int)(sizeof answers / sizeof answers[0]); i++) {
        int before = atomic_load(&outcomes[answers[i].outcome]);
        int error = atomic_load(&errors_seen[-answers[i].error]);
        rude_answer(rude, "PUBLISH", answers[i].bytes, 2);
        for (int n = 0; n < 5; n++)
            publish_reported();
        ck_assert_msg(evbus_flush(bus, suite_patience(SOON)) == 0, "%s: %s", answers[i].bytes,
                      evbus_last_error());
        int got = atomic_load(&outcomes[answers[i].outcome]) - before;
        ck_assert_msg(got == (answers[i].outcome == EVBUS_ACKED ? 5 : 2), "%s: %d ended as %d",
                      answers[i].bytes, got, answers[i].outcome);
        if (answers[i].error)
            ck_assert_int_eq(atomic_load(&errors_seen[-answers[i].error]) - error, 2);
        expect_accounts(bus);
    }
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    expect_next_good();
    close_all();
}
END_TEST

/* ---- silence ---- */

START_TEST(silent_after_sign_in)
{
    rude = rude_start();
    open_bus("redis.ping.interval", "200ms");
    bus_end(bus);
    char port[16];
    snprintf(port, sizeof port, "%d", rude_port(rude));
    bus = bus_with("redis.port", port, "redis.ping.interval", "200ms", "redis.ping.timeout",
                   "300ms", "redis.connect.timeout", "500ms", NULL);
    bus_subscribe(bus, "t", "scope=redis", handle_count, &seen);
    expect_connected(bus, SOON);
    int64_t start = now_us();
    rude_set_mute(rude, true);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    double ms = (double)(now_us() - start) / 1000.0;
    figures_print("silence is seen (interval 200 ms, timeout 300 ms) after", "ms", &ms, 1);
    ck_assert_msg(ms < suite_patience(700), "%.0f ms", ms);
    expect_stat(bus, "connect_errors", 2,
                SOON); /* silent handshakes end by redis.connect.timeout */
    rude_set_mute(rude, false);
    expect_next_good();
    close_all();
}
END_TEST

START_TEST(closed_again_and_again)
{
    open_all();
    for (int i = 0; i < suite_scaled(100); i++) {
        int64_t connects = evbus_stat(bus, "connects");
        rude_close(rude, i % 3 == 0 ? BOTH : i % 3);
        expect_stat(bus, "connects", connects + 1, SOON);
    }
    expect_next_good();
    close_all();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("hostile wire");
    suite_add(suite, "frames_that_break_the_protocol", frames_that_break_the_protocol, 90);
    suite_add(suite, "the_same_byte_by_byte", the_same_byte_by_byte, 60);
    suite_add(suite, "everything_byte_by_byte", everything_byte_by_byte, 40);
    suite_add(suite, "three_million_nested_arrays", three_million_nested_arrays, 40);
    suite_add(suite, "three_million_nested_arrays_to_the_publisher",
              three_million_nested_arrays_to_the_publisher, 40);
    suite_add(suite, "a_line_without_end", a_line_without_end, 40);
    suite_add(suite, "a_string_larger_than_announced_limits", a_string_larger_than_announced_limits,
              40);
    suite_add(suite, "refused_sign_in", refused_sign_in, 90);
    suite_add(suite, "setname_and_select_refused", setname_and_select_refused, 30);
    suite_add(suite, "an_http_server_on_the_port", an_http_server_on_the_port, 30);
    suite_add(suite, "errors_to_publish", errors_to_publish, 60);
    suite_add(suite, "silent_after_sign_in", silent_after_sign_in, 40);
    suite_add(suite, "closed_again_and_again", closed_again_and_again, 60);
    return suite_run(suite, argc, argv);
}
