/* it_workers.c - deliver=workers: the order of each key and nothing beside it, side by side where
 * keys differ, and bounds to the last event. Local events, and events of another bus through a
 * real Redis. */
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 5000, PUBLISHERS = 2, KEYS = 50, EVENTS = 20000 };

/* ---- the order of each key ---- */

struct watch { /* what the handlers saw; the highest number by key and publisher */
    atomic_int calls, wrong, overlaps, inside[KEYS], highest[KEYS][PUBLISHERS];
    atomic_int together, most; /* handlers that run at a time */
};

static int watch_order(evbus_sub *sub, evbus_event *event, void *user)
{
    struct watch *watch = user;
    int key = atoi(evbus_event_attr(event, "key")), from = atoi(evbus_event_attr(event, "from")),
        number = atoi(evbus_event_attr(event, "number"));
    (void)sub;
    int together = atomic_fetch_add(&watch->together, 1) + 1, most = atomic_load(&watch->most);
    while (together > most && !atomic_compare_exchange_weak(&watch->most, &most, together))
        continue;
    if (atomic_fetch_add(&watch->inside[key], 1) != 0)
        atomic_fetch_add(&watch->overlaps, 1);
    if (atomic_exchange(&watch->highest[key][from], number) >= number)
        atomic_fetch_add(&watch->wrong, 1);
    if (number % 8 == 0)
        sched_yield(); /* others may come in now, if anything lets them */
    atomic_fetch_sub(&watch->inside[key], 1);
    atomic_fetch_sub(&watch->together, 1);
    atomic_fetch_add(&watch->calls, 1);
    return 0;
}

struct publisher {
    evbus *bus;
    int from, events;
    bool by_type; /* the key is the type; else all have one type */
    pthread_t thread;
};

static evbus_event *keyed_event(int key, int from, int number, bool by_type)
{
    char text[32], type[32];
    snprintf(type, sizeof type, "t.%d", by_type ? key : 0);
    evbus_event *event = evbus_event_new(type);
    snprintf(text, sizeof text, "%d", key);
    evbus_event_set_attr(event, "key", text);
    evbus_event_set_correlation(event, text);
    evbus_event_set_source(event, text);
    snprintf(text, sizeof text, "%d", from);
    evbus_event_set_attr(event, "from", text);
    snprintf(text, sizeof text, "%d", number);
    evbus_event_set_attr(event, "number", text);
    return event;
}

static void *publish_all(void *arg)
{
    const struct publisher *publisher = arg;
    for (int n = 1; n <= publisher->events; n++) {
        evbus_event *event = keyed_event(n * 7 % KEYS, publisher->from, n, publisher->by_type);
        ck_assert_int_gt(evbus_publish_event(publisher->bus, event, 0), 0);
        evbus_event_unref(event);
    }
    return NULL;
}

static void publish_by_two(evbus *bus, int events, bool by_type)
{
    struct publisher publishers[PUBLISHERS];
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] =
            (struct publisher){.bus = bus, .from = i, .events = events, .by_type = by_type};
        pthread_create(&publishers[i].thread, NULL, publish_all, &publishers[i]);
    }
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
}

#define ROOMY "deliver=workers size=1000000 bytes=1GiB "

static const char *const key_options[] = {ROOMY "key=attr:key", ROOMY "key=correlation",
                                          ROOMY "key=source", ROOMY "key=type", ROOMY};
enum { BY_TYPE = 3 };

static void expect_order(struct watch *watch, evbus_sub *sub, int events)
{
    expect_count(&watch->calls, events, 4 * SOON);
    ck_assert_int_eq(atomic_load(&watch->calls), events);
    ck_assert_int_eq(atomic_load(&watch->wrong), 0);
    ck_assert_int_eq(atomic_load(&watch->overlaps), 0);
    printf("figure: %d events, at most %d handlers at a time\n", events, atomic_load(&watch->most));
    ck_assert_int_gt(atomic_load(&watch->most), 1);
    ck_assert_int_le(atomic_load(&watch->most), 4);
    struct wait wait = wait_for(SOON); /* a handler is counted when it has returned */
    while (evbus_sub_stat(sub, "delivered") < events && wait_more(&wait))
        ;
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), events);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}

START_TEST(order_of_each_key)
{
    static struct watch watch;
    int events = suite_scaled(EVENTS);
    evbus *bus = bus_with("workers", "4", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.*", key_options[_i], watch_order, &watch);
    publish_by_two(bus, events, _i >= BY_TYPE);
    expect_order(&watch, sub, events * PUBLISHERS);
    bus_end(bus);
}
END_TEST

START_TEST(order_of_each_key_from_redis)
{
    static struct watch watch;
    int events = suite_scaled(EVENTS / 2);
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "workers", "4", NULL),
          *other = server_bus(server, "outbox.events", "1000000", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.*", key_options[0], watch_order, &watch);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    expect_connected(other, SOON);
    publish_by_two(other, events, false);
    expect_order(&watch, sub, events * PUBLISHERS);
    bus_end(other);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- side by side, or not ---- */

struct meeting {
    atomic_int there, met;
};

/* Waits until the other one is there. */
static int meet(evbus_sub *sub, evbus_event *event, void *user)
{
    struct meeting *meeting = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&meeting->there, 1);
    if (until_count(&meeting->there, 2, SOON))
        atomic_fetch_add(&meeting->met, 1);
    return 0;
}

static void publish_key(evbus *bus, int key, bool by_type)
{
    evbus_event *event = keyed_event(key, 0, 1, by_type);
    ck_assert_int_gt(evbus_publish_event(bus, event, 0), 0);
    evbus_event_unref(event);
}

/* Any two keys, not only those of different remainders: each pair of the first twenty. */
START_TEST(different_keys_meet)
{
    evbus *bus = bus_with("workers", "2", NULL);
    for (int key = 1; key < 20; key++) {
        struct meeting meeting = {0};
        evbus_sub *sub = bus_subscribe(bus, "t.*", key_options[_i], meet, &meeting);
        publish_key(bus, 0, _i >= BY_TYPE);
        publish_key(bus, key, _i >= BY_TYPE);
        expect_count(&meeting.met, 2, 2 * SOON);
        bus_unsubscribe(sub);
    }
    bus_end(bus);
}
END_TEST

START_TEST(no_key_meets_itself)
{
    struct meeting meeting = {0};
    evbus *bus = bus_with("workers", "2", NULL);
    bus_subscribe(bus, "t.*", "deliver=workers key=none", meet, &meeting);
    publish_key(bus, 0, false);
    publish_key(bus, 0, false);
    expect_count(&meeting.met, 2, 2 * SOON);
    bus_end(bus);
}
END_TEST

START_TEST(one_key_never_meets_itself)
{
    static const char *const options[] = {ROOMY "key=all", ROOMY "key=attr:nobody-has-it"};
    static struct watch watch;
    int events = suite_scaled(EVENTS / 4);
    evbus *bus = bus_with("workers", "4", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.*", options[_i], watch_order, &watch);
    publish_by_two(bus, events, true);
    expect_count(&watch.calls, events * PUBLISHERS, 4 * SOON);
    ck_assert_int_eq(atomic_load(&watch.most), 1);
    ck_assert_int_eq(atomic_load(&watch.wrong), 0);
    bus_unsubscribe(sub);
    bus_end(bus);
}
END_TEST

/* A key with a slow handler holds up its own alone, and a busy subscription no other one. */
static atomic_int gate_calls, gate_open;

static int wait_at_gate(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    atomic_fetch_add(&gate_calls, 1);
    until_count(&gate_open, 1, 2 * SOON);
    return 0;
}

START_TEST(others_go_past_a_slow_key)
{
    atomic_int calls = 0;
    evbus *bus = bus_with("workers", "2", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.0", ROOMY "key=attr:key", wait_at_gate, NULL);
    bus_subscribe(bus, "u.*", "deliver=workers", handle_count, &calls);
    for (int i = 0; i < 100; i++)
        publish_key(bus, 0, false);
    for (int i = 0; i < 500; i++)
        bus_publish(bus, i % 2 ? "u.a" : "u.b", NULL);
    expect_count(&calls, 500, SOON);
    ck_assert_int_eq(atomic_load(&gate_calls), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 99);
    atomic_store(&gate_open, 1);
    expect_count(&gate_calls, 100, SOON);
    bus_end(bus);
}
END_TEST

struct turn {
    evbus_sub *busy;
    atomic_int begun, left; /* what still waited for the busy one when this one came */
};

static int note_left(evbus_sub *sub, evbus_event *event, void *user)
{
    struct turn *turn = user;
    (void)sub;
    (void)event;
    atomic_store(&turn->left, (int)evbus_sub_stat(turn->busy, "queued"));
    atomic_store(&turn->begun, 1);
    return 0;
}

START_TEST(each_subscription_has_its_turn)
{
    struct turn turn = {0};
    evbus *bus = bus_with("workers", "1", NULL);
    turn.busy = bus_subscribe(bus, "t.0", ROOMY, wait_at_gate, NULL);
    bus_subscribe(bus, "u", "deliver=workers", note_left, &turn);
    for (int i = 0; i < 1000; i++)
        publish_key(bus, 0, false);
    expect_count(&gate_calls, 1, SOON);
    bus_publish(bus, "u", NULL);
    atomic_store(&gate_open, 1);
    expect_count(&turn.begun, 1, SOON);
    ck_assert_int_eq(atomic_load(&turn.left), 999);
    bus_end(bus);
}
END_TEST

/* ---- bounds ---- */

enum { MOST_GOT = 128 };

struct gated {
    atomic_int open, count, got[MOST_GOT];
};

static int get_number(evbus_sub *sub, evbus_event *event, void *user)
{
    struct gated *gated = user;
    (void)sub;
    int at = atomic_fetch_add(&gated->count, 1);
    atomic_store(&gated->got[at], atoi(evbus_event_attr(event, "number")));
    until_count(&gated->open, 1, 2 * SOON);
    return at % 10 == 9; /* some fail */
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Two workers hold one each of the first, 10 wait, the others are dropped: which ones, the policy
 * says. */
START_TEST(bounds_to_the_last_event)
{
    static const struct {
        const char *options;
        int first; /* of those that were kept beside 1 and 2 */
    } rows[] = {
        {"deliver=workers size=10 full=drop-oldest key=attr:key", 91},
        {"deliver=workers size=10 full=drop-newest key=attr:key", 3},
        {"deliver=workers size=10 full=drop-oldest key=none", 91},
        {"deliver=workers size=10 full=drop-newest key=none", 3},
        {"deliver=workers size=10 full=drop-oldest key=correlation", 91},
    };
    struct gated gated = {0};
    int got[12];
    evbus *bus = bus_with("workers", "2", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.0", rows[_i].options, get_number, &gated);
    for (int n = 1; n <= 100; n++) {
        evbus_event *event = keyed_event(n % 3, 0, n, false);
        evbus_publish_event(bus, event, 0);
        evbus_event_unref(event);
        if (n == 2)
            expect_count(&gated.count, 2, SOON);
    }
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 10);
    ck_assert_int_eq(evbus_sub_stat(sub, "peak"), 10);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 88);
    ck_assert_int_eq(evbus_stat(bus, "dropped"), 88);
    atomic_store(&gated.open, 1);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0); /* nothing runs after it */
    ck_assert_int_eq(atomic_load(&gated.count), 12);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 11);
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 88);
    ck_assert_int_eq(evbus_stat(bus, "handled"), 11);
    for (int i = 0; i < 12; i++)
        got[i] = atomic_load(&gated.got[i]);
    qsort(got, 12, sizeof got[0], by_number);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(got[i], i < 2 ? i + 1 : rows[_i].first + i - 2);
    bus_end(bus);
}
END_TEST

START_TEST(accounts_under_load)
{
    static struct watch watch;
    int events = suite_scaled(EVENTS);
    evbus *bus = bus_with("workers", "4", NULL);
    evbus_sub *sub =
        bus_subscribe(bus, "t.*", "deliver=workers size=20 key=attr:key", watch_order, &watch);
    publish_by_two(bus, events, false);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered") + evbus_sub_stat(sub, "dropped"),
                     events * PUBLISHERS);
    ck_assert_int_eq(atomic_load(&watch.calls), evbus_sub_stat(sub, "delivered"));
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert_int_le(evbus_sub_stat(sub, "peak"), 20);
    ck_assert_int_eq(atomic_load(&watch.wrong) + atomic_load(&watch.overlaps), 0);
    bus_end(bus);
}
END_TEST

/* ---- publishers and Redis do not wait ---- */

START_TEST(nobody_waits_for_stuck_handlers)
{
    atomic_int remote = 0;
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "workers", "2", NULL), *other = server_bus(server, NULL);
    bus_subscribe(bus, ">", "deliver=workers key=none size=100", wait_at_gate, NULL);
    evbus_sub *sub = bus_subscribe(bus, "t", "scope=redis", handle_count, &remote);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    expect_connected(other, SOON);
    for (int i = 0; i < 1000; i++) {
        bus_publish(bus, "local", NULL);
        bus_publish(other, "t", NULL);
    }
    expect_count(&remote, 1000, SOON); /* the reader went on */
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&gate_calls), 2);
    atomic_store(&gate_open, 1);
    bus_end(bus);
    bus_end(other);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("workers");
    TCase *loops = tcase_create("loops");
    tcase_set_timeout(loops, suite_patience(60));
    tcase_add_loop_test(loops, order_of_each_key, 0, sizeof key_options / sizeof key_options[0]);
    tcase_add_loop_test(loops, different_keys_meet, 0, BY_TYPE + 2);
    tcase_add_loop_test(loops, one_key_never_meets_itself, 0, 2);
    tcase_add_loop_test(loops, bounds_to_the_last_event, 0, 5);
    suite_add_tcase(suite, loops);
    suite_add(suite, "order_of_each_key_from_redis", order_of_each_key_from_redis, 60);
    suite_add(suite, "no_key_meets_itself", no_key_meets_itself, 20);
    suite_add(suite, "others_go_past_a_slow_key", others_go_past_a_slow_key, 20);
    suite_add(suite, "each_subscription_has_its_turn", each_subscription_has_its_turn, 20);
    suite_add(suite, "accounts_under_load", accounts_under_load, 60);
    suite_add(suite, "nobody_waits_for_stuck_handlers", nobody_waits_for_stuck_handlers, 20);
    return suite_run(suite, argc, argv);
}
