/* replay_last.c - the latest event of each type, for one subscription. Loop only. */
#include "replay_last.h"
#include "alloc.h"
#include "wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch is small, for each of its events may be as large as events may be. */
enum { BATCH = 16, FOUND_MOST = 2 * EVB_LAST_TYPES };

/* HSCAN's page in arrays of a length that the gate takes: a small hash comes whole, whatever COUNT
 * says, and hash-max-listpack-entries decides what is small. */
static const char scan[] =
    "local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', 500)\n"
    "local reply, found = {page[1]}, page[2]\n"
    "for i = 1, #found, 2048 do\n"
    "  reply[#reply + 1] = {unpack(found, i, math.min(i + 2047, #found))}\n"
    "end\n"
    "return reply\n";

static struct evbus *bus_of(const struct evb_last *last)
{
    return last->sub->keeper;
}

static struct evb_stream *stream_of(const struct evb_last *last)
{
    return &bus_of(last)->redis.stream;
}

static struct evb_asks *asks_of(const struct evb_last *last)
{
    return &bus_of(last)->redis.asks;
}

static bool is_over(const struct evb_last *last)
{
    return atomic_load(&last->sub->state) != EVB_SUB_LIVE;
}

/* ---- beginning and end ---- */

struct evb_last *evb_last_new(evbus_sub *sub, void (*done)(const char *error, void *user),
                              void *user)
{
    struct evb_last *last = evb_calloc(1, sizeof *last);
    if (!last)
        return NULL;
    last->sub = sub;
    last->done = done;
    last->user = user;
    return last;
}

void evb_last_free(struct evb_last *last)
{
    if (last)
        evb_free(last->found);
    evb_free(last);
}

static void forget_asked(struct evb_last *last)
{
    if (last->asked)
        evb_asks_forget(asks_of(last), last);
    last->asked = 0;
}

static void settle(struct evb_last *last)
{
    struct evb_registry *registry = &bus_of(last)->registry;
    pthread_mutex_lock(&registry->lock);
    last->settled = true;
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
}

bool evb_last_wait(struct evb_last *last, int64_t deadline_ms)
{
    struct evb_registry *registry = &bus_of(last)->registry;
    int rc = 0;
    pthread_mutex_lock(&registry->lock);
    while (!last->settled && !registry->closed && rc != ETIMEDOUT)
        rc = evb_cond_wait(&registry->changed, &registry->lock, deadline_ms);
    bool settled = last->settled || registry->closed;
    pthread_mutex_unlock(&registry->lock);
    return settled;
}

void evb_last_stop(struct evb_last *last)
{
    if (last->step == EVB_LAST_STOPPED && last->settled)
        return;
    settle(last);
    forget_asked(last);
    evb_free(last->found);
    last->found = NULL;
    last->count = last->room = last->next = 0;
    last->step = EVB_LAST_STOPPED;
}

void evb_last_start(struct evb_last *last)
{
    last->step = EVB_LAST_PLACING;
    evb_last_go(last);
}

static void finish(struct evb_last *last, const char *error)
{
    evb_last_stop(last);
    last->done(error, last->user);
}

/* ---- pages of the history ---- */

/* With one entry at most. */
static bool is_page(const struct evb_reply *reply)
{
    return evb_stream_is_page(reply) && reply->count <= EVB_PAGE_HEAD + 3 &&
           reply->item[1]->length < EVB_EPOCH_TEXT;
}

/* Redis will not right now (BUSY, ...): the next fence that is answered says go. */
static bool passes(struct evb_last *last, const struct evb_reply *reply)
{
    if (reply->kind != EVB_REPLY_ERROR || !evb_stream_passes(reply->text))
        return false;
    forget_asked(last);
    return true;
}

/* The reply to a read is a page. False: something else comes of it, or nothing any more. */
static bool is_good(struct evb_last *last, const struct evb_reply *reply)
{
    struct evb_stream *stream = stream_of(last);
    if (!reply) /* the link is gone: whoever brings another one says go */
        return false;
    if (reply->kind == EVB_REPLY_ERROR && strncmp(reply->text, "NOSCRIPT", 8) == 0) {
        stream->known[EVB_SCRIPT_READ] = false;
        forget_asked(last);
        evb_last_go(last);
        return false;
    }
    if (passes(last, reply))
        return false;
    if (reply->kind == EVB_REPLY_ERROR || !is_page(reply)) {
        finish(last, reply->kind == EVB_REPLY_ERROR ? reply->text : "no page of entries");
        return false;
    }
    stream->known[EVB_SCRIPT_READ] = true;
    return true;
}

/* ---- the place ---- */

/* The oldest entry comes along: what is older needs no asking. */
static void on_place(const struct evb_reply *reply, void *user)
{
    struct evb_last *last = user;
    last->asked = 0;
    if (!is_good(last, reply))
        return;
    const struct evb_reply *newest = reply->item[2];
    bool empty = reply->count == EVB_PAGE_HEAD;
    if (!evb_position_read(newest->text, newest->length, &last->at) ||
        (!empty && !evb_position_read(reply->item[EVB_PAGE_HEAD]->text,
                                      reply->item[EVB_PAGE_HEAD]->length, &last->oldest))) {
        finish(last, "no position of an entry");
        return;
    }
    snprintf(last->epoch, sizeof last->epoch, "%s", reply->item[1]->text);
    snprintf(last->cursor, sizeof last->cursor, "0");
    last->placed = true;
    last->step = EVB_LAST_FINDING;
    settle(last);
    if (empty)
        finish(last, NULL);
    else
        evb_last_go(last);
}

static bool ask_place(struct evb_last *last)
{
    return evb_stream_read(stream_of(last), asks_of(last), "-", "+", false, 1, on_place, last);
}

/* ---- finding ---- */

static int compare(const void *a, const void *b)
{
    return evb_position_compare(*(const struct evb_position *)a, *(const struct evb_position *)b);
}

/* Ascending, each once (HSCAN may tell one twice), and the newest if there are too many. */
static void put_in_order(struct evb_last *last)
{
    struct evb_position *found = last->found;
    size_t kept = 0;
    if (last->count)
        qsort(found, last->count, sizeof *found, compare);
    for (size_t i = 0; i < last->count; i++)
        if (kept == 0 || compare(&found[kept - 1], &found[i]) != 0)
            found[kept++] = found[i];
    size_t over = kept > EVB_LAST_TYPES ? kept - EVB_LAST_TYPES : 0;
    if (over)
        memmove(found, found + over, (kept - over) * sizeof *found);
    last->count = kept - over;
    last->crowded = last->crowded || over;
}

/* False: no memory. */
static bool add(struct evb_last *last, struct evb_position at)
{
    if (last->count == FOUND_MOST)
        put_in_order(last);
    if (last->count == last->room) {
        size_t room = last->room ? last->room * 2 : 64;
        struct evb_position *found = evb_resize(last->found, room * sizeof *found);
        if (!found)
            return false;
        last->found = found;
        last->room = room;
    }
    last->found[last->count++] = at;
    return true;
}

/* Where a type's latest is. What is newer than the place is read from there; what is not of the
 * subscription is passed over. */
static bool note(struct evb_last *last, const struct evb_reply *position)
{
    struct evb_position at;
    if (position->kind != EVB_REPLY_STRING ||
        !evb_position_read(position->text, position->length, &at) ||
        evb_position_compare(at, last->at) > 0 || evb_position_compare(at, last->oldest) < 0)
        return true;
    return add(last, at);
}

/* Redis's glob may match more than the pattern. */
static bool matches(const struct evb_last *last, const struct evb_reply *channel)
{
    const struct evbus *bus = bus_of(last);
    const struct evb_entry *entry = last->sub->entry;
    return channel->kind == EVB_REPLY_STRING && channel->length > bus->prefix_length &&
           memcmp(channel->text, bus->prefix, bus->prefix_length) == 0 &&
           evb_pattern_matches(entry->pattern, entry->length, channel->text + bus->prefix_length,
                               channel->length - bus->prefix_length);
}

static bool note_all(struct evb_last *last, const struct evb_reply *found)
{
    bool good = true;
    for (size_t i = 0; good && found->kind == EVB_REPLY_ARRAY && i + 1 < found->count; i += 2)
        if (matches(last, found->item[i]))
            good = note(last, found->item[i + 1]);
    return good;
}

static void begin_reading(struct evb_last *last)
{
    put_in_order(last);
    if (last->crowded)
        evb_log(&bus_of(last)->log, EVBUS_LOG_WARNING,
                "from=last of %s: there are more than %d types, and the newest %zu are delivered: "
                "a narrower pattern matches fewer",
                last->sub->entry->pattern, EVB_LAST_TYPES, last->count);
    last->step = EVB_LAST_READING;
    evb_last_go(last);
}

static void on_one(const struct evb_reply *reply, void *user)
{
    struct evb_last *last = user;
    last->asked = 0;
    if (!reply || passes(last, reply))
        return;
    if (reply->kind == EVB_REPLY_ERROR)
        finish(last, reply->text);
    else if (!note(last, reply))
        finish(last, "out of memory");
    else
        begin_reading(last);
}

/* {cursor, {channel, position, channel, ...}, ...} */
static bool is_scan(const struct evb_reply *reply)
{
    return reply->kind == EVB_REPLY_ARRAY && reply->count > 0 &&
           reply->item[0]->kind == EVB_REPLY_STRING;
}

static void on_some(const struct evb_reply *reply, void *user)
{
    struct evb_last *last = user;
    last->asked = 0;
    if (!reply) { /* another server would not know the cursor */
        snprintf(last->cursor, sizeof last->cursor, "0");
        last->count = 0;
        return;
    }
    if (passes(last, reply))
        return;
    if (!is_scan(reply) || reply->item[0]->length >= sizeof last->cursor) {
        finish(last, reply->kind == EVB_REPLY_ERROR ? reply->text : "no page of types");
        return;
    }
    for (size_t i = 1; i < reply->count; i++)
        if (!note_all(last, reply->item[i])) {
            finish(last, "out of memory");
            return;
        }
    snprintf(last->cursor, sizeof last->cursor, "%s", reply->item[0]->text);
    if (strcmp(last->cursor, "0") == 0)
        begin_reading(last);
    else
        evb_last_go(last);
}

static bool ask_where(struct evb_last *last)
{
    const struct evb_via *via = last->sub->entry->via;
    const char *key = stream_of(last)->keys[EVB_KEY_LATEST];
    if (!via || via->wire != EVB_WIRE_LIVE) /* what comes behind the place is not heard yet */
        return false;
    const char *const one[] = {"HGET", key, via->name, NULL};
    const char *const some[] = {"EVAL", scan, "1", key, last->cursor, via->name, NULL};
    return evb_asks_send(asks_of(last), via->pattern ? some : one, via->pattern ? on_some : on_one,
                         last);
}

/* ---- reading ---- */

/* False: no room; it comes again. */
static bool offer(struct evb_last *last, const struct evb_reply *page)
{
    struct evbus *bus = bus_of(last);
    unsigned how = EVB_FROM_REDIS | EVB_FROM_HISTORY | EVB_POSITIONED;
    evbus_event *event =
        evb_route_entry_for(bus, last->sub, last->found[last->next], page->item[EVB_PAGE_HEAD + 1],
                            page->item[EVB_PAGE_HEAD + 2], &how);
    bool taken = !event || evb_deliver_offer(bus, last->sub, event, how);
    evbus_event_unref(event);
    return taken;
}

/* The replies come in the order of what was found; one that was let go meanwhile is empty. */
static void on_entry(const struct evb_reply *reply, void *user)
{
    struct evb_last *last = user;
    last->asked--;
    if (!is_good(last, reply))
        return;
    if (strcmp(reply->item[1]->text, last->epoch) != 0) { /* flushed: reading on will tell */
        finish(last, NULL);
        return;
    }
    bool taken = reply->count == EVB_PAGE_HEAD || offer(last, reply);
    if (is_over(last)) {
        evb_last_stop(last);
        return;
    }
    if (taken)
        last->next++;
    else
        forget_asked(last);
    evb_last_go(last);
}

static void ask_entries(struct evb_last *last)
{
    char at[EVB_POSITION_TEXT];
    size_t left = last->count - last->next;
    int64_t room = evb_sub_room(last->sub, left < BATCH ? (int64_t)left : BATCH);
    for (int64_t i = 0; i < room; i++) {
        evb_position_write(last->found[last->next + (size_t)i], at);
        if (!evb_stream_read(stream_of(last), asks_of(last), at, at, false, 1, on_entry, last))
            return;
        last->asked++;
    }
}

void evb_last_go(struct evb_last *last)
{
    if (last->asked || is_over(last))
        return;
    if (last->step == EVB_LAST_PLACING)
        last->asked = ask_place(last);
    else if (last->step == EVB_LAST_FINDING)
        last->asked = ask_where(last);
    else if (last->step == EVB_LAST_READING && last->next < last->count)
        ask_entries(last);
    else if (last->step == EVB_LAST_READING)
        finish(last, NULL);
}
