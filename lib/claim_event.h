/*
 * claim_event.h - one event on its way through its claim, and what a subscription keeps of such
 * events: it takes them on any thread, within its bounds, and has their handler called on any;
 * between the two they are claim_sub.c's, on the loop. Lists and states are under the
 * subscription's lock, which the functions here take themselves.
 */
#ifndef EVB_CLAIM_EVENT_H
#define EVB_CLAIM_EVENT_H
#include "claim.h"

enum { EVB_CLAIM_LEVELS = 8 }; /* of waiting: each longer than the one before */
enum { EVB_CLAIM_LATE = 3 };   /* not called either: too little of the lease was left */

enum evb_claim_state {
    EVB_CLAIM_FRESH,   /* waits to be asked for */
    EVB_CLAIM_PARKED,  /* waits for Redis to be back */
    EVB_CLAIM_ASKED,   /* Redis is asked for it */
    EVB_CLAIM_WAITING, /* somebody else has it: it is looked at again */
    EVB_CLAIM_HELD,    /* waits for its handler, under the lease */
    EVB_CLAIM_RUNNING, /* is in its handler */
    EVB_CLAIM_ENDED,   /* its handler has returned */
    EVB_CLAIM_SETTLING /* Redis is told: done, or free again */
};

struct evb_claim {
    /* fixed after init */
    struct evb_claim_sub *claims;
    struct evb_position position;
    unsigned how;
    uint64_t number;

    /* under lock */
    struct evb_node node;
    enum evb_claim_state state;
    evbus_event *event; /* ref; NULL: spent */
    int64_t until_ms;   /* the lease holds so long; CLOCK_BOOTTIME, like all times here */
    int rc;             /* ENDED: 0, EVB_CALL_FAILED, EVB_CALL_NONE or EVB_CLAIM_LATE */

    /* loop only */
    struct evb_key_lease lease;
    int64_t due_ms; /* WAITING (under lock): looked at again; SETTLING: said again; `unclaimed` and
                     * later: claimed */
    enum evb_key_lease_verb want; /* SETTLING */
    bool said;                    /* that was under way before, and the answer was lost */
    bool asked;                   /* it may be ours, whatever was answered */
    bool unclaimed;               /* handled without, for Redis was away */
    bool seen;                    /* somebody else had it in progress */
    bool lapsed;
    int level, tries;
    char key[]; /* and the owner behind it */
};

struct evb_claim_sub {
    /* fixed after init */
    evbus_sub *sub; /* borrowed: it owns this */
    evbus_event_fn fn;
    char *prefix; /* owned: of its keys */
    int64_t away, lease_ms, keep_ms;
    int ahead; /* the most in hand */

    struct evb_job job;    /* takes a reference to the subscription with it */
    struct evb_node node;  /* loop only: among the bus's, which holds a reference then */
    int64_t complained_ms; /* loop only */

    /* under lock */
    bool posted;                                      /* `job` is in the loop's inbox */
    struct evb_node fresh, parked, in_hand, settling; /* in_hand: ASKED, HELD, RUNNING, ENDED */
    struct evb_node waiting[EVB_CLAIM_LEVELS];        /* each in the order of due_ms */
    int hand_count;
    int64_t settling_count;
    struct evb_map held; /* event -> its claim, HELD and RUNNING */
};

/* Hooks of the subscription: sub->hold and sub->fn. Any thread. */
bool evb_claim_hold(evbus_sub *sub, evbus_event *event, unsigned how);
int evb_claim_handle(evbus_sub *sub, evbus_event *event, void *user);
bool evb_claim_wants_post(struct evb_claim_sub *claims); /* true: the caller posts `job` */
void evb_claim_post(struct evb_claim_sub *claims); /* `job`, unless it is on its way. Any thread */

/* The rest on the loop. */
void evb_claim_move(struct evb_claim *claim, enum evb_claim_state state);
void evb_claim_move_back(struct evb_claim *claim); /* FRESH, before all that came later */
void evb_claim_unpark(
    struct evb_claim_sub *claims);             /* what is PARKED is FRESH, before the others */
void evb_claim_spend(struct evb_claim *claim); /* SETTLING: its event is not needed any more */
/* HELD until then, and given to the handler. False: that is impossible, and it is SETTLING. */
bool evb_claim_hand_over(struct evb_claim *claim, int64_t until_ms);
/* Its handler is not to be called any more. True: it was HELD and is SETTLING. */
bool evb_claim_call_off(struct evb_claim *claim);
/* The first of such a list goes into that state. Only the loop takes anything out of `in_hand` and
 * `settling`; what waits elsewhere may be gone once it is out of the lock. NULL: none. */
struct evb_claim *evb_claim_take(struct evb_claim_sub *claims, struct evb_node *list,
                                 enum evb_claim_state state);
/* The same with the first that waits, if it is due: ASKED. */
struct evb_claim *evb_claim_take_due(struct evb_claim_sub *claims, int64_t now_ms);
int64_t evb_claim_next_due_ms(struct evb_claim_sub *claims); /* INT64_MAX: none waits */
enum evb_claim_state evb_claim_state_of(const struct evb_claim *claim);
void evb_claim_set_until(struct evb_claim *claim, int64_t until_ms);
bool evb_claim_holds_back(struct evb_claim_sub *claims); /* events without an answer */
bool evb_claim_is_empty(struct evb_claim_sub *claims);
/* It is over. `passed`: it need not come again. */
void evb_claim_finish(struct evb_claim *claim, bool passed);
void evb_claim_drop(struct evb_claim *claim); /* and it is counted */

#endif
