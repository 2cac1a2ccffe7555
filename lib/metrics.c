/* metrics.c - counters. Any thread. */
#include "metrics.h"

static const char *const names[] = {
#define X(name, help) #name,
    EVB_COUNTERS(X)
#undef X
};

void evb_metrics_init(struct evb_metrics *metrics)
{
    for (int i = 0; i < EVB_METRIC_SHARDS; i++)
        for (int j = 0; j < EVB_COUNTER_COUNT; j++)
            atomic_init(&metrics->shard[i].value[j], 0);
}

_Thread_local unsigned evb_metrics_drawn; /* one more; 0: not drawn yet */

unsigned evb_metrics_draw(void)
{
    static atomic_uint threads;
    unsigned number = atomic_fetch_add(&threads, 1) + 1;
    return evb_metrics_drawn = number < EVB_METRIC_SHARDS ? number + 1 : 1;
}

int64_t evb_metrics_read(const struct evb_metrics *metrics, enum evb_counter counter)
{
    int64_t sum = 0;
    for (int i = 0; i < EVB_METRIC_SHARDS; i++)
        sum += atomic_load_explicit(&metrics->shard[i].value[counter], memory_order_relaxed);
    return sum;
}

const char *evb_metrics_name(enum evb_counter counter)
{
    return names[counter];
}
