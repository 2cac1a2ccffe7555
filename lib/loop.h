/*
 * loop.h - the bus's one loop: libevent, on a thread of its own or on the caller's base. Other
 * threads reach it through a lock-free inbox of jobs; one eventfd write wakes it, and only when it
 * sleeps.
 */
#ifndef EVB_LOOP_H
#define EVB_LOOP_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EVB_LOOP_STALL_MS 1000 /* a round that took so long is told to stalled() */

struct event;
struct event_base;

struct evb_job { /* embedded in what it works on; in one inbox at a time */
    struct evb_job *next;
    void (*run)(struct evb_job *job);
};

struct evb_loop {
    struct event_base *base; /* owned when `own` */
    struct event *wake;      /* owned */
    bool own;                /* fixed after init: the thread and the base are ours */
    int wake_fd;             /* fixed after init */
    pthread_t own_thread;    /* fixed after start */
    /* fixed before start */
    bool (*idle)(void *user);                /* after each round of work; true: it wrote */
    void (*stalled)(int64_t ms, void *user); /* nothing but that work was done for so long */
    void *user;

    struct evb_job *_Atomic inbox; /* newest first */
    atomic_int asleep;             /* 1: the next post has to wake it */
    _Atomic(pthread_t) thread;     /* the one that ran it last */
    atomic_int stopping;
    _Atomic int64_t begun_ms;   /* of the round in progress, by the rough clock; 0: none */
    _Atomic int64_t longest_ms; /* round so far */

    /* loop only */
    struct evb_job *pending;  /* taken from the inbox, oldest first */
    int depth;                /* nested evb_loop_begin() */
    bool late;                /* this round's jobs wait for the next one */
    bool lingers;             /* this turn, before it sleeps */
    int quick_sleeps;         /* in a row, each ended by a post */
    int64_t slept_us;         /* when it last went to sleep; monotonic */
    void (*gone)(void *user); /* see evb_loop_stop_alone() */
    void *gone_user;
};

/* base NULL: its own. 0 or EVBUS_ESYS, EVBUS_ENOMEM. */
int evb_loop_init(struct evb_loop *loop, struct event_base *base);
int evb_loop_start(struct evb_loop *loop,
                   const char *name);      /* own: the thread, all signals blocked */
void evb_loop_stop(struct evb_loop *loop); /* any thread; own: dispatch returns after this round */
void evb_loop_join(struct evb_loop *loop); /* own: waits for the thread */
/* Instead of stop and join: the thread goes by itself and calls gone(user) as its last act; with
 * the caller's base, that calls it when this round is over. On the loop. */
void evb_loop_stop_alone(struct evb_loop *loop, void (*gone)(void *user), void *user);
void evb_loop_run_rest(struct evb_loop *loop); /* after the end: what was posted too late */
bool evb_loop_has_rest(const struct evb_loop *loop);
/* Nobody may be inside evb_loop_post() any more, not even for the job that led here. */
void evb_loop_fini(struct evb_loop *loop);
void evb_loop_drop(struct evb_loop *loop); /* in a forked child: descriptors only */
void evb_loop_post(struct evb_loop *loop,
                   struct evb_job *job); /* any thread; jobs of a thread in order */
/* On the loop, by a job with much to do. True: sockets and timers have waited for long; it posts
 * itself again and returns. */
bool evb_loop_is_late(struct evb_loop *loop);
bool evb_loop_is_here(const struct evb_loop *loop);    /* is this thread the loop's? */
bool evb_loop_turns_here(const struct evb_loop *loop); /* and inside a round? */

/* Any thread: how long the round in progress has lasted, 0 when there is none; the longest so far,
 * that one included. Milliseconds by the rough clock. */
int64_t evb_loop_lag_ms(const struct evb_loop *loop);
int64_t evb_loop_longest_ms(const struct evb_loop *loop);

/* Around what libevent calls: work posted in between needs no wake-up and is done before it sleeps.
 */
void evb_loop_begin(struct evb_loop *loop);
void evb_loop_end(struct evb_loop *loop);

#endif
