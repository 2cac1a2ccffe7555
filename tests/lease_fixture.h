/*
 * lease_fixture.h - bus_fixture.h with a Redis in memory that keeps the lease of one leader's name,
 * the story of evbus.leader, and a machine's clock that goes as the test says. Included by one
 * program's only file.
 */
#ifndef LEASE_FIXTURE_H
#define LEASE_FIXTURE_H
#include "lease.h"
#include "bus_fixture.h"
#include "clock.h"
#include "harness/keeper.h"
#include "list.h"

static struct keeper *keeper;
static evbus_sub *sub, *changes;
static int64_t ahead_us; /* of the machine's clock */

static inline int64_t clock_ahead(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + ahead_us;
}

static inline int on_leader(evbus_sub *one, evbus_event *event, void *user)
{
    char change[20] = "";
    const char *data = evbus_event_data(event, NULL);
    (void)one;
    (void)user;
    sscanf(strstr(data, "change\":\"") + 9, "%19[a-z]", change);
    tell("%s:%s:%s ", change,
         strstr(data, evbus_node(bus)) ? "self"
         : strstr(data, "null")        ? "nobody"
                                       : "other",
         strstr(data, "fence\":") + 7);
    return 0;
}

static inline int on_t(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s ", evbus_event_type(event));
    return 0;
}

static inline void begin(void)
{
    ahead_us = 0;
    evb_clock_set(NULL, clock_ahead);
    setup();
    keeper = keeper_start(server);
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static inline void hold(void)
{
    changes = evbus_subscribe(bus, "evbus.leader", NULL, on_leader, NULL);
    sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    ck_assert_msg(sub && changes, "%s", evbus_last_error());
}

static inline void end(void)
{
    evbus_unsubscribe(sub);
    evbus_unsubscribe(changes);
    sub = changes = NULL;
    evbus_free(bus);
    bus = NULL;
    turn();
    keeper_free(keeper);
    teardown();
    evb_clock_set(NULL, NULL);
}

static inline const char *last(void)
{
    return keeper_last(keeper, KEEPER_LEASE);
}

static inline bool is_said(void *words)
{
    return strstr(last(), words) != NULL;
}

static inline void await_said(const char *words)
{
    ck_assert_msg(run_until(base, is_said, (void *)words, suite_patience(10000)), "%s: %s", words,
                  last());
}

static inline bool is_asked(void *count)
{
    return keeper_count(keeper, KEEPER_LEASE) >= *(int *)count;
}

static inline void await_asked(int count)
{
    ck_assert(run_until(base, is_asked, &count, suite_patience(10000)));
}

static inline bool is_answered(void *want)
{
    return evbus_sub_wait(sub, 0) == *(int *)want;
}

static inline void await_answer(int want)
{
    ck_assert_msg(run_until(base, is_answered, &want, suite_patience(10000)), "%s",
                  evbus_last_error());
}

static inline void await_told(const char *what)
{
    char text[60];
    snprintf(text, sizeof text, "%s", what);
    await(text);
}

/* The bus's only one. */
static inline struct evb_lease *lease_now(void)
{
    ck_assert(!evb_list_empty(&bus->leases));
    return evb_container(bus->leases.next, struct evb_lease, node);
}

static inline TCase *lease_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    suite_add_tcase(suite, tests);
    return tests;
}

#endif
