/*
 * group.h - the groups that this bus's subscriptions are members of (group=): each event is given
 * to one member, until somebody has handled it. Redis keeps it meanwhile (redis_group.h).
 * Loop only, but for what says otherwise.
 */
#ifndef EVB_GROUP_H
#define EVB_GROUP_H
#include "delivery.h"
#include "redis_blocking.h"
#include "redis_group.h"

enum { EVB_GROUP_NAME = 64 }; /* most bytes of a group's name */

enum evb_group_state {
    EVB_GROUP_OPEN, /* not announced on this connection */
    EVB_GROUP_ASKED,
    EVB_GROUP_STANDS,
    EVB_GROUP_REFUSED
};

struct evb_member { /* a subscription's side */
    /* fixed after init */
    evbus_sub *sub;    /* borrowed: it owns this */
    char *group;       /* owned: its name */
    evbus_event_fn fn; /* the handler; NULL: a queue's */
    int64_t retries, size;
    bool by_hand; /* a queue's: only evbus_event_ack() counts */
    struct evb_job job;

    /* loop only */
    struct evb_group *of; /* NULL: it has not joined, or has left */
    struct evb_node node; /* in its group, which holds a reference to the subscription then */
    int64_t in_hand;
    bool full; /* there was no room for one: when it has answered another */

    /* under the subscription's lock; its condition tells of changes */
    enum evb_group_state state;
    int error;
    char why[240];
};

struct evb_group {        /* a type's and a name's */
    struct evb_node node; /* among the bus's */
    struct evb_groups *all;
    struct evb_group_name name;
    const char *type; /* borrowed from `name` */
    struct evb_node members;
    enum evb_group_state state;
    int error;
    char why[240];
    int64_t stood_us;         /* Unix time: when it was last seen to stand; 0: never */
    struct evb_position last; /* of the stream, ever */
    int64_t added;            /* entries ever; -1: not known */
    bool looked;              /* what this consumer had in hand before is given back: it may read */
    bool looked_once, looking; /* before; an answer is to come */
    bool listed;               /* in the command that waits */
    bool leaving;              /* its last word to Redis is under way */
    int asks;                  /* without an answer */

    struct evb_node hand;        /* given, or to be given back when it is due; dead letters */
    struct evb_node acks, backs; /* to be told to Redis */
    struct evb_node told_acks, told_backs; /* told, not answered */
};

struct evb_groups { /* a bus's */
    struct evbus *bus;
    struct evb_group_wire wire;
    struct evb_blocking link;
    struct evb_node list;
    struct event *timer; /* owned */
    int64_t reclaim_ms, delay_ms;
    int64_t beat_at_ms, renew_at_ms, takeover_at_ms, due_at_ms; /* monotonic */
    bool rung;                                                  /* who reads is about to be woken */
    int errors;                                                 /* to reading, in a row */
    int64_t largest;                                            /* bytes of an entry, of late */
    bool stopping; /* the bus closes: nothing is read */
    void (*done)(void *user);
    void *done_user;
};

/* ---- the doors (group_member.c, group.c) ---- */

/* Before the subscription's first event, when its handler is set. Any thread. 0, or an error. */
int evb_group_plan(evbus_sub *sub, const char *type, const char *group, int64_t retries,
                   int64_t size, bool by_hand);
void evb_group_begin(evbus_sub *sub);           /* it is registered; any thread */
void evb_group_free(struct evb_member *member); /* with its subscription; NULL is fine */
/* Waits until it stands in Redis: 0, EVBUS_EDENIED, EVBUS_ENOTSUP, EVBUS_EREMOTE, EVBUS_ETIMEDOUT
 * or EVBUS_ECLOSED, with a sentence. Any thread. */
int evb_group_wait(evbus_sub *sub, int timeout_ms);
void evb_group_wake(void *bus); /* any thread: there is room, or one has ended */

void evb_group_ready(struct evbus *bus); /* the shard is READY */
void evb_group_lost(struct evbus *bus);  /* the link is gone */
/* The bus closes: nothing is read any more, what no handler has begun is given back. */
void evb_group_stop(struct evbus *bus);
/* No handler runs: the rest is given back; done() when Redis has answered, or cannot. */
void evb_group_close(struct evbus *bus, void (*done)(void *user), void *user);
void evb_group_end_all(struct evbus *bus); /* without a word to Redis */
void evb_group_drop(struct evbus *bus);    /* in a forked child */

/* ---- between the files of groups ---- */

void evb_member_show(struct evb_member *member); /* its group's state, to who waits */
void evb_member_fail(struct evb_member *member, int error, const char *why);
void evb_group_announce_all(struct evb_groups *all);
void evb_group_announce_one(struct evb_group *group);

/* group_time.c */
void evb_group_on_timer(int fd, short what, void *groups);          /* an event_callback_fn */
void evb_group_on_left(const struct evb_reply *reply, void *group); /* the consumer has gone */
void evb_group_remove(struct evb_group *group);
void evb_group_maybe_done(struct evb_groups *all); /* for who closes the bus */
void evb_group_enter(struct evb_group *group, enum evb_group_state state, int error,
                     const char *why);
bool evb_group_is_ready(const struct evb_groups *all);
void evb_group_arm(struct evb_groups *all); /* the timer, for what is due first */
void evb_group_error(struct evb_group *group, const char *what, const char *error);

/* group_hand.c: what is in hand */
void evb_group_take(struct evb_group *group, const struct evb_reply *entry); /* one that was read */
int64_t evb_group_room(struct evb_group *group); /* how many it takes now */
void evb_group_send(struct evb_group *group);    /* what is to be told */
void evb_group_send_soon(struct evb_groups *all);
/* What a member (NULL: whoever) has not begun; `begun`: or has not answered. */
void evb_group_give_back(struct evb_group *group, const struct evb_member *only, bool begun);
void evb_group_due(struct evb_group *group, int64_t now_ms);
void evb_group_return(struct evb_group *group, const char *entry, int more); /* as it is there */
bool evb_group_is_empty(const struct evb_group *group);
void evb_group_drop_all(struct evb_group *group);

/* group_own.c */
void evb_group_renew_all(struct evb_group *group);
void evb_group_look(struct evb_group *group, int64_t idle_ms); /* for what was lost on the way */

/* group_read.c: the command that waits */
extern const struct evb_blocking_hooks evb_group_link_hooks;
void evb_group_go(struct evb_groups *all); /* reads, or wakes who reads, if there is room */
/* Of one without members. False: a command that may bring it something waits, and is woken first;
 * the next one does not ask for it. */
bool evb_group_stop_reading(struct evb_group *group);
/* The bus closes: the last answer is waited for, and what it brings given back. */
void evb_group_end_reading(struct evb_groups *all);

#endif
