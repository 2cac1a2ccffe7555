/*
 * redis_reply.h - reply objects of our own for hiredis's reader: from an arena, and through a gate
 * that checks every frame's shape, depth, count and size before anybody acts on it. RESP2 only
 * (redis.io/docs/reference/protocol-spec). Loop only.
 */
#ifndef EVB_REDIS_REPLY_H
#define EVB_REDIS_REPLY_H
#include <stdbool.h>
#include <stddef.h>

struct redisReader;

enum evb_reply_kind {
    EVB_REPLY_STRING,
    EVB_REPLY_STATUS,
    EVB_REPLY_ERROR,
    EVB_REPLY_INTEGER,
    EVB_REPLY_NIL,
    EVB_REPLY_ARRAY
};

struct evb_reply { /* lives until the next one is read */
    enum evb_reply_kind kind;
    long long integer;
    const char *text; /* NUL behind it */
    size_t length;
    size_t count;
    struct evb_reply **item; /* ARRAY */
};

struct evb_arena_block;

enum { EVB_GATE_DEPTH = 4 };

struct evb_gate {
    bool pushes;        /* a subscribing connection: arrays are pushes of a known shape */
    size_t max_bytes;   /* of one frame */
    size_t max_depth;   /* of nested arrays; EVB_GATE_DEPTH unless its owner sets another */
    const char *error;  /* what the peer broke, static text; NULL: nothing */
    size_t frame_bytes; /* of the frame that is being read */
    size_t used;        /* in the newest block */
    struct evb_arena_block *block; /* owned, newest first */
};

extern const char evb_gate_no_memory[]; /* gate.error when no frame is to blame */
void evb_gate_init(struct evb_gate *gate, size_t max_bytes);
void evb_gate_fini(struct evb_gate *gate);
void evb_gate_attach(struct evb_gate *gate, struct redisReader *reader);
void evb_gate_reset(struct evb_gate *gate); /* after each reply: its objects are gone */
/* "message", "pmessage", "subscribe", ...: is the array one of these pushes, whole and well-typed?
 */
bool evb_reply_is_push(const struct evb_reply *reply, const char *kind);
/* The two that come all the time. */
bool evb_reply_is_message(const struct evb_reply *reply);
bool evb_reply_is_pmessage(const struct evb_reply *reply);

#endif
