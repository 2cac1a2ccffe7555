/*
 * claim.h - what the claims of one bus share, be it keys (claim_key.h) or a subscription's events
 * (claim_sub.h). Loop only, but for what says otherwise.
 */
#ifndef EVB_CLAIM_H
#define EVB_CLAIM_H
#include "bus.h"
#include "redis_claim.h"

enum evb_claim_stage {                     /* of closing a bus: what has to be over */
                       EVB_CLAIMS_ASKING,  /* what came is asked for, and answered */
                       EVB_CLAIMS_SETTLING /* and handled, and Redis knows */
};

struct evb_claims {
    struct evb_key_leases leases;
    struct event *timer;     /* owned */
    int64_t timer_ms;        /* CLOCK_BOOTTIME: when it fires; 0: it does not */
    struct evb_node subs;    /* those that have events to claim */
    struct evb_node calls;   /* of evbus_claim() and evbus_release(), without their answer */
    struct evb_job *drained; /* borrowed: posted when `stage` is reached; NULL: nobody waits */
    enum evb_claim_stage stage;
    bool told; /* that Redis refuses, on this connection */

    /* any thread */
    atomic_bool closing;      /* no more events are taken */
    _Atomic uint64_t numbers; /* of owners of this bus */
    atomic_int calling;       /* how many `calls` there are, those on their way included */
    pthread_mutex_t lock;     /* a leaf */
    struct evb_map held;      /* under lock: key -> owned, of evbus_claim() */
};

/* The bus has a loop and a link. 0, or EVBUS_ENOMEM. */
int evb_claims_init(struct evbus *bus);
void evb_claims_fini(struct evbus *bus); /* the loop has ended; the link is gone */
void evb_claims_ready(struct evbus *bus);
void evb_claims_lost(struct evbus *bus);    /* the link is gone */
void evb_claims_end_all(struct evbus *bus); /* the bus is CLOSED, the link is gone */
/* The bus closes: true: `job` is posted when the stage is reached, or cannot be. */
bool evb_claims_drain(struct evbus *bus, struct evb_job *job, enum evb_claim_stage stage);

/* ---- for its family ---- */
bool evb_claims_are_ready(const struct evbus *bus);            /* Redis can be asked */
void evb_claims_arm(struct evbus *bus, int64_t at_ms);         /* looks again then, at the latest */
void evb_claims_refused(struct evbus *bus, const char *error); /* tells it, once a connection */
void evb_claims_name_rights(const struct evbus *bus, char *out, size_t room); /* any thread */
void evb_claims_moved(struct evbus *bus); /* something came to its end */

#endif
