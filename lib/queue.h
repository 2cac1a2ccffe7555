/*
 * queue.h - a pull queue: subscriptions push into it on any thread, the caller pulls on any thread,
 * one socket tells poll(2). Lock: queue (a leaf).
 */
#ifndef EVB_QUEUE_H
#define EVB_QUEUE_H
#include "sub.h"

struct evbus_queue {
    atomic_int refs; /* the handle and its subscriptions */

    struct evb_node node; /* among the bus's; under the bus's lock of queues */

    /* fixed after init */
    unsigned generation;         /* of forks */
    struct evb_metrics *metrics; /* borrowed from `keeper` */
    const struct evb_loop *loop; /* borrowed from `keeper`: waiting there would wait for itself */
    void *keeper;                /* ref: what metrics and loop live in */
    void (*keeper_unref)(void *keeper);
    void (*slow_edge)(
        evbus_queue *queue); /* one is to be told; no lock is held; NULL: nobody asks */

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct evb_fifo fifo;
    int fds[2];  /* -1 until asked for: [0] the caller polls, [1] holds a byte in it while not empty
                  */
    bool closed; /* nothing will be pushed any more, but by who was half-way */
    bool freed;  /* and that is dropped */
    evbus_sub **subs; /* owned array of refs: what evbus_queue_free() ends */
    int sub_count, sub_room;

    struct evb_slow *slow;       /* owned, under lock; NULL: it has never dropped */
    bool starved;                /* a subscription waits for room */
    void (*roomy)(void *keeper); /* fixed after init: there is some; no lock is held */

    /* Of durable subscriptions: what was pulled counts as handled at the next pull. */
    void (*handled)(evbus_sub *sub, struct evb_position at); /* fixed after init; no lock is held */
    struct evb_in_hand *in_hand;                             /* owned; under lock */
};

evbus_queue *evb_queue_new(int64_t max_events, int64_t max_bytes, int full);
void evb_queue_ref(evbus_queue *queue);
void evb_queue_drop(evbus_queue *queue); /* closes its descriptors; in a forked child that is all */
void evb_queue_unref(evbus_queue *queue);
extern const struct evb_sub_queue evb_queue_door; /* for its subscriptions */
/* Takes item's references; the caller holds the subscription by another one. False: no room
 * (EVB_MAY_LAG). */
bool evb_queue_push(evbus_queue *queue, struct evb_fifo_item item, unsigned how);
void evb_queue_close(evbus_queue *queue); /* what waits stays; then pulling says ECLOSED */
void evb_queue_clear(evbus_queue *queue); /* drops what waits, and what still comes */
int evb_queue_add_sub(evbus_queue *queue, evbus_sub *sub);       /* takes a reference */
evbus_sub **evb_queue_take_subs(evbus_queue *queue, int *count); /* the array, now the caller's */
/* References to the first of its subscriptions that live, as many as there is room for; answers how
 * many live. */
int evb_queue_list_subs(evbus_queue *queue, evbus_sub **subs, int room, int *listed);

/* ---- between queue.c and queue_hand.c ---- */

/* What this thread has pulled is handled; thread NULL: it is not, and comes again. */
void evb_queue_settle(evbus_queue *queue, const struct evb_thread *thread);
/* It was pulled. Without memory for it the event counts as not handled. */
void evb_queue_remember(evbus_queue *queue, evbus_sub *sub, evbus_event *event,
                        const struct evb_thread *thread);

#endif
