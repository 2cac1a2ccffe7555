/*
 * slow.h - is a subscription or a queue slow? It is from the first event that finds no room, until
 * at most half of its bounds is taken. Each of the two edges is told once, in turn: what ends and
 * begins again before its end was told goes on. Under its owner's lock, but for the telling.
 */
#ifndef EVB_SLOW_H
#define EVB_SLOW_H
#include "loop.h"
#include "metrics.h"

enum evb_slow_state {
    EVB_SLOW_NOT,
    EVB_SLOW_BEGUN,  /* and not told yet */
    EVB_SLOW_TOLD,   /* it is slow, and that was told */
    EVB_SLOW_OVER,   /* its end is not told yet */
    EVB_SLOW_MISSED, /* it was, and nothing of it is told yet */
};

struct evb_fill { /* what waits, and what may */
    int64_t events, bytes, max_events, max_bytes;
};

struct evb_slow_edge {
    int64_t events, bytes; /* that waited */
    int64_t at_ms;
};

struct evb_slow_news {
    bool over;                  /* false: it became slow */
    int64_t events, bytes;      /* that waited then */
    int64_t dropped, lasted_ms; /* over: since it became slow */
};

struct evb_slow {
    /* fixed after init */
    void *owner;           /* borrowed: the subscription or queue */
    pthread_mutex_t *lock; /* the owner's */

    /* under lock */
    enum evb_slow_state state;
    bool posted; /* `job` is in the loop's inbox */
    int lagging; /* subscriptions that read what they missed: it is slow until they have it */
    struct evb_slow_edge began, ended;
    int64_t dropped;

    struct evb_job job;
    int64_t logged_ms; /* loop only: when a beginning was last logged */
    bool log_end;      /* loop only: the end is logged too */
};

/* Made when its owner drops for the first time: most never do. NULL: no memory, and nothing will be
 * told. */
struct evb_slow *evb_slow_new(void *owner, pthread_mutex_t *lock);
void evb_slow_free(struct evb_slow *slow); /* NULL is fine */

/* Lock held; true: there is an edge to be told when it is released. `fill` is what is left. */
bool evb_slow_dropped(struct evb_slow *slow, int n, struct evb_fill fill,
                      struct evb_metrics *metrics);
bool evb_slow_taken(struct evb_slow *slow, struct evb_fill fill);

/* Is there room to go on? Pure. */
bool evb_fill_is_well(const struct evb_fill *fill);
/* `slow` may be NULL here. */
static inline bool evb_slow_is(const struct evb_slow *slow)
{
    return slow && (slow->state == EVB_SLOW_BEGUN || slow->state == EVB_SLOW_TOLD);
}

static inline bool evb_slow_untold(const struct evb_slow *slow)
{
    return slow && slow->state != EVB_SLOW_NOT && slow->state != EVB_SLOW_TOLD;
}

/* The telling: on the loop, no lock held. True: there was an edge, and *news is it. */
bool evb_slow_next(struct evb_slow *slow, struct evb_slow_news *news);
/* Any thread. True: the caller posts the job, which begins with evb_slow_unpost(). */
bool evb_slow_post(struct evb_slow *slow);
void evb_slow_unpost(struct evb_slow *slow);

#endif
