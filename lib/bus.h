/*
 * bus.h - the bus object, as floor 4 alone sees it. Its memory lives until the last subscription
 * and queue are given back; thread, descriptors and connections end with evbus_free().
 */
#ifndef EVB_BUS_H
#define EVB_BUS_H
#include "accumulator.h"
#include "config.h"
#include "fork.h"
#include "pending.h"
#include "recent.h"
#include "redis.h"
#include "registry.h"
#include "seen.h"

struct evb_claims;
struct evb_waiter;

enum { EVB_BUS_OPEN, EVB_BUS_CLOSING, EVB_BUS_CLOSED };

struct evbus {
    atomic_int
        refs; /* the handle, the loop's teardown, subscriptions, queues, deferred deliveries */
    atomic_int state;       /* EVB_BUS_* */
    atomic_int mode;        /* EVBUS_MODE_* */
    atomic_int queries;     /* of history, without an answer yet */
    atomic_int free_posted; /* the job of an evbus_free() inside a callback is on its way */
    atomic_int posting;     /* threads in evb_bus_post() without memory for their records */

    /* fixed after open */
    unsigned generation; /* of forks */
    evbus_config *config;
    char node[EVB_NODE_LENGTH + 1];
    const char *source;
    char *prefix, *inbox; /* owned: of channels; this node's own channel */
    size_t prefix_length, max_data;
    int check; /* EVB_CHECK_* */
    bool wants_redis, redis_only, take_foreign, keeps_history;
    const char *exclude;          /* patterns of what history does not keep */
    int64_t opened_ms, opened_us; /* monotonic; Unix time */
    struct evb_redis_hooks hooks;

    struct evb_log log;
    struct evb_metrics metrics;
    struct evb_loop loop;
    struct evb_workers workers;
    struct evb_registry registry;
    struct evb_recent recent; /* what history.local.events keeps */
    struct evb_redis redis;   /* its outbox keeps the accounts of reports without Redis too */

    /* under queues_lock (a leaf) */
    pthread_mutex_t queues_lock;
    struct evb_node queues;

    struct evb_job replay_job;
    atomic_bool replay_posted; /* it is in the loop's inbox */
    atomic_int by_position;    /* subscriptions that take own events from Redis */

    struct evb_accumulator batches;
    struct evb_job batch_job;  /* posted by whom the accumulator asks; run: fixed after open */
    struct event *batch_timer; /* owned; loop only */
    struct evb_job group_job;
    atomic_bool group_posted;  /* it is in the loop's inbox */
    struct evb_groups *groups; /* owned; loop only; NULL: no subscription is a member of one */
    struct evb_job group_send_job;
    bool group_send_posted; /* loop only */

    struct evb_job left_job;        /* of freeing, when every worker has left; fixed then */
    struct evb_claims *claims;      /* owned; NULL: no Redis; fixed until the loop ends */
    struct evb_waiter *free_waiter; /* made at open, so that evbus_free() cannot fail */
    evbus_sub **ended;              /* fixed once CLOSED: the subscriptions there were (refs) */
    size_t ended_count;

    /* loop only */
    struct evb_seen seen;
    struct evb_map channels, patterns; /* Redis name -> struct evb_via, owned */
    struct evb_node waiters;           /* for the connection */
    struct evb_node closers;
    struct evb_node replays;  /* those that read, or wait to */
    struct evb_node durables; /* those with a place in Redis */
    void (*durables_done)(void *user);
    void *durables_user;
    struct evb_node leases; /* on names of leaders */
    void (*leases_done)(void *user);
    void *leases_user;
    struct evb_node polls;     /* subscriptions that are polled */
    struct evb_node histories; /* queries that wait for an answer */
    struct evb_node readers;   /* those of them that wait for their turn to read the stream */
    bool reads_history;        /* a page is under way */
    uint64_t messages;         /* received */
    int64_t gap_from_us;       /* Unix time from which events may be missed; 0: none */
    int64_t gap_from_mono_us;  /* the same by the monotonic clock */
    int64_t unheard_ms;        /* monotonic: a bus that had no history yet reads it from there */
    bool was_ready;            /* with history, once at least */
    bool heard_unkept;         /* others' events came that no history has */
    bool had_batches;          /* one was published */
    int64_t complained_ms;     /* when the last bad frame was logged */
    int64_t complaints;        /* since then */
    char gap_reason[160];

    _Atomic int64_t requests;    /* of this bus, that wait for their replies */
    _Atomic int64_t own_replies; /* to such, on their way to the loop */
    /* loop only */
    struct evb_pendings pendings; /* requests */
    struct event *due;            /* owned: fires when the first of them is due */
    int64_t due_ms;               /* monotonic: that one's deadline, or an earlier one; 0: none */
};

void evb_bus_ref(struct evbus *bus);
void evb_bus_unref(void *bus);
int evb_bus_refuse(const struct evbus *bus); /* what evb_bus_check() found amiss */
/* The door of every call: EVBUS_EINVAL (NULL), EVBUS_EFORK, EVBUS_ECLOSED (unless `closed_too`). */
static inline int evb_bus_check(const struct evbus *bus, bool closed_too)
{
    if (bus && bus->generation == evb_fork_generation() &&
        (closed_too || atomic_load_explicit(&bus->state, memory_order_acquire) == EVB_BUS_OPEN))
        return 0;
    return evb_bus_refuse(bus);
}
/* ... and of calls that wait: EVBUS_EDEADLK on the bus's own loop, unless timeout_ms is 0. */
int evb_bus_may_wait(const struct evbus *bus, const char *call, int timeout_ms);
/* To the loop, from a thread that nothing else keeps from running when the bus ends. False: the bus
 * is closed, and the job is still the caller's. */
bool evb_bus_post(struct evbus *bus, struct evb_job *job);
/* The same for a call of the user's: 0, or the error; the job is still the caller's then. As
 * publishing does, it holds the state meanwhile: closing waits, so that an answer comes before
 * evbus_close() returns. */
int evb_bus_ask(struct evbus *bus, struct evb_job *job);
/* Is the channel one on which some bus is answered? Any thread. */
bool evb_bus_is_inbox(const struct evbus *bus, const char *channel);
bool evb_bus_connected(
    const struct evbus *bus); /* loop only: READY and every subscription decided */

#endif
