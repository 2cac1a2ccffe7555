/* redis_state.c - one table. */
#include "redis_state.h"

static const struct {
    const char *name;
    unsigned next; /* the legal edges */
} states[EVB_REDIS_STATES] = {
#define TO(state) (1u << EVB_REDIS_##state)
    [EVB_REDIS_OFF] = {"off", TO(RESOLVING) | TO(DIALING) | TO(CLOSING)},
    [EVB_REDIS_RESOLVING] = {"resolving", TO(DIALING) | TO(BACKOFF) | TO(CLOSING)},
    [EVB_REDIS_DIALING] = {"dialing", TO(DIALING) | TO(HANDSHAKE) | TO(BACKOFF) | TO(CLOSING)},
    [EVB_REDIS_HANDSHAKE] = {"handshake", TO(READY) | TO(BACKOFF) | TO(CLOSING)},
    [EVB_REDIS_READY] = {"ready", TO(BACKOFF) | TO(CLOSING)},
    [EVB_REDIS_BACKOFF] = {"backoff", TO(RESOLVING) | TO(DIALING) | TO(OFF) | TO(CLOSING)},
    [EVB_REDIS_CLOSING] = {"closing", TO(OFF)},
#undef TO
};

const char *evb_redis_state_name(enum evb_redis_state state)
{
    return states[state].name;
}

bool evb_redis_state_may(enum evb_redis_state from, enum evb_redis_state to)
{
    return states[from].next & (1u << to);
}
