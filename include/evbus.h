/*
 * evbus.h - an event bus: local subscribers at once, other processes through Redis.
 *
 * Rules that hold for every declaration:
 *  - Everything is opaque; nothing of hiredis, libevent, jansson or OpenSSL shows (evbus_open_on()
 *    lives in a second, tiny header, evbus_libevent.h). Plain ints, int64_t, pointers and UTF-8 C
 *    strings only: any FFI can call every function. No macro is needed to use the library.
 *  - int results: 0 or a positive answer, negative EVBUS_E*. Pointer results: NULL on failure.
 *    evbus_last_error() says why in words and evbus_last_code() in a code (both of this thread);
 *    evbus_strerror() names a code.
 *  - Parameters are borrowed. `const char *` results live as long as their object. `char *` results
 *    are the caller's: evbus_string_free(). Handles stay valid until the caller gives them back,
 *    whatever died first: a subscription of a closed bus still answers its calls (EVBUS_ECLOSED)
 *    and is given back by evbus_unsubscribe().
 *  - Any function may be called from any thread and from any handler. What has to wait exists in a
 *    form that calls back (`_async`); the waiting form takes `timeout_ms` (-1 for ever, 0 looks
 *    once) and says EVBUS_EDEADLK on the bus's own loop. Inside a handler, close and unsubscribe
 *    start and return; evbus_sub_on_free() tells the end.
 *  - Options of subscriptions, queues, requests and queries are one string of "key=value" pairs,
 *    quoted in SQL's way ('it''s'); evbus_quote() for text from outside. NULL for the defaults.
 *    Unknown keys and bad values: EVBUS_EINVAL with a sentence that names them.
 *  - After fork() the child's calls say EVBUS_EFORK; only what gives handles back works there, and
 *    evbus_default() opens a fresh bus.
 */
#ifndef EVBUS_H
#define EVBUS_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define EVBUS_VERSION_NUMBER 0x000100 /* 0xMMmmpp: major, minor, patch */

typedef struct evbus evbus;               /* one bus: local registry and Redis link */
typedef struct evbus_config evbus_config; /* key = value settings */
typedef struct evbus_event evbus_event;   /* immutable once published, reference-counted */
typedef struct evbus_sub evbus_sub;       /* one subscription */
typedef struct evbus_queue evbus_queue;   /* bounded pull queue, one pollable descriptor */
typedef struct evbus_list evbus_list;     /* events that a query of history found */

/* errors */
enum {
    EVBUS_OK = 0,
    EVBUS_ENOMEM = -1,
    EVBUS_EINVAL = -2,
    EVBUS_ETIMEDOUT = -3,
    EVBUS_EAWAY = -4, /* Redis is away, and this needs it */
    EVBUS_EFULL = -5, /* a bound was reached */
    EVBUS_ETOOBIG = -6,
    EVBUS_ECLOSED = -7,
    EVBUS_ENOENT = -8,
    EVBUS_EPARSE = -9,
    EVBUS_ETLS = -10,
    EVBUS_EAUTH = -11,   /* Redis refused user or password */
    EVBUS_EDENIED = -12, /* Redis refused by its access list */
    EVBUS_ENOTSUP = -13,
    EVBUS_EDEADLK = -14, /* waiting here would wait for itself */
    EVBUS_EFORK = -15,   /* the bus belongs to the parent process */
    EVBUS_ENORESPONDER = -16,
    EVBUS_EREMOTE = -17,
    EVBUS_ESYS = -18 /* a system call failed */
};
/* where publish accepted the event: bits of its positive answer */
enum {
    EVBUS_SENT_LOCAL = 1, /* handed to this process's subscribers */
    EVBUS_SENT_REDIS = 2, /* accepted for Redis while the link is up */
    EVBUS_SENT_OUTBOX = 4, /* accepted for Redis, kept until the link is back */
    EVBUS_SENT_BATCH = 8   /* waits in a batch */
};
/* publish flags */
enum {
    EVBUS_LOCAL_ONLY = 1, /* this process's subscribers only */
    EVBUS_REDIS_ONLY = 2, /* through Redis, for this process's subscribers too */
    EVBUS_NO_HISTORY = 4, /* not kept in Redis: who is away misses it */
    EVBUS_BATCH = 8       /* with others of its type in one event <type>.batch, whose data is
                             {"events":[<envelope>,...],"count":n} (batch.events, batch.bytes,
                             batch.interval; evbus_flush() and evbus_close() send it at once) */
};
/* modes of a bus */
enum {
    EVBUS_MODE_CLOSED = 0,
    EVBUS_MODE_LOCAL_ONLY = 1, /* has no Redis by its settings */
    EVBUS_MODE_HYBRID = 2,     /* local and Redis, link up */
    EVBUS_MODE_REDIS_ONLY = 3, /* everything through Redis, link up */
    EVBUS_MODE_DEGRADED = 4    /* wants Redis, runs local until it is back */
};
/* how an event reached its handler */
enum {
    EVBUS_ORIGIN_LOCAL = 1,
    EVBUS_ORIGIN_REDIS = 2, /* live */
    EVBUS_ORIGIN_REPLAY = 3 /* read from the history */
};
/* the one final report of an event */
enum {
    EVBUS_ACKED = 1,      /* Redis answered */
    EVBUS_LOCAL_DONE = 2, /* needed no Redis */
    EVBUS_EXPIRED = 3,    /* waited in the outbox longer than outbox.age or its own time to live */
    EVBUS_EVICTED = 4,    /* dropped by the outbox's limit */
    EVBUS_FAILED = 5,     /* refused by Redis, or the bus was freed before it was written */
    EVBUS_UNKNOWN = 6     /* written, then the link dropped: not sent again, or perhaps in vain */
};
/* log levels */
enum { EVBUS_LOG_ERROR = 1, EVBUS_LOG_WARNING = 2, EVBUS_LOG_INFO = 3, EVBUS_LOG_DEBUG = 4 };

/*
 * A handler answers 0 = handled, anything else = failed (counted; given out again for a group).
 * `sub` and `event` are borrowed: evbus_event_ref() to keep the event. It runs on the thread that
 * the subscription's `deliver` option names.
 */
enum {
    EVBUS_LATER = 1
}; /* of a group's member: I keep the event and shall answer, by
                             evbus_event_ack() or evbus_event_nack() */
typedef int (*evbus_event_fn)(evbus_sub *sub, evbus_event *event, void *user);
/* Runs on the bus's loop, once. `event` is borrowed; `outcome` is EVBUS_ACKED..EVBUS_UNKNOWN,
 * `error` the EVBUS_E* behind it or 0 (EVBUS_FAILED: evbus_last_error() has its sentence),
 * `receivers` what PUBLISH answered (connections, this bus's included) or -1. */
typedef void (*evbus_report_fn)(evbus_event *event, int outcome, int error, int64_t receivers,
                                void *user);
typedef void (*evbus_done_fn)(int result, void *user); /* on the loop: 0 or EVBUS_E* */
/* On the loop, once: the reply, borrowed; or NULL and an EVBUS_E*, whose sentence
 * evbus_last_error() has. */
typedef void (*evbus_reply_fn)(evbus_event *reply, int error, void *user);
/* On the loop, once: the list is the callee's (evbus_list_free()), or NULL and an EVBUS_E*. */
typedef void (*evbus_list_fn)(evbus_list *list, int error, void *user);
typedef void (*evbus_log_fn)(int level, const char *line, void *user); /* any thread; no newline */
typedef void (*evbus_free_fn)(void *user);

/* ---- library ---- */
const char *evbus_version(void);       /* "0.1.0" */
int evbus_version_number(void);        /* EVBUS_VERSION_NUMBER of the library that runs */
int evbus_has(const char *feature);    /* "redis", "unix", ...: 1 or 0 */
const char *evbus_strerror(int error); /* "invalid argument"; static text, never NULL */
const char *evbus_last_error(void);    /* this thread's last failure in words, "" if none */
int evbus_last_code(void);             /* its EVBUS_E*, 0 if none */
void evbus_string_free(char *text);    /* gives back a `char *` result; NULL is fine */
char *evbus_quote(const char *text);   /* text as an option's value: 'it''s' */
/* The library's own allocations. Before anything else is called; NULLs restore malloc's family.
 * What hiredis, libevent and jansson allocate is set by their own hooks. */
int evbus_set_allocator(void *(*alloc)(size_t), void *(*resize)(void *, size_t),
                        void (*release)(void *));

/* ---- settings: one table drives set, environment, file, dump and manual ---- */
evbus_config *evbus_config_new(void);
void evbus_config_free(evbus_config *config);
/* EINVAL names the key or the value, and for an unknown key the nearest known one. */
int evbus_config_set(evbus_config *config, const char *key, const char *value);
const char *evbus_config_get(const evbus_config *config, const char *key); /* NULL: no such key.
                                              Secrets come back masked; valid until the next set */
/* EVBUS_<KEY>, then (prefix not NULL) <prefix><KEY>, then the aliases of other systems. */
int evbus_config_load_env(evbus_config *config, const char *prefix);
int evbus_config_load_file(evbus_config *config, const char *path); /* key = value, # comments */
char *evbus_config_dump(const evbus_config *config); /* each value and its origin, secrets masked */
int evbus_config_count(void);
const char *evbus_config_key(int index);
const char *evbus_config_default(int index);
const char *evbus_config_help(int index);

/* ---- the bus ---- */
/* Copies the settings. NULL: local only. Redis being away is no failure: the bus is DEGRADED until
 * it is there. The bus's own thread runs the loop. */
evbus *evbus_open(const evbus_config *config);
evbus *evbus_default(void); /* the process's bus, opened from the environment on the first call;
                               closed by evbus_free() or at exit */
/* Refuses new events, waits until every report is given and every handler's queue is empty, leaves
 * Redis. Once the reports are given, what others still send for deliver=workers is dropped and
 * counted. 0: closed. EVBUS_ETIMEDOUT: still closing, call again or evbus_free(). */
int evbus_close(evbus *bus, int timeout_ms);
int evbus_close_async(evbus *bus, int timeout_ms, evbus_done_fn fn, void *user);
void evbus_free(evbus *bus); /* closes at once what is not closed; waits for running handlers */
/* All that was accepted before the call has its final report. */
int evbus_flush(evbus *bus, int timeout_ms);
int evbus_flush_async(evbus *bus, evbus_done_fn fn, void *user);
int evbus_wait_connected(evbus *bus,
                         int timeout_ms); /* link up, all subscriptions confirmed or refused */
int evbus_reconnect(evbus *bus);          /* try now, also after reconnect.max.retries; connected:
                                             asks again for what Redis's access list refused */
int evbus_mode(const evbus *bus);         /* EVBUS_MODE_* */
const char *evbus_mode_name(int mode);    /* "hybrid" */
const char *evbus_node(const evbus *bus); /* this bus's unique id, 16 hex digits */
/* level: EVBUS_LOG_*, 0 for none, -1 for the setting log.level. bus NULL: for buses opened later.
 * fn NULL: silence. A library prints nothing by itself. */
int evbus_set_log(evbus *bus, int level, evbus_log_fn fn, void *user);

/* ---- publish: never blocks, any thread; answers EVBUS_SENT_* bits or an error ---- */
int evbus_publish(evbus *bus, const char *type, const char *json);  /* json NULL: no data */
int evbus_publish_event(evbus *bus, evbus_event *event, int flags); /* freezes it; once per event */
int evbus_publish_report(evbus *bus, evbus_event *event, int flags, evbus_report_fn fn,
                         void *user); /* one report if accepted, none if refused. EVBUS_EFULL also
                                        when an eighth of the outbox's bounds beyond them (1,024
                                        events at the least) waits for its reports */

/*
 * ---- subscribe ----
 * pattern: "task.created"; "task.*" (one word); "task.>" (one or more); ">" (all but evbus.*);
 *          "glob:task*" (Redis glob)
 * options, as "key=value key=value"; evbus_subscribe(3) tells all of each:
 *  scope=both|local|redis, echo=yes|no
 *          which events: of this process, of others; not this bus's own
 *  deliver=loop|inline|workers, key=type|correlation|source|attr:NAME|all|none
 *          on the loop; in the publisher's thread; on the bus's worker threads, where events of one
 *          key (needs workers; default: type) are handled in order, one at a time, those of
 *          different keys side by side, and with none in no order. Events without the source or
 *          attribute have one key together. The threads are as many as the setting `workers` says
 *          (EVBUS_EINVAL where it is 0); the first such subscription starts them (EVBUS_ESYS if
 *          one does not start)
 *  size=1000, bytes=4MiB, full=drop-oldest|drop-newest|lag
 *          what may wait (loop, workers), and what gives way. lag, the default with history: none,
 *          what others publish is read from Redis when there is room again
 *  limit=N
 *          ends by itself after N handler calls; the handle stays the caller's
 *  from=now|last|all|AGE|TIME|POSITION
 *          begins in the history, then live. EVBUS_ENOTSUP: there is none. Not with group,
 *          scope=local; last not with durable, leader
 *  durable=NAME
 *          goes on where it was under that name, after a restart too: at least once. EVBUS_ENOTSUP
 *          as for from. Not with group, leader, scope=local
 *  group=NAME, retries=5
 *          one exact type, through Redis alone: each event is handled by one member of the group,
 *          at least once. size=64 then: what it may have in hand. What fails is given out again, so
 *          often (setting group.retries), then published as `<type>.dead`. deliver=inline is loop.
 *          EVBUS_ENOTSUP without Redis. Not with claim, leader, poll, from, durable, scope, echo=no
 *  claim=NAME
 *          of all with this name, in whichever process, one handles each event, and has it again if
 *          it fails, or another one. Not with group, leader, poll, deliver=inline, nor for queues
 *  leader=NAME, away=none|last
 *          of all with this name, those of one bus get events: the one that holds the lease on it;
 *          its number is the attribute "evbus.fence". away: who handles own events while Redis is
 *          away. Not with group, claim, durable, from=last, deliver=inline, nor for queues
 *  poll=2s|yes, when=away|always
 *          fn also gets "evbus.poll", to look for itself; yes: as often as the setting
 *          poll.interval says. Not with group, claim, deliver=inline, nor for queues
 * With group, claim and leader an event comes again if its process dies with it: evbus(7), SHARING
 * WORK. drop-oldest drops the oldest of all that waits, whatever its key.
 */
evbus_sub *evbus_subscribe(evbus *bus, const char *pattern, const char *options, evbus_event_fn fn,
                           void *user);
/* fn(user) once, after the last handler call; at once if that is over. */
int evbus_sub_on_free(evbus_sub *sub, evbus_free_fn fn);
/* 0: live (confirmed by Redis, or local only), and with leader= it is known who leads;
 * EVBUS_EDENIED: Redis refused, local events come. Of a group's member: it stands in Redis, nothing
 * published from now on passes it by. */
int evbus_sub_wait(evbus_sub *sub, int timeout_ms);
const char *evbus_sub_pattern(const evbus_sub *sub);
/* "delivered", "failed", "dropped", "queued", "peak", "slow" (1: it dropped an event for want of
 * room, and more than half of its bounds is still taken), "polled" (calls with evbus.poll, which
 * are not among the delivered), "leading" (its fencing number while it leads, else 0); -1 for
 * another name. */
int64_t evbus_sub_stat(const evbus_sub *sub, const char *name);
int evbus_unsubscribe(
    evbus_sub *sub); /* gives the handle back; outside handlers none runs after it */

/* ---- pull: many subscriptions, one bounded queue, one descriptor ---- */
evbus_queue *evbus_queue_open(evbus *bus, const char *options); /* size= bytes= full= */
evbus_sub *evbus_queue_subscribe(evbus_queue *queue, const char *pattern, const char *options,
                                 int64_t tag); /* scope= echo= limit= from= durable= group=
                                                retries= ack=next|call (a group's event is handled
                                                at this thread's next pull, or only by
                                                evbus_event_ack()) */
/* 1: *event is the caller's (evbus_event_unref); 0: none within timeout_ms; EVBUS_ECLOSED: the bus
 * is closed and the queue empty. tag may be NULL. */
int evbus_queue_next(evbus_queue *queue, int timeout_ms, evbus_event **event, int64_t *tag);
int evbus_queue_next_many(evbus_queue *queue, int timeout_ms, evbus_event **events, int64_t *tags,
                          int max);     /* how many, 0 or an error */
int evbus_queue_fd(evbus_queue *queue); /* a socket: readable while not empty; never read it */
int64_t evbus_queue_stat(const evbus_queue *queue,
                         const char *name); /* "queued" "peak" "dropped" "slow" (1 or 0) */
void evbus_queue_free(
    evbus_queue *queue); /* ends its subscriptions; their handles stay to be given back */

/* ---- events ---- */
evbus_event *evbus_event_new(const char *type);
evbus_event *evbus_event_copy(const evbus_event *event); /* unpublished, new id, same correlation */
evbus_event *evbus_event_from_json(const char *json, size_t length); /* an envelope with its type */
evbus_event *evbus_event_ref(evbus_event *event);
void evbus_event_unref(evbus_event *event); /* NULL is fine */
/* Setters copy. EVBUS_EINVAL after publish. */
int evbus_event_set_id(evbus_event *event, const char *id);
int evbus_event_set_version(evbus_event *event, const char *version); /* schema version, "1.0" */
int evbus_event_set_source(evbus_event *event, const char *source);
int evbus_event_set_time_us(evbus_event *event, int64_t unix_us);
int evbus_event_set_correlation(evbus_event *event,
                                const char *id); /* default: the event's own id */
int evbus_event_set_cause(evbus_event *event,
                          const evbus_event *cause); /* its correlation, trace */
int evbus_event_set_json(evbus_event *event, const char *json, size_t length);
int evbus_event_set_bytes(evbus_event *event, const void *bytes,
                          size_t length); /* base64 on the wire */
int evbus_event_set_attr(evbus_event *event, const char *name, const char *value);
int evbus_event_set_ttl(evbus_event *event,
                        int64_t ttl_ms); /* longest wait in the outbox; 0: none */
const char *evbus_event_type(const evbus_event *event);
const char *evbus_event_id(const evbus_event *event); /* UUIDv7 unless given; "" before publish */
const char *evbus_event_version(const evbus_event *event);
const char *evbus_event_source(const evbus_event *event);
const char *
evbus_event_node(const evbus_event *event); /* publishing bus, NULL for foreign events */
const char *evbus_event_correlation(const evbus_event *event);
const char *evbus_event_attr(const evbus_event *event, const char *name); /* NULL: none */
int evbus_event_attr_count(const evbus_event *event);
const char *evbus_event_attr_name(const evbus_event *event, int index);
const char *evbus_event_timestamp(const evbus_event *event); /* RFC 3339, UTC, milliseconds */
int64_t evbus_event_time_us(const evbus_event *event);
int64_t evbus_event_ttl(const evbus_event *event);
const char *evbus_event_data(const evbus_event *event, size_t *length); /* JSON text or bytes, NUL
                                                                           behind; NULL: no data */
int evbus_event_is_json(const evbus_event *event);
int evbus_event_origin(const evbus_event *event); /* EVBUS_ORIGIN_* */
/* Its place in the history, "<ms>-<n>" (a Redis stream id): of what came from Redis, and from its
 * EVBUS_ACKED report on of what was published with one. NULL: none, or not known. */
const char *evbus_event_position(const evbus_event *event);
/* Of a request: Unix time until which it can be answered, INT64_MAX without an end. 0: it is no
 * request. */
int64_t evbus_event_deadline_ms(const evbus_event *event);
char *evbus_event_to_json(const evbus_event *event);

/* Of a delivery to a group (group=), from any thread, by who has a reference; the first answer
 * counts. EVBUS_EINVAL: it is none; EVBUS_ENOENT: it was answered, or given back, before;
 * EVBUS_ECLOSED: the bus is closed, and another member gets the event. */
int evbus_event_attempt(const evbus_event *event); /* 1 for the first; 1, too, where it is none */
int evbus_event_ack(evbus_event *event);           /* it is handled */
int evbus_event_nack(evbus_event *event, int delay_ms); /* failed: again then; -1: as usual */

/*
 * ---- ask and answer ----
 * A request is an event that is published as any other, once, and is never kept in the history; at
 * most one reply to it is delivered. options: timeout=5s (default: the setting request.timeout).
 * 0: fn(reply, error, user) is called once, on the loop: with the first reply; or with NULL and
 * EVBUS_ETIMEDOUT, EVBUS_ENORESPONDER (nobody listens to its type), EVBUS_EREMOTE (a responder
 * refused: evbus_last_error() is its message), EVBUS_ECLOSED (close and free end all that wait), or
 * what kept it from Redis (EVBUS_EFULL, EVBUS_EAWAY, EVBUS_EDENIED, EVBUS_EINVAL: its id waits
 * already). An error: nothing was published, fn is not called. EVBUS_EFULL: request.pending.
 */
int evbus_request_async(evbus *bus, evbus_event *event, const char *options, evbus_reply_fn fn,
                        void *user);
/* The reply, with a reference that is the caller's; NULL: see evbus_last_code(). timeout_ms is at
 * least 1, or -1. */
evbus_event *evbus_request(evbus *bus, evbus_event *event, int timeout_ms);
/* Inside a handler or later, from any thread. The reply, not published yet, gets the request's
 * correlation unless it has one. 0: it is on its way; EVBUS_EINVAL: `request` is none, or its
 * answers go to no asker's channel; EVBUS_ETIMEDOUT: its deadline has passed; EVBUS_EFULL,
 * EVBUS_EAWAY as for publishing. */
int evbus_reply(evbus *bus, const evbus_event *request, evbus_event *reply);
/* Instead of a reply: EVBUS_EREMOTE at the asker, with the first 400 bytes of `message`. */
int evbus_reply_error(evbus *bus, const evbus_event *request, const char *message);

/*
 * ---- history ----
 * query: type=PATTERN limit=50 since=10m until=2026-01-02T03:04:05Z correlation=ID
 *        source=both|redis|local. since, until: an age, a time, a position, now, all. local is what
 * the setting history.local.events keeps in this process. EVBUS_ENOTSUP: the bus has no such
 * source. As the answer may come: EVBUS_EAWAY; EVBUS_EDENIED (a right is missing); EVBUS_EREMOTE
 * (Redis cannot); EVBUS_ETOOBIG (beyond 64 MiB); EVBUS_ECLOSED (the bus was closed meanwhile).
 */
int evbus_history_async(evbus *bus, const char *query, evbus_list_fn fn, void *user);
evbus_list *evbus_history(evbus *bus, const char *query, int timeout_ms); /* newest first */
int evbus_list_count(const evbus_list *list);
evbus_event *evbus_list_at(const evbus_list *list, int index); /* borrowed */
void evbus_list_free(evbus_list *list);                        /* NULL is fine */

/*
 * ---- claims ----
 * A key in Redis that one bus has at a time, for ttl_ms (0: the setting claim.ttl). 1: it is this
 * bus's, anew for the whole ttl_ms if it was before; 0: somebody else's. EVBUS_EAWAY: Redis is
 * away; EVBUS_EDENIED: a right is missing; EVBUS_EFULL: this bus has too many.
 */
int evbus_claim_async(evbus *bus, const char *key, int64_t ttl_ms, evbus_done_fn fn, void *user);
int evbus_claim(evbus *bus, const char *key, int64_t ttl_ms, int timeout_ms);
int evbus_release(evbus *bus,
                  const char *key); /* this bus's alone; never waits. ENOENT: it has not */

/* ---- observation: never blocks ---- */
int64_t evbus_stat(const evbus *bus,
                   const char *name); /* a counter by its name in evbus_stats_json */
char *evbus_stats_json(const evbus *bus);
char *evbus_health_json(const evbus *bus);
int evbus_ready(const evbus *bus); /* 1: may be given traffic (see health.require.redis) */

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
