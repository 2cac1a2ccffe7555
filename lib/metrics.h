/* metrics.h - the counters of one bus: one table, a cache line set for each of a few threads. */
#ifndef EVB_METRICS_H
#define EVB_METRICS_H
#include <stdatomic.h>
#include <stdint.h>

/* name in evbus_stat() and evbus_stats_json, what it counts */
#define EVB_COUNTERS(X)                                                                            \
    X(published_local, "events handed to this process's subscribers")                              \
    X(published_redis, "events accepted for Redis: acked + failed + unknown + evicted + expired "  \
                       "+ outbox_events")                                                          \
    X(publish_errors, "publish calls refused")                                                     \
    X(received, "events that came from Redis")                                                     \
    X(handled, "handler calls that answered 0")                                                    \
    X(failed, "handler calls that answered anything else")                                         \
    X(polls, "handler calls with evbus.poll that answered 0")                                      \
    X(not_leading, "events that handlers of leader= did not get, for lack of the lease")           \
    X(leases_gained, "times this bus became a leader")                                             \
    X(leases_lost, "times it was one no more, without having left")                                \
    X(pulled, "events taken from queues")                                                          \
    X(dropped, "events that found a subscription or queue full")                                   \
    X(batched, "events that joined a batch")                                                       \
    X(batched_dropped, "batched events whose batch could not be published")                        \
    X(batches_size, "batches closed at batch.events")                                              \
    X(batches_bytes, "batches closed at batch.bytes")                                              \
    X(batches_interval, "batches closed at batch.interval")                                        \
    X(batches_flush, "batches closed by a flush or the bus's end")                                 \
    X(slow, "times a subscription or queue became slow")                                           \
    X(dropped_away, "events not kept for Redis: outbox.full=off while it was away")                \
    X(replayed, "events read from the history")                                                    \
    X(echoes, "own events that came back and were dropped")                                        \
    X(duplicates, "events dropped because they had been delivered")                                \
    X(forged, "frames with this bus's mark that it never sent")                                    \
    X(decode_errors, "frames that are no event")                                                   \
    X(foreign_dropped, "frames of others dropped by wire.foreign=drop")                            \
    X(acked, "events that Redis answered")                                                         \
    X(kept, "events among them that the history has")                                              \
    X(failed_redis, "events that Redis refused, or that the bus's end cut off")                    \
    X(unknown, "events in flight at a drop and not sent again")                                    \
    X(evicted, "events that the outbox's limit dropped")                                           \
    X(expired, "events that waited too long in the outbox")                                        \
    X(requests, "requests accepted: replies + request_timeouts + no_responder + "                  \
                "request_failures + requests_pending")                                             \
    X(replies, "requests that got a reply, a refusal too")                                         \
    X(request_timeouts, "requests that got none in time")                                          \
    X(no_responder, "requests that nobody listened to")                                            \
    X(request_failures, "requests that ended otherwise: the bus was closed, Redis refused them")   \
    X(late_replies, "replies that nobody waited for: late, second or forged ones")                 \
    X(answered, "replies and refusals given to requests")                                          \
    X(late_requests, "requests that reached no handler before their deadline")                     \
    X(resent, "events written again after a drop")                                                 \
    X(claims_won, "events and keys that this bus claimed")                                         \
    X(claims_lost, "events and keys that somebody else had done, or held")                         \
    X(claims_taken_over, "events among the won that somebody else had in progress before")         \
    X(claims_lapsed, "claims that ran out while their handler ran")                                \
    X(group_deliveries, "events given to this bus's members of groups")                            \
    X(group_redeliveries, "of these, such that had been given before")                             \
    X(group_acks, "of these, handled and settled")                                                 \
    X(group_takeovers, "events taken from members that were gone, for whoever comes next")         \
    X(group_dead, "events that no member could handle: dead letters")                              \
    X(connects, "times the link came up")                                                          \
    X(disconnects, "times it went down")                                                           \
    X(connect_errors, "tries that failed")                                                         \
    X(protocol_errors, "replies that broke the protocol")                                          \
    X(refused_subscriptions, "subscriptions that Redis refused")                                   \
    X(gaps, "windows in which events may have been missed")                                        \
    X(bytes_in, "bytes read from Redis")                                                           \
    X(bytes_out, "bytes written to Redis")

#define X(name, help) EVB_COUNT_##name,
enum evb_counter { EVB_COUNTERS(X) EVB_COUNTER_COUNT };
#undef X

#define EVB_METRIC_SHARDS                                                                          \
    8 /* the first is shared; the others belong to the first threads there are */

struct evb_metrics {
    struct {
        _Atomic int64_t value[EVB_COUNTER_COUNT];
        char apart[64]; /* from the cache line of the next: malloc() aligns no more than 16 */
    } shard[EVB_METRIC_SHARDS];
};

void evb_metrics_init(struct evb_metrics *metrics);
extern _Thread_local unsigned evb_metrics_drawn __attribute__((visibility("hidden")));
unsigned evb_metrics_draw(void); /* for evb_metrics_shard() */
int64_t evb_metrics_read(const struct evb_metrics *metrics, enum evb_counter counter);
const char *evb_metrics_name(enum evb_counter counter);

static inline unsigned evb_metrics_shard(void)
{ /* this thread's */
    return (evb_metrics_drawn ? evb_metrics_drawn : evb_metrics_draw()) - 1;
}

static inline void evb_count(struct evb_metrics *metrics, enum evb_counter counter, int64_t n)
{
    unsigned shard = evb_metrics_shard();
    _Atomic int64_t *value = &metrics->shard[shard].value[counter];
    if (shard == 0)
        atomic_fetch_add_explicit(value, n, memory_order_relaxed);
    else /* nobody else writes it */
        atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
                              memory_order_relaxed);
}

#endif
