/*
 * redis_reader.h - reads the history from a position on, until nothing is left, and joins what
 * comes live without a hole or a double: what arrives while a page is asked for is held back, and
 * belongs behind the page if that was the last one. Loop only.
 */
#ifndef EVB_REDIS_READER_H
#define EVB_REDIS_READER_H
#include "redis_stream.h"

struct evb_reader_hooks { /* each may stop the reader */
    /* An entry, in the order of positions. */
    void (*entry)(struct evb_position at, const struct evb_reply *channel,
                  const struct evb_reply *envelope, void *user);
    void (*held)(evbus_event *event, void *user); /* one that was held back; borrowed */
    /* How many entries may come next; 0: none until evb_reader_go(). */
    int64_t (*room)(void *user);
    void (*missing)(void *user); /* the entry that was expected to be the first is not there */
    void (*live)(void *user);    /* from now on what arrives is next */
    void (*failed)(const char *error, void *user); /* Redis refuses to be read */
    /* The one that is next does not follow `at`: what was between is gone. None is next: neither is
     * `at` there any more. NULL: nobody minds. */
    void (*hole)(struct evb_position next, void *user);
};

struct evb_reader {
    /* fixed after init */
    struct evb_stream *stream;
    struct evb_asks *asks;
    const struct evb_reader_hooks *hooks;
    void *user;

    struct evb_position at; /* up to here all was handed out */
    bool expect;            /* an entry at `at` is to be the first */
    bool running;           /* from start to live, failed or stop */
    bool asked;             /* a page is under way */
    unsigned run;           /* counts starts and stops */
    evbus_event **held;     /* owned array of refs, in the order they came */
    size_t held_count, held_room;
    int64_t held_bytes;
    bool overflow; /* more came than may be held: another page will bring it */
};

void evb_reader_init(struct evb_reader *reader, struct evb_stream *stream, struct evb_asks *asks,
                     const struct evb_reader_hooks *hooks, void *user);
void evb_reader_start(struct evb_reader *reader, struct evb_position at, bool expect);
void evb_reader_go(struct evb_reader *reader);   /* there is room again, or a link again */
void evb_reader_stop(struct evb_reader *reader); /* no hook is called any more */
void evb_reader_skip(struct evb_reader *reader); /* live at once, after what was held back */
/* A positioned event arrived while it runs: it comes by `held`, or as an entry. */
void evb_reader_hold(struct evb_reader *reader, evbus_event *event);

#endif
