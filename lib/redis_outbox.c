/* redis_outbox.c - the accounts of what is owed. Loop only, but for the sums. */
#include "redis_outbox.h"
#include "alloc.h"
#include "clock.h"
#include "codec.h"
#include "config.h"
#include "err.h"
#include "seen.h"
#include "thread.h"
#include <stdio.h>
#include <string.h>

void evb_outbox_init(struct evb_outbox *outbox, struct evb_metrics *metrics,
                     void (*water)(bool high, void *user), void *user)
{
    outbox->metrics = metrics;
    outbox->water = water;
    outbox->user = user;
    evb_list_init(&outbox->resend);
    evb_list_init(&outbox->waiting);
    evb_list_init(&outbox->written);
    evb_list_init(&outbox->again);
    outbox->soonest_ms = INT64_MAX;
}

int64_t evb_outbox_events(const struct evb_outbox *outbox)
{
    int64_t reports = atomic_load(&outbox->reports.events); /* first: some is owed afterwards */
    return reports + atomic_load(&outbox->owed.events);
}

int64_t evb_outbox_bytes(const struct evb_outbox *outbox)
{
    int64_t reports = atomic_load(&outbox->reports.bytes);
    return reports + atomic_load(&outbox->owed.bytes);
}

/* ---- ends ---- */

static const enum evb_counter outcome_counter[] = {
    [EVBUS_ACKED] = EVB_COUNT_acked,     [EVBUS_EXPIRED] = EVB_COUNT_expired,
    [EVBUS_EVICTED] = EVB_COUNT_evicted, [EVBUS_FAILED] = EVB_COUNT_failed_redis,
    [EVBUS_UNKNOWN] = EVB_COUNT_unknown,
};

static void check_water(struct evb_outbox *outbox)
{
    int64_t events = atomic_load(&outbox->owed.events), bytes = atomic_load(&outbox->owed.bytes);
    bool above = events * 5 >= outbox->max_events * 4 || bytes / 4 >= outbox->max_bytes / 5;
    bool below = events * 2 <= outbox->max_events && bytes <= outbox->max_bytes / 2;
    if (outbox->high ? !below : !above)
        return;
    outbox->high = !outbox->high;
    outbox->water(outbox->high, outbox->user);
}

static void report(struct evb_item *item, int outcome, int error, int64_t receivers)
{
    struct evb_thread *thread = evb_thread_self();
    if (thread)
        thread->callbacks++;
    if (item->mark)
        item->mark(error, item->user);
    else if (item->report)
        item->report(item->event, outcome, error, receivers, item->user);
    if (thread)
        thread->callbacks--;
}

void evb_outbox_finish(struct evb_outbox *outbox, struct evb_item *item, int outcome, int error,
                       int64_t receivers)
{
    evb_list_remove(&item->node);
    if (!item->mark) {
        evb_count(outbox->metrics, outcome_counter[outcome], 1);
        evb_outbox_release(outbox, item->size);
        outbox->with_ttl -= item->expires_ms != INT64_MAX;
    }
    outbox->doubtful = item->in_doubt;
    report(item, outcome, error, receivers);
    evb_item_free(item);
    check_water(outbox);
}

void evb_outbox_report(struct evb_outbox *outbox, struct evb_item *item)
{
    evb_outbox_release_report(outbox, item->size);
    report(item, item->outcome, item->outcome == EVBUS_EVICTED ? EVBUS_EFULL : 0, -1);
    evb_item_free(item);
}

static struct evb_item *first(const struct evb_node *list)
{
    return evb_list_empty(list) ? NULL : evb_container(list->next, struct evb_item, node);
}

void evb_outbox_finish_marks(struct evb_outbox *outbox)
{
    if (!evb_list_empty(&outbox->again))
        return;
    const struct evb_node *lists[] = {&outbox->written, &outbox->resend, &outbox->waiting};
    struct evb_item *item = NULL;
    for (size_t i = 0; !item && i < EVB_COUNT(lists); i++)
        while ((item = first(lists[i])) && item->mark)
            evb_outbox_finish(outbox, item, EVBUS_ACKED, 0, -1);
}

/* ---- waiting ---- */

static bool over_limit(const struct evb_outbox *outbox)
{
    return atomic_load(&outbox->owed.events) > outbox->max_events ||
           atomic_load(&outbox->owed.bytes) > outbox->max_bytes;
}

/* The oldest that was never written; what was written may have been executed and is kept. */
static struct evb_item *oldest_unwritten(struct evb_outbox *outbox)
{
    EVB_LIST_EACH(&outbox->waiting, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        if (!item->written_once && !item->mark)
            return item;
    }
    return NULL;
}

/* Monotonic; INT64_MAX: never. What was written may have been executed: it waits for its answer. */
static int64_t end_of(const struct evb_outbox *outbox, const struct evb_item *item)
{
    if (item->written_once || item->mark)
        return INT64_MAX;
    int64_t by_age = outbox->max_age_ms > 0 ? item->accepted_ms + outbox->max_age_ms : INT64_MAX;
    return item->expires_ms < by_age ? item->expires_ms : by_age;
}

static void note_end(struct evb_outbox *outbox, int64_t end_ms)
{
    if (end_ms < outbox->soonest_ms)
        outbox->soonest_ms = end_ms;
}

void evb_outbox_take(struct evb_outbox *outbox, struct evb_item *item)
{
    evb_list_push(&outbox->waiting, &item->node);
    if (item->mark) {
        evb_outbox_finish_marks(outbox);
        return;
    }
    outbox->with_ttl += item->expires_ms != INT64_MAX;
    note_end(outbox, end_of(outbox, item));
    bool evicted = false;
    while (outbox->full == EVB_FULL_DROP_OLDEST && over_limit(outbox) &&
           (item = oldest_unwritten(outbox))) {
        evb_outbox_finish(outbox, item, EVBUS_EVICTED, EVBUS_EFULL, -1);
        evicted = true;
    }
    if (evicted)
        evb_outbox_finish_marks(outbox);
    check_water(outbox);
}

static void expire(struct evb_outbox *outbox, struct evb_node *list, int64_t now_ms)
{
    EVB_LIST_EACH(list, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        int64_t end_ms = end_of(outbox, item);
        if (end_ms <= now_ms) {
            evb_outbox_finish(outbox, item, EVBUS_EXPIRED, EVBUS_ETIMEDOUT, -1);
            continue;
        }
        note_end(outbox, end_ms);
        if (end_ms != INT64_MAX && outbox->with_ttl == 0)
            break; /* those behind are younger */
    }
}

void evb_outbox_expire(struct evb_outbox *outbox)
{
    int64_t now_ms = evb_clock_mono_ms();
    outbox->soonest_ms = INT64_MAX;
    expire(outbox, &outbox->resend, now_ms);
    expire(outbox, &outbox->waiting, now_ms);
    evb_outbox_finish_marks(outbox);
}

int64_t evb_outbox_next_expiry_ms(const struct evb_outbox *outbox)
{
    return outbox->soonest_ms;
}

/* Once written, an event goes the same way again: a script does not know what PUBLISH has done, nor
 * the other way round. */
static bool is_grouped(const struct evb_outbox *outbox, const struct evb_item *item)
{
    return item->settles || (outbox->grouped && outbox->grouped(item, outbox->groups));
}

static bool by_script(const struct evb_outbox *outbox, const struct evb_item *item)
{
    return item->in_doubt ? item->scripted
                          : (item->history && outbox->history) || is_grouped(outbox, item);
}

/* True: it is for groups, which only the script reaches, and has failed. */
static bool is_out_of_reach(struct evb_outbox *outbox, struct evb_item *item)
{
    if (!outbox->no_script || item->in_doubt || !is_grouped(outbox, item))
        return false;
    snprintf(outbox->refusal, sizeof outbox->refusal,
             "its type has groups, which only the library's script reaches: the user needs +eval "
             "+evalsha and what evbus(7) lists under ACCESS LISTS");
    evb_fail(EVBUS_EDENIED, "%s", outbox->refusal);
    evb_outbox_finish(outbox, item, EVBUS_FAILED, EVBUS_EDENIED, -1);
    return true;
}

/* True: it is not to be written, and has its outcome. */
static bool is_over(struct evb_outbox *outbox, struct evb_item *item)
{
    if (outbox->max_age_ms <= 0 && item->expires_ms == INT64_MAX)
        return false;
    if (end_of(outbox, item) > evb_clock_rough_ms())
        return false;
    evb_outbox_finish(outbox, item, EVBUS_EXPIRED, EVBUS_ETIMEDOUT, -1);
    return true;
}

/* Older ones may stand behind it: evb_outbox_expire() must not stop at it. */
static void own_end(struct evb_outbox *outbox, struct evb_item *item)
{
    if (item->expires_ms != INT64_MAX || outbox->max_age_ms <= 0)
        return;
    item->expires_ms = item->accepted_ms + outbox->max_age_ms;
    outbox->with_ttl++;
}

/* The script has gone. What it may have done, nobody can ask any more. What it refused is new to
 * PUBLISH, and goes behind what has a number. */
static void without_script(struct evb_outbox *outbox)
{
    struct evb_node anew;
    evb_list_init(&anew);
    EVB_LIST_EACH(&outbox->resend, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        if (!item->scripted || (!outbox->no_script && !item->kept))
            continue;
        if (item->in_doubt) {
            evb_outbox_finish(outbox, item, EVBUS_UNKNOWN, EVBUS_EDENIED, -1);
            continue;
        }
        evb_list_remove(node);
        evb_list_push(&anew, node);
        item->scripted = false;
        item->seq = 0;
        own_end(outbox, item);
    }
    evb_list_prepend(&outbox->waiting, &anew);
}

/* The next one to write, still in its list; NULL: none. */
static struct evb_item *peek(struct evb_outbox *outbox)
{
    struct evb_item *item;
    while ((item = first(&outbox->resend)) || (item = first(&outbox->waiting))) {
        if (item->mark) {
            evb_list_remove(&item->node);
            evb_list_push(&outbox->written, &item->node);
            evb_outbox_finish_marks(outbox);
        } else if (item->scripted && !outbox->history && (outbox->no_script || item->kept)) {
            without_script(outbox);
        } else if (!is_out_of_reach(outbox, item) && !is_over(outbox, item)) {
            return item;
        }
    }
    return NULL;
}

static void note_number(struct evb_outbox *outbox, const struct evb_item *item)
{
    uint64_t *word = &outbox->to_keep[item->seq / 64 % EVB_COUNT(outbox->to_keep)];
    uint64_t bit = UINT64_C(1) << item->seq % 64;
    *word = item->history ? *word | bit : *word & ~bit;
}

bool evb_outbox_was_to_keep(const struct evb_outbox *outbox, uint64_t seq)
{
    return outbox->to_keep[seq / 64 % EVB_COUNT(outbox->to_keep)] >> seq % 64 & 1;
}

static void write_one(struct evb_outbox *outbox, struct evb_item *item)
{
    bool scripted = by_script(outbox, item);
    evb_list_remove(&item->node);
    evb_list_push(&outbox->written, &item->node);
    if (item->scripted != scripted)
        item->seq = 0;
    item->scripted = scripted;
    item->kept = scripted && item->history && outbox->history;
    item->call = 0;
    if (!item->seq) {
        item->seq = ++outbox->seq;
        evb_codec_write_seq(item->seq_slot, item->seq);
        note_number(outbox, item);
    }
    item->maybe_old = item->in_doubt && !scripted && outbox->seq - item->seq >= EVB_SEEN_LATE;
    if (item->written_once)
        evb_count(outbox->metrics, EVB_COUNT_resent, 1);
    item->written_once = true;
}

/* May it go in one command with those before it? */
static bool joins(const struct evb_outbox *outbox, const struct evb_item *last,
                  const struct evb_item *item)
{
    uint64_t seq = item->seq && item->scripted ? item->seq : outbox->seq + 1;
    return last->scripted && by_script(outbox, item) && seq == last->seq + 1;
}

size_t evb_outbox_next(struct evb_outbox *outbox, struct evb_item *items[], size_t most)
{
    struct evb_item *item;
    size_t count = 0, bytes = 0;
    if (!evb_list_empty(&outbox->again))
        return 0; /* those that failed go first, when their pause is over */
    while (count < most && (item = peek(outbox))) {
        if (count == 0
                ? by_script(outbox, item) && outbox->hold
                : !joins(outbox, items[count - 1], item) || bytes + item->length > EVB_CALL_BYTES)
            break;
        write_one(outbox, item);
        items[count++] = item;
        bytes += item->length;
    }
    if (count == 0)
        return 0;
    items[0]->call = (uint32_t)count;
    outbox->written_count++;
    return count;
}

/* A call may have been put off, and the one behind it, which had been done before, answered. */
uint64_t evb_outbox_told(const struct evb_outbox *outbox, const struct evb_item *first)
{
    return outbox->told_seq < first->seq ? outbox->told_seq : first->seq - 1;
}

/* What a script refused keeps its number, and goes before what was written after it: a script that
 * has seen a number takes no lower one. */
static void scripted_first(struct evb_outbox *outbox)
{
    struct evb_node scripted;
    evb_list_init(&scripted);
    EVB_LIST_EACH(&outbox->again, node)
    {
        if (!evb_container(node, struct evb_item, node)->scripted)
            continue;
        evb_list_remove(node);
        evb_list_push(&scripted, node);
    }
    evb_list_prepend(&outbox->resend, &scripted);
}

/* All waits again. In the order of numbers, as far as may be: what has one goes before what was
 * refused and gets a new one; marks wait for both. */
static void put_back(struct evb_outbox *outbox)
{
    bool refused = !evb_list_empty(&outbox->again);
    struct evb_node marks;
    evb_list_init(&marks);
    evb_list_prepend(&outbox->resend, &outbox->written);
    scripted_first(outbox);
    EVB_LIST_EACH(&outbox->resend, node)
    {
        if (!refused || !evb_container(node, struct evb_item, node)->mark)
            continue;
        evb_list_remove(node);
        evb_list_push(&marks, node);
    }
    if (refused)
        outbox->soonest_ms = 0; /* they may expire: the next look tells when */
    evb_list_prepend(&outbox->waiting, &marks);
    evb_list_prepend(&outbox->waiting, &outbox->again);
    evb_outbox_finish_marks(outbox);
}

bool evb_outbox_settled(const struct evb_outbox *outbox)
{
    return outbox->written_count == outbox->answered_count;
}

void evb_outbox_retry(struct evb_outbox *outbox)
{
    put_back(outbox);
}

void evb_outbox_link_lost(struct evb_outbox *outbox)
{
    EVB_LIST_EACH(&outbox->written, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        item->in_doubt = true;
        if (!item->mark && !outbox->may_resend)
            evb_outbox_finish(outbox, item, EVBUS_UNKNOWN, EVBUS_EAWAY, -1);
    }
    outbox->written_count = outbox->answered_count = 0;
    put_back(outbox);
}

void evb_outbox_abandon(struct evb_outbox *outbox, int error)
{
    struct evb_item *item;
    evb_list_prepend(&outbox->waiting, &outbox->resend);
    evb_list_prepend(&outbox->waiting, &outbox->written);
    evb_list_prepend(&outbox->waiting, &outbox->again);
    while ((item = first(&outbox->waiting)))
        evb_outbox_finish(outbox, item, item->written_once ? EVBUS_UNKNOWN : EVBUS_FAILED, error,
                          -1);
}
