/* redis_state.h - the states of a shard and the legal ways between them. Pure; any thread. */
#ifndef EVB_REDIS_STATE_H
#define EVB_REDIS_STATE_H
#include <stdbool.h>

enum evb_redis_state {
    EVB_REDIS_OFF, /* not started, gave up, or stopped */
    EVB_REDIS_RESOLVING,
    EVB_REDIS_DIALING,
    EVB_REDIS_HANDSHAKE,
    EVB_REDIS_READY,
    EVB_REDIS_BACKOFF,
    EVB_REDIS_CLOSING,
    EVB_REDIS_STATES
};

const char *evb_redis_state_name(enum evb_redis_state state); /* "ready" */
bool evb_redis_state_may(enum evb_redis_state from, enum evb_redis_state to);

#endif
