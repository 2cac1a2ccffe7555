/* backoff.h - exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS 2015). */
#ifndef EVB_BACKOFF_H
#define EVB_BACKOFF_H
#include <stdint.h>

struct evb_backoff {
    int64_t base_ms, max_ms; /* fixed after init */
    int attempts;            /* since the last reset */
};

void evb_backoff_init(struct evb_backoff *backoff, int64_t base_ms, int64_t max_ms);
int64_t evb_backoff_next_ms(struct evb_backoff *backoff); /* random in [0, min(max, base * 2^n)] */
void evb_backoff_reset(struct evb_backoff *backoff);

#endif
