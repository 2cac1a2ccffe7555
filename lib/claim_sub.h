/*
 * claim_sub.h - claim=NAME: a subscription's events are claimed in Redis by their ids, and only the
 * winner's handler runs. An event is held by its owner under a lease while it is in progress; the
 * key says "done" when it is handled, and is free again when its handler fails or its holder dies.
 * Loop only, but for what says otherwise.
 */
#ifndef EVB_CLAIM_SUB_H
#define EVB_CLAIM_SUB_H
#include "claim.h"

struct evb_claim_sub;

/* Before its first event, when its handler is set. Any thread. 0, or EVBUS_ENOMEM. */
int evb_claim_sub_plan(evbus_sub *sub, const char *name);
void evb_claim_sub_wake(evbus_sub *sub);               /* it ends; any thread */
void evb_claim_sub_free(struct evb_claim_sub *claims); /* with its subscription; NULL is fine */
/* Of one in the bus's list, which holds a reference: what can go on goes on. It may be gone
 * then. */
void evb_claim_sub_look(struct evb_node *node);
bool evb_claim_sub_busy(const struct evb_node *node, enum evb_claim_stage stage);

#endif
