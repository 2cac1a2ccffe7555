/*
 * accumulator.h - the open batches: events that wait to be published together, by type and publish
 * flags. Knows no bus: who adds is told when somebody has to look, who looks takes what is closed,
 * in the order in which it was closed. Lock: one (a leaf), held for a look-up and some pointers.
 * Any thread.
 */
#ifndef EVB_ACCUMULATOR_H
#define EVB_ACCUMULATOR_H
#include "event.h"
#include "list.h"
#include "map.h"
#include "match.h"
#include <pthread.h>

#define EVB_BATCH_SUFFIX ".batch"
#define EVB_BATCH_FRAME  64 /* bytes of a batch's data besides its members, at most */

enum {
    EVB_BATCH_TYPES = 1000, /* open batches */
    EVB_BATCH_LEVELS = 3    /* of JSON, that a member's data stands deeper in a batch */
};

struct evb_batched { /* one event in a batch; a block of evb_pool_take() */
    struct evb_batched *next;
    evbus_event *event; /* ref, where a report is asked for; else NULL */
    evbus_report_fn report;
    void *user;
    size_t size; /* bytes reserved for it */
    size_t length;
    const char *envelope; /* in the member's own memory */
};

enum evb_batch_trigger {
    EVB_BATCH_BY_SIZE,
    EVB_BATCH_BY_BYTES,
    EVB_BATCH_BY_INTERVAL,
    EVB_BATCH_BY_FLUSH
};

struct evb_batch {
    struct evb_node node; /* open or closed */
    int flags;            /* how its members asked to be published */
    enum evb_batch_trigger trigger;
    int64_t closes_ms; /* monotonic */
    struct evb_batched *first, **end;
    int64_t count;
    size_t length; /* at most what its data will have */
    size_t size;   /* bytes reserved for its members */
    size_t key_length;
    char key[EVB_TYPE_MAX + 1]; /* flags and type */
};

struct evb_accumulator {
    /* fixed after init */
    int64_t max_events, interval_ms;
    size_t max_length;

    pthread_mutex_t lock;
    /* under lock */
    struct evb_map open;            /* by flags and type */
    struct evb_node by_age, closed; /* oldest first */
    size_t closed_count;
    bool ended; /* takes nothing more */
    bool told;  /* somebody will look */
    bool timed; /* and in time for the oldest open one */

    _Atomic int64_t waiting; /* events in batches, open and closed */
};

void evb_accumulator_init(struct evb_accumulator *acc); /* the limits are set by the caller */
void evb_accumulator_fini(struct evb_accumulator *acc);
/* Takes `member`, whose length is at most that of an event's data: it is its own batch if it is
 * above max_length. *look: the caller has to see to it that evb_accumulator_due() is called; also
 * with an error. 0; or EVBUS_EFULL (EVB_BATCH_TYPES), EVBUS_ECLOSED, EVBUS_ENOMEM: the member is
 * still the caller's. */
int evb_accumulator_add(struct evb_accumulator *acc, struct evb_text type, int flags,
                        struct evb_batched *member, int64_t now_ms, bool *look);
/* Closes what has waited for the interval. `told`: the look that was asked for. When to look again
 * without being told (monotonic); INT64_MAX: never. */
int64_t evb_accumulator_due(struct evb_accumulator *acc, int64_t now_ms, bool told);
/* Closes all, and answers how many are closed then. `end`: and nothing is taken any more. */
size_t evb_accumulator_close(struct evb_accumulator *acc, bool end);
struct evb_batch *evb_accumulator_take(struct evb_accumulator *acc); /* NULL: none is closed */
/* True: there are closed ones, and the caller looks again soon. */
bool evb_accumulator_is_left(struct evb_accumulator *acc);

struct evb_text evb_batch_type(const struct evb_batch *batch); /* its members'; without a NUL */
/* Its data, {"events":[<envelope>,...],"count":n}, and how many bytes that has. */
size_t evb_batch_length(const struct evb_batch *batch);
void evb_batch_write(const struct evb_batch *batch, char *out);
/* Lets go of members whom nobody asks about; answers the bytes reserved for the others. */
size_t evb_batch_keep_asking(struct evb_batch *batch);
void evb_batch_free(struct evb_batch *batch);
void evb_batched_free(struct evb_batched *member);

#endif
