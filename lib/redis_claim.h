/*
 * redis_claim.h - leases: a key in Redis that holds its owner for a time, or the word "done". One
 * script call each (redis_script.h, "lease"), one key each. Whoever takes what it owns already has
 * the whole time anew: so a lease is renewed, and asked for again when a connection broke before
 * the answer, with the same owner. Loop only.
 */
#ifndef EVB_REDIS_CLAIM_H
#define EVB_REDIS_CLAIM_H
#include "redis_asks.h"
#include "redis_script.h"

struct evb_key_leases { /* what the leases on one connection share */
    struct evb_asks *asks;
    struct evb_scripts scripts;
    bool known; /* the server has the script's text */
};

enum evb_key_lease_verb {
    EVB_KEY_LEASE_NONE,
    EVB_KEY_LEASE_TAKE,   /* and renew */
    EVB_KEY_LEASE_DONE,   /* the key says so, for ttl_ms */
    EVB_KEY_LEASE_RELEASE /* the key is gone */
};

enum evb_key_lease_result {
    EVB_KEY_LEASE_OK,
    EVB_KEY_LEASE_OTHERS,  /* somebody else holds it: nothing was changed */
    EVB_KEY_LEASE_OVER,    /* it is done: nothing was changed */
    EVB_KEY_LEASE_PASSES,  /* Redis will not now (BUSY, OOM, ...) */
    EVB_KEY_LEASE_REFUSED, /* Redis will not: a right is missing, the key is of another kind */
    EVB_KEY_LEASE_LOST     /* the connection is gone, and with it the answer */
};

struct evb_key_lease_answer { /* borrowed texts */
    enum evb_key_lease_verb verb;
    enum evb_key_lease_result result;
    bool was_free;      /* OK: nobody held it before, not even its owner */
    const char *holder; /* OTHERS, OVER */
    int64_t left_ms;    /* the same: of that lease; -1: it has no end */
    const char *error;  /* PASSES, REFUSED */
};

struct evb_key_lease;
typedef void (*evb_key_lease_fn)(struct evb_key_lease *lease,
                                 const struct evb_key_lease_answer *answer);

struct evb_key_lease {
    /* fixed while it is asked for */
    const char *key, *owner; /* borrowed */
    int64_t ttl_ms;          /* of the call that is asked for next */
    evb_key_lease_fn fn;
    struct evb_key_leases *leases; /* borrowed; the last call's */

    enum evb_key_lease_verb verb; /* under way; NONE: nothing is */
    enum evb_key_lease_verb next; /* asked for when that is answered; the lease lives until then */
    int64_t until_ms; /* CLOCK_BOOTTIME: if the call under way is granted, it holds so long */
};

void evb_key_leases_init(struct evb_key_leases *leases, struct evb_asks *asks);
void evb_key_leases_anew(struct evb_key_leases *leases); /* a new connection */
/* fn(lease, answer) follows for each call that is made; the lease has to live until then. One call
 * at a time is under way: of what is asked for meanwhile only the last counts, and follows. False:
 * the link is not up, and nothing follows. */
bool evb_key_lease_ask(struct evb_key_leases *leases, struct evb_key_lease *lease,
                       enum evb_key_lease_verb verb);

#endif
