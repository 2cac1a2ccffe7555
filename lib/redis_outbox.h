/*
 * redis_outbox.h - what the bus owes Redis: events accepted for it and not yet answered, in the
 * order of the wire, bounded in events, bytes and age.
 *
 * An item's way: admitted (publisher's thread: room is reserved) -> inbox of the loop -> waiting ->
 * written -> answered. Exactly one final outcome each. Admission: any thread; all else: loop only.
 */
#ifndef EVB_REDIS_OUTBOX_H
#define EVB_REDIS_OUTBOX_H
#include "log.h"
#include "metrics.h"
#include "redis_item.h"
#include <evbus.h>
#include <stdatomic.h>
#include <stdint.h>

enum { EVB_CALL_EVENTS = 64, EVB_CALL_BYTES = 64 * 1024 }; /* most in one command, or one event */

enum { EVB_NUMBERS_KNOWN = 65536 }; /* the last ones: by far more than echoes are late */

struct evb_room {
    _Atomic int64_t events, bytes;
};

struct evb_outbox {
    /* fixed after init */
    int64_t max_events, max_bytes, max_age_ms;
    int full; /* EVB_FULL_* */
    bool may_resend;
    struct evb_metrics *metrics;
    struct evb_log *log;                  /* NULL: silent */
    void (*water)(bool high, void *user); /* 80 % were reached; 50 % are left */
    void *user;
    /* Has its type groups, so that it goes by the script alone? NULL: nobody knows of any. */
    bool (*grouped)(const struct evb_item *item, void *groups);
    void *groups;

    /* any thread: reserved by whatever has no outcome yet */
    struct evb_room owed;    /* to Redis; for a moment also what is being refused */
    struct evb_room reports; /* of what does not go to Redis */
    atomic_int up;           /* the link is READY */

    /* loop only */
    struct evb_node waiting; /* never written, or refused for now */
    struct evb_node resend;  /* written on an earlier connection: goes before what waits */
    struct evb_node written;
    struct evb_node again; /* refused for now, until all that was written is answered */
    bool history;          /* the script can be run: what is to be kept goes by it */
    bool no_script;        /* it cannot: what is for groups fails */
    bool hold;             /* a call of the script is under way that no other may follow */
    int64_t soonest_ms;    /* monotonic: nothing expires before; INT64_MAX: nothing expires */
    int64_t with_ttl;      /* items that bring an end of their own */
    uint64_t seq;          /* the last given */
    uint64_t told_seq;     /* of the last event whose call was answered */
    uint64_t to_keep[EVB_NUMBERS_KNOWN / 64]; /* a bit for each of the last numbers */
    uint64_t written_count, answered_count;   /* commands on this connection */
    char refusal[600];     /* what the last error to PUBLISH says, and a remedy */
    int64_t complained_ms; /* monotonic: when one was last logged */
    int64_t complaints;    /* since then */
    bool high;
    bool doubtful; /* while a report is given: its event was in flight at a drop, and went again */
};

/* Any thread: what is owed and reports together. */
int64_t evb_outbox_events(const struct evb_outbox *outbox);
int64_t evb_outbox_bytes(const struct evb_outbox *outbox);

enum evb_admission { EVB_ADMIT, EVB_ADMIT_DROP, EVB_ADMIT_REFUSE, EVB_ADMIT_AWAY };

void evb_outbox_init(struct evb_outbox *outbox, struct evb_metrics *metrics,
                     void (*water)(bool high, void *user), void *user);

/* Any thread. EVB_ADMIT: room is reserved. EVB_ADMIT_DROP: no room, and the policy drops the new
 * one. EVB_ADMIT_REFUSE: policy reject. EVB_ADMIT_AWAY: policy off, and Redis is away. */
enum evb_admission evb_outbox_admit(struct evb_outbox *outbox, size_t size);
/* Any thread. Room for a report alone, whatever the policy; false: none. */
bool evb_outbox_admit_report(struct evb_outbox *outbox, size_t size);
/* Any thread. Room for what the caller has accounted for before: always granted; of a report alone
 * it is, unless `owed`. */
void evb_outbox_admit_promised(struct evb_outbox *outbox, size_t size, bool owed);
/* Of so many reports, `size` bytes in all. */
void evb_outbox_release_reports(struct evb_outbox *outbox, int64_t count, size_t size);
void evb_outbox_release_report(struct evb_outbox *outbox, size_t size);
void evb_outbox_release(struct evb_outbox *outbox, size_t size); /* admitted, then not posted */

void evb_outbox_take(struct evb_outbox *outbox,
                     struct evb_item *item); /* from the inbox; owned now */
void evb_outbox_report(struct evb_outbox *outbox,
                       struct evb_item *item); /* its outcome; owned now */
/* The events of the next command, numbered and now among the written: one for PUBLISH; or some, if
 * `scripted`, numbered without a gap; 0: none. Expires what is too old. */
size_t evb_outbox_next(struct evb_outbox *outbox, struct evb_item *items[], size_t most);
/* Was the event of that number to be kept, whether or not it could be? One of the last. */
bool evb_outbox_was_to_keep(const struct evb_outbox *outbox, uint64_t seq);
/* Up to which number the answers to calls have come, when a call that begins with `first` is
 * written. */
uint64_t evb_outbox_told(const struct evb_outbox *outbox, const struct evb_item *first);
bool evb_outbox_settled(const struct evb_outbox *outbox); /* nothing is written and unanswered */
void evb_outbox_retry(
    struct evb_outbox *outbox); /* what was refused for now waits again, in front */
void evb_outbox_link_lost(
    struct evb_outbox *outbox); /* what was in flight: in front again, or UNKNOWN */
void evb_outbox_expire(struct evb_outbox *outbox);
int64_t evb_outbox_next_expiry_ms(const struct evb_outbox *outbox); /* monotonic; INT64_MAX: none */
void evb_outbox_abandon(struct evb_outbox *outbox, int error); /* the bus ends: FAILED or UNKNOWN */

/* ---- for redis_answer.c ---- */

/* The final outcome of one in any list, which it leaves; then evb_outbox_finish_marks(). */
void evb_outbox_finish(struct evb_outbox *outbox, struct evb_item *item, int outcome, int error,
                       int64_t receivers);
void evb_outbox_finish_marks(struct evb_outbox *outbox); /* flushes with nothing before them */

#endif
