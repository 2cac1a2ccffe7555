/* query.c - the options of a query, its filter, and the list that answers it. Any thread. */
#include "query.h"
#include "alloc.h"
#include "err.h"
#include "map.h"
#include "match.h"
#include "option.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES "both|redis|local"

enum { SPARE = 64 }; /* so many more than the limit are kept before the oldest are let go */
enum { LIMIT = 50, LIMIT_MAX = 100000, KEY_MAX = EVB_NODE_LENGTH + 1 + EVB_TEXT_MAX };

struct evb_found_item {
    evbus_event *event; /* ref */
    size_t number;      /* in the order of being found */
};

struct evbus_list {
    int count;
    evbus_event *events[]; /* refs */
};

/* ---- what is asked for ---- */

static int bound_read(const char *name, const char *text, struct evb_moment *bound)
{
    char label[40];
    int64_t now_ms = evb_clock_us() / 1000;
    struct evb_moment moment;
    snprintf(label, sizeof label, "history query %s", name);
    int rc = evb_moment_read(label, text, now_ms, &moment);
    if (rc != 0)
        return rc;
    if (moment.kind == EVB_MOMENT_LAST || (moment.kind == EVB_MOMENT_ALL && *name == 'u'))
        return evb_fail(EVBUS_EINVAL, "%s: \"%s\" bounds nothing: write an age (10m) or a time",
                        label, text);
    if (moment.kind == EVB_MOMENT_NOW)
        moment = (struct evb_moment){EVB_MOMENT_TIME, now_ms, 0};
    *bound = moment;
    return 0;
}

int evb_query_read(struct evb_query *query, const char *text)
{
    char *since = NULL, *until = NULL;
    *query = (struct evb_query){
        .limit = LIMIT, .since.kind = EVB_MOMENT_ALL, .until.kind = EVB_MOMENT_NOW};
    const struct evb_option table[] = {
        {"type", EVB_VALUE_TEXT, NULL, 1, 4096, &query->pattern},
        {"limit", EVB_VALUE_INT, NULL, 1, LIMIT_MAX, &query->limit},
        {"since", EVB_VALUE_TEXT, NULL, 1, 64, &since},
        {"until", EVB_VALUE_TEXT, NULL, 1, 64, &until},
        {"correlation", EVB_VALUE_TEXT, NULL, 1, EVB_TEXT_MAX, &query->correlation},
        {"source", EVB_VALUE_CHOICE, SOURCES, 0, 0, &query->source},
        {NULL, EVB_VALUE_TEXT, NULL, 0, 0, NULL}};
    int rc = evb_option_parse("history query", text, table);
    if (rc == 0 && query->pattern &&
        (rc = evb_pattern_check(query->pattern, strlen(query->pattern))) > 0)
        rc = 0;
    if (rc == 0 && since)
        rc = bound_read("since", since, &query->since);
    if (rc == 0 && until)
        rc = bound_read("until", until, &query->until);
    evb_free(since);
    evb_free(until);
    if (rc != 0)
        evb_query_fini(query);
    return rc;
}

void evb_query_fini(struct evb_query *query)
{
    evb_free(query->pattern);
    evb_free(query->correlation);
    query->pattern = query->correlation = NULL;
}

static int compare(int64_t a_ms, uint64_t a_n, int64_t b_ms, uint64_t b_n)
{
    return a_ms != b_ms ? (a_ms > b_ms) - (a_ms < b_ms) : (a_n > b_n) - (a_n < b_n);
}

/* Below 0: the event is older than the bound; above: newer. */
static int beside(const evbus_event *event, const struct evb_moment *at,
                  const struct evb_moment *bound)
{
    const char *text = at ? NULL : evbus_event_position(event);
    struct evb_position own;
    if (bound->kind == EVB_MOMENT_POSITION && at)
        return compare(at->ms, at->n, bound->ms, bound->n);
    if (bound->kind == EVB_MOMENT_POSITION && text && evb_position_read(text, strlen(text), &own))
        return compare((int64_t)own.ms, own.n, bound->ms, bound->n);
    int64_t us = event->time_us, ms = us / 1000 - (us % 1000 < 0);
    return compare(ms, 0, bound->ms, 0);
}

bool evb_query_wants_type(const struct evb_query *query, const char *type, size_t length)
{
    return !query->pattern ||
           evb_pattern_matches(query->pattern, strlen(query->pattern), type, length);
}

bool evb_query_wants(const struct evb_query *query, const evbus_event *event,
                     const struct evb_moment *at)
{
    if (query->since.kind != EVB_MOMENT_ALL && beside(event, at, &query->since) < 0)
        return false;
    if (query->until.kind != EVB_MOMENT_NOW && beside(event, at, &query->until) > 0)
        return false;
    if (!evb_query_wants_type(query, event->type.ptr, event->type.length))
        return false;
    return !query->correlation || !strcmp(evb_event_correlation(event).ptr, query->correlation);
}

/* ---- what was found ---- */

static int newest_first(const void *a, const void *b)
{
    const struct evb_found_item *x = a, *y = b;
    return compare(y->event->time_us, x->number, x->event->time_us, y->number);
}

/* Lets go what is beyond the newest `limit` of this source. */
static void cut(struct evb_found *found, size_t limit)
{
    size_t count = found->count - found->first;
    if (count > 1)
        qsort(found->items + found->first, count, sizeof *found->items, newest_first);
    for (; count > limit; count--) {
        evbus_event *event = found->items[--found->count].event;
        found->bytes -= event->size;
        evbus_event_unref(event);
    }
    found->full = count == limit;
    if (found->full)
        found->oldest_us = found->items[found->count - 1].event->time_us;
}

static int grow(struct evb_found *found)
{
    size_t room = found->room ? found->room * 2 : 64;
    struct evb_found_item *items = evb_resize(found->items, room * sizeof *items);
    if (!items)
        return evb_fail_memory();
    found->items = items;
    found->room = room;
    return 0;
}

/* Twice the memory while it collects, so that the oldest are looked for now and then only. */
int evb_found_add(struct evb_found *found, evbus_event *event, int64_t limit)
{
    size_t most = (size_t)limit;
    if (found->count == found->room && grow(found) != 0) {
        evbus_event_unref(event);
        return EVBUS_ENOMEM;
    }
    found->items[found->count++] = (struct evb_found_item){event, found->number++};
    found->bytes += event->size;
    bool heavy = found->bytes > 2 * (int64_t)EVB_FOUND_BYTES;
    if (heavy || found->count - found->first >= most + most / 2 + SPARE)
        cut(found, most);
    if (!heavy || found->bytes <= EVB_FOUND_BYTES)
        return 0;
    return evb_fail(EVBUS_ETOOBIG,
                    "the newest %zu events of the answer hold more than %d MiB: ask for fewer "
                    "(limit=, type=, since=)",
                    found->count, EVB_FOUND_BYTES >> 20);
}

void evb_found_next(struct evb_found *found)
{
    found->first = found->count;
    found->full = false;
}

bool evb_found_has(struct evb_found *found, int64_t limit, int64_t time_us)
{
    size_t most = (size_t)limit, count = found->count - found->first;
    if (count >= most && (!found->full || count > most + most / 8))
        cut(found, most);
    return found->full && found->oldest_us > time_us;
}

void evb_found_fini(struct evb_found *found)
{
    for (size_t i = 0; i < found->count; i++)
        evbus_event_unref(found->items[i].event);
    evb_free(found->items);
    *found = (struct evb_found){0};
}

/* An event is known by its node and its id. True: it has not been there before, or there is no
 * memory to tell. A copy that was is of use where it alone has the position. */
static bool is_first(struct evb_map *seen, evbus_event *event, bool *failed)
{
    char key[KEY_MAX + 1];
    int length = snprintf(key, sizeof key, "%s:%s", event->node.ptr ? event->node.ptr : "",
                          evbus_event_id(event));
    evbus_event *other = evb_map_get(seen, key, (size_t)length);
    if (!other && evb_map_put(seen, key, (size_t)length, event) != 0)
        *failed = true;
    if (other && evb_position_is_none(other->position) && !evb_position_is_none(event->position))
        evb_event_set_position(other, event->position);
    return !other;
}

static void move(struct evb_found *found, evbus_list *list, int64_t limit, struct evb_map *seen,
                 bool *failed)
{
    for (size_t i = 0; i < found->count; i++) {
        evbus_event *event = found->items[i].event;
        if (list->count < limit && (!seen || is_first(seen, event, failed)))
            list->events[list->count++] = event;
        else
            evbus_event_unref(event);
    }
    found->count = 0;
}

evbus_list *evb_found_list(struct evb_found *found, int64_t limit, bool merge)
{
    size_t count = found->count < (size_t)limit ? found->count : (size_t)limit;
    evbus_list *list = evb_alloc(sizeof *list + count * sizeof list->events[0]);
    bool failed = !list;
    struct evb_map seen;
    evb_map_init(&seen);
    if (list) {
        list->count = 0;
        if (found->count)
            qsort(found->items, found->count, sizeof *found->items, newest_first);
        move(found, list, limit, merge ? &seen : NULL, &failed);
    }
    evb_map_fini(&seen, NULL);
    evb_found_fini(found);
    if (!failed)
        return list;
    evbus_list_free(list);
    evb_fail_memory();
    return NULL;
}

int evbus_list_count(const evbus_list *list)
{
    return list ? list->count : evb_fail(EVBUS_EINVAL, "evbus_list_count: no list (NULL)");
}

evbus_event *evbus_list_at(const evbus_list *list, int index)
{
    if (list && index >= 0 && index < list->count)
        return list->events[index];
    if (list)
        evb_fail(EVBUS_EINVAL, "the list has %d events, none at %d", list->count, index);
    else
        evb_fail(EVBUS_EINVAL, "evbus_list_at: no list (NULL)");
    return NULL;
}

void evbus_list_free(evbus_list *list)
{
    for (int i = 0; list && i < list->count; i++)
        evbus_event_unref(list->events[i]);
    evb_free(list);
}
