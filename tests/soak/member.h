/*
 * member.h - a process of a soak run: this program once more, as "<program> publisher|subscriber
 * INDEX BASE PUBLISHERS LANES RATE SEED KEY=VALUE...", with a bus of its own that takes these
 * settings. It writes its ledger at BASE, says "live", and then answers a line for each it reads:
 *
 *   settle MS     is it connected within that time: 1 or 0
 *   received      how many events its subscriptions had
 *   lacking       how many marks they have still to get
 *   end           writes its counters down and ends
 *   go | count | stop | mark      a publisher: starts; how many it published; ends and flushes;
 *                                 publishes a mark of each lane and type, which is what shows
 *                                 that everything before it has come
 */
#ifndef SOAK_MEMBER_H
#define SOAK_MEMBER_H
#include "soak/ledger.h"
#include <evbus.h>
#include <stdatomic.h>

enum {
    MEMBER_TYPES = 5,
    MEMBER_STREAMS = 4,
    MEMBER_OTHERS = 2,
    MEMBER_ALL = (1 << MEMBER_TYPES) - 1
};
extern const char *const member_types[MEMBER_TYPES];

#define MEMBER_ROOMY "size=10000000 bytes=4GiB" /* a subscription that its limit drops nothing of */

struct member_stream {
    struct member *member;
    int id;
    unsigned types;
    bool local;
    evbus_sub *sub;     /* owned */
    evbus_queue *queue; /* owned; NULL: a handler of its own */
    atomic_int marks;
};

struct member { /* fixed after member_open() but for what is atomic */
    int index, publishers, lanes, rate;
    unsigned seed;
    evbus *bus;                       /* owned */
    evbus_sub *others[MEMBER_OTHERS]; /* owned: to gaps, modes */
    struct ledger ledger;
    struct member_stream streams[MEMBER_STREAMS];
    int stream_count;
    atomic_llong received;
};

/* Opens ledger and bus, connects, listens to gaps; false: no such luck, said on standard error. */
bool member_open(struct member *member, int argc, char **argv);
bool member_is_publisher(const struct member *member);
/* A subscription whose events go into the ledger. `queue`: pulled by member_pulled(), or NULL. */
bool member_subscribe(struct member *member, const char *name, const char *pattern,
                      const char *options, unsigned types, evbus_queue *queue);
void member_note(struct member_stream *stream, const evbus_event *event);
/* Answers the common lines; the others go to obey(): what to answer, -1 for an unknown one. */
void member_serve(struct member *member, long long (*obey)(const char *line));
int member_end(struct member *member); /* the process's exit status */

/* The main() of such a process if argv asks for one: its exit status, else -1. */
int member_main(int argc, char **argv);
int publisher_main(struct member *member);
int subscriber_main(struct member *member);

#endif
