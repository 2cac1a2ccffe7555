/*
 * redis_blocking.h - the connection on which a bus waits for entries of its groups' streams
 * (redis.io/commands/xreadgroup with BLOCK): opened only where it has groups, while the shard is
 * READY, and again by itself. Loop only.
 */
#ifndef EVB_REDIS_BLOCKING_H
#define EVB_REDIS_BLOCKING_H
#include "redis.h"

enum evb_blocking_state {
    EVB_BLOCKING_CLOSED,
    EVB_BLOCKING_OPENING,
    EVB_BLOCKING_IDLE,    /* nothing is asked */
    EVB_BLOCKING_READING, /* an answer is to come */
    EVB_BLOCKING_PAUSED   /* it failed, and will be opened again */
};

struct evb_blocking_hooks {
    void (*up)(void *user); /* nothing that an earlier connection was asked will come any more */
    void (*answer)(const struct evb_reply *reply, void *user); /* it is IDLE again */
    void (*down)(int error, const char *why, void *user);
};

struct evb_blocking {
    /* fixed after init */
    struct evb_redis *redis; /* borrowed: address, login, TLS */
    const struct evb_blocking_hooks *hooks;
    void *user;

    enum evb_blocking_state state;
    int64_t asked_ms; /* monotonic: the last command */
    struct evb_link link;
    struct evb_hello hello;
    struct evb_server server;
    struct evb_backoff backoff;
    struct event *timer; /* owned */
};

int evb_blocking_init(struct evb_blocking *blocking, struct evb_redis *redis,
                      const struct evb_blocking_hooks *hooks, void *user); /* 0, or ENOMEM */
void evb_blocking_fini(struct evb_blocking *blocking);
void evb_blocking_open(struct evb_blocking *blocking); /* from CLOSED: the shard is READY */
void evb_blocking_close(struct evb_blocking *blocking);
/* A whole command, from IDLE; the answer is due so much later than Redis may wait with it. */
void evb_blocking_ask(struct evb_blocking *blocking, const struct evb_buf *command,
                      int64_t block_ms);
void evb_blocking_drop(struct evb_blocking *blocking); /* in a forked child */

#endif
