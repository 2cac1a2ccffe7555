/*
 * redis_group.h - a group in Redis, as its members see it: its names, what they ask on the
 * publishing connection (the scripts of redis_script.h), and the command that reads. Loop only.
 */
#ifndef EVB_REDIS_GROUP_H
#define EVB_REDIS_GROUP_H
#include "redis_stream.h"

enum { EVB_GROUP_BATCH = 256 }; /* most entries in one command */

struct evb_group_wire { /* a bus's; borrowed texts */
    struct evb_stream *stream;
    struct evb_asks *asks;
    const char *control, *consumer;
    char *bell;      /* owned: a stream that wakes this bus's reader alone */
    int64_t ttl_ms;  /* of a group without members */
    int64_t beat_ms; /* members announce themselves so often */
};

struct evb_group_name { /* owned */
    char *channel, *group;
    char *key; /* of the stream */
};

struct evb_group_entry { /* borrowed from a reply */
    const char *id;
    const struct evb_reply *envelope;
    int attempts; /* before this one */
};

int evb_group_wire_init(struct evb_group_wire *wire, struct evb_stream *stream,
                        struct evb_asks *asks, const char *node); /* 0, or EVBUS_ENOMEM */
void evb_group_wire_fini(struct evb_group_wire *wire);
int evb_group_name_init(struct evb_group_name *name, const struct evb_group_wire *wire,
                        const char *channel, const char *group); /* 0, or EVBUS_ENOMEM */
void evb_group_name_fini(struct evb_group_name *name);

/* False, of all: the link is not up. */
bool evb_group_announce(const struct evb_group_wire *wire, const struct evb_group_name *name,
                        evb_ask_fn fn, void *user);
bool evb_group_settle(const struct evb_group_wire *wire, const char *key, const char *const entry[],
                      size_t count, evb_ask_fn fn, void *user);
bool evb_group_requeue(const struct evb_group_wire *wire, const char *key,
                       const char *const entry[], const int more[], size_t count, evb_ask_fn fn,
                       void *user);
/* Of whoever has been idle so long, at most `most`; `leaves`: this consumer is to go, too. */
bool evb_group_takeover(const struct evb_group_wire *wire, const char *key, int64_t idle_ms,
                        int64_t most, bool leaves, evb_ask_fn fn, void *user);
/* They are in hand: nobody takes them over (redis.io/commands/xclaim). */
bool evb_group_renew(const struct evb_group_wire *wire, const char *key, const char *const entry[],
                     size_t count, evb_ask_fn fn, void *user);
/* This consumer's own (redis.io/commands/xpending): {{entry, consumer, idle, deliveries}...}. */
bool evb_group_own(const struct evb_group_wire *wire, const char *key, int64_t idle_ms,
                   evb_ask_fn fn, void *user);
bool evb_group_ring(const struct evb_group_wire *wire, evb_ask_fn fn, void *user);
bool evb_group_unbell(const struct evb_group_wire *wire, evb_ask_fn fn, void *user);

/* The command that waits for entries of these, or for the bell. */
void evb_group_read(const struct evb_group_wire *wire, struct evb_buf *out, const char *const key[],
                    size_t count, int64_t most, int64_t block_ms);
/* {id, {"e", envelope, "a", attempts}}; false: it is none. *id is set wherever there is one. */
bool evb_group_entry_read(struct evb_group_entry *entry, const struct evb_reply *reply);

#endif
