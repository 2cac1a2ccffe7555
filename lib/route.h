/*
 * route.h - an event's whole way: from publish to this process's subscribers and to Redis's wire,
 * and from the wire back to the subscribers.
 */
#ifndef EVB_ROUTE_H
#define EVB_ROUTE_H
#include "deliver.h"
#include "handover.h"
#include "metrics.h"

#define EVB_TYPE_SLOW     "evbus.slow"
#define EVB_TYPE_SLOW_END "evbus.slow_end"

/* A batch of events that were accepted, by their flags without EVBUS_BATCH: there is room for it,
 * and the bus may be closing. `way` says that it is promised. What evbus_publish_event() answers.
 * On the loop. */
int evb_route_batch(struct evbus *bus, evbus_event *event, int flags, struct evb_handover *way);
/* Publishing, as `way` says; counts what it refuses. Answers as evbus_publish_event(). Any thread.
 */
int evb_route_publish(struct evbus *bus, evbus_event *event, int flags, struct evb_handover *way);
/* Is the data fit to be sent? 0, EVBUS_ETOOBIG or EVBUS_EINVAL. Any thread. */
int evb_route_check_data(const struct evbus *bus, const evbus_event *event, bool serialised);
/* Counts a bad message, and logs some. On the loop. */
void evb_route_complain(struct evbus *bus, enum evb_counter counter, const char *channel,
                        const char *why);
/* Redis's hook, on the loop: a message came. */
void evb_route_message(const struct evb_reply *channel, const struct evb_reply *payload,
                       const struct evb_reply *pattern, void *bus);
/* An entry of the history that was missed; or a live event that was held back meanwhile. On the
 * loop. */
void evb_route_entry(struct evbus *bus, struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope);
/* The event of an entry, whoever had it before; NULL: of no channel of this bus's, or none at all,
 * which is counted. */
evbus_event *evb_route_read(struct evbus *bus, struct evb_position at,
                            const struct evb_reply *channel, const struct evb_reply *envelope);
/* The event that a channel or an entry of a group's stream brought. 0, or EVBUS_ENOMEM or what is
 * wrong with it, which is counted: *event is NULL then. On the loop. */
int evb_route_decode(struct evbus *bus, const struct evb_reply *channel,
                     const struct evb_reply *envelope, evbus_event **event);
void evb_route_held(struct evbus *bus, evbus_event *event);
/* An entry as an event for one subscription, the caller's reference; NULL: it is not for that.
 * *how gains EVB_FROM_SELF. */
evbus_event *evb_route_entry_for(struct evbus *bus, const evbus_sub *sub, struct evb_position at,
                                 const struct evb_reply *channel, const struct evb_reply *envelope,
                                 unsigned *how);
unsigned evb_route_is_self(const struct evbus *bus, const evbus_event *event); /* EVB_FROM_SELF */
/* An event of the library itself (evbus.*), to this process's subscribers. Any thread. */
void evb_route_system(struct evbus *bus, const char *type, const char *json);

#endif
