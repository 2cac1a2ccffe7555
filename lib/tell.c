/* tell.c - evbus.slow and evbus.slow_end. Edges come on any thread; they are told on the loop. */
#include "tell.h"
#include "clock.h"
#include "json.h"
#include "queue.h"

enum { NAMED = 8 /* subscriptions of a queue, at most */, LOG_EVERY_MS = 1000 };

static const char *const policies[] = {[EVB_FULL_DROP_OLDEST] = "drop-oldest",
                                       [EVB_FULL_DROP_NEWEST] = "drop-newest",
                                       [EVB_FULL_LAG] = "lag"};

struct subject {
    struct evb_buf json; /* without the closing brace */
    struct evb_buf name; /* for the log */
    const char *remedy;
    int64_t max_events, max_bytes;
    int full; /* EVB_FULL_* */
};

static void tell_event(struct evbus *bus, struct subject *subject, const struct evb_slow_news *news)
{
    struct evb_buf *json = &subject->json;
    evb_buf_printf(json, ",\"queued\":%lld,\"limit\":%lld,\"bytes\":%lld,\"bytes_limit\":%lld",
                   (long long)news->events, (long long)subject->max_events, (long long)news->bytes,
                   (long long)subject->max_bytes);
    evb_buf_printf(json, ",\"policy\":\"%s\"", policies[subject->full]);
    if (news->over)
        evb_buf_printf(json, ",\"dropped\":%lld,\"slow_ms\":%lld", (long long)news->dropped,
                       (long long)news->lasted_ms);
    evb_buf_char(json, '}');
    if (!json->failed)
        evb_route_system(bus, news->over ? EVB_TYPE_SLOW_END : EVB_TYPE_SLOW, json->data);
}

/* A line a second at the most and one for its end: one at its limit may come and go at any pace. */
static void log_edge(struct evbus *bus, struct evb_slow *slow, const struct subject *subject,
                     const struct evb_slow_news *news)
{
    const char *name = subject->name.failed ? "one" : subject->name.data;
    int64_t now_ms = evb_clock_rough_ms();
    if (news->over) {
        if (slow->log_end)
            evb_log(&bus->log, EVBUS_LOG_INFO, "%s keeps up again: slow for %.1f s, %lld dropped",
                    name, (double)news->lasted_ms / 1000, (long long)news->dropped);
        return;
    }
    slow->log_end = !slow->logged_ms || now_ms - slow->logged_ms >= LOG_EVERY_MS;
    if (!slow->log_end)
        return;
    slow->logged_ms = now_ms;
    evb_log(&bus->log, EVBUS_LOG_WARNING,
            "%s is slow: %lld events (size=%lld) with %lld bytes (bytes=%lld) wait, and full=%s "
            "%s; %s",
            name, (long long)news->events, (long long)subject->max_events, (long long)news->bytes,
            (long long)subject->max_bytes, policies[subject->full],
            subject->full == EVB_FULL_LAG ? "reads the rest later" : "drops", subject->remedy);
}

static void tell(struct evbus *bus, struct evb_slow *slow, struct subject *subject,
                 const struct evb_slow_news *news)
{
    log_edge(bus, slow, subject, news);
    tell_event(bus, subject, news);
    evb_buf_fini(&subject->json);
    evb_buf_fini(&subject->name);
}

/* ---- a subscription ---- */

static void set_bounds(struct subject *subject, const evbus_sub *sub)
{
    const struct evb_lanes *lanes = sub->lanes;
    subject->max_events = lanes ? lanes->max_events : sub->fifo.max_events;
    subject->max_bytes = lanes ? lanes->max_bytes : sub->fifo.max_bytes;
    subject->full = lanes ? lanes->full : sub->fifo.full;
}

static void tell_sub(evbus_sub *sub)
{
    struct evb_slow_news news;
    while (evb_slow_next(sub->slow, &news)) {
        const struct evb_entry *entry = sub->entry;
        struct subject subject = {.remedy = "a faster handler, deliver=workers or wider bounds "
                                            "would help"};
        set_bounds(&subject, sub);
        evb_buf_init(&subject.json);
        evb_buf_init(&subject.name);
        evb_buf_text(&subject.json, "{\"pattern\":");
        evb_json_quote(&subject.json, entry->pattern, entry->length);
        evb_buf_printf(&subject.name, "the subscription to %s", entry->pattern);
        tell(sub->keeper, sub->slow, &subject, &news);
    }
}

static void sub_job(struct evb_job *job)
{
    evbus_sub *sub = evb_container(job, struct evb_slow, job)->owner;
    evb_slow_unpost(sub->slow);
    tell_sub(sub);
    evb_sub_unref(sub);
}

void evb_tell_sub(evbus_sub *sub)
{
    struct evbus *bus = sub->keeper;
    if (evb_loop_turns_here(&bus->loop)) {
        tell_sub(sub);
    } else if (evb_slow_post(sub->slow)) {
        sub->slow->job.run = sub_job;
        evb_sub_ref(sub);
        if (!evb_bus_post(bus, &sub->slow->job))
            evb_sub_unref(sub);
    }
}

/* ---- a queue: its patterns tell which one ---- */

/* NULL: it was added to the queue a moment ago, and is not registered yet. */
static const struct evb_entry *entry_of(struct evbus *bus, const evbus_sub *sub)
{
    pthread_mutex_lock(&bus->registry.lock);
    const struct evb_entry *entry = sub->entry;
    pthread_mutex_unlock(&bus->registry.lock);
    return entry;
}

static void name_queue(evbus_queue *queue, struct subject *subject)
{
    evbus_sub *subs[NAMED];
    int listed, named = 0, live = evb_queue_list_subs(queue, subs, NAMED, &listed);
    evb_buf_text(&subject->json, "{\"queue\":true,\"patterns\":[");
    evb_buf_text(&subject->name, "the queue of");
    for (int i = 0; i < listed; i++) {
        const struct evb_entry *entry = entry_of(queue->keeper, subs[i]);
        if (entry) {
            evb_buf_text(&subject->json, named++ ? "," : "");
            evb_json_quote(&subject->json, entry->pattern, entry->length);
            evb_buf_printf(&subject->name, " %s", entry->pattern);
        }
        evb_sub_unref(subs[i]);
    }
    evb_buf_printf(&subject->json, "],\"subscriptions\":%d", live);
    evb_buf_printf(&subject->name, " (%d subscription%s)", live, live == 1 ? "" : "s");
}

static void tell_queue(evbus_queue *queue)
{
    struct evb_slow_news news;
    while (evb_slow_next(queue->slow, &news)) {
        struct subject subject = {.remedy = "pulling faster or wider bounds would help",
                                  .max_events = queue->fifo.max_events,
                                  .max_bytes = queue->fifo.max_bytes,
                                  .full = queue->fifo.full};
        evb_buf_init(&subject.json);
        evb_buf_init(&subject.name);
        name_queue(queue, &subject);
        tell(queue->keeper, queue->slow, &subject, &news);
    }
}

static void queue_job(struct evb_job *job)
{
    evbus_queue *queue = evb_container(job, struct evb_slow, job)->owner;
    evb_slow_unpost(queue->slow);
    tell_queue(queue);
    evb_queue_unref(queue);
}

void evb_tell_queue(evbus_queue *queue)
{
    struct evbus *bus = queue->keeper;
    if (evb_loop_turns_here(&bus->loop)) {
        tell_queue(queue);
    } else if (evb_slow_post(queue->slow)) {
        queue->slow->job.run = queue_job;
        evb_queue_ref(queue);
        if (!evb_bus_post(bus, &queue->slow->job))
            evb_queue_unref(queue);
    }
}
