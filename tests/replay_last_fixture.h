/*
 * replay_last_fixture.h - two buses of one server, types t.0, t.1, ... whose events are numbered 1,
 * 2, 3, ..., and a tally of what came of them. Included by one program's only file.
 */
#ifndef REPLAY_LAST_FIXTURE_H
#define REPLAY_LAST_FIXTURE_H
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 20000, TYPES_MOST = 70000 };

static struct server *server;
static evbus *from, *to;

static struct tally {
    pthread_mutex_t lock;
    int first[TYPES_MOST], last[TYPES_MOST]; /* numbers; 0: none */
    int received, replayed, broken;          /* broken: not the one behind the last of its type */
    int highest, unordered;                  /* p of a type's first; one that came after a higher */
    int slow_every;                          /* the handler rests a moment; 0: never */
} tally = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline int tally_handle(evbus_sub *sub, evbus_event *event, void *user)
{
    int p = -1, n = -1;
    (void)sub;
    (void)user;
    bool good = event_numbers(event, &p, &n) && p >= 0 && p < TYPES_MOST;
    pthread_mutex_lock(&tally.lock);
    if (good && !tally.first[p]) {
        tally.first[p] = n;
        tally.unordered += p < tally.highest;
        tally.highest = p > tally.highest ? p : tally.highest;
    } else {
        tally.broken += !good || n != tally.last[p] + 1;
    }
    if (good)
        tally.last[p] = n;
    int received = ++tally.received;
    tally.replayed += evbus_event_origin(event) == EVBUS_ORIGIN_REPLAY;
    pthread_mutex_unlock(&tally.lock);
    if (tally.slow_every && received % tally.slow_every == 0)
        nap_us(1000);
    return 0;
}

static inline int tally_count(void)
{
    pthread_mutex_lock(&tally.lock);
    int received = tally.received;
    pthread_mutex_unlock(&tally.lock);
    return received;
}

static inline bool has_all(void *count)
{
    return tally_count() >= *(int *)count;
}

static inline void tally_reset(void)
{
    pthread_mutex_lock(&tally.lock);
    memset(tally.first, 0, sizeof tally.first);
    memset(tally.last, 0, sizeof tally.last);
    tally.received = tally.replayed = tally.broken = tally.highest = tally.unordered = 0;
    tally.slow_every = 0;
    pthread_mutex_unlock(&tally.lock);
}

struct expected {
    int types, last; /* of each, the number that came last */
};

static inline bool is_complete(void *arg)
{
    const struct expected *expected = arg;
    bool complete = true;
    pthread_mutex_lock(&tally.lock);
    for (int p = 0; complete && p < expected->types; p++)
        complete = tally.last[p] >= expected->last;
    pthread_mutex_unlock(&tally.lock);
    return complete;
}

/* Each type's events from at least `first` to `last`, without a hole or a double. */
static inline void expect_types(int types, int first, int last)
{
    struct expected expected = {types, last};
    bool complete = until(is_complete, &expected, SOON);
    ck_assert_msg(complete, "only %d events", tally_count());
    pthread_mutex_lock(&tally.lock);
    ck_assert_int_eq(tally.broken, 0);
    for (int p = 0; p < types; p++) {
        ck_assert_msg(tally.first[p] >= first, "type %d begins with %d", p, tally.first[p]);
        ck_assert_int_eq(tally.last[p], last);
    }
    pthread_mutex_unlock(&tally.lock);
}

/* Exactly so many events, now and when all that was under way has come. */
static inline void expect_received(int count)
{
    bool all = until(has_all, &count, SOON);
    ck_assert_msg(all, "%d of %d", tally_count(), count);
    ck_assert_int_eq(evbus_flush(from, SOON), 0);
    ck_assert_int_eq(tally_count(), count);
}

static inline void open_two(const char *lines)
{
    server = server_start(lines);
    from = server_bus(server, "bus.name", "from", "outbox.full", "reject", NULL);
    to = server_bus(server, "bus.name", "to", "workers", "2", "redis.ping.interval", "300ms", NULL);
    expect_connected(from, SOON);
    expect_connected(to, SOON);
}

static inline void close_two(void)
{
    bus_end(from);
    bus_end(to);
    server_free(server);
}

/* number `first` to `last` of each of t.0, t.1, ... */
static inline void publish_types(evbus *bus, int types, int first, int last)
{
    char type[32];
    for (int n = first; n <= last; n++)
        for (int p = 0; p < types; p++) {
            snprintf(type, sizeof type, "t.%d", p);
            while (publish_numbered(bus, type, p, n) < 0)
                nap_us(1000);
        }
}

static inline void publish_and_flush(evbus *bus, int types, int first, int last)
{
    publish_types(bus, types, first, last);
    ck_assert_int_eq(evbus_flush(bus, SOON), 0);
}

#endif
