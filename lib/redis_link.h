/*
 * redis_link.h - one connection to Redis: hiredis without blocking, on the bus's loop, with this
 * library's own glue to libevent. What is written and what the replies mean is its owner's. Loop
 * only.
 *
 * It stands on hiredis's redisContext, not on redisAsyncContext: the latter drops the connection
 * when one SUBSCRIBE is refused, asserts on frames that a peer may send, and allocates for every
 * command and message; the order of replies, all that it adds, the owner knows better.
 */
#ifndef EVB_REDIS_LINK_H
#define EVB_REDIS_LINK_H
#include "loop.h"
#include "metrics.h"
#include "redis_reply.h"
#include "redis_socket.h"
#include "redis_tls.h"
#include <sys/types.h>
#include <stdint.h>

#define EVB_LINK_FULL (64 * 1024) /* bytes with hiredis beyond which the owner holds back */

struct redisContext;

enum evb_link_stage { EVB_LINK_CLOSED, EVB_LINK_CONNECTING, EVB_LINK_SECURING, EVB_LINK_UP };

struct evb_link;

struct evb_link_hooks { /* a hook may close the link */
    void (*up)(struct evb_link *link, void *user);
    void (*reply)(struct evb_link *link, const struct evb_reply *reply, void *user);
    /* Once for each evb_link_open() that answered 0 and was not closed by the owner. */
    void (*down)(struct evb_link *link, int error, const char *why, void *user);
};

struct evb_link {
    /* fixed after init */
    struct evb_loop *loop;
    struct evb_metrics *metrics;
    const struct evb_link_hooks *hooks;
    void *user;
    const char *name; /* "publisher", "subscriber" */
    size_t max_frame;

    const struct evb_tls *tls; /* borrowed, of this opening; NULL: plaintext */

    struct redisContext *context;      /* owned; NULL: closed */
    struct event *readable, *writable; /* owned */
    void *funcs; /* owned: hiredis's input and output functions, ours among them */
    struct evb_gate gate;
    enum evb_link_stage stage;
    bool secured; /* TLS is under the context */
    bool writable_added;
    bool heard;       /* a byte came */
    bool handing_out; /* a reply, to the hook */
    bool secret;      /* what waits to be written may hold a password */
    ssize_t (*write)(
        struct redisContext *context); /* the one that write_and_wipe() stands before */
    unsigned epoch;       /* counts openings: tells whether a hook closed or reopened it */
    int64_t last_read_us; /* monotonic */
};

void evb_link_init(struct evb_link *link, struct evb_loop *loop, struct evb_metrics *metrics,
                   const char *name, size_t max_frame, const struct evb_link_hooks *hooks,
                   void *user);
/* Starts to connect; up() or down() follows. 0, or EVBUS_ESYS / EVBUS_ENOMEM with a sentence.
 * `tls` (NULL: plaintext) is borrowed; up() comes when the peer is verified. */
int evb_link_open(struct evb_link *link, const struct evb_address *address,
                  const struct evb_tls *tls);
void evb_link_close(struct evb_link *link); /* no hook is called; closed is fine */
void evb_link_drop(struct evb_link *link);  /* in a forked child: the descriptor only */
void evb_link_send(struct evb_link *link, const char *bytes, size_t length);
size_t evb_link_backlog(const struct evb_link *link); /* bytes not in the kernel yet */
void evb_link_flush(struct evb_link *link);
void evb_link_read(struct evb_link *link); /* what is there now: before a deadline judges */
/* Appends a command in RESP; the words end with NULL. */
void evb_link_command(struct evb_link *link, const char *const *words);
void evb_link_fail(struct evb_link *link, int error, const char *why); /* down() at once */
/* What to say more when it does not come up in time; "" for nothing. Static text. */
const char *evb_link_silence(const struct evb_link *link);

#endif
