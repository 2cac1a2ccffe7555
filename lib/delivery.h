/*
 * delivery.h - an event given to one member of a group, until that has answered: whoever answers
 * first, on whatever thread, after the bus's end even. Loop only, but for what says otherwise.
 */
#ifndef EVB_DELIVERY_H
#define EVB_DELIVERY_H
#include "bus.h"

enum { EVB_ENTRY_ID = 44 }; /* "<ms>-<n>" */

struct evb_group;
struct evb_member;

struct evb_hold {
    struct evb_delivery base;
    struct evb_job job; /* its answer, on the way to the loop */
    /* fixed after init */
    struct evbus *bus;                       /* ref */
    void (*answered)(struct evb_hold *hold); /* on the loop; once, if the bus lives */
    char entry[EVB_ENTRY_ID];

    atomic_int refs;  /* the event, the loop's list; what is on its way is the list's */
    atomic_int state; /* see delivery.c */

    /* written by who answers, then the loop's */
    enum evb_answer answer;
    int64_t delay_ms;
    evbus_event *event; /* ref; of one that failed */

    /* loop only */
    struct evb_node node;      /* in a list of its group; alone: nobody waits for it */
    struct evb_group *group;   /* borrowed, while it is in a list */
    struct evb_member *member; /* borrowed: whom it was given to; NULL: nobody any more */
    int64_t due_ms;            /* monotonic: when it is given back; 0: it is in hand */
    int more;                  /* attempts that count, when it is */
    bool dead;                 /* a dead letter is under way, and settles it */
};

/* The event's delivery from now on; the caller has the other reference. NULL: no memory. */
struct evb_hold *evb_hold_new(struct evbus *bus, evbus_event *event, const char *entry, int attempt,
                              void (*answered)(struct evb_hold *hold));
/* Without an event: an entry that is only given back. NULL: no memory. */
struct evb_hold *evb_hold_of(struct evbus *bus, const char *entry);
void evb_hold_unref(struct evb_hold *hold); /* any thread */
/* Takes it back from who has not begun, or, `begun` too, not answered: no answer counts any more.
 * False: the answer is there, or on its way. */
bool evb_hold_take_back(struct evb_hold *hold, bool begun);
bool evb_hold_has_begun(const struct evb_hold *hold);

#endif
