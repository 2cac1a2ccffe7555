/*
 * deliver.h - an event to this process's subscribers, one at a time on a thread: what a handler
 * publishes is delivered when it has returned, so that nobody sees an effect before its cause.
 */
#ifndef EVB_DELIVER_H
#define EVB_DELIVER_H
#include "interest.h"

enum { EVB_DEFERRED_EVENTS = 65536 }; /* of one thread */

bool evb_deliver_may_defer(const struct evb_thread *thread, const evbus_event *event);
/* To those in `only`, or all (NULL). The reference of EVB_GIVEN is gone afterwards. 0, or
 * EVBUS_ENOMEM. */
int evb_deliver(struct evbus *bus, struct evb_thread *thread, evbus_event *event, unsigned how,
                const struct evb_via *only);
void evb_deliver_give_back(evbus_event *event, unsigned how); /* the reference of EVB_GIVEN */
/* To one, by evb_sub_offer(). On the loop. */
bool evb_deliver_offer(struct evbus *bus, evbus_sub *sub, evbus_event *event, unsigned how);

#endif
