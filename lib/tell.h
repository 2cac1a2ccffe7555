/*
 * tell.h - subscriptions and queues that became slow, or keep up again, as events and in the log:
 * what their edge() leads to. Each in its order, whichever threads find the edges.
 */
#ifndef EVB_TELL_H
#define EVB_TELL_H
#include "route.h"

/* Any thread, with no lock held; `slow` is a subscription's or a queue's of a bus. */
void evb_tell_sub_edge(struct evb_slow *slow);
void evb_tell_queue_edge(struct evb_slow *slow);

#endif
