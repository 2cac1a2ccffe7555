/*
 * route.h - an event's whole way: from publish to this process's subscribers and to Redis's wire,
 * and from the wire back to the subscribers.
 */
#ifndef EVB_ROUTE_H
#define EVB_ROUTE_H
#include "interest.h"

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
void evb_route_held(struct evbus *bus, evbus_event *event);
/* An event of the library itself (evbus.*), to this process's subscribers. Any thread. */
void evb_route_system(struct evbus *bus, const char *type, const char *json);

#endif
