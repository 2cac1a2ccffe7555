/*
 * replay.h - one subscription reads the history by itself: from where it was asked to begin
 * (from=), or where it had no room any more (full=lag). Then it goes on live, without a hole or a
 * double.
 * Loop only, but for what says otherwise.
 */
#ifndef EVB_REPLAY_H
#define EVB_REPLAY_H
#include "moment.h"
#include "route.h"

/* Before its first event: it begins there, and takes own events that are kept from Redis. Any
 * thread. 0, or EVBUS_ENOMEM. */
int evb_replay_plan(evbus_sub *sub, const struct evb_moment *from);
/* And it goes on where it was under this name (durable=), after evb_replay_plan(). */
int evb_replay_keep(evbus_sub *sub, const char *name);
/* Or where the last leader of this name was, when this bus leads (leader=), the same way. */
int evb_replay_lead(evbus_sub *sub, const char *name, bool away_last);
/* It is registered. Any thread. */
void evb_replay_begin(evbus_sub *sub);
void evb_replay_free(struct evb_replay *replay); /* with its subscription; NULL is fine */
/* The hooks of subscriptions that may read the history: take() and roomy(). */
bool evb_replay_take(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread);
void evb_replay_wake(void *bus);         /* any thread: something changed for those that read */
void evb_replay_look(struct evbus *bus); /* who can go on goes on, who has ended is let go */
void evb_replay_end_all(struct evbus *bus);

#endif
