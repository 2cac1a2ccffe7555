/*
 * redis_reader.h - reads the history from a position on, until nothing is left, and joins what
 * comes live without a hole or a double: what arrives while a page is asked for is held back, and
 * belongs behind the page if that was the last one. Entries are counted in their positions, so that
 * a jump tells that some are missing. Loop only.
 */
#ifndef EVB_REDIS_READER_H
#define EVB_REDIS_READER_H
#include "redis_stream.h"

struct evb_jump {                 /* between what was handed out and what is there */
    struct evb_position from, to; /* `to` is the next entry that is there, or will be */
    const char *was, *epoch;      /* of `from` ("": not known), and of the stream now */
    uint64_t begun;               /* entries before it was made; 0, too, if nobody can tell */
};

struct evb_reader_hooks { /* each may stop the reader, or start it elsewhere */
    /* An entry, in the order of positions. */
    void (*entry)(struct evb_position at, const struct evb_reply *channel,
                  const struct evb_reply *envelope, void *user);
    void (*held)(evbus_event *event, void *user); /* one that was held back; borrowed */
    /* How many entries may come next; 0: none until evb_reader_go(). */
    int64_t (*room)(void *user);
    void (*jump)(const struct evb_jump *jump, void *user);
    void (*live)(void *user); /* from now on what arrives is next */
    /* Redis refuses to be read: to be skipped or stopped. */
    void (*failed)(const char *error, void *user);
};

struct evb_reader {
    /* fixed after init */
    struct evb_stream *stream;
    struct evb_asks *asks;
    const struct evb_reader_hooks *hooks;
    void *user;

    struct evb_position at;     /* up to here all was handed out */
    bool exact;                 /* the next entry is the next number; else `at` is only a time */
    char epoch[EVB_EPOCH_TEXT]; /* of `at`; "": not known */
    bool inside;                /* `at` was read on the connection `link`: what follows is next */
    unsigned link;
    bool running;       /* from start to live, failed or stop */
    bool asked;         /* a page is under way */
    unsigned run;       /* counts starts and stops */
    evbus_event **held; /* owned array of refs, in the order they came */
    size_t held_count, held_room;
    int64_t held_bytes;
    bool overflow; /* more came than may be held: another page will bring it */
};

void evb_reader_init(struct evb_reader *reader, struct evb_stream *stream, struct evb_asks *asks,
                     const struct evb_reader_hooks *hooks, void *user);
/* Behind `at`, of `epoch`. */
void evb_reader_start(struct evb_reader *reader, struct evb_position at, bool exact,
                      const char *epoch);
void evb_reader_go(struct evb_reader *reader);   /* there is room again, or a link again */
void evb_reader_stop(struct evb_reader *reader); /* no hook is called any more */
/* Reads no more: what was held back comes, then live(). */
void evb_reader_skip(struct evb_reader *reader);
/* A positioned event arrived while it runs: it comes by `held`, or as an entry. */
void evb_reader_hold(struct evb_reader *reader, evbus_event *event);

#endif
