/*
 * local.c - libevbus inside one process, publishing on one thread with handlers called inline:
 *   local inline N | stamped N    N subscribers of one type; stamped: they read id and timestamp
 *   local types N                 N types with one subscriber each, published in turn
 *   local patterns N              N subscriptions to patterns, one of which matches
 *   local memory exact|pattern    heap bytes a subscription costs beyond its pattern
 */
#include "probe.h"
#include <evbus.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SUBS 10000
#define NAME_ROOM   32

struct publisher {
    evbus *bus;
    int count, next; /* of `types`, which are published in turn */
    char (*types)[NAME_ROOM];
};

static volatile int64_t sink;

static int on_data(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    sink += evbus_event_data(event, NULL)[0];
    return 0;
}

static int on_stamps(evbus_sub *sub, evbus_event *event, void *user)
{
    sink += evbus_event_id(event)[0] + evbus_event_timestamp(event)[0];
    return on_data(sub, event, user);
}

static evbus_sub *subscribe(evbus *bus, const char *pattern, const char *options, evbus_event_fn fn)
{
    evbus_sub *sub = evbus_subscribe(bus, pattern, options, fn, NULL);
    if (!sub)
        probe_fail("subscribing to %s: %s", pattern, evbus_last_error());
    return sub;
}

static void publish_one(void *context, int n)
{
    struct publisher *publisher = context;
    for (int i = 0; i < n; i++)
        evbus_publish(publisher->bus, PROBE_TYPE, PROBE_TEXT);
}

static void publish_in_turn(void *context, int n)
{
    struct publisher *publisher = context;
    for (int i = 0; i < n; i++) {
        evbus_publish(publisher->bus, publisher->types[publisher->next], PROBE_TEXT);
        if (++publisher->next == publisher->count)
            publisher->next = 0;
    }
}

static void run_inline(evbus *bus, int subscribers, evbus_event_fn fn)
{
    for (int i = 0; i < subscribers; i++)
        subscribe(bus, PROBE_TYPE, "deliver=inline", fn);
    struct publisher publisher = {.bus = bus};
    probe_report("ns", probe_burst_ns(publish_one, &publisher));
}

static void run_types(evbus *bus, int count)
{
    struct publisher publisher = {.bus = bus, .count = count};
    publisher.types = calloc((size_t)count, NAME_ROOM);
    for (int i = 0; i < count; i++) {
        snprintf(publisher.types[i], NAME_ROOM, "task.kind.%05d", i);
        subscribe(bus, publisher.types[i], "deliver=inline", on_data);
    }
    probe_report("ns", probe_burst_ns(publish_in_turn, &publisher));
}

static void run_patterns(evbus *bus, int count)
{
    char pattern[NAME_ROOM];
    for (int i = 1; i < count; i++) {
        snprintf(pattern, sizeof pattern, "tenant.%05d.*", i);
        subscribe(bus, pattern, "deliver=inline", on_data);
    }
    subscribe(bus, "task.*", "deliver=inline", on_data);
    struct publisher publisher = {.bus = bus};
    probe_report("ns", probe_burst_ns(publish_one, &publisher));
}

static void run_memory(evbus *bus, const char *suffix)
{
    char pattern[NAME_ROOM];
    size_t names = 0;
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < MEMORY_SUBS; i++) {
        names += (size_t)snprintf(pattern, sizeof pattern, "tenant.%05d.%s", i, suffix);
        subscribe(bus, pattern, NULL, on_data);
    }
    struct mallinfo2 after = mallinfo2();
    size_t used = after.uordblks - before.uordblks + after.hblkhd - before.hblkhd;
    probe_report("bytes", ((double)used - (double)names) / MEMORY_SUBS);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        probe_fail("usage: local inline|stamped|types|patterns N | memory exact|pattern");
    probe_pin(PROBE_CLIENT_CORE);
    evbus *bus = evbus_open(NULL);
    if (!bus)
        probe_fail("opening: %s", evbus_last_error());
    const char *what = argv[1];
    int count = atoi(argv[2]);
    if (!strcmp(what, "inline"))
        run_inline(bus, count, on_data);
    else if (!strcmp(what, "stamped"))
        run_inline(bus, count, on_stamps);
    else if (!strcmp(what, "types"))
        run_types(bus, count);
    else if (!strcmp(what, "patterns"))
        run_patterns(bus, count);
    else
        run_memory(bus, strcmp(argv[2], "exact") ? "*" : "created");
    evbus_free(bus); /* the handles end with the process */
    return 0;
}
