/*
 * tell.h - subscriptions and queues that became slow, or keep up again, as events and in the log:
 * what their slow_edge() leads to. Each in its order, whichever threads find the edges.
 */
#ifndef EVB_TELL_H
#define EVB_TELL_H
#include "route.h"

/* Any thread that holds the subscription or queue of a bus, and no lock. */
void evb_tell_sub(evbus_sub *sub);
void evb_tell_queue(evbus_queue *queue);

#endif
