/*
 * sub_options.h - the options of subscriptions and queues: one table, and which of the calls takes
 * which. Any thread.
 */
#ifndef EVB_SUB_OPTIONS_H
#define EVB_SUB_OPTIONS_H
#include "bus.h"

enum evb_door { /* who asks: bits */
                EVB_DOOR_HANDLER = 1,
                EVB_DOOR_QUEUE_SUB = 2,
                EVB_DOOR_QUEUE = 4
};
enum { EVB_AWAY_NONE, EVB_AWAY_LAST };
enum { EVB_POLL_AWAY, EVB_POLL_ALWAYS };
enum { EVB_SCOPE_BOTH, EVB_SCOPE_LOCAL, EVB_SCOPE_REDIS };

struct evb_sub_options {
    int64_t scope;   /* EVB_SCOPE_* */
    int64_t deliver; /* EVB_DELIVER_* */
    int64_t full;    /* EVB_FULL_*, one that this bus can keep to */
    int64_t echo, size, bytes;
    int64_t limit;                              /* 0: none */
    int64_t retries, by_hand;                   /* of a group */
    char *key, *from, *durable, *claim, *group; /* owned; NULL: not given */
    char *leader, *poll;                        /* the same */
    int64_t away;                               /* EVB_AWAY_*, or -1 */
    int64_t when;                               /* EVB_POLL_*, or -1 */
    int64_t poll_ms;                            /* 0: no poll */
};

/* The bus's defaults, and what `text` (NULL: nothing) says. 0, or EVBUS_EINVAL / EVBUS_ENOMEM with
 * a sentence: then there is nothing to give back. */
int evb_sub_options_read(struct evb_sub_options *options, const struct evbus *bus,
                         enum evb_door door, const char *text);
void evb_sub_options_fini(struct evb_sub_options *options);

#endif
