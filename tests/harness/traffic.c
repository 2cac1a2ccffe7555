/* traffic.c - publishers under faults, and the judgement afterwards. */
#include "harness/traffic.h"
#include "harness/bus.h"
#include "harness/gap.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000, GAPS_MOST = 1000 };

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct traffic_event *record = user;
    (void)event;
    (void)error;
    (void)receivers;
    record->reported_us = now_wall_us();
    record->outcome = outcome;
    record->reports++;
    atomic_fetch_add(&record->traffic->outcomes[outcome], 1);
}

static void *publish(void *user)
{
    struct traffic_thread *self = user;
    struct traffic *traffic = self->traffic;
    char type[32];
    snprintf(type, sizeof type, "traffic.%d", self->id);
    for (int n = 1; n <= TRAFFIC_MOST && !atomic_load(&traffic->stop); n++) {
        struct traffic_event *record = &self->events[n - 1];
        record->traffic = traffic;
        record->published_us = now_wall_us();
        evbus_event *event = event_numbered(type, self->id, n, traffic->padding);
        int sent = evbus_publish_report(traffic->bus, event, 0, on_report, record);
        evbus_event_unref(event);
        if (sent > 0)
            atomic_store(&self->published, n);
        else
            n = (atomic_fetch_add(&traffic->refused, 1), n - 1); /* once more, by the same number */
        nap_us(traffic->pace_us);
    }
    return NULL;
}

struct traffic *traffic_start(evbus *bus, int pace_us)
{
    struct traffic *traffic = calloc(1, sizeof *traffic);
    ck_assert_ptr_nonnull(traffic);
    traffic->bus = bus;
    traffic->pace_us = pace_us;
    recorder_init(&traffic->here);
    recorder_init(&traffic->loop);
    bus_subscribe(bus, "traffic.*", "scope=local deliver=inline", recorder_handle, &traffic->here);
    bus_subscribe(bus, "traffic.*", "size=10000000 bytes=4GiB", recorder_handle, &traffic->loop);
    for (int i = 0; i < TRAFFIC_THREADS; i++) {
        struct traffic_thread *thread = &traffic->threads[i];
        thread->traffic = traffic;
        thread->id = i;
        thread->events = calloc(TRAFFIC_MOST, sizeof *thread->events);
        ck_assert_ptr_nonnull(thread->events);
        ck_assert_int_eq(pthread_create(&thread->thread, NULL, publish, thread), 0);
    }
    return traffic;
}

void traffic_stop(struct traffic *traffic)
{
    if (atomic_exchange(&traffic->stop, 1))
        return; /* it was */
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        pthread_join(traffic->threads[i].thread, NULL);
}

void traffic_free(struct traffic *traffic)
{
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        free(traffic->threads[i].events);
    recorder_fini(&traffic->here);
    recorder_fini(&traffic->loop);
    free(traffic);
}

static void expect_one_report_each(struct traffic *traffic)
{
    static const struct {
        int outcome;
        const char *counter;
    } rows[] = {{EVBUS_ACKED, "acked"},
                {EVBUS_EXPIRED, "expired"},
                {EVBUS_EVICTED, "evicted"},
                {EVBUS_FAILED, "failed_redis"},
                {EVBUS_UNKNOWN, "unknown"}};
    for (int i = 0; i < TRAFFIC_THREADS; i++) {
        int published = atomic_load(&traffic->threads[i].published);
        for (int n = 0; n < published; n++)
            ck_assert_msg(traffic->threads[i].events[n].reports == 1, "event %d/%d: %d reports", i,
                          n + 1, traffic->threads[i].events[n].reports);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t counted = evbus_stat(traffic->bus, rows[i].counter);
        if (rows[i].outcome == EVBUS_EVICTED) /* outbox.full=off has a counter of its own */
            counted += evbus_stat(traffic->bus, "dropped_away");
        ck_assert_msg(counted >= atomic_load(&traffic->outcomes[rows[i].outcome]),
                      "%s: fewer than reports", rows[i].counter);
    }
}

void traffic_expect_even(struct traffic *traffic, const char *what)
{
    int published[TRAFFIC_THREADS], total = 0;
    char label[128];
    int rc = evbus_flush(traffic->bus, suite_patience(SOON));
    ck_assert_msg(rc == 0, "flush: %s", evbus_last_error());
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        total += published[i] = atomic_load(&traffic->threads[i].published);
    struct wait wait = wait_for(SOON);
    while (recorder_received(&traffic->loop) < total && wait_more(&wait))
        ;
    snprintf(label, sizeof label, "%s, inline here", what);
    recorder_expect_perfect(&traffic->here, label, TRAFFIC_THREADS, published);
    snprintf(label, sizeof label, "%s, on the loop here", what);
    recorder_expect_perfect(&traffic->loop, label, TRAFFIC_THREADS, published);
    expect_one_report_each(traffic);
    expect_accounts(traffic->bus);
    ck_assert_int_eq(evbus_stat(traffic->bus, "outbox_events"), 0);
    printf("figure: %s: acked %d, expired %d, evicted %d, failed %d, unknown %d, resent %lld\n",
           what, atomic_load(&traffic->outcomes[EVBUS_ACKED]),
           atomic_load(&traffic->outcomes[EVBUS_EXPIRED]),
           atomic_load(&traffic->outcomes[EVBUS_EVICTED]),
           atomic_load(&traffic->outcomes[EVBUS_FAILED]),
           atomic_load(&traffic->outcomes[EVBUS_UNKNOWN]),
           (long long)evbus_stat(traffic->bus, "resent"));
}

/* ---- the other process's losses ---- */

static int read_gaps(struct peer *peer, struct gap gaps[GAPS_MOST])
{
    json_t *json = json_loads(peer_ask(peer, "windows"), 0, NULL);
    int count = (int)json_array_size(json);
    ck_assert_ptr_nonnull(json);
    ck_assert_int_le(count, GAPS_MOST);
    for (int i = 0; i < count; i++)
        gaps[i] = gap_read(json_array_get(json, (size_t)i));
    json_decref(json);
    return count;
}

static bool covered(const struct traffic_event *event, const struct gap *gaps, int count)
{
    if (event->outcome != EVBUS_ACKED || event->reported_us < event->traffic->judged_from_us)
        return true;
    for (int i = 0; i < count; i++)
        if (event->published_us <= gaps[i].to_us && gaps[i].from_us <= event->reported_us)
            return true;
    return false;
}

/* Ranges "a-b c-d": how many events; those acknowledged must lie in a gap. */
static int judge_lost(const struct traffic_thread *thread, const char *ranges,
                      const struct gap *gaps, int count)
{
    int lost = 0, first, last, length;
    for (; sscanf(ranges, " %d-%d%n", &first, &last, &length) == 2; ranges += length)
        for (int n = first; n <= last; n++, lost++) {
            const struct traffic_event *event = &thread->events[n - 1];
            ck_assert_msg(
                covered(event, gaps, count),
                "event %d/%d, published %lld, acknowledged %lld, is lost outside of all %d "
                "announced gaps",
                thread->id, n, (long long)event->published_us, (long long)event->reported_us,
                count);
        }
    return lost;
}

static void expect_gaps(enum traffic_promise promise, const struct gap *gaps, int count,
                        long breaks, bool from_the_start)
{
    static const char *const causes[] = {
        [TRAFFIC_MIXED] = "unkept", [TRAFFIC_FLUSHED] = "flushed", [TRAFFIC_UNKEPT] = "outage"};
    if (promise == TRAFFIC_KEPT) {
        ck_assert_msg(count == 0, "a gap was announced, though Redis kept all: %s", gaps[0].cause);
        return;
    }
    for (int i = 0; i < count; i++)
        ck_assert_str_eq(gaps[i].cause, causes[promise]);
    ck_assert_int_eq(count, breaks + (promise == TRAFFIC_UNKEPT && from_the_start));
}

void traffic_expect_promise(struct traffic *traffic, struct peer *peer,
                            enum traffic_promise promise, const char *what)
{
    static struct gap gaps[GAPS_MOST];
    int count = read_gaps(peer, gaps), lost = 0;
    long received, doubled, reordered, foreign;
    for (int i = 0; i < TRAFFIC_THREADS; i++) {
        struct traffic_thread *thread = &traffic->threads[i];
        lost += judge_lost(thread, peer_ask(peer, "lost %d %d", i, atomic_load(&thread->published)),
                           gaps, count);
    }
    long breaks = strtol(peer_ask(peer, "stat disconnects"), NULL, 10);
    ck_assert_int_eq(sscanf(peer_ask(peer, "totals"), "%ld %ld %ld %ld", &received, &doubled,
                            &reordered, &foreign),
                     4);
    printf("figure: %s, in the other process: received=%ld missed=%d doubled=%ld reordered=%ld "
           "gaps=%d breaks=%ld\n",
           what, received, lost, doubled, reordered, count, breaks);
    ck_assert_int_eq(doubled, 0);
    if (promise != TRAFFIC_MIXED) /* what is not kept waits for no recovery */
        ck_assert_int_eq(reordered, 0);
    ck_assert_int_eq(foreign, 0);
    if (promise == TRAFFIC_KEPT)
        ck_assert_int_eq(lost, 0);
    expect_gaps(promise, gaps, count, breaks, traffic->judged_from_us != 0);
}

void traffic_close(struct traffic *traffic, struct talk *talk, struct peer *peer,
                   enum traffic_promise promise, const char *what)
{
    evbus *bus = traffic->bus;
    traffic_stop(traffic);
    traffic_expect_even(traffic, what);
    for (int outcome = EVBUS_LOCAL_DONE; outcome < TRAFFIC_OUTCOMES; outcome++)
        ck_assert_int_eq(atomic_load(&traffic->outcomes[outcome]), 0); /* all were acknowledged */
    talk_again(talk, now_us()); /* behind all traffic: the peer has what it will have */
    traffic_expect_promise(traffic, peer, promise, what);
    peer_stop(peer);
    bus_end(bus);
    traffic_free(traffic);
}

/* ---- talking ---- */

static int hear(evbus_sub *sub, evbus_event *event, void *user)
{
    struct talk *talk = user;
    int number = event_number(event);
    (void)sub;
    if (number > atomic_load(&talk->answered))
        atomic_store(&talk->answered, number);
    return 0;
}

void talk_start(struct talk *talk, evbus *bus, struct peer *peer)
{
    memset(talk, 0, sizeof *talk);
    talk->bus = bus;
    bus_subscribe(bus, "talk.answer", "scope=redis", hear, talk);
    peer_ask(peer, "echo talk.question talk.answer");
}

double talk_again(struct talk *talk, int64_t since_us)
{
    int first = talk->asked + 1;
    struct wait wait = wait_for(SOON);
    do {
        if (++talk->asked % 4 == first % 4) /* each 4 ms */
            publish_numbered(talk->bus, "talk.question", 0, talk->asked);
        ck_assert_msg(wait_more(&wait), "no answer from the other process; here: %s",
                      evbus_mode_name(evbus_mode(talk->bus)));
    } while (atomic_load(&talk->answered) < first);
    return (double)(now_us() - since_us) / 1000.0;
}
