/*
 * redis_lease.h - a lease on a name: one script takes it, renews it with what belongs to its
 * holder, and gives it back. Loop only.
 */
#ifndef EVB_REDIS_LEASE_H
#define EVB_REDIS_LEASE_H
#include "redis_stream.h"

struct evb_lease_ask {            /* see the script "lease" of redis_script.h; all borrowed */
    const char *lease, *waiting;  /* keys */
    const char *owner, *mode;     /* "stay", "take", "careful", "look", "leave" */
    const char *channel, *notice; /* what comes on `channel` when the holder leaves */
    int64_t ttl_ms, idle_ms, above;
    const char *const *places; /* name, value, name, value, ... */
    size_t place_count;        /* of the pairs */
};

enum evb_lease_outcome { EVB_LEASE_OTHERS, EVB_LEASE_GOES_ON, EVB_LEASE_GAINED };

struct evb_lease_answer {
    enum evb_lease_outcome outcome;
    int64_t fence;      /* the holder's number; 0: there is none */
    int64_t renewed_ms; /* GAINED: server's time when the one before renewed it; 0: not known */
    const char *holder; /* OTHERS: "" if nobody holds it; lives as long as the reply */
    int64_t left_ms;    /* OTHERS: until it may be asked for again */
};

/* False: the link is not up. */
bool evb_lease_send(struct evb_stream *stream, struct evb_asks *asks,
                    const struct evb_lease_ask *ask, evb_ask_fn fn, void *user);
/* False: it is no answer of the script to so many places. */
bool evb_lease_read(const struct evb_reply *reply, size_t place_count,
                    struct evb_lease_answer *answer);
/* The n-th place of an answer that is not OTHERS; "" if it is not known. */
const struct evb_reply *evb_lease_place(const struct evb_reply *reply, size_t n);

#endif
