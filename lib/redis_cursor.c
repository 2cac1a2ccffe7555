/* redis_cursor.c - how far the history was heard. Pure. */
#include "redis_cursor.h"
#include <stdio.h>
#include <string.h>

enum { CLOCK_SLACK_MS = 1000 };

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

void evb_cursor_move(struct evb_cursor *cursor, struct evb_position at)
{
    cursor->at = at;
    cursor->ahead = (struct evb_position){0, 0};
    cursor->exact = cursor->known = true;
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
    struct evb_position end = evb_cursor_end(cursor);
    if (evb_position_compare(position, end) <= 0)
        return;
    if (position.n <= end.n) /* the count began anew: it is another history */
        cursor->epoch[0] = '\0';
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

bool evb_cursor_is_at_end(const struct evb_cursor *cursor, const struct evb_stream_facts *facts)
{
    struct evb_position end = evb_cursor_end(cursor);
    if (!cursor->epoch[0] || strcmp(cursor->epoch, facts->epoch) != 0)
        return false;
    return cursor->exact ? evb_position_compare(facts->last, end) == 0 : facts->last.ms < end.ms;
}

/* A time is covered where nothing came since, an older entry is still there, or the newest that was
 * let go is older: if that is the one before the first, else others went unnoticed. */
enum evb_loss evb_loss_since(struct evb_position from, const struct evb_stream_facts *facts)
{
    bool some = facts->length > 0;
    uint64_t before = some ? facts->first.n - 1 : facts->last.n;
    bool noted = facts->gone.n == before && facts->gone.ms < from.ms;
    if (facts->last.ms < from.ms || (some && facts->first.ms <= from.ms) || noted)
        return EVB_LOSS_NONE;
    return facts->length < 0 ? EVB_LOSS_EVICTED : EVB_LOSS_TRIMMED;
}

enum evb_loss evb_loss_between(struct evb_position from, const char *epoch, struct evb_position to,
                               const char *now, uint64_t begun, int64_t *count)
{
    *count = -1;
    if (epoch[0] && strcmp(epoch, now) != 0)
        return EVB_LOSS_FLUSHED;
    if (to.n <= from.n)
        return EVB_LOSS_ROLLED_BACK;
    *count = (int64_t)(to.n - from.n - 1);
    return begun > from.n ? EVB_LOSS_EVICTED : EVB_LOSS_TRIMMED;
}
