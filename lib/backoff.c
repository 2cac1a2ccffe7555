/* backoff.c - waiting times between tries. Pure but for the dice; loop only. */
#include "backoff.h"
#include "rand.h"

void evb_backoff_init(struct evb_backoff *backoff, int64_t base_ms, int64_t max_ms)
{
    backoff->base_ms = base_ms;
    backoff->max_ms = max_ms;
    backoff->attempts = 0;
}

int64_t evb_backoff_next_ms(struct evb_backoff *backoff)
{
    int64_t ceiling = backoff->base_ms;
    for (int i = 0; i < backoff->attempts && ceiling < backoff->max_ms; i++)
        ceiling *= 2;
    if (ceiling > backoff->max_ms)
        ceiling = backoff->max_ms;
    backoff->attempts++;
    return (int64_t)evb_rand_below((uint64_t)ceiling + 1);
}

void evb_backoff_reset(struct evb_backoff *backoff)
{
    backoff->attempts = 0;
}
