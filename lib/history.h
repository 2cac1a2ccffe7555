/*
 * history.h - asking for events that were. A source (this process's ring; a stream in Redis) brings
 * its events newest first, page by page, on the loop; history.c filters, merges and answers.
 */
#ifndef EVB_HISTORY_H
#define EVB_HISTORY_H
#include "bus.h"
#include "query.h"

struct evb_redis_page {       /* the one that is read next */
    struct evb_node turn;     /* in the bus's list while another query's is under way */
    struct evb_position from; /* from there back; none: from the newest on */
    int unknown;              /* NOSCRIPT, in a row */
};

struct evb_history { /* one query on its way */
    struct evb_job job;
    struct evb_node node; /* in the bus's list, once the loop has it */
    struct evbus *bus;    /* ref */

    /* fixed after init */
    struct evb_query query;
    evbus_list_fn fn;
    void *user;
    const atomic_int *given_up; /* borrowed until fn; not 0: nobody waits any more. NULL: async */

    /* loop only */
    unsigned source, asked; /* the one that is asked; how many have been */
    bool busy;              /* the loop's inbox, or the source, comes back to it */
    bool over;              /* fn was called */
    struct evb_found found;
    struct evb_recent_cursor cursor; /* of the local source */
    struct evb_redis_page redis;     /* of the Redis source */
};

struct evb_history_source {
    enum evb_query_source name;
    /* Why this bus, by its settings, has none, and the remedy; NULL: it has. Any thread. */
    const char *(*lacks)(const struct evbus *bus);
    /* Starts to bring a page. It answers by evb_history_take() for each event, then
     * evb_history_page(), at once or later, also when the bus is closed meanwhile. */
    void (*ask)(struct evb_history *history);
};

/* The event's reference goes with it; `at`: its position, NULL without one. 0, EVBUS_ENOMEM or
 * EVBUS_ETOOBIG. */
int evb_history_take(struct evb_history *history, evbus_event *event, const struct evb_moment *at);
/* The page is over: `error` (its sentence is set), or 0 and whether it was the last. The query may
 * be gone then. */
void evb_history_page(struct evb_history *history, int error, bool last);
void evb_history_go(struct evb_history *history); /* asks the source, if there still is a use */
void evb_history_end_all(struct evbus *bus);      /* EVBUS_ECLOSED to all that wait; loop */

extern const struct evb_history_source evb_history_redis;

#endif
