/*
 * redis_stream.h - a shard's history in Redis: its keys, whether this user may keep it, the
 * commands that publish and keep several events at once, the fence that tells what it holds.
 *
 * One stream a shard. All its keys bear one hash tag, so that they lie in one slot of a Cluster.
 * Loop only, but for the state.
 */
#ifndef EVB_REDIS_STREAM_H
#define EVB_REDIS_STREAM_H
#include "log.h"
#include "position.h"
#include "redis_asks.h"
#include "redis_fault.h"
#include "redis_item.h"
#include "redis_script.h"

enum evb_stream_state {
    EVB_STREAM_OFF,   /* not wanted */
    EVB_STREAM_ASKED, /* not known on this connection yet */
    EVB_STREAM_ON,
    EVB_STREAM_LACKING /* a right is missing, or the server refuses: events are published alone */
};

struct evb_stream_settings {       /* borrowed texts live as long as the shard */
    bool enabled;                  /* the history; the scripts serve groups without it, too */
    const char *key_prefix, *node; /* key_prefix NULL: without Redis, no keys */
    int64_t ttl_ms, max_events, max_bytes;
};

enum { EVB_EPOCH_TEXT = 48 };

struct evb_stream_facts { /* what a fence tells, as of its place among all that is published */
    char epoch[EVB_EPOCH_TEXT]; /* of the history's beginning; "": not known */
    struct evb_position last;   /* of the newest entry there ever was */
    struct evb_position first;  /* of the oldest that is there */
    struct evb_position gone;   /* of the newest that was trimmed, or behind it by its time */
    int64_t length;             /* -1: there is no stream */
    uint64_t begun; /* entries before the stream that is there; 0, too, if the server cannot tell */
    int64_t server_ms;
    int64_t asked_ms; /* monotonic: when it was asked; 0: not known */
};

enum evb_stream_key {
    EVB_KEY_STREAM,
    EVB_KEY_STATE,
    EVB_KEY_MARK,
    EVB_KEY_LATEST,
    EVB_KEY_GROUPS, /* who has groups */
    EVB_STREAM_KEYS
};

struct evb_stream {
    /* fixed after init */
    struct evb_stream_settings set;
    struct evb_log *log;
    struct evb_scripts scripts;
    char *keys[EVB_STREAM_KEYS]; /* owned */
    struct evb_fault *fault;     /* borrowed: why it is lacking; NULL: nobody asks */
    int64_t idle_ms;             /* a key that nobody touches lives so long */

    _Atomic int state; /* EVB_STREAM_*; read by any thread */

    /* loop only, of this connection */
    bool known[EVB_SCRIPTS]; /* the server has the script's text */
    bool alone;              /* the next call must not be followed before its answer */
    bool awaited;            /* such a call is under way */
    bool no_script;          /* it cannot be run at all */
    uint64_t sent_seq;       /* of the last event in a call */
    struct evb_stream_facts facts;
    int64_t asked_ms; /* monotonic: when the last fence was sent */
    bool told;        /* that it is lacking, in the log */
};

int evb_stream_init(struct evb_stream *stream, const struct evb_stream_settings *settings,
                    struct evb_log *log); /* 0, or EVBUS_ENOMEM */
void evb_stream_fini(struct evb_stream *stream);
bool evb_stream_may_be(const struct evb_stream *stream);            /* on, or not known yet */
bool evb_stream_is_on(const struct evb_stream *stream);             /* any thread */
const char *evb_stream_state_name(const struct evb_stream *stream); /* "on"; any thread */
void evb_stream_link_up(struct evb_stream *stream);   /* a new connection: all is open */
void evb_stream_link_lost(struct evb_stream *stream); /* not known until the next one */
/* The script cannot be run: from now on, on this connection, events are published alone. */
void evb_stream_lacks(struct evb_stream *stream, const char *error);

/* One command that publishes and keeps these, numbered without a gap. Up to the number `told` the
 * answers to calls have come. */
void evb_stream_append(struct evb_stream *stream, struct evb_link *link,
                       struct evb_item *const items[], size_t count, uint64_t told);
/* Its reply: an error that is no event's. True: what it held may go again at once. */
bool evb_stream_refused(struct evb_stream *stream, const char *error);
void evb_stream_appended(struct evb_stream *stream); /* its reply: a result for each */

/* A fence on the channel. False: the link is not up. */
bool evb_stream_fence(struct evb_stream *stream, struct evb_asks *asks, const char *channel,
                      const char *text, evb_ask_fn fn, void *user);
/* Its reply: takes the facts; *receivers is set. 0; or what to do else: EVBUS_EPARSE (no such
 * reply), EVBUS_EDENIED (`*refusal`: the channel is refused), EVBUS_EAWAY (passes: later),
 * EVBUS_ENOENT (the script is not known there: at once again), EVBUS_ENOTSUP (it lacks the
 * history now: a plain fence). */
int evb_stream_fenced(struct evb_stream *stream, const struct evb_reply *reply, int64_t *receivers,
                      const char **refusal);
/* Reads entries of the stream: see redis_script.h. */
bool evb_stream_read(struct evb_stream *stream, struct evb_asks *asks, const char *from,
                     const char *till, bool back, int64_t most, evb_ask_fn fn, void *user);
/* Is it such a page: a head, and three texts for each entry? */
enum { EVB_PAGE_HEAD = 4 };
bool evb_stream_passes(const char *error); /* is it one that passes, as BUSY does? */
bool evb_stream_is_page(const struct evb_reply *reply);

/* The script "cursor" of redis_script.h; `words`: key, owner, place, epoch, "stay" or "leave". */
bool evb_stream_cursor(struct evb_stream *stream, struct evb_asks *asks, const char *const words[5],
                       int64_t lease_ms, int64_t idle_ms, evb_ask_fn fn, void *user);
/* Any script of redis_script.h; `words` from the number of keys on. */
bool evb_stream_run(struct evb_stream *stream, struct evb_asks *asks, enum evb_script script,
                    const char *const words[], size_t count, evb_ask_fn fn, void *user);
/* Its reply: notes whether the server has the text. True: it has not, run it again at once. */
bool evb_stream_unknown(struct evb_stream *stream, enum evb_script script,
                        const struct evb_reply *reply);

#endif
