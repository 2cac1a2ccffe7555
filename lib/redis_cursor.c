/* redis_cursor.c - how far the history was heard. Pure. */
#include "redis_cursor.h"
#include <stdio.h>
#include <string.h>

enum { CLOCK_SLACK_MS = 1000, ROLL_BACK_MS = 60000 };

static const struct {
    const char *name, *words;
} losses[] = {
    [EVB_LOSS_NONE] = {"none", "nothing is lost"},
    [EVB_LOSS_TRIMMED] = {"trimmed", "the history does not reach back so far (history.ttl, "
                                     "history.max.events, history.max.bytes)"},
    [EVB_LOSS_EVICTED] = {"evicted", "Redis let go of the whole history (maxmemory-policy, DEL)"},
    [EVB_LOSS_FLUSHED] = {"flushed", "Redis lost the history (FLUSHALL, or a restart without "
                                     "persistence)"},
    [EVB_LOSS_ROLLED_BACK] = {"rolled-back", "Redis lost the end of the history (failover, or a "
                                             "restart with older data)"},
};

const char *evb_loss_name(enum evb_loss loss)
{
    return losses[loss].name;
}

const char *evb_loss_words(enum evb_loss loss)
{
    return losses[loss].words;
}

void evb_cursor_set(struct evb_cursor *cursor, const char *epoch, struct evb_position at)
{
    *cursor = (struct evb_cursor){.at = at, .exact = true, .known = true};
    snprintf(cursor->epoch, sizeof cursor->epoch, "%s", epoch);
}

void evb_cursor_set_time(struct evb_cursor *cursor, const char *epoch, int64_t server_ms)
{
    evb_cursor_set(cursor, epoch, (struct evb_position){(uint64_t)server_ms, 0});
    cursor->exact = false;
}

void evb_cursor_see(struct evb_cursor *cursor, struct evb_position position, int64_t latest_ms)
{
    if (!cursor->known || position.ms > (uint64_t)latest_ms + CLOCK_SLACK_MS)
        return;
    if (evb_position_compare(position, evb_cursor_end(cursor)) > 0)
        cursor->ahead = position;
}

struct evb_position evb_cursor_end(const struct evb_cursor *cursor)
{
    return evb_position_compare(cursor->ahead, cursor->at) > 0 ? cursor->ahead : cursor->at;
}

void evb_cursor_prove(struct evb_cursor *cursor, const struct evb_stream_facts *facts)
{
    evb_cursor_set(cursor, facts->epoch, facts->last);
}

static enum evb_loss lost(enum evb_loss loss, int64_t *count, int64_t n)
{
    *count = n;
    return loss;
}

/* A time is covered where an older entry is still there, or nothing was ever let go; or where all
 * is gone, and by its age, for only age lets go of the last one. */
static enum evb_loss judge_time(struct evb_position from, const struct evb_stream_facts *facts,
                                int64_t ttl_ms, int64_t *count)
{
    bool young = facts->server_ms - (int64_t)from.ms < ttl_ms;
    bool covered = facts->last.n == 0 || (facts->length == 0 && young) ||
                   (facts->length > 0 && (facts->first.n <= 1 || facts->first.ms <= from.ms));
    if (covered)
        return EVB_LOSS_NONE;
    return lost(facts->length < 0 ? EVB_LOSS_EVICTED : EVB_LOSS_TRIMMED, count, -1);
}

enum evb_loss evb_cursor_judge(const struct evb_cursor *cursor,
                               const struct evb_stream_facts *facts, int64_t ttl_ms, int64_t *count,
                               struct evb_position *start, bool *expect)
{
    struct evb_position from = evb_cursor_end(cursor);
    const struct evb_position none = {0, 0};
    *count = 0;
    *start = from;
    *expect = false;
    if (cursor->epoch[0] && strcmp(cursor->epoch, facts->epoch) != 0) {
        *start = none;
        return lost(EVB_LOSS_FLUSHED, count, -1);
    }
    if (!cursor->exact)
        return judge_time(from, facts, ttl_ms, count);
    bool same = facts->last.n == from.n;
    if (facts->last.n < from.n || (same && from.n > 0 && facts->last.ms != from.ms)) {
        *start = (struct evb_position){from.ms > ROLL_BACK_MS ? from.ms - ROLL_BACK_MS : 0, 0};
        return lost(EVB_LOSS_ROLLED_BACK, count, -1);
    }
    if (same)
        return EVB_LOSS_NONE;
    if (facts->begun > from.n)
        return lost(EVB_LOSS_EVICTED, count, (int64_t)(facts->begun - from.n));
    uint64_t oldest = facts->length > 0 ? facts->first.n : facts->last.n + 1;
    if (oldest > from.n + 1)
        return lost(EVB_LOSS_TRIMMED, count, (int64_t)(oldest - from.n - 1));
    *expect = from.n > 0 && oldest <= from.n;
    return EVB_LOSS_NONE;
}
