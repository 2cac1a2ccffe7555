/* subscribe.h - subscriptions and queues on a bus: what their public calls share. Any thread. */
#ifndef EVB_SUBSCRIBE_H
#define EVB_SUBSCRIBE_H
#include "bus.h"

/* Closes the queues of a bus: what waits in them stays. */
void evb_queues_close(struct evbus *bus);

#endif
