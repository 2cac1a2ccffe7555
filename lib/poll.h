/*
 * poll.h - subscriptions whose handler is called without an event, too, so that it looks for itself
 * (evbus.poll): at an interval while Redis is away and once after its return (poll=), or where a
 * leader takes over that has no history to read. Loop only, but for planning and freeing.
 */
#ifndef EVB_POLL_H
#define EVB_POLL_H
#include "bus.h"

#define EVB_TYPE_POLL "evbus.poll"

struct evb_poll;

/* Before the subscription's first event, when its handler is set. 0: no interval, only what
 * evb_poll_takeover() says. Any thread. 0, or EVBUS_ENOMEM. */
int evb_poll_plan(evbus_sub *sub, int64_t interval_ms, bool always);
void evb_poll_begin(evbus_sub *sub);        /* it is registered; any thread */
void evb_poll_free(struct evb_poll *poll);  /* with its subscription; NULL is fine */
bool evb_poll_is(const evbus_event *event); /* any thread */
void evb_poll_lost(struct evbus *bus);      /* the link is gone, since bus->gap_from_us */
void evb_poll_ready(struct evbus *bus);     /* and back: leaders wait for their turn */
/* A leader leads after the link's return, or (`anew`) took over what nobody kept; the holder before
 * it was there at `since_us` (Unix time). */
void evb_poll_leads(evbus_sub *sub, bool anew, int64_t since_us);
void evb_poll_follows(evbus_sub *sub); /* whoever leads has looked */
void evb_poll_look(struct evbus *bus); /* who has ended is let go */
void evb_poll_end_all(struct evbus *bus);

#endif
