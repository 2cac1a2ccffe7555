/* dead.h - dead letters: what becomes of an event that no member of a group could handle. Loop
 * only. */
#ifndef EVB_DEAD_H
#define EVB_DEAD_H
#include "bus.h"

#define EVB_DEAD_SUFFIX ".dead"

struct evb_dead { /* borrowed texts */
    const char *group, *reason;
    int attempts;
    const char *stream, *entry; /* what it settles */
};

/* Publishes `<type>.dead` through Redis alone, in one step with the settling of the entry; the
 * report tells. 0, or an error: nothing happened. */
int evb_dead_send(struct evbus *bus, const evbus_event *event, const struct evb_dead *dead,
                  evbus_report_fn fn, void *user);

#endif
