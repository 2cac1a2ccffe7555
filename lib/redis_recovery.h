/*
 * redis_recovery.h - what a shard's subscribing connection missed is read from the history, in
 * order, before live events go on; what cannot be read is told as a gap. Loop only.
 */
#ifndef EVB_REDIS_RECOVERY_H
#define EVB_REDIS_RECOVERY_H
#include "redis_cursor.h"
#include "redis_reader.h"

struct evb_gap {
    const char *cause;      /* a word: "trimmed" */
    const char *reason;     /* a sentence */
    int64_t from_ms, to_ms; /* Unix time of the server */
    int64_t count;          /* at most so many events of all types; -1: not known */
    const char *pattern;    /* of the one subscription that it is about; NULL: all of the bus */
};

struct evb_recovery_hooks {
    void (*entry)(struct evb_position at, const struct evb_reply *channel,
                  const struct evb_reply *envelope, void *user);
    void (*held)(evbus_event *event, void *user);
    void (*gap)(const struct evb_gap *gap, void *user);
    void (*live)(void *user);    /* all that there was is delivered */
    void (*answers)(void *user); /* the server runs scripts: who was put off may ask again */
};

struct evb_recovery_settings {
    int64_t max_events, max_ms;
};

struct evb_recovery {
    /* fixed after init */
    struct evb_recovery_settings set;
    const struct evb_recovery_hooks *hooks;
    void *user;

    struct evb_stream *stream; /* borrowed */
    struct evb_cursor cursor;
    bool waiting;              /* what arrives now is read later: what is before it comes first */
    struct evb_position noted; /* of the newest that arrived then */
    struct evb_reader reader;
    int64_t offset_ms;  /* server's time - monotonic, INT64_MIN: not known; never too late */
    int64_t before_ms;  /* the same on the last connection on which all was heard; or INT64_MAX */
    int64_t started_ms; /* monotonic */
    int64_t entries;    /* read since */
};

void evb_recovery_init(struct evb_recovery *recovery, struct evb_stream *stream,
                       struct evb_asks *asks, const struct evb_recovery_settings *settings,
                       const struct evb_recovery_hooks *hooks, void *user);
void evb_recovery_fini(struct evb_recovery *recovery);
bool evb_recovery_knows(const struct evb_recovery *recovery); /* where it was when it was cut off */
bool evb_recovery_running(const struct evb_recovery *recovery);
/* Both connections are up, and the history's facts are new. Without a place to go on from:
 * from `since_ms` (monotonic) on; 0: from now on. */
void evb_recovery_ready(struct evb_recovery *recovery, int64_t since_ms);
void evb_recovery_lost(struct evb_recovery *recovery); /* the connections are gone */
/* The first connection does not come at once: evb_recovery_ready() will say since when. */
void evb_recovery_away(struct evb_recovery *recovery);
void evb_recovery_proven(struct evb_recovery *recovery); /* a fence came back */
void evb_recovery_facts(struct evb_recovery *recovery);  /* its facts came */
/* A positioned event arrived: true if it is held back, or will be read. */
bool evb_recovery_takes(struct evb_recovery *recovery, evbus_event *event);
/* One that needs no delivery. */
void evb_recovery_saw(struct evb_recovery *recovery, struct evb_position position);
/* Server's time now, never too early; where it is not known, this machine's. */
int64_t evb_recovery_now_ms(const struct evb_recovery *recovery);
/* Server's time of a monotonic one, never too late; 0: not known. */
int64_t evb_recovery_server_ms(const struct evb_recovery *recovery, int64_t mono_ms);

#endif
