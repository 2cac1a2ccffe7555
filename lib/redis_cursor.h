/*
 * redis_cursor.h - how far the history was heard, and whether something was lost since. A fence
 * that arrived proves that all before it has arrived, though nothing matched; events that arrive
 * after it carry the cursor on. Entries are counted in their positions: two of them tell how many
 * lie between. Pure; loop only.
 */
#ifndef EVB_REDIS_CURSOR_H
#define EVB_REDIS_CURSOR_H
#include "redis_stream.h"

enum evb_loss {
    EVB_LOSS_NONE,
    EVB_LOSS_TRIMMED,    /* by age, count or bytes */
    EVB_LOSS_EVICTED,    /* the stream was deleted: by maxmemory-policy, or by hand */
    EVB_LOSS_FLUSHED,    /* all keys were: FLUSHALL, or a restart without persistence */
    EVB_LOSS_ROLLED_BACK /* the server lost its newest entries: failover, restart */
};

struct evb_cursor {
    char epoch[EVB_EPOCH_TEXT]; /* of `at`; "": not known */
    struct evb_position at;     /* proven */
    struct evb_position ahead;  /* of the newest that arrived since; none: none has */
    bool exact;                 /* `at` is an entry, or the place behind one, not only a time */
    bool known;
};

void evb_cursor_set(struct evb_cursor *cursor, const char *epoch, struct evb_position at);
void evb_cursor_move(struct evb_cursor *cursor, struct evb_position at); /* in the same epoch */
/* All since that time of the server may be missing. */
void evb_cursor_set_time(struct evb_cursor *cursor, const char *epoch, int64_t server_ms);
/* A positioned event arrived. Beyond the server's time, `latest_ms`, it is forged. */
void evb_cursor_see(struct evb_cursor *cursor, struct evb_position position, int64_t latest_ms);
/* The fence of these facts arrived: what came before it is proven, or was forged. */
void evb_cursor_prove(struct evb_cursor *cursor, const struct evb_stream_facts *facts);
struct evb_position evb_cursor_end(const struct evb_cursor *cursor);

/* As of the fence of these facts nothing was added that it has not heard. */
bool evb_cursor_is_at_end(const struct evb_cursor *cursor, const struct evb_stream_facts *facts);

/* Is all since that time of the server still there? */
enum evb_loss evb_loss_since(struct evb_position from, const struct evb_stream_facts *facts);
/* What a jump from `from`, of `epoch`, to `to`, of `now`, means. `begun`: entries before the stream
 * that is there. `*count` is at most so many entries of all types, -1: not known. */
enum evb_loss evb_loss_between(struct evb_position from, const char *epoch, struct evb_position to,
                               const char *now, uint64_t begun, int64_t *count);
const char *evb_loss_name(enum evb_loss loss); /* "trimmed" */
const char *evb_loss_words(enum evb_loss loss);

#endif
