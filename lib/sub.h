/*
 * sub.h - one subscription: where it delivers, how it ends. Local and remote events meet in
 * evb_sub_deliver() and nowhere else. Lock: sub (a leaf).
 *
 * Ending: LIVE -> ENDING (no handler starts any more) -> ENDED (none runs, on_free was called). A
 * handler's thread holds the subscription as a hazard pointer while it runs, so that whoever ends
 * it can tell.
 */
#ifndef EVB_SUB_H
#define EVB_SUB_H
#include "fifo.h"
#include "lanes.h"
#include "list.h"
#include "loop.h"
#include "metrics.h"
#include "slow.h"
#include "tally.h"
#include "thread.h"
#include "workers.h"
#include <evbus.h>

/* how an event comes: bits */
enum {
    EVB_FROM_LOCAL = 1,
    EVB_FROM_REDIS = 2,
    EVB_FROM_SELF = 4, /* published by this bus */
    EVB_GIVEN = 8,     /* with a reference that its receiver may keep */
    EVB_OF_SLOW = 16,  /* tells of a slow one, and makes nobody slow: or it would go on for ever */
    EVB_FROM_HISTORY = 32, /* read, not live */
    EVB_FROM_KEPT = 64,    /* local, instead of EVB_FROM_LOCAL: the history has it as well */
    EVB_POSITIONED = 128,  /* from Redis, with its place in the history */
    EVB_ECHO = 256,        /* own, delivered here when it was published */
    EVB_MAY_LAG = 512,     /* where there is no room, the history brings it again */
    EVB_ALLOWED = 1024,    /* hold() has let it go on */
    EVB_FROM_GROUP = 2048, /* given to this subscription alone */
    EVB_WHEN_IDLE = 4096   /* only where nothing runs or waits; and nothing runs beside it */
};
/* What the fn of those with `guarded` answers, but for 0. */
enum { EVB_CALL_FAILED = -1, EVB_CALL_NONE = 2 /* or counted elsewhere */ };
enum { EVB_DELIVER_LOOP, EVB_DELIVER_INLINE, EVB_DELIVER_WORKERS, EVB_DELIVER_QUEUE };
enum { EVB_SUB_LIVE, EVB_SUB_ENDING, EVB_SUB_ENDED };

struct evb_entry;

struct evb_sub_queue {                                                        /* queue.c's side */
    bool (*put)(evbus_queue *queue, struct evb_fifo_item item, unsigned how); /* false: no room */
    int64_t (*room)(evbus_queue *queue, int64_t most);
    void (*lag)(evbus_queue *queue, bool on);
    int64_t (*bytes)(const evbus_queue *queue); /* its bound */
};

struct evb_limit { /* so many handler calls, or events put in the queue: then it ends */
    /* fixed after init */
    int64_t most;
    evbus_event_fn fn;             /* the handler, for which the subscription's own keeps count */
    void (*leave)(evbus_sub *sub); /* it has ended, by its limit or before; no lock is held */

    _Atomic int64_t begun, done; /* handler calls */
    atomic_bool let_go;          /* by evbus_unsubscribe(): what its queue holds is nobody's */
    /* under its queue's lock */
    int64_t put;  /* events, but for evicted ones */
    bool all_put; /* it is ending, and no more come */
};

struct evbus_sub {
    atomic_int refs; /* the handle, its entry, snapshots, what waits for it */
    atomic_int state;

    /* Fixed after init. Publishers read it: what is written for each event stands apart. */
    int deliver;
    atomic_int scope; /* EVB_FROM_LOCAL | EVB_FROM_KEPT | EVB_FROM_REDIS; a leader's may change */
    bool echo;
    unsigned generation; /* of forks */
    evbus_event_fn fn;
    void *user;
    /* The first thread that delivers counts alone and needs no locked instruction; the others
     * share. Written once. */
    struct evb_thread *_Atomic counting;
    int64_t created_ms;      /* monotonic: what is older is not recovered for it */
    struct evb_limit *limit; /* owned; NULL: none */
    int64_t tag;
    evbus_queue *queue;                /* ref; EVB_DELIVER_QUEUE */
    const struct evb_sub_queue *door;  /* what it does with `queue` */
    struct evb_lanes *lanes;           /* owned, what is in it under lock; EVB_DELIVER_WORKERS */
    struct evb_workers *workers;       /* borrowed from `keeper`; EVB_DELIVER_WORKERS */
    struct evb_loop *loop;             /* borrowed from `keeper` */
    struct evb_metrics *metrics;       /* borrowed from `keeper` */
    void *keeper;                      /* ref: the bus's memory */
    struct evb_entry *entry;           /* ref */
    void (*release)(evbus_sub *sub);   /* gives keeper, entry and queue back */
    void (*slow_edge)(evbus_sub *sub); /* one is to be told; no lock is held; NULL: nobody asks */
    /* Of those that may read the history: gets positioned events in the place of
     * evb_sub_deliver(), on the loop. NULL: this one may not. */
    bool (*take)(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread);
    void (*roomy)(void *keeper); /* there is room again where evb_sub_room() found none */
    /* Gets events, with a reference, in the place of evb_sub_put(), to which they come back with
     * EVB_ALLOWED, from the loop; answers as that does. Any thread. NULL: they wait for nobody's
     * leave. */
    bool (*hold)(evbus_sub *sub, evbus_event *event, unsigned how);
    bool guarded;     /* fn is the library's, and may answer EVB_CALL_NONE */
    bool by_position; /* takes own events that are kept from Redis, in their place */

    struct evb_node node; /* in its entry; under the registry's lock */

    /* Both counts and the lock are written for each event, perhaps on several cores: what is seldom
     * used keeps them on cache lines of their own. */
    pthread_cond_t ended;  /* under lock */
    evbus_free_fn on_free; /* under lock */
    _Atomic int64_t failed, dropped, polled;
    _Atomic int64_t leading; /* its fencing number while it leads; 0: it does not */

    _Atomic int64_t delivered_there;

    struct evb_durable *durable;  /* owned; fixed after init; NULL: none */
    struct evb_tally *tally;      /* owned; of those whose place is kept */
    struct evb_replay *replay;    /* owned; fixed after init, or made and seen on the loop alone */
    struct evb_last *latest;      /* owned; fixed after init; NULL: it did not ask for from=last */
    atomic_bool replaying;        /* it is among those that the loop looks after */
    struct evb_member *member;    /* owned; fixed after init; NULL: of no group */
    struct evb_leader *leader;    /* owned; fixed after init; NULL: whoever gets it handles it */
    struct evb_poll *poll;        /* owned; fixed after init; NULL: none */
    struct evb_claim_sub *claims; /* owned; fixed after init; NULL: no claim= */
    struct evb_work work;

    _Atomic int64_t delivered_elsewhere;

    pthread_mutex_t lock;
    bool freeing;         /* under lock: somebody calls on_free on the way to ENDED */
    bool scheduled;       /* under lock: `job` is in the loop's inbox */
    struct evb_fifo fifo; /* under lock; EVB_DELIVER_LOOP */
    struct evb_job job;

    int helpers;               /* under lock: workers that have `work`, or were asked to */
    struct evb_job *when_idle; /* under lock, borrowed: posted when the last of them goes */

    struct evb_slow *slow; /* owned, under lock; NULL: it has never dropped */
    bool starved;          /* under lock: somebody waits for roomy() */
    int64_t held_events,
        held_bytes; /* under lock: what hold() keeps; its bounds are size and bytes */
};

evbus_sub *evb_sub_new(void);
/* Before its first event, when its handler is set. 0, or EVBUS_ENOMEM. */
int evb_sub_set_limit(evbus_sub *sub, int64_t most, void (*leave)(evbus_sub *sub));
void evb_sub_ref(evbus_sub *sub);
void evb_sub_unref(evbus_sub *sub);
bool evb_sub_wants(const evbus_sub *sub, unsigned how); /* by its scope and echo */
/* As evb_sub_deliver() without EVB_GIVEN; false: there is no room, and nothing happened but that
 * it counts as slow. An event beyond all bounds is dropped. */
bool evb_sub_offer(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread);
/* How many events may come next, at most `most`; 0: none before roomy(). */
int64_t evb_sub_room(evbus_sub *sub, int64_t most);
/* It began to read what it missed, or has all of it. */
void evb_sub_lag(evbus_sub *sub, bool on);
/* True: it kept the reference that was given. */
bool evb_sub_deliver(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread);
void evb_sub_end(evbus_sub *sub); /* no handler starts after it */
/* Waits until ENDED, unless this thread is inside a callback. 0, or EVBUS_ETIMEDOUT. */
int evb_sub_wait_ended(evbus_sub *sub, int timeout_ms);
void evb_sub_count_shared(evbus_sub *sub, struct evb_thread *thread);
/* One delivered. */
static inline void evb_sub_count(evbus_sub *sub, struct evb_thread *thread)
{
    if (atomic_load_explicit(&sub->counting, memory_order_relaxed) != thread)
        evb_sub_count_shared(sub, thread);
    else
        atomic_store_explicit(&sub->delivered_there,
                              atomic_load_explicit(&sub->delivered_there, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}
/* Brings the thread's count of handler calls to the bus that it delivered for. */
static inline void evb_sub_flush_count(struct evb_metrics *metrics, struct evb_thread *thread)
{
    if (thread->handled)
        evb_count(metrics, EVB_COUNT_handled, thread->handled);
    thread->handled = 0;
}
bool evb_sub_idle(evbus_sub *sub); /* nothing waits for the loop or a worker */
/* EVB_DELIVER_WORKERS: what waits is handled, what comes from now on is dropped. True: a worker is
 * still at it, and the last one posts `job` (unless NULL; one at a time) to the loop. */
bool evb_sub_drain(evbus_sub *sub, struct evb_job *job);

/* ---- between sub.c and sub_pending.c ---- */

void evb_sub_call(evbus_sub *sub, evbus_event *event, struct evb_thread *thread);
/* Takes a reference to the event. False: no room (EVB_MAY_LAG), busy (EVB_WHEN_IDLE, not for inline
 * and queues), or it was dropped (EVB_ALLOWED, EVB_WHEN_IDLE). */
bool evb_sub_put(evbus_sub *sub, evbus_event *event, unsigned how);
struct evb_fill evb_sub_fill(const evbus_sub *sub); /* lock held */
/* For hold(), without the lock: so many of what it keeps, or was to keep, were dropped (0: there
 * was no room, and they come again); it keeps less than before. */
void evb_sub_held_dropped(evbus_sub *sub, int n, unsigned how);
void evb_sub_held_less(evbus_sub *sub);
void evb_sub_run_job(struct evb_job *job); /* on the loop: hands over what waits, a turn's worth */
/* On a worker; or, when they have left, on the thread that came too late: then the subscription is
 * over, and what waits is only dropped. */
void evb_sub_run_work(struct evb_work *work);

#endif
