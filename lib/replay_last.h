/*
 * replay_last.h - the latest event of each type that one subscription's pattern matches
 * (from=last), oldest first, as of one place in the history: whoever started it reads on behind
 * that place, and finds there what types got since. Loop only, but for new, free and wait. Lock:
 * the registry's.
 */
#ifndef EVB_REPLAY_LAST_H
#define EVB_REPLAY_LAST_H
#include "route.h"

enum { EVB_LAST_TYPES = 65536 }; /* of more, the newest */

enum evb_last_step {
    EVB_LAST_STOPPED,
    EVB_LAST_PLACING, /* asks where the history ends */
    EVB_LAST_FINDING, /* asks where each type's latest is */
    EVB_LAST_READING
};

struct evb_last {
    /* fixed after new */
    evbus_sub *sub; /* borrowed */
    /* It has come to its end and has stopped. `error`: Redis refuses; else NULL. */
    void (*done)(const char *error, void *user);
    void *user;

    enum evb_last_step step;
    bool placed;
    bool settled;               /* under lock: placed, or stopped */
    struct evb_position at;     /* the place; once placed */
    struct evb_position oldest; /* that was there then */
    char epoch[EVB_EPOCH_TEXT]; /* of the history then */
    char cursor[24];            /* of HSCAN; "0": at its beginning */
    struct evb_position *found; /* owned; READING: ascending */
    size_t count, room;
    size_t next;    /* those before it were offered, or are gone */
    unsigned asked; /* replies under way */
    bool crowded;   /* there are more types than may be found */
};

struct evb_last *evb_last_new(evbus_sub *sub, void (*done)(const char *error, void *user),
                              void *user); /* NULL: no memory */
void evb_last_free(struct evb_last *last); /* stopped, or never started; NULL is fine */
void evb_last_start(struct evb_last *last);
/* Until its place is known: what is published then is behind it. False: the time is up. */
bool evb_last_wait(struct evb_last *last, int64_t deadline_ms);
/* There is room again, a link again, or the pattern is live. The place stays, and what was
 * delivered is delivered. */
void evb_last_go(struct evb_last *last);
void evb_last_stop(struct evb_last *last); /* nothing is called any more; stopped is fine */

#endif
