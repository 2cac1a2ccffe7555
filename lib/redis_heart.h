/*
 * redis_heart.h - proof that the pair lives: heartbeats and their fence. Loop only.
 *
 * A fence is published behind everything before it and comes back on the subscribing connection:
 * then both live, delivery works, and all that was published before has arrived.
 */
#ifndef EVB_REDIS_HEART_H
#define EVB_REDIS_HEART_H
#include "redis_stream.h"
#include "redis_subs.h"

struct evb_fence {
    uint64_t number; /* of the last one published */
    int64_t sent_us; /* Unix time; 0: none yet on this connection */
    int64_t sent_mono_us;
    int64_t answered_ms; /* monotonic; 0: no reply to its PUBLISH yet */
    bool arrived;
    bool no_inbox;        /* the user may not subscribe to it: PING alone judges */
    bool refused;         /* the user may not publish it; the next heartbeat asks again */
    enum evb_right right; /* REFUSED: which one is missing */
    bool put_off;         /* not published, for now: the next heartbeat brings another one */
    bool anew;            /* not published: another one is to go at once */
    bool with_history;    /* sent by the history's script */
    int64_t proven_us;    /* Unix time: all that was published before has arrived */
    int64_t proven_mono_us;
};

struct evb_heart {
    /* fixed after init */
    const char *inbox;         /* this node's own channel */
    struct evb_stream *stream; /* borrowed: fences tell what it holds, where it is kept */
    evb_ask_fn on_role, on_fence;
    void *user;

    struct evb_fence fence;
    int64_t beat_us; /* monotonic: when the last heartbeat went out */
    int64_t rtt_us;  /* -1: unknown */
};

enum evb_verdict { EVB_ALIVE, EVB_WAIT, EVB_DEAD };

/* The replies to HELLO, asked again for the role, and to the fence go to these two. */
void evb_heart_init(struct evb_heart *heart, const char *inbox, struct evb_stream *stream,
                    evb_ask_fn on_role, evb_ask_fn on_fence, void *user);
void evb_heart_reset(struct evb_heart *heart); /* the connections are gone */
void evb_heart_fence(struct evb_heart *heart, struct evb_asks *asks);
/* HELLO for the role, and a PING: both links have something to answer. */
void evb_heart_probe(struct evb_heart *heart, struct evb_asks *asks, struct evb_subs *subs);
/* A probe and a new fence; the last one was judged. */
void evb_heart_beat(struct evb_heart *heart, struct evb_asks *asks, struct evb_subs *subs);
void evb_heart_round_trip(struct evb_heart *heart); /* the reply to a heartbeat's HELLO came */
/* Logs that `command` with this node's own channel is refused. */
void evb_heart_tell(const struct evb_heart *heart, struct evb_lacks *lacks, const char *command,
                    enum evb_right right);
/* The reply to a fence. 0, or an error with a sentence. */
int evb_heart_answered(struct evb_heart *heart, const struct evb_reply *reply, char *why,
                       size_t room);
bool evb_heart_is_fence(const struct evb_reply *payload); /* by its looks */
bool evb_heart_arrived(struct evb_heart *heart,
                       const struct evb_reply *payload); /* the last one? */
/* Both links were just read. DEAD: `why` tells; WAIT: the fence is under way, probe and
 * look again after limit_ms. */
enum evb_verdict evb_heart_judge(const struct evb_heart *heart, const struct evb_link *publisher,
                                 const struct evb_link *subscriber, int64_t limit_ms, char *why,
                                 size_t room);

#endif
