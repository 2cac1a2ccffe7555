/*
 * demo.h - the parts of `evbus demo`: a throw-away server (demo_server.c), the second process
 * (demo_peer.c), what both processes and the screen tell (demo_watch.c), the story (demo.c). Main
 * thread.
 */
#ifndef DEMO_H
#define DEMO_H
#include "cli.h"
#include <stdatomic.h>
#include <sys/types.h>

/* ---- a redis-server of our own: no TCP port, nothing on disk but a socket and a log ---- */

struct server {
    char folder[88], socket[104], door[104], log[104];
    pid_t pid; /* 0: none runs */
};

int server_prepare(struct server *server); /* the folder; 0, or -1 after a sentence, as all below */
int server_start(struct server *server);   /* comes back when it answers */
void server_kill(struct server *server);   /* kill -9 */
/* `door` leads to `socket` while it is open: a bus that dials it finds no server while it is
 * closed. */
int server_open_door(struct server *server);
void server_close_door(struct server *server);
void server_remove(struct server *server); /* ends it and leaves nothing behind */

/* ---- the second process: lines on its stdout tell what it saw ---- */

struct peer {
    pid_t pid; /* 0: none runs */
    int to, from;
};

int peer_start(struct peer *peer, const char *socket);
void peer_stop(struct peer *peer);
evbus *demo_open(const char *name,
                 const char *socket); /* only what the demo sets, no environment */

/* ---- what is seen ---- */

enum { TICKS_MAX = 1024, GAPS_MAX = 16, TAG_DEMO, TAG_TICK, TAG_SYSTEM };

struct numbered { /* what a receiver saw of events numbered from 1 */
    int64_t received, missing, doubles, last;
};

struct gap {
    int64_t from_us, to_us;
};

struct watch {
    struct cli *cli;
    evbus *bus;
    evbus_queue *queue;
    struct peer *peer;

    bool live;             /* a line that is written over stands on the screen */
    bool connected;        /* by evbus.mode */
    int64_t since_us;      /* when it was so for the first time */
    struct numbered local; /* this process's subscriber */
    struct gap gaps[GAPS_MAX];
    int gap_count;
    bool tick_came[TICKS_MAX];
    int64_t tick_us[TICKS_MAX]; /* when the peer published it */
    int64_t tick_sent, tick_received, tick_doubles;

    char line[256]; /* of the peer's */
    size_t line_length;
    bool peer_ready, peer_reported;
    int peer_gaps;
    struct numbered remote; /* the peer's subscriber, as it reported */

    _Atomic int64_t acked, lost; /* counted on the loop */
};

void numbered_see(struct numbered *numbered, int64_t number);
/* Looks at everything for up to `ms`. 0, or -1: a signal came or the peer is gone. */
int watch_pump(struct watch *watch, int64_t ms);
/* Until done(watch), at most `ms`; -1 after a sentence that says what did not come. */
int watch_until(struct watch *watch, bool (*done)(const struct watch *watch), int64_t ms,
                const char *what);

void say_title(struct watch *watch, int number, const char *text);
void say(struct watch *watch, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void say_bar(struct watch *watch, const char *label, int64_t value,
             int64_t full); /* written over */

#endif
