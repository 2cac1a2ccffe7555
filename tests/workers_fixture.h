/*
 * workers_fixture.h - a bus with two workers, what its handlers are told and tell, and what the
 * process held before. Included by a program's only file.
 */
#ifndef WORKERS_FIXTURE_H
#define WORKERS_FIXTURE_H
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/suite.h"
#include "harness/until.h"

enum { SOON = 5000, RACES = 1000, WORKERS = 2 };

#define PARALLEL "deliver=workers key=none"

static inline evbus *two_workers(void)
{
    return bus_with("workers", "2", NULL);
}

struct level {
    int threads, fds;
};

/* A sanitizer's own thread, say, is there after the first one of ours. */
static inline struct level level_now(void)
{
    atomic_int calls = 0;
    evbus *bus = two_workers();
    bus_subscribe(bus, "t", PARALLEL, handle_count, &calls);
    bus_end(bus);
    return (struct level){process_threads(), process_fds()};
}

/* A joined thread may stay in /proc for a moment. */
static inline bool is_level(void *arg)
{
    const struct level *level = arg;
    return process_threads() <= level->threads && process_fds() <= level->fds;
}

struct act {
    evbus *bus;
    evbus_sub *sub;
    atomic_int calls, freed, result, go_on;
};

static inline void count_freed(void *user)
{
    struct act *act = user;
    atomic_fetch_add(&act->freed, 1);
}

#endif
