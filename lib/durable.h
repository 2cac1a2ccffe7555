/*
 * durable.h - a subscription that goes on where it was after a restart: its place is kept in Redis
 * under its name, by one holder at a time, who has a lease. Loop only, but for what says otherwise.
 */
#ifndef EVB_DURABLE_H
#define EVB_DURABLE_H
#include "bus.h"

enum evb_durable_state {
    EVB_DURABLE_OPEN, /* not asked yet, or the link is down */
    EVB_DURABLE_ASKED,
    EVB_DURABLE_HELD,
    EVB_DURABLE_REFUSED /* somebody else holds it, or Redis refuses */
};

struct evb_place { /* what Redis has */
    bool known;    /* false: it has never been anywhere */
    struct evb_position at;
    char epoch[EVB_EPOCH_TEXT];
};

struct evb_durable;

/* Before the subscription's first event, when its handler is set. `pause` is called where the lease
 * may be somebody else's: nothing is to be delivered until it may begin again. Any thread. 0, or
 * EVBUS_ENOMEM. */
int evb_durable_plan(evbus_sub *sub, const char *name, void (*pause)(evbus_sub *sub));
void evb_durable_begin(evbus_sub *sub); /* it is registered */
/* An event from a queue, or by a handler, is handled. Any thread. */
void evb_durable_handled(evbus_sub *sub, struct evb_position at);
void evb_durable_free(struct evb_durable *durable); /* with its subscription; NULL is fine */
/* Asks for the lease where it is not held, saves what moved, gives back what has ended. */
void evb_durable_look(struct evbus *bus);
void evb_durable_lost(struct evbus *bus); /* the link is gone */
/* Where it may begin; NULL: it may not yet. */
const struct evb_place *evb_durable_place(const struct evb_durable *durable);
void evb_durable_began(struct evb_durable *durable, struct evb_position at);
/* Or it goes on where it was given what it has not handled yet. */
void evb_durable_resumed(struct evb_durable *durable);
/* The bus closes: places are saved and leases given back; done() when Redis has answered, or
 * cannot. */
void evb_durable_close(struct evbus *bus, void (*done)(void *user), void *user);
void evb_durable_end_all(struct evbus *bus); /* without a word to Redis */
/* Waits until it is held: 0, EVBUS_EDENIED, EVBUS_ETIMEDOUT or EVBUS_ECLOSED, with a sentence. Any
 * thread. */
int evb_durable_wait(evbus_sub *sub, int timeout_ms);

#endif
