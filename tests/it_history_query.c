/* it_history_query.c - questions about what a real Redis stores: ten thousand events by every
 * option, each once; a server that is stopped, links that are cut, buses that close, users that may
 * only read, answers that are too large. */
#include "harness/bus.h"
#include "harness/failing.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 10000, SOON = 20000 };

static struct server *server;
static evbus *writer, *asker;

static void begin(const char *local_events)
{
    failing_install();
    server = server_start("hz 100");
    writer = server_bus(server, "history.local.events", local_events, NULL);
    asker = server_bus(server, "redis.ping.interval", "60s", "reconnect.backoff", "1ms",
                       "reconnect.backoff.max", "5ms", NULL);
    expect_connected(writer, SOON);
    expect_connected(asker, SOON);
}

static void end(void)
{
    bus_end(writer);
    bus_end(asker);
    server_free(server);
}

/* Types task.0 to task.9, correlations c-0 to c-99, the number as data. */
static void write_events(int count)
{
    char type[32], correlation[32], data[32];
    for (int i = 0; i < count; i++) {
        snprintf(type, sizeof type, "task.%d", i % 10);
        snprintf(correlation, sizeof correlation, "c-%d", i % 100);
        int length = snprintf(data, sizeof data, "%d", i);
        evbus_event *event = evbus_event_new(type);
        evbus_event_set_correlation(event, correlation);
        evbus_event_set_json(event, data, (size_t)length);
        ck_assert_int_gt(evbus_publish_event(writer, event, 0), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush(writer, suite_patience(SOON)), 0);
}

static evbus_list *query(evbus *bus, const char *text)
{
    evbus_list *list = evbus_history(bus, text, suite_patience(SOON));
    ck_assert_msg(list != NULL, "%s: %s", text, evbus_last_error());
    return list;
}

static int number(const evbus_list *list, int index)
{
    return atoi(evbus_event_data(evbus_list_at(list, index), NULL));
}

/* So many, the newest first: this number, each next one `step` below. */
static void expect_numbers(evbus *bus, const char *text, int count, int newest, int step)
{
    evbus_list *list = query(bus, text);
    ck_assert_msg(evbus_list_count(list) == count, "%s: %d", text, evbus_list_count(list));
    for (int i = 0; i < count; i++)
        ck_assert_msg(number(list, i) == newest - i * step, "%s: at %d: %d", text, i,
                      number(list, i));
    evbus_list_free(list);
}

static const struct {
    const char *query;
    int count, newest, step;
} questions[] = {
    {"", 50, 9999, 1},
    {"source=redis limit=100000", 10000, 9999, 1},
    {"limit=1", 1, 9999, 1},
    {"type=task.3 limit=100000", 1000, 9993, 10},
    {"type=task.* limit=777", 777, 9999, 1},
    {"type=glob:*[37] limit=1", 1, 9997, 1},
    {"type=other.*", 0, 0, 0},
    {"correlation=c-42 limit=1000", 100, 9942, 100},
    {"correlation=c-42 type=task.2 limit=9", 9, 9942, 100},
    {"correlation=c-42 type=task.3", 0, 0, 0},
    {"since=1h limit=100000", 10000, 9999, 1},
    {"until=1h", 0, 0, 0},
};

START_TEST(ten_thousand)
{
    char text[200];
    begin("1000");
    write_events(EVENTS);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        expect_numbers(asker, questions[i].query, questions[i].count, questions[i].newest,
                       questions[i].step);
    expect_numbers(writer, "source=local limit=100000", 1000, 9999, 1);
    expect_numbers(writer, "source=both limit=100000", EVENTS, 9999, 1); /* each once */
    expect_numbers(writer, "limit=1500", 1500, 9999, 1);
    expect_numbers(writer, "type=task.7 limit=150", 150, 9997, 10);
    evbus_list *list = query(asker, "limit=5000");
    snprintf(text, sizeof text, "limit=100000 since=%s until=%s",
             evbus_event_position(evbus_list_at(list, 4900)),
             evbus_event_position(evbus_list_at(list, 100)));
    ck_assert_int_eq(evbus_event_origin(evbus_list_at(list, 0)), EVBUS_ORIGIN_REPLAY);
    evbus_list_free(list);
    expect_numbers(asker, text, 4801, 9899, 1);
    ck_assert_int_eq(evbus_stat(asker, "received"), 0);
    ck_assert_int_eq(evbus_stat(asker, "duplicates"), 0);
    end();
}
END_TEST

/* What was asked for does not come as news, and what comes as news may be asked for. */
START_TEST(queries_leave_subscriptions_alone)
{
    atomic_int seen = 0;
    begin("0");
    write_events(100);
    expect_numbers(asker, "", 50, 99, 1);
    evbus_sub *sub = bus_subscribe(asker, ">", NULL, handle_count, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    write_events(100);
    expect_numbers(asker, "limit=100", 100, 99, 1);
    expect_count(&seen, 100, SOON);
    write_events(100);
    expect_count(&seen, 200, SOON);
    ck_assert_int_eq(atomic_load(&seen), 200);
    expect_numbers(asker, "limit=100", 100, 99, 1);
    end();
}
END_TEST

/* ---- a server that is stopped ---- */

static bool is_less(void *before)
{
    return failing_live() <= *(long *)before;
}

START_TEST(stopped)
{
    begin("0");
    write_events(1000);
    expect_numbers(asker, "", 50, 999, 1);
    long before = failing_live();
    server_stop(server);
    for (int i = 0; i < 20; i++) {
        ck_assert_ptr_null(evbus_history(asker, "limit=100000", 10));
        ck_assert_int_eq(evbus_last_code(), EVBUS_ETIMEDOUT);
    }
    server_continue(server);
    ck_assert_msg(until(is_less, &before, SOON), "%ld blocks, %ld before", failing_live(), before);
    expect_numbers(asker, "", 50, 999, 1);
    end();
}
END_TEST

/* ---- links that are cut ---- */

static struct {
    atomic_int answers, away, wrong;
} got;

static void on_list(evbus_list *list, int error, void *user)
{
    (void)user;
    if (error == EVBUS_EAWAY)
        atomic_fetch_add(&got.away, 1);
    else if (error != EVBUS_ECLOSED && (error != 0 || evbus_list_count(list) == 0))
        atomic_fetch_add(&got.wrong, 1);
    evbus_list_free(list);
    atomic_fetch_add(&got.answers, 1);
}

START_TEST(cut)
{
    begin("0");
    write_events(EVENTS);
    int asked = 0;
    struct wait wait = wait_for(SOON);
    do { /* until it hit queries in the middle, some times */
        for (int i = 0; i < 3; i++, asked++)
            ck_assert_int_eq(evbus_history_async(asker, "limit=100000", on_list, NULL), 0);
        server_command(server, "CLIENT KILL TYPE normal");
        expect_count(&got.answers, asked, SOON);
        ck_assert_int_eq(evbus_wait_connected(asker, suite_patience(SOON)), 0);
    } while (atomic_load(&got.away) < 10 && wait_more(&wait));
    ck_assert_int_ge(atomic_load(&got.away), 10);
    ck_assert_int_eq(atomic_load(&got.answers), asked);
    ck_assert_int_eq(atomic_load(&got.wrong), 0);
    expect_numbers(asker, "limit=100000", EVENTS, 9999, 1);
    server_kill(server);
    expect_mode(asker, EVBUS_MODE_DEGRADED, SOON);
    ck_assert_ptr_null(evbus_history(asker, "source=redis", 1000));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EAWAY);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "while Redis is away ("));
    end();
}
END_TEST

/* ---- buses that close ---- */

static void *ask_on(void *bus)
{
    intptr_t asked = 0;
    while (evbus_history_async(bus, "limit=1000", on_list, NULL) == 0) {
        asked++;
        nap_us(200);
    }
    return (void *)asked;
}

static void *wait_on(void *bus)
{
    evbus_list *list;
    while ((list = evbus_history(bus, "limit=100", 60000)))
        evbus_list_free(list);
    return (void *)(intptr_t)evbus_last_code();
}

START_TEST(closing)
{
    begin("0");
    write_events(3000);
    for (int round = suite_scaled(20); round > 0; round--) {
        pthread_t waiter, busy;
        void *code, *asked;
        evbus *bus = server_bus(server, "bus.name", "closing", NULL);
        expect_connected(bus, SOON);
        atomic_store(&got.answers, 0);
        pthread_create(&waiter, NULL, wait_on, bus);
        pthread_create(&busy, NULL, ask_on, bus);
        expect_count(&got.answers, 1 + round % 7, SOON);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        int answers = atomic_load(&got.answers);
        pthread_join(waiter, &code);
        pthread_join(busy, &asked);
        bus_end(bus);
        ck_assert_int_eq((intptr_t)code, EVBUS_ECLOSED);
        ck_assert_int_eq(answers, (intptr_t)asked);
        ck_assert_int_eq(atomic_load(&got.wrong), 0);
    }
    end();
}
END_TEST

/* ---- answers that are too large ---- */

START_TEST(too_large)
{
    enum { LENGTH = 1000000 };
    char *data = malloc(LENGTH);
    memset(data, '1', LENGTH);
    begin("0");
    for (int i = 0; i < 150; i++) {
        evbus_event *event = evbus_event_new("large");
        evbus_event_set_json(event, data, LENGTH);
        ck_assert_int_gt(evbus_publish_event(writer, event, 0), 0);
        evbus_event_unref(event);
        if (i % 20 == 0)
            ck_assert_int_eq(evbus_flush(writer, suite_patience(SOON)), 0);
    }
    ck_assert_int_eq(evbus_flush(writer, suite_patience(SOON)), 0);
    free(data);
    ck_assert_ptr_null(evbus_history(asker, "limit=1000", suite_patience(SOON)));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETOOBIG);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "hold more than 64 MiB: ask for fewer"));
    evbus_list *list = query(asker, "limit=30");
    ck_assert_int_eq(evbus_list_count(list), 30);
    evbus_list_free(list);
    end();
}
END_TEST

/* ---- users ---- */

#define LINK "&evbus:* -@all +publish +subscribe +psubscribe +hello +ping +client|setname "

static const struct {
    const char *rules, *says; /* NULL: it may read */
} users[] = {
    {LINK "~evbus:* +eval +evalsha +xrevrange", NULL}, /* though it may write nothing */
    {LINK, "~evbus:*"},
    {LINK "+eval +evalsha +xrevrange", "~evbus:*"},
    {LINK "~evbus:* +evalsha +xrevrange", "+eval"},
    {LINK "~evbus:* +eval +evalsha", "+xrevrange"},
};

START_TEST(rights)
{
    begin("0");
    write_events(100);
    for (size_t i = 0; i < sizeof users / sizeof users[0]; i++) {
        char command[300];
        snprintf(command, sizeof command, "ACL SETUSER reader reset on >secret %s", users[i].rules);
        ck_assert_msg(server_command(server, command) == 0, "%s", server_error());
        evbus *bus = server_bus(server, "redis.username", "reader", "redis.password", "secret",
                                "log.level", "error", NULL);
        expect_connected(bus, SOON);
        evbus_list *list = evbus_history(bus, "limit=100", suite_patience(SOON));
        ck_assert_msg((list != NULL) == !users[i].says, "%s: %s", command, evbus_last_error());
        if (users[i].says) {
            ck_assert_int_eq(evbus_last_code(), EVBUS_EDENIED);
            ck_assert_ptr_nonnull(strstr(evbus_last_error(), users[i].says));
        }
        evbus_list_free(list);
        bus_end(bus);
    }
    server_command(server, "ACL LOG RESET");
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("history queries");
    suite_add(suite, "ten_thousand", ten_thousand, 60);
    suite_add(suite, "queries_leave_subscriptions_alone", queries_leave_subscriptions_alone, 60);
    suite_add(suite, "stopped", stopped, 60);
    suite_add(suite, "cut", cut, 60);
    suite_add(suite, "closing", closing, 60);
    suite_add(suite, "too_large", too_large, 60);
    suite_add(suite, "rights", rights, 60);
    return suite_run(suite, argc, argv);
}
