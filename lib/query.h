/*
 * query.h - what a query of history asks for, and what it found: one filter for every source, one
 * order for all that they bring. One thread at a time, any.
 */
#ifndef EVB_QUERY_H
#define EVB_QUERY_H
#include "event.h"
#include "moment.h"

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
/* Is it one of those asked for? `at` is its position where the source knows one; without it, a
 * bound that is a position counts by its time. */
bool evb_query_wants(const struct evb_query *query, const evbus_event *event,
                     const struct evb_moment *at);

struct evb_found {                /* zeroed: nothing */
    struct evb_found_item *items; /* owned */
    size_t count, room;
};

/* Takes the event's reference, whatever it answers: 0 or EVBUS_ENOMEM. Newest first of each source,
 * so that events of one microsecond keep their order. */
int evb_found_add(struct evb_found *found, evbus_event *event);
/* The newest `limit` of them, newest first; `merge`: several sources may have brought the same
 * event, which is to stand there once. Nothing is in `found` any more. NULL: no memory. */
evbus_list *evb_found_list(struct evb_found *found, int64_t limit, bool merge);
void evb_found_fini(struct evb_found *found);

#endif
