/* it_batch.c - batches against a real server: each event once in one batch, in order, with one
 * report, whatever happens to Redis. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 30000, THREADS = 4, TYPES = 3, LINES = THREADS * TYPES, EVENTS = 50000 };

static const char *const types[TYPES] = {"page.viewed", "song.played", "user.login"};

struct told { /* one event's reports */
    atomic_int reports, outcome;
};

static struct server *server;
static evbus *bus;
static struct recorder here, there;
static struct told *told[LINES];
static int published[LINES]; /* by thread and type: the recorder's publishers */
static atomic_int full, stop;

/* ---- who reads batches ---- */

static int handle_batch(evbus_sub *sub, evbus_event *event, void *recorder)
{
    json_t *data = json_loads(evbus_event_data(event, NULL), JSON_REJECT_DUPLICATES, NULL), *member;
    json_t *events = json_object_get(data, "events");
    char type[64];
    size_t i;
    (void)sub;
    if (!json_array_size(events) ||
        json_integer_value(json_object_get(data, "count")) != (json_int_t)json_array_size(events))
        recorder_note(recorder, "a batch that counts wrong");
    json_array_foreach(events, i, member)
    {
        const char *of = json_string_value(json_object_get(member, "type"));
        char *text =
            json_dumps(json_object_get(member, "data"), JSON_COMPACT | JSON_PRESERVE_ORDER);
        snprintf(type, sizeof type, "%s.batch", of ? of : "?");
        bool good = !strcmp(type, evbus_event_type(event)) &&
                    json_string_length(json_object_get(member, "eventId")) == 36;
        recorder_note(recorder, good ? text : "a member of another batch");
        free(text);
    }
    json_decref(data);
    return 0;
}

/* ---- who publishes ---- */

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct told *mine = user;
    (void)event;
    (void)error;
    (void)receivers;
    atomic_fetch_add(&mine->reports, 1);
    atomic_store(&mine->outcome, outcome);
}

/* Until it is accepted, for what waits is bounded. False: the bus is closed. */
static bool publish_one(int line, int number)
{
    char data[64];
    int length = snprintf(data, sizeof data, "{\"p\":%d,\"n\":%d}", line, number);
    evbus_event *event = evbus_event_new(types[line % TYPES]);
    ck_assert_int_eq(evbus_event_set_json(event, data, (size_t)length), 0);
    int rc;
    while ((rc = evbus_publish_report(bus, event, EVBUS_BATCH, on_report,
                                      &told[line][number - 1])) == EVBUS_EFULL) {
        atomic_fetch_add(&full, 1);
        nap_us(500);
    }
    evbus_event_unref(event);
    ck_assert_msg(rc == EVBUS_SENT_BATCH || rc == EVBUS_ECLOSED, "%s", evbus_last_error());
    if (rc == EVBUS_SENT_BATCH)
        published[line] = number;
    return rc == EVBUS_SENT_BATCH;
}

struct publisher {
    pthread_t thread;
    int id, each, pace_us;
};

static void *publisher_run(void *arg)
{
    const struct publisher *publisher = arg;
    for (int n = 1; n <= publisher->each && !atomic_load(&stop); n++) {
        for (int type = 0; type < TYPES; type++)
            if (!publish_one(publisher->id * TYPES + type, n))
                return NULL;
        if (publisher->pace_us)
            nap_us(publisher->pace_us);
    }
    return NULL;
}

static struct publisher publishers[THREADS];

static void start(int each, int pace_us)
{
    for (int i = 0; i < LINES; i++)
        told[i] = calloc((size_t)each, sizeof *told[i]);
    for (int i = 0; i < THREADS; i++) {
        publishers[i] = (struct publisher){.id = i, .each = each, .pace_us = pace_us};
        ck_assert_int_eq(pthread_create(&publishers[i].thread, NULL, publisher_run, &publishers[i]),
                         0);
    }
}

static void join(void)
{
    for (int i = 0; i < THREADS; i++)
        pthread_join(publishers[i].thread, NULL);
}

/* One report each, with this outcome; 0: any. */
static void expect_reports(int outcome)
{
    long none = 0, more = 0, other = 0;
    for (int line = 0; line < LINES; line++)
        for (int n = 0; n < published[line]; n++) {
            int reports = atomic_load(&told[line][n].reports);
            none += reports == 0;
            more += reports > 1;
            other += outcome && atomic_load(&told[line][n].outcome) != outcome;
        }
    ck_assert_msg(none + more + other == 0, "%ld without a report, %ld with two, %ld else", none,
                  more, other);
}

static void expect_even(void)
{
    ck_assert_int_eq(evbus_stat(bus, "batch_events"), 0);
    ck_assert_int_eq(evbus_stat(bus, "batched_dropped"), 0);
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 0);
    ck_assert_int_eq(evbus_stat(bus, "outbox_bytes"), 0);
    expect_accounts(bus);
    printf("figure: batches by size %lld, bytes %lld, interval %lld, flush %lld; full %d times\n",
           (long long)evbus_stat(bus, "batches_size"), (long long)evbus_stat(bus, "batches_bytes"),
           (long long)evbus_stat(bus, "batches_interval"),
           (long long)evbus_stat(bus, "batches_flush"), atomic_load(&full));
}

static void end(void)
{
    bus_end(bus);
    if (server)
        server_free(server);
    for (int i = 0; i < LINES; i++)
        free(told[i]);
    recorder_fini(&here);
    recorder_fini(&there);
}

static void expect_received(struct recorder *recorder)
{
    long total = 0;
    for (int i = 0; i < LINES; i++)
        total += published[i];
    struct wait wait = wait_for(SOON);
    while (recorder_received(recorder) < total && wait_more(&wait))
        ;
}

static int each(void)
{
    int events = suite_scaled(EVENTS);
    return (events + LINES - 1) / LINES;
}

/* ---- tests ---- */

START_TEST(local_only)
{
    static const char *const options[] = {"size=100000 bytes=100MiB", "deliver=inline"};
    recorder_init(&here);
    recorder_init(&there);
    bus = bus_with("batch.interval", "20ms", NULL);
    bus_subscribe(bus, ">", options[_i], handle_batch, &here);
    start(each(), 0);
    join();
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_reports(EVBUS_LOCAL_DONE);
    expect_received(&here);
    recorder_expect_perfect(&here, "local-only", LINES, published);
    expect_even();
    end();
}
END_TEST

static evbus *open_other(void)
{
    evbus *other = server_bus(server, NULL);
    evbus_sub *sub =
        bus_subscribe(other, "glob:*.batch", "size=100000 bytes=100MiB", handle_batch, &there);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    return other;
}

START_TEST(redis_up)
{
    server = server_start(NULL);
    recorder_init(&here);
    recorder_init(&there);
    bus = server_bus(server, "history.enabled", _i ? "yes" : "no", "outbox.full", "reject", NULL);
    expect_connected(bus, SOON);
    evbus *other = open_other();
    bus_subscribe(bus, ">", "size=100000 bytes=100MiB", handle_batch, &here);
    start(each(), 0);
    join();
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_reports(EVBUS_ACKED);
    expect_received(&here);
    expect_received(&there);
    recorder_expect_perfect(&here, "here", LINES, published);
    recorder_expect_perfect(&there, "there", LINES, published);
    expect_even();
    bus_end(other);
    end();
}
END_TEST

/* Batches wait in the outbox as any event, and are in the history for whoever comes. */
START_TEST(redis_away_then_back)
{
    server = server_plan(false, NULL);
    recorder_init(&here);
    recorder_init(&there);
    bus = server_bus(server, "outbox.full", "reject", "batch.events", "10", NULL);
    bus_subscribe(bus, ">", "size=100000 bytes=100MiB", handle_batch, &here);
    start(each() / 5, 0);
    join();
    ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ETIMEDOUT);
    expect_received(&here);
    recorder_expect_perfect(&here, "here, Redis away", LINES, published);
    server_run(server);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_reports(EVBUS_ACKED);
    evbus *other = server_bus(server, NULL);
    bus_subscribe(other, "glob:*.batch", "from=all size=100000 bytes=100MiB", handle_batch, &there);
    expect_received(&there);
    recorder_expect_perfect(&there, "there, from the history", LINES, published);
    expect_even();
    bus_end(other);
    end();
}
END_TEST

/* kill -9 again and again, the history on its disk: nobody lacks one, nobody has one twice. */
START_TEST(server_killed)
{
    server = server_start("appendonly yes\nappendfsync always\n");
    recorder_init(&here);
    recorder_init(&there);
    bus = server_bus(server, "outbox.full", "reject", "batch.events", "20", "batch.interval",
                     "10ms", NULL);
    expect_connected(bus, SOON);
    evbus *other = open_other();
    bus_subscribe(bus, ">", "size=100000 bytes=100MiB", handle_batch, &here);
    start(60000, 1000); /* a minute and more */
    for (int kill = 0; kill < suite_rounds(4); kill++) {
        int64_t before = evbus_stat(bus, "acked");
        expect_stat(bus, "acked", before + 20, SOON);
        server_kill(server);
        expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
        server_run(server);
        expect_connected(bus, SOON);
        expect_connected(other, SOON);
    }
    atomic_store(&stop, 1);
    join();
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_reports(EVBUS_ACKED);
    expect_received(&here);
    expect_received(&there);
    recorder_expect_perfect(&here, "here, server killed", LINES, published);
    recorder_expect_perfect(&there, "there, server killed", LINES, published);
    expect_even();
    bus_end(other);
    end();
}
END_TEST

/* Closed with open batches, or freed while Redis is away after a closing that had no time: what was
 * accepted has its report, and this process's subscribers have it. */
START_TEST(closed_or_freed)
{
    recorder_init(&here);
    recorder_init(&there);
    server = server_plan(false, NULL);
    bus = _i ? server_bus(server, NULL) : bus_with(NULL);
    bus_subscribe(bus, ">", "deliver=inline", handle_batch, &here);
    for (int i = 0; i < LINES; i++)
        told[i] = calloc((size_t)each(), sizeof *told[i]);
    for (int n = 1; n <= each() / 10; n++)
        for (int line = 0; line < LINES; line++)
            publish_one(line, n);
    if (_i)
        ck_assert_int_eq(evbus_close(bus, 0), EVBUS_ETIMEDOUT);
    else
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    if (_i) {
        bus_end(bus);
        bus = NULL;
    }
    expect_reports(_i ? EVBUS_FAILED : EVBUS_LOCAL_DONE);
    recorder_expect_perfect(&here, _i ? "freed" : "closed", LINES, published);
    if (bus)
        expect_even();
    end();
}
END_TEST

/* Closed while four threads publish: nothing that was accepted is lost. */
START_TEST(closed_amid_publishing)
{
    recorder_init(&here);
    recorder_init(&there);
    server = _i ? server_start(NULL) : NULL;
    bus = _i ? server_bus(server, "outbox.full", "reject", NULL) : bus_with(NULL, NULL);
    if (_i)
        expect_connected(bus, SOON);
    bus_subscribe(bus, ">", "size=100000 bytes=100MiB", handle_batch, &here);
    start(each(), 0);
    expect_stat(bus, "batched", suite_scaled(EVENTS) / 4, SOON);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    join();
    expect_reports(_i ? EVBUS_ACKED : EVBUS_LOCAL_DONE);
    recorder_expect_perfect(&here, "closed amid publishing", LINES, published);
    expect_even();
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("batch");
    struct {
        const char *name;
        const TTest *test;
        int loops;
    } cases[] = {{"local_only", local_only, 2},
                 {"redis_up", redis_up, 2},
                 {"redis_away_then_back", redis_away_then_back, 1},
                 {"server_killed", server_killed, 1},
                 {"closed", closed_or_freed, 2},
                 {"closed_amid_publishing", closed_amid_publishing, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tests = tcase_create(cases[i].name);
        tcase_set_timeout(tests, suite_patience(60));
        tcase_add_loop_test(tests, cases[i].test, 0, cases[i].loops);
        suite_add_tcase(suite, tests);
    }
    return suite_run(suite, argc, argv);
}
