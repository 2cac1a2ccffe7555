/*
 * history_redis.c - the events that Redis stores, as a source of queries: the stream is read back
 * from its newest entry, in pages, on the publishing connection. One page of a bus is under way at
 * a time, so that many queries fill no buffer of Redis. The first few take turns, the others wait
 * for one of these to end. Loop only, but for lacks.
 */
#include "acl.h"
#include "err.h"
#include "history.h"
#include "route.h"
#include <stdio.h>
#include <string.h>

enum { PAGE = 512, UNKNOWN_MOST = 3, TURNS = 8 };
/* A position has the server's time, an event its publisher's. It gets the position then or later,
 * for it may wait in an outbox: so it is not newer, but for what the clocks differ. */
enum { SINCE_SKEW_MS = 60000, NEWEST_SKEW_MS = 1000 };

static const char *lacks(const struct evbus *bus)
{
    if (!bus->wants_redis)
        return "no history is stored in Redis: this bus has none (redis.url, bus.mode)";
    return bus->keeps_history ? NULL : "no history is stored in Redis: history.enabled=no";
}

/* ---- what is said ---- */

static const char *hint(const struct evbus *bus)
{
    return bus->recent.limit ? "; source=local asks this process alone" : "";
}

static int away(struct evbus *bus)
{
    struct evb_redis *redis = &bus->redis;
    char why[EVB_FAULT_TEXT];
    evb_fault_read(&redis->fault, why, sizeof why);
    if (!why[0])
        snprintf(why, sizeof why, "%s",
                 evb_redis_state_name((enum evb_redis_state)atomic_load(&redis->state)));
    return evb_fail(EVBUS_EAWAY, "the history cannot be read while Redis is away (%s)%s", why,
                    hint(bus));
}

/* 1: whoever asked for both has what this process keeps. */
static int refused(const struct evb_history *history, const char *error)
{
    const struct evbus *bus = history->bus;
    if (evb_acl_refuses(error) && history->asked > 1)
        return 1;
    if (!evb_acl_refuses(error))
        return evb_fail(EVBUS_EREMOTE, "Redis does not let the history be read: %.200s%s", error,
                        hint(bus));
    return evb_fail(EVBUS_EDENIED,
                    "the history may not be read: the user needs +eval +evalsha +xrevrange and "
                    "~%s* (%.200s)%s",
                    bus->redis.set.stream.key_prefix, error, hint(bus));
}

/* ---- pages ---- */

static void on_page(const struct evb_reply *reply, void *user);

static void put_bound(char out[EVB_POSITION_TEXT], int64_t ms, uint64_t n)
{
    evb_position_write((struct evb_position){ms > 0 ? (uint64_t)ms : 0, n}, out);
}

/* True: it is on its way. */
static bool read_page(struct evb_history *history)
{
    struct evb_redis *redis = &history->bus->redis;
    const struct evb_moment *since = &history->query.since, *until = &history->query.until;
    char from[EVB_POSITION_TEXT] = "+", till[EVB_POSITION_TEXT] = "-";
    if (!evb_position_is_none(history->redis.from))
        evb_position_write(history->redis.from, from);
    else if (until->kind == EVB_MOMENT_POSITION)
        put_bound(from, until->ms, until->n);
    if (since->kind == EVB_MOMENT_POSITION)
        put_bound(till, since->ms, since->n);
    else if (since->kind == EVB_MOMENT_TIME)
        put_bound(till, since->ms - SINCE_SKEW_MS, 0);
    return atomic_load(&redis->state) == EVB_REDIS_READY &&
           evb_stream_read(&redis->stream, &redis->asks, from, till, true, PAGE, on_page, history);
}

/* One that has begun is among the next again. */
static void wait_for_turn(struct evb_history *history)
{
    struct evb_node *list = &history->bus->readers, *behind = list;
    if (!evb_position_is_none(history->redis.from)) {
        behind = list->next;
        for (int i = 1; i < TURNS && behind != list; i++)
            behind = behind->next;
    }
    evb_list_insert(behind, &history->redis.turn);
}

static void ask(struct evb_history *history)
{
    struct evbus *bus = history->bus;
    if (bus->reads_history)
        wait_for_turn(history);
    else if (read_page(history))
        bus->reads_history = true;
    else
        evb_history_page(history, away(bus), true);
}

/* Whose turn it is now. Some need no page any more. */
static void go_on(struct evbus *bus)
{
    bus->reads_history = false;
    while (!bus->reads_history && !evb_list_empty(&bus->readers)) {
        struct evb_history *next = evb_container(bus->readers.next, struct evb_history, redis.turn);
        evb_list_remove(&next->redis.turn);
        evb_history_go(next);
    }
}

static int take(struct evb_history *history, const struct evb_reply *const entry[3],
                struct evb_position at)
{
    struct evbus *bus = history->bus;
    const struct evb_moment moment = {EVB_MOMENT_POSITION, (int64_t)at.ms, at.n};
    size_t prefix = bus->prefix_length;
    if (entry[1]->length <= prefix ||
        !evb_query_wants_type(&history->query, entry[1]->text + prefix, entry[1]->length - prefix))
        return 0;
    evbus_event *event = evb_route_read(bus, at, entry[1], entry[2]);
    return event ? evb_history_take(history, event, &moment) : 0;
}

static struct evb_position before(struct evb_position at)
{
    return at.n ? (struct evb_position){at.ms, at.n - 1}
                : (struct evb_position){at.ms - 1, UINT64_MAX};
}

/* The entries of a page. 1: it was the last; 0, or an error. */
static int take_page(struct evb_history *history, const struct evb_reply *reply)
{
    struct evb_position *from = &history->redis.from, at = *from;
    bool older = false; /* than the page before it: a page that brings nothing is the last */
    for (size_t i = EVB_PAGE_HEAD; i < reply->count; i += 3) {
        const struct evb_reply *const entry[] = {reply->item[i], reply->item[i + 1],
                                                 reply->item[i + 2]};
        if (!evb_position_read(entry[0]->text, entry[0]->length, &at) || evb_position_is_none(at) ||
            (!evb_position_is_none(*from) && evb_position_compare(at, *from) > 0))
            continue;
        *from = before(at);
        older = true;
        int rc = take(history, entry, at);
        if (rc != 0)
            return rc;
    }
    return !older || strcmp(reply->item[0]->text, "more") != 0 ||
           evb_found_has(&history->found, history->query.limit,
                         ((int64_t)at.ms + NEWEST_SKEW_MS) * 1000);
}

/* The script was forgotten: again, with its text. */
static bool is_unknown(struct evb_history *history, const struct evb_reply *reply)
{
    if (reply->kind != EVB_REPLY_ERROR || strncmp(reply->text, "NOSCRIPT", 8) != 0)
        return false;
    history->bus->redis.stream.known[EVB_SCRIPT_READ] = false;
    return history->redis.unknown++ < UNKNOWN_MOST;
}

static void answer(struct evb_history *history, const struct evb_reply *reply)
{
    struct evbus *bus = history->bus;
    int rc = 0;
    if (!reply) {
        rc = away(bus);
    } else if (is_unknown(history, reply) || history->over) {
        rc = 0;
    } else if (reply->kind == EVB_REPLY_ERROR) {
        rc = refused(history, reply->text);
    } else if (!evb_stream_is_page(reply)) {
        rc = refused(history, "the reply is no page of entries");
    } else {
        bus->redis.stream.known[EVB_SCRIPT_READ] = true;
        history->redis.unknown = 0;
        rc = take_page(history, reply);
    }
    evb_history_page(history, rc < 0 ? rc : 0, rc == 1);
}

static void on_page(const struct evb_reply *reply, void *user)
{
    struct evb_history *history = user;
    struct evbus *bus = history->bus;
    answer(history, reply);
    go_on(bus);
}

const struct evb_history_source evb_history_redis = {EVB_SOURCE_REDIS, lacks, ask};
