/* slow.c - the edges of slowness. Any thread, under the owner's lock; telling: loop. */
#include "slow.h"
#include "alloc.h"
#include "clock.h"

struct evb_slow *evb_slow_new(void *owner, pthread_mutex_t *lock)
{
    struct evb_slow *slow = evb_calloc(1, sizeof *slow);
    if (!slow)
        return NULL;
    slow->owner = owner;
    slow->lock = lock;
    return slow;
}

void evb_slow_free(struct evb_slow *slow)
{
    evb_free(slow);
}

bool evb_fill_is_well(const struct evb_fill *fill)
{
    return fill->events <= fill->max_events / 2 && fill->bytes <= fill->max_bytes / 2;
}

bool evb_slow_dropped(struct evb_slow *slow, int n, struct evb_fill fill,
                      struct evb_metrics *metrics)
{
    bool begins = slow->state == EVB_SLOW_NOT;
    if (!evb_slow_is(slow) && evb_fill_is_well(&fill))
        return false; /* an event that is above the bound alone, or for which memory ran out */
    if (begins) {
        slow->began = (struct evb_slow_edge){fill.events, fill.bytes, evb_clock_rough_ms()};
        slow->dropped = 0;
        slow->state = EVB_SLOW_BEGUN;
        evb_count(metrics, EVB_COUNT_slow, 1);
    } else if (slow->state == EVB_SLOW_OVER) {
        slow->state = EVB_SLOW_TOLD;
    } else if (slow->state == EVB_SLOW_MISSED) {
        slow->state = EVB_SLOW_BEGUN;
    }
    slow->dropped += n;
    return begins;
}

bool evb_slow_taken(struct evb_slow *slow, struct evb_fill fill)
{
    if (!evb_slow_is(slow) || slow->lagging || !evb_fill_is_well(&fill))
        return false;
    slow->ended = (struct evb_slow_edge){fill.events, fill.bytes, evb_clock_rough_ms()};
    slow->state = slow->state == EVB_SLOW_TOLD ? EVB_SLOW_OVER : EVB_SLOW_MISSED;
    return true;
}

bool evb_slow_next(struct evb_slow *slow, struct evb_slow_news *news)
{
    pthread_mutex_lock(slow->lock);
    bool untold = evb_slow_untold(slow);
    if (untold)
        *news = (struct evb_slow_news){.events = slow->began.events, .bytes = slow->began.bytes};
    if (slow->state == EVB_SLOW_BEGUN) {
        slow->state = EVB_SLOW_TOLD;
    } else if (slow->state == EVB_SLOW_MISSED) {
        slow->state = EVB_SLOW_OVER;
    } else if (slow->state == EVB_SLOW_OVER) {
        *news = (struct evb_slow_news){.over = true,
                                       .events = slow->ended.events,
                                       .bytes = slow->ended.bytes,
                                       .dropped = slow->dropped,
                                       .lasted_ms = slow->ended.at_ms - slow->began.at_ms};
        slow->state = EVB_SLOW_NOT;
    }
    pthread_mutex_unlock(slow->lock);
    return untold;
}

bool evb_slow_post(struct evb_slow *slow)
{
    pthread_mutex_lock(slow->lock);
    bool mine = !slow->posted;
    slow->posted = true;
    pthread_mutex_unlock(slow->lock);
    return mine;
}

void evb_slow_unpost(struct evb_slow *slow)
{
    pthread_mutex_lock(slow->lock);
    slow->posted = false;
    pthread_mutex_unlock(slow->lock);
}
