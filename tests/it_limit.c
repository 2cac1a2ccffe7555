/* it_limit.c - limit=N: N handler calls and one end, with publishers on several threads, here and
 * behind a real Redis, and while the bus closes. */
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, PUBLISHERS = 3, LIMIT = 100, MORE = 200 };

struct watch {
    atomic_int calls, freed, inside, late; /* late: calls after on_free, or it during a call */
};

static int watch_call(evbus_sub *sub, evbus_event *event, void *user)
{
    struct watch *watch = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&watch->inside, 1);
    atomic_fetch_add(&watch->calls, 1);
    if (atomic_load(&watch->freed))
        atomic_fetch_add(&watch->late, 1);
    atomic_fetch_sub(&watch->inside, 1);
    return 0;
}

static void watch_free(void *user)
{
    struct watch *watch = user;
    atomic_fetch_add(&watch->late, atomic_load(&watch->inside));
    atomic_fetch_add(&watch->freed, 1);
}

static char type[16]; /* one a round: what others still send for the last one is not for this */

static void *publish_more(void *bus)
{
    for (int n = 0; n < MORE; n++)
        bus_publish(bus, type, NULL);
    return NULL;
}

static evbus_sub *limited(evbus *bus, const char *options, struct watch *watch)
{
    evbus_sub *sub = bus_subscribe(bus, type, options, watch_call, watch);
    ck_assert_int_eq(evbus_sub_on_free(sub, watch_free), 0);
    return sub;
}

static const char *const ways[] = {"limit=100 deliver=inline", "limit=100 deliver=loop",
                                   "limit=100 deliver=workers key=none"};

/* Half of them publish to a bus of their own: their events come through Redis. */
START_TEST(so_many_calls_from_everywhere)
{
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "workers", "3", NULL), *other = server_bus(server, NULL);
    expect_connected(other, SOON);
    for (int round = suite_rounds(8); round > 0; round--) {
        struct watch watch = {0};
        pthread_t threads[PUBLISHERS * 2];
        snprintf(type, sizeof type, "t.%d", round);
        evbus_sub *sub = limited(bus, ways[_i], &watch);
        ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
        for (int i = 0; i < PUBLISHERS * 2; i++)
            pthread_create(&threads[i], NULL, publish_more, i % 2 ? bus : other);
        for (int i = 0; i < PUBLISHERS * 2; i++)
            pthread_join(threads[i], NULL);
        expect_count(&watch.freed, 1, SOON);
        ck_assert_int_eq(evbus_flush(other, suite_patience(SOON)), 0);
        ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
        bus_unsubscribe(sub);
        ck_assert_int_eq(atomic_load(&watch.calls), LIMIT);
        ck_assert_int_eq(atomic_load(&watch.freed), 1);
        ck_assert_int_eq(atomic_load(&watch.late), 0);
        ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
    }
    bus_end(bus);
    bus_end(other);
    server_free(server);
}
END_TEST

static atomic_int go;

/* ENDED by itself, by its owner or by the bus, whoever is first: once. */
static void *unsubscribe_when_told(void *sub)
{
    while (!atomic_load(&go))
        sched_yield();
    evbus_unsubscribe(sub);
    return NULL;
}

static void *publish_when_told(void *bus)
{
    while (!atomic_load(&go))
        sched_yield();
    for (int n = 0; n < 4; n++)
        evbus_publish(bus, "t", NULL); /* closed meanwhile, perhaps */
    return NULL;
}

START_TEST(all_ends_at_once)
{
    static const char *const options[] = {"limit=3 deliver=inline", "limit=3",
                                          "limit=3 deliver=workers key=none"};
    for (int round = suite_rounds(300); round > 0; round--) {
        struct watch watch = {0};
        pthread_t threads[3];
        evbus *bus = bus_with("workers", "2", NULL);
        strcpy(type, "t");
        evbus_sub *sub = limited(bus, options[_i], &watch);
        bus_forget(sub);
        atomic_store(&go, 0);
        pthread_create(&threads[0], NULL, publish_when_told, bus);
        pthread_create(&threads[1], NULL, publish_when_told, bus);
        pthread_create(&threads[2], NULL, unsubscribe_when_told, sub);
        atomic_store(&go, 1);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        ck_assert_int_le(atomic_load(&watch.calls), 3);
        ck_assert_int_eq(atomic_load(&watch.freed), 1);
        ck_assert_int_eq(atomic_load(&watch.late), 0);
        bus_end(bus);
    }
}
END_TEST

/* ---- closing waits for the end ---- */

static atomic_int ending, closed, closed_early;

static void end_slowly(void *user)
{
    (void)user;
    atomic_store(&ending, 1);
    nap_us(30000); /* a close that does not wait for it is over by then */
    atomic_store(&closed_early, atomic_load(&closed));
}

static void *publish_one(void *bus)
{
    evbus_publish(bus, "t", NULL);
    return NULL;
}

START_TEST(closing_waits_for_its_end)
{
    atomic_int calls = 0;
    pthread_t publisher;
    evbus *bus = bus_with("workers", "1", NULL);
    evbus_sub *sub = bus_subscribe(
        bus, "t", _i ? "limit=1 deliver=workers" : "limit=1 deliver=inline", handle_count, &calls);
    ck_assert_int_eq(evbus_sub_on_free(sub, end_slowly), 0);
    pthread_create(&publisher, NULL, publish_one, bus);
    expect_count(&ending, 1, SOON);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    atomic_store(&closed, 1);
    pthread_join(publisher, NULL);
    ck_assert_int_eq(atomic_load(&closed_early), 0);
    ck_assert_int_eq(atomic_load(&calls), 1);
    bus_end(bus);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test, int rows)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, suite_patience(30));
    tcase_add_loop_test(tests, test, 0, rows);
    suite_add_tcase(suite, tests);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("limit");
    add(suite, "so_many_calls_from_everywhere", so_many_calls_from_everywhere, 3);
    add(suite, "all_ends_at_once", all_ends_at_once, 3);
    add(suite, "closing_waits_for_its_end", closing_waits_for_its_end, 2);
    return suite_run(suite, argc, argv);
}
