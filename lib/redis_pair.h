/*
 * redis_pair.h - how a shard's two connections come and go: the state machine. For the files of the
 * shard. Loop only.
 */
#ifndef EVB_REDIS_PAIR_H
#define EVB_REDIS_PAIR_H
#include "redis.h"

enum evb_redis_state evb_pair_state(const struct evb_redis *redis);
/* The only place that changes the state. */
void evb_pair_enter(struct evb_redis *redis, enum evb_redis_state to, const char *why);
/* The one way out of connections that failed, whatever their state. */
void evb_pair_lose(struct evb_redis *redis, int error, const char *why);
/* The target's hook: its addresses are known, or `why` not. */
void evb_pair_found(const char *why, void *redis);
void evb_pair_arm(struct event *timer, int64_t ms);

#endif
