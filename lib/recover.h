/*
 * recover.h - what an outage cost this bus's subscribers: read from the history, or announced as
 * evbus.gap. Loop only.
 */
#ifndef EVB_RECOVER_H
#define EVB_RECOVER_H
#include "bus.h"

extern const struct evb_recovery_hooks evb_recover_hooks; /* for the shard; user: the bus */

void evb_recover_gap(struct evbus *bus, const struct evb_gap *gap); /* announces it */
void evb_recover_lost(struct evbus *bus, const char *why);          /* the link went down */
void evb_recover_away(struct evbus *bus, const char *why);          /* an attempt failed */
void evb_recover_ready(struct evbus *bus);                          /* the link is up */

#endif
