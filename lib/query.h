/*
 * query.h - what a query of history asks for, and what it found: one filter for every source, one
 * order for all that they bring. One thread at a time, any.
 */
#ifndef EVB_QUERY_H
#define EVB_QUERY_H
#include "event.h"
#include "moment.h"

#define EVB_FOUND_BYTES (64 << 20) /* memory that the events of one answer may hold */

enum evb_query_source { EVB_SOURCE_BOTH, EVB_SOURCE_REDIS, EVB_SOURCE_LOCAL };

struct evb_query {
    int64_t source; /* enum evb_query_source */
    int64_t limit;
    char *pattern, *correlation; /* owned; NULL: all */
    struct evb_moment since;     /* ALL, TIME or POSITION */
    struct evb_moment until;     /* TIME or POSITION; NOW: no bound */
};

/* Reads "type=task.* since=1h"; NULL asks for all. 0, or EVBUS_EINVAL / EVBUS_ENOMEM with a
 * sentence, and then nothing is to be given back. */
int evb_query_read(struct evb_query *query, const char *text);
void evb_query_fini(struct evb_query *query);
/* Is it one of those asked for? `at` is its position where the source knows one, else the event
 * may; if neither does, a bound that is a position counts by its time. */
bool evb_query_wants(const struct evb_query *query, const evbus_event *event,
                     const struct evb_moment *at);
/* The part of it that needs no event. */
bool evb_query_wants_type(const struct evb_query *query, const char *type, size_t length);

struct evb_found {                /* zeroed: nothing */
    struct evb_found_item *items; /* owned */
    size_t count, room;
    size_t first;      /* where this source's begin */
    size_t number;     /* of the next one */
    int64_t bytes;     /* of memory that the events hold */
    bool full;         /* this source has brought enough for the whole answer, */
    int64_t oldest_us; /* ... all of this time or newer */
};

/* Takes the event's reference, whatever it answers: 0, EVBUS_ENOMEM, or EVBUS_ETOOBIG: the newest
 * `limit` of this source hold too much memory. Newest first of each source, so that events of one
 * microsecond keep their order. */
int evb_found_add(struct evb_found *found, evbus_event *event, int64_t limit);
void evb_found_next(struct evb_found *found); /* what is added from now on is another source's */
/* Has this source brought `limit` events that are newer than that? */
bool evb_found_has(struct evb_found *found, int64_t limit, int64_t time_us);
/* The newest `limit` of them, newest first; `merge`: several sources may have brought the same
 * event, which is to stand there once. Nothing is in `found` any more. NULL: no memory. */
evbus_list *evb_found_list(struct evb_found *found, int64_t limit, bool merge);
void evb_found_fini(struct evb_found *found);

#endif
