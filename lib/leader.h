/*
 * leader.h - subscriptions with leader=NAME: of all that there are anywhere, only those of the bus
 * that holds the lease on the name get events. No handler call begins without it.
 *
 * With history the place of what was handled belongs to whoever leads: the next one goes on from
 * there. What a subscription is given belongs to a term, from one beginning at the place to the
 * next: what is left over from an earlier one is handled no more, for it is given again.
 */
#ifndef EVB_LEADER_H
#define EVB_LEADER_H
#include "lease.h"

#define EVB_ATTR_FENCE "evbus.fence" /* in the attributes of each event that a leader handles */

struct evb_leader;

enum evb_leader_place {
    EVB_PLACE_NONE,   /* it may not begin: it does not lead, or has begun */
    EVB_PLACE_ONWARD, /* behind what it was given last */
    EVB_PLACE_KEPT,   /* behind *at, of *epoch; "": of the history that is there */
    EVB_PLACE_NEW     /* nobody ever led here */
};

/* Before the subscription's first event, when its handler is set and counts polls. `pause`: it is
 * to be asked for its place before it is given events from the history; NULL: there is none. Any
 * thread. 0, or EVBUS_ENOMEM. */
int evb_leader_plan(evbus_sub *sub, const char *name, bool away_last, void (*pause)(evbus_sub *));
void evb_leader_begin(evbus_sub *sub);           /* it is registered; any thread */
void evb_leader_free(struct evb_leader *leader); /* with its subscription; NULL is fine */
enum evb_leader_place evb_leader_place(struct evb_leader *leader, struct evb_position *at,
                                       const char **epoch);
void evb_leader_began(struct evb_leader *leader, struct evb_position at);
/* What it is given from the history is counted: else positions mean nothing to it. */
bool evb_leader_has_begun(const struct evb_leader *leader);
/* What its handler gets of a positioned event: with the number, of this term. NULL: no memory. */
evbus_event *evb_leader_view(struct evb_leader *leader, evbus_event *event);
void evb_leader_look(struct evbus *bus); /* who was cut off in its term begins again */
/* Until it is known who leads: 0, EVBUS_EDENIED, EVBUS_ETIMEDOUT or EVBUS_ECLOSED, with a sentence.
 * Any thread. */
int evb_leader_wait(evbus_sub *sub, int timeout_ms);

#endif
