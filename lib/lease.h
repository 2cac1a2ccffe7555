/*
 * lease.h - one bus's lease on the name of a leader, shared by all of its subscriptions with that
 * name. The others ask again when the holder's ends, or hear that it left. Loop only, but for what
 * says otherwise.
 *
 * It is live from the sending of the last request that Redis granted, for lease.ttl, on
 * CLOCK_BOOTTIME: so it ends here before it does in Redis, whatever happened to the process or to
 * the machine meanwhile.
 */
#ifndef EVB_LEASE_H
#define EVB_LEASE_H
#include "bus.h"

enum evb_lease_state {
    EVB_LEASE_OPEN, /* not asked yet, the link is down, or the lease ended without an answer */
    EVB_LEASE_LEADS,
    EVB_LEASE_FOLLOWS, /* somebody else leads, or will */
    EVB_LEASE_REFUSED  /* Redis refuses */
};

enum evb_lease_turn {
    EVB_TURN_GAINING, /* GAINED follows: what is in hand is not to be gone on with */
    EVB_TURN_GAINED,  /* it leads; somebody else may have, meanwhile */
    EVB_TURN_GOES_ON, /* it leads, and nobody else has */
    EVB_TURN_FOLLOWS,
    EVB_TURN_AWAY,  /* the link is gone */
    EVB_TURN_ENDED, /* its time is up, and there is no answer of Redis */
    EVB_TURN_REFUSED
};

struct evb_lease_member {
    /* fixed before it joins */
    evbus_sub *sub; /* borrowed; a reference while it is among the lease's */
    void (*turn)(struct evb_lease_member *member, enum evb_lease_turn turn);
    /* What is to be kept as its place; false: nothing. */
    bool (*place)(struct evb_lease_member *member, char *out, size_t room);
    /* loop only */
    struct evb_node node;
    char *name;         /* of its place: owned; its pattern, and a number if it is not the first */
    const char *placed; /* during GAINED: what was kept; "": nothing */
    int asked;          /* its number in the question that is under way; -1: not in it */
    bool leads;         /* it was told so since it last was not */
    bool over;          /* its subscription had ended when that was asked */
};

struct evb_lease {
    atomic_int refs;
    /* fixed after init */
    struct evbus *bus;          /* borrowed: lives as long as any member's subscription */
    char *name, *key, *waiting; /* owned */
    char *notice;               /* owned: what comes to the inbox when the holder leaves */

    /* read by any thread */
    _Atomic int64_t until_us; /* CLOCK_BOOTTIME */
    _Atomic int64_t fence;    /* of the last time that it led */
    atomic_bool last_holder;  /* Redis is away, and it led when it went */

    /* loop only */
    struct evb_node node, members;
    size_t member_count, asked_count;
    struct event *timer; /* owned; NULL: not among the bus's */
    int64_t timer_ms;    /* monotonic: when it fires; 0: it does not */
    enum evb_lease_state state;
    bool asked, leaving;              /* a question, the last one, is under way */
    bool noticed;                     /* since it was asked, the holder may have left */
    bool closing;                     /* the bus ends */
    bool holds;                       /* as far as it knows */
    bool anew;                        /* since then its members have not begun */
    bool looks;                       /* after an outage: who held it before comes first */
    bool waited;                      /* whoever held what was flushed has ended */
    bool told;                        /* that it was gained, and not yet that it was lost */
    int64_t sent_us;                  /* CLOCK_BOOTTIME: when the question went out */
    int64_t above;                    /* the highest number heard of */
    int64_t before_us;                /* Unix time: the holder before it was there; 0: not known */
    char holder[EVB_NODE_LENGTH + 1]; /* who leads, as last heard: "": nobody */
    int64_t holder_fence;
    char why[200]; /* REFUSED */
};

/* NULL: no memory. Any thread. */
struct evb_lease *evb_lease_new(struct evbus *bus, const char *name);
void evb_lease_unref(struct evb_lease *lease); /* any thread; NULL is fine */
/* Its number if a handler may begin now, else 0. Any thread. */
int64_t evb_lease_live(const struct evb_lease *lease);
/* The member joins the bus's lease of that name, which may be another one than `lease`, whose
 * reference it takes; the caller gets one of the right one. NULL: no memory. */
struct evb_lease *evb_lease_join(struct evb_lease *lease, struct evb_lease_member *member);
/* ... which it has noted: the turn is told. */
void evb_lease_joined(struct evb_lease *lease, struct evb_lease_member *member);
void evb_lease_look(struct evbus *bus);       /* who ended leaves, what moved is to be kept */
void evb_lease_save(struct evb_lease *lease); /* ... at once */
void evb_lease_lost(struct evbus *bus);
void evb_lease_ready(struct evbus *bus);
#define EVB_LEASE_NOTICE "lease " /* begins what is told on the channels of who waits for one */
/* Somebody left? False: that is no such notice. */
bool evb_lease_inbox(struct evbus *bus, const struct evb_reply *payload);
/* The bus closes: no handler begins any more, leases are given back; done() when Redis has
 * answered, or cannot. */
void evb_lease_close(struct evbus *bus, void (*done)(void *user), void *user);
void evb_lease_end_all(struct evbus *bus); /* without a word to Redis */

/* ---- among lease.c, lease_ask.c, lease_answer.c and lease_tell.c ---- */

enum { EVB_LEASE_PLACE_ROOM = EVB_POSITION_TEXT + EVB_EPOCH_TEXT };

int64_t evb_lease_ttl_ms(const struct evb_lease *lease);
bool evb_lease_is_ready(const struct evb_lease *lease);  /* Redis can be asked */
void evb_lease_arm(struct evb_lease *lease, int64_t ms); /* unless it fires before */
void evb_lease_arm_holder(struct evb_lease *lease); /* to renew; or when it ends, if that fails */
void evb_lease_disarm(struct evb_lease *lease);
void evb_lease_question(struct evb_lease *lease, bool leave); /* unless one is under way */
void evb_lease_answered(const struct evb_reply *reply, void *lease);
void evb_lease_begin_member(struct evb_lease_member *member, const struct evb_reply *reply,
                            bool anew);
/* What is due: a question, or the end of what has ended. */
void evb_lease_look_at(struct evb_lease *lease, bool due);
bool evb_lease_is_deserted(const struct evb_lease *lease); /* all of its subscriptions ended */
void evb_lease_leave(struct evb_lease *lease);
void evb_lease_let_go(struct evb_lease *lease); /* without a word */
void evb_lease_drop(struct evb_lease *lease, struct evb_lease_member *member);
void evb_lease_tell(struct evb_lease *lease, const char *change, const char *node, int64_t fence);
void evb_lease_tell_members(struct evb_lease *lease, enum evb_lease_turn turn);
/* `node`: who leads instead; "": nobody knows. `counted`: it did not leave by itself. */
void evb_lease_tell_lost(struct evb_lease *lease, const char *node, int64_t fence, bool counted);
void evb_lease_tell_gained(struct evb_lease *lease, int64_t before); /* its number before */

#endif
