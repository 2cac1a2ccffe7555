/*
 * redis_item.h - an event on its way to Redis: the PUBLISH command (redis.io/commands/publish) made
 * once, in the publisher's thread, and the account that the outbox keeps of it.
 */
#ifndef EVB_REDIS_ITEM_H
#define EVB_REDIS_ITEM_H
#include "buf.h"
#include "event.h"
#include "list.h"
#include "loop.h"
#include <evbus.h>

struct evb_item {
    struct evb_job job;   /* its way to the loop */
    struct evb_node node; /* waiting, written or again */
    evbus_event *event;   /* ref; only where a report is asked for */
    evbus_report_fn report;
    void *user;
    int outcome;         /* of what never came to the outbox: EVBUS_LOCAL_DONE, EVBUS_EVICTED */
    evbus_done_fn mark;  /* not NULL: no event, but a flush that waits for all in front of it */
    void *owner;         /* borrowed: whom the job belongs to */
    int64_t accepted_ms; /* monotonic */
    int64_t expires_ms;  /* monotonic; INT64_MAX: its own time to live sets no end */
    uint64_t seq;        /* 0: not numbered yet */
    bool history;        /* fixed: it is to be kept */
    char *settles;       /* owned: a group's stream, NUL, the entry that it settles; NULL: none */
    bool kept;           /* in its last command: the script was to keep it */
    bool scripted; /* in its last command it was; that one may have been executed, if in_doubt */
    uint32_t call; /* the first of a command: how many events that has; else 0 */
    bool written_once;
    bool in_doubt;  /* in flight when a link dropped: it may have been executed */
    bool maybe_old; /* so far behind the others that receivers may take it for one that they had */
    size_t size;    /* bytes reserved */
    char *bytes;    /* the PUBLISH command in RESP, in the item's own memory */
    char *seq_slot; /* in `bytes` */
    size_t length;
};

/* In memory of evb_pool_take(): not numbered, no report, no bytes. */
void evb_item_init(struct evb_item *item);
void evb_item_free(struct evb_item *item);
/* Bytes of memory that the item of a not yet frozen event will take, for the outbox's bound. */
size_t evb_item_size(size_t prefix_length, const evbus_event *event);
/* The channel of its command; not NUL-terminated. */
const char *evb_item_channel(const struct evb_item *item, size_t *length);
/* Channel and envelope, each as a word of any command (RESP bulk strings); the envelope without its
 * last brace, for who adds to it. */
void evb_item_words(const struct evb_item *item, struct evb_buf *out);
/* A frozen event as a command for the channel `prefix` + type. NULL: no memory. */
struct evb_item *evb_item_encode(const char *prefix, size_t prefix_length, evbus_event *event,
                                 bool local);
/* The same for a channel of at most EVB_TEXT_MAX bytes. */
struct evb_item *evb_item_encode_to(struct evb_text channel, evbus_event *event, bool local);

#endif
