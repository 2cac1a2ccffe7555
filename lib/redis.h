/*
 * redis.h - one shard of Redis: the pair of connections, its state machine, its outbox, its proof
 * of life. A standalone server is one shard. Loop only, but for the outbox's admission and the
 * atomics.
 *
 * READY means: both connections up, on the same master, every subscription confirmed or refused,
 * and a fence published on the one has arrived on the other.
 */
#ifndef EVB_REDIS_H
#define EVB_REDIS_H
#include "backoff.h"
#include "log.h"
#include "redis_fault.h"
#include "redis_grouped.h"
#include "redis_heart.h"
#include "redis_hello.h"
#include "redis_outbox.h"
#include "redis_recovery.h"
#include "redis_state.h"
#include "redis_subs.h"
#include "redis_target.h"

struct evb_redis;

struct evb_redis_settings { /* borrowed texts live as long as the shard */
    const char *host, *path;
    int port;
    struct evb_login login;
    struct evb_tls_settings tls;
    const char *inbox; /* this node's own channel: fences come back on it */
    int64_t connect_timeout_ms, ping_interval_ms, ping_timeout_ms;
    int64_t backoff_ms, backoff_max_ms, max_retries; /* -1: for ever */
    size_t max_frame;
    struct evb_stream_settings stream;
    struct evb_recovery_settings recovery;
};

struct evb_redis_hooks { /* all on the loop */
    /* A state was entered; `why` says what led to it. */
    void (*state)(enum evb_redis_state from, enum evb_redis_state to, const char *why, void *user);
    void (*message)(const struct evb_reply *channel, const struct evb_reply *payload,
                    const struct evb_reply *pattern, void *user); /* pattern NULL: exact channel */
    void (*decided)(const struct evb_topic *topic, void *user);
    void (*water)(bool high, void *user);
    void (*gone)(const struct evb_lost_group *group, void *user); /* of nobody for too long */
    struct evb_recovery_hooks recovery;
    /* What came on this node's own channel and is no fence; NULL: nobody asks. */
    void (*inbox)(const struct evb_reply *payload, void *user);
};

struct evb_redis {
    /* fixed after init */
    struct evb_redis_settings set;
    struct evb_loop *loop;
    struct evb_log *log;
    struct evb_metrics *metrics;
    const struct evb_redis_hooks *hooks;
    void *user;

    struct evb_outbox outbox;

    /* read by any thread */
    _Atomic int state;
    _Atomic int64_t rtt_us, retry_at_ms, attempts; /* rtt -1: unknown; retry 0: none planned */

    /* loop only */
    struct evb_link publisher, subscriber;
    struct evb_hello publisher_hello, subscriber_hello;
    struct evb_server server;
    struct evb_subs subs;
    struct evb_target target;
    struct evb_login login;
    struct evb_tls tls;
    struct evb_backoff backoff;
    struct evb_asks asks;
    struct evb_heart heart;
    struct evb_stream stream;
    struct evb_grouped grouped;
    struct evb_recovery recovery;
    int64_t pause_ms; /* before what was refused goes again */
    struct evb_lacks lacks;
    struct event *timer, *deadline, *pause, *expiry; /* owned */
    int64_t expiry_ms; /* monotonic: when `expiry` fires; 0: it is not planned */

    /* any thread */
    struct evb_fault fault;      /* why it is away */
    struct evb_fault no_history; /* why the history is lacking */
};

int evb_redis_init(struct evb_redis *redis, const struct evb_redis_settings *settings,
                   struct evb_loop *loop, struct evb_log *log, struct evb_metrics *metrics,
                   const struct evb_redis_hooks *hooks, void *user);
void evb_redis_fini(struct evb_redis *redis);
/* Reads password and certificates; so does every attempt. Before the first one it tells a wrong
 * path at once: 0, or an error with a sentence. */
int evb_redis_load(struct evb_redis *redis);
void evb_redis_start(struct evb_redis *redis); /* from OFF or BACKOFF: try now */
void evb_redis_stop(struct evb_redis *redis);  /* closes both; the outbox keeps what it has */
void evb_redis_drop(struct evb_redis *redis);  /* in a forked child */
/* After a round of the loop: writes what waits. True: there was something. */
bool evb_redis_idle(struct evb_redis *redis);

#endif
