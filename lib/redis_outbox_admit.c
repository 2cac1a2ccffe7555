/* redis_outbox_admit.c - room in the outbox, reserved and given back. Any thread. */
#include "config.h"
#include "redis_outbox.h"

/* Room for the reports of what an outbox that is full drops, however small it is. */
enum { REPORTS_AT_LEAST = 1024, REPORT_BYTES_AT_LEAST = 1 << 20 };
enum { LARGE = 4096 };

/* With drop-oldest a publisher may run ahead of the loop, which evicts, by an eighth of the limit.
 */
static int64_t with_slack(const struct evb_outbox *outbox, int64_t limit)
{
    return outbox->full == EVB_FULL_DROP_OLDEST ? limit + limit / 8 : limit;
}

static void uncount(struct evb_room *room, int64_t events, size_t size)
{
    atomic_fetch_sub(&room->events, events);
    atomic_fetch_sub(&room->bytes, (int64_t)size);
}

/* Counted first, then looked at: of two that come to room for one, one at least sees the other.
 * What is large is looked at before, too: others would be refused, or evicted, because of it. */
static bool count(struct evb_outbox *outbox, struct evb_room *room, size_t size,
                  int64_t most_events, int64_t most_bytes)
{
    if (size > LARGE && evb_outbox_bytes(outbox) > most_bytes - (int64_t)size)
        return false;
    atomic_fetch_add(&room->events, 1);
    atomic_fetch_add(&room->bytes, (int64_t)size);
    if (evb_outbox_events(outbox) <= most_events && evb_outbox_bytes(outbox) <= most_bytes)
        return true;
    uncount(room, 1, size);
    return false;
}

enum evb_admission evb_outbox_admit(struct evb_outbox *outbox, size_t size)
{
    if (outbox->full == EVB_FULL_OFF && !atomic_load_explicit(&outbox->up, memory_order_relaxed))
        return EVB_ADMIT_AWAY;
    if (count(outbox, &outbox->owed, size, with_slack(outbox, outbox->max_events),
              with_slack(outbox, outbox->max_bytes)))
        return EVB_ADMIT;
    return outbox->full == EVB_FULL_REJECT ? EVB_ADMIT_REFUSE : EVB_ADMIT_DROP;
}

bool evb_outbox_admit_report(struct evb_outbox *outbox, size_t size)
{
    int64_t more_events = outbox->max_events / 8, more_bytes = outbox->max_bytes / 8;
    more_events = more_events < REPORTS_AT_LEAST ? REPORTS_AT_LEAST : more_events;
    more_bytes = more_bytes < REPORT_BYTES_AT_LEAST ? REPORT_BYTES_AT_LEAST : more_bytes;
    return count(outbox, &outbox->reports, size, outbox->max_events + more_events,
                 outbox->max_bytes + more_bytes);
}

void evb_outbox_admit_promised(struct evb_outbox *outbox, size_t size, bool owed)
{
    count(outbox, owed ? &outbox->owed : &outbox->reports, size, INT64_MAX, INT64_MAX);
}

void evb_outbox_release_reports(struct evb_outbox *outbox, int64_t count, size_t size)
{
    uncount(&outbox->reports, count, size);
}

void evb_outbox_release_report(struct evb_outbox *outbox, size_t size)
{
    uncount(&outbox->reports, 1, size);
}

void evb_outbox_release(struct evb_outbox *outbox, size_t size)
{
    uncount(&outbox->owed, 1, size);
}
