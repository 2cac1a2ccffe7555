/*
 * handover.h - what becomes of an accepted event for Redis, decided in the publisher's thread: room
 * is reserved first, so that a refusal changes nothing; then the command goes to the loop.
 */
#ifndef EVB_HANDOVER_H
#define EVB_HANDOVER_H
#include "bus.h"

enum evb_way {
    EVB_WAY_NONE,    /* goes not to Redis, nobody asks for a report */
    EVB_WAY_OUTBOX,  /* room is reserved in the outbox */
    EVB_WAY_REPORT,  /* goes not to Redis; room is reserved for its report */
    EVB_WAY_EVICTED, /* the outbox is full and drops the new one; room is reserved for its report */
    EVB_WAY_DROPPED  /* the same, and nobody asks */
};

/* What is unusual about an event, set by who publishes it in another way than its user. All zero:
 * nothing. */
struct evb_special {
    bool promised;           /* its room was accounted for before: no limit refuses it */
    bool frozen;             /* the event is already */
    size_t more;             /* bytes that its report keeps besides the event */
    struct evb_text channel; /* where it goes in Redis; ptr NULL: to its type's */
    int64_t within_ms;       /* it expires after so long, or by its own time to live; 0: by that */
    struct evb_job *before;  /* not NULL: posted to the loop right before it, if it is */
    char *settles;           /* owned until it is posted: see struct evb_item; NULL: nothing */
};

/* Cleared for each event, and read at once: small enough for some plain stores. */
struct evb_handover {
    evbus_report_fn report; /* set by the caller; NULL: nobody asks */
    void *user;
    struct evb_special *special; /* set by the caller, borrowed; NULL: nothing is */
    bool history;                /* it may be kept; set before posting */
    bool kept;                   /* it will be */
    bool away;                   /* outbox.full=off: it is dropped because Redis is away */
    enum evb_way way;
    size_t size; /* bytes reserved */
    int bits;    /* EVBUS_SENT_REDIS, EVBUS_SENT_OUTBOX, or 0 */
};

/* `where`: EVB_FROM_LOCAL | EVB_FROM_REDIS. 0, or EVBUS_EFULL / EVBUS_EAWAY: nothing happened. */
int evb_handover_reserve(struct evb_handover *way, struct evbus *bus, const evbus_event *event,
                         int where);
void evb_handover_release(const struct evb_handover *way,
                          struct evbus *bus); /* instead of posting */
/* A frozen event; `local`: this node's subscribers get it here. 0, or EVBUS_ENOMEM. */
int evb_handover_post(struct evb_handover *way, struct evbus *bus, evbus_event *event, bool local);

#endif
