/*
 * redis_asks.h - the commands between the events on the publishing connection, and who gets each
 * reply. Redis answers in order: a command's place is told by how many commands for events were
 * written before it. Loop only.
 */
#ifndef EVB_REDIS_ASKS_H
#define EVB_REDIS_ASKS_H
#include "list.h"
#include "redis_link.h"
#include <stdint.h>

/* `reply` NULL: the connection is gone, and with it the answer. */
typedef void (*evb_ask_fn)(const struct evb_reply *reply, void *user);

struct evb_asks {
    struct evb_link *link;   /* fixed after init, borrowed */
    const uint64_t *written; /* fixed after init, borrowed: commands for events on this link */
    struct evb_node list;    /* in the order of their replies */
    size_t count;
};

void evb_asks_init(struct evb_asks *asks, struct evb_link *link, const uint64_t *written);
void evb_asks_lost(struct evb_asks *asks); /* the connection is gone: each is told, in order */
/* The command that follows on the link (or the last one there) has its reply brought to fn. Want of
 * memory ends the connection: replies could not be told apart. False: the link is not up. */
bool evb_asks_expect(struct evb_asks *asks, evb_ask_fn fn, void *user);
/* The same with the command; the words end with NULL. */
bool evb_asks_send(struct evb_asks *asks, const char *const *words, evb_ask_fn fn, void *user);
/* Does the next reply belong to one of these, after `answered` commands for events? */
bool evb_asks_expects(const struct evb_asks *asks, uint64_t answered);
void evb_asks_answer(struct evb_asks *asks, const struct evb_reply *reply); /* brings it */
/* Forgets what was asked for `user`: the replies go to nobody. */
void evb_asks_forget(struct evb_asks *asks, const void *user);

#endif
