/*
 * waiter.h - somebody who waits on a bus's loop: for the connection, for its end, or just for a
 * turn. Made on any thread; all else on the loop.
 */
#ifndef EVB_WAITER_H
#define EVB_WAITER_H
#include "bus.h"

struct evb_waiter {
    struct evb_job job;
    struct evb_node node; /* in one of the bus's lists, or alone */
    struct evbus *bus;    /* ref */
    evbus_done_fn fn;     /* NULL: nobody is told */
    void *user;
    int timeout_ms;      /* -1: none */
    struct event *timer; /* owned */
};

/* run(&waiter->job) comes on the loop once it is posted. NULL: no memory. */
struct evb_waiter *evb_waiter_new(struct evbus *bus, void (*run)(struct evb_job *),
                                  evbus_done_fn fn, void *user);
void evb_waiter_post(struct evb_waiter *waiter);
struct evb_waiter *evb_waiter_of(struct evb_job *job);
/* Into the list, until somebody ends it or its time is up (EVBUS_ETIMEDOUT). */
void evb_waiter_add(struct evb_waiter *waiter, struct evb_node *list);
void evb_waiter_end(struct evb_waiter *waiter, int result); /* tells and frees it */
void evb_waiter_end_all(struct evb_node *list, int result);

#endif
