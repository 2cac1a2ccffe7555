/*
 * redis_subs.h - the channels and patterns on the subscribing connection: what is wanted, what was
 * asked, what Redis confirmed or refused (redis.io/commands/subscribe, psubscribe). Each is asked
 * by a command of its own, so that a refusal names its channel. Loop only.
 */
#ifndef EVB_REDIS_SUBS_H
#define EVB_REDIS_SUBS_H
#include "acl.h"
#include "list.h"
#include "map.h"
#include "redis_link.h"

enum evb_topic_state { EVB_TOPIC_NEW, EVB_TOPIC_LIVE, EVB_TOPIC_REFUSED };

struct evb_topic { /* one channel or pattern */
    bool pattern;
    bool wanted;
    int asked; /* commands without an answer */
    enum evb_topic_state state;
    enum evb_right lacks; /* REFUSED: what is missing */
    size_t length;
    char name[];
};

struct evb_subs {
    struct evb_map channels, patterns; /* name -> struct evb_topic, owned */
    struct evb_node asks;              /* commands in the order of their replies */
    uint64_t changes;                  /* counts what may change evb_subs_matching() */
    size_t pending;                    /* wanted and neither confirmed nor refused */
    bool put_off;                      /* some were refused for now, and are to be asked again */
    struct evb_link *link;             /* borrowed; NULL: not signed in */
    void (*decided)(const struct evb_topic *topic, void *user); /* LIVE or REFUSED */
    void (*lacks)(enum evb_lack lack, void *user); /* the answer was that this is not allowed */
    void *user;
};

void evb_subs_init(struct evb_subs *subs,
                   void (*decided)(const struct evb_topic *topic, void *user),
                   void (*lacks)(enum evb_lack lack, void *user), void *user);
/* The right that a refused one needs, in words. */
void evb_topic_lacks(const struct evb_topic *topic, char *out, size_t room);
void evb_subs_fini(struct evb_subs *subs);
int evb_subs_add(struct evb_subs *subs, const char *name, size_t length, bool pattern);
void evb_subs_remove(struct evb_subs *subs, const char *name, size_t length, bool pattern);
/* How many of them Redis counts as receivers of what is published on this channel: the channel, and
 * each pattern that matches. Exact for a command between two moments with the same `changes`. */
int64_t evb_subs_matching(struct evb_subs *subs, const char *channel, size_t length);
void evb_subs_start(struct evb_subs *subs, struct evb_link *link); /* asks for all that is wanted */
void evb_subs_again(struct evb_subs *subs); /* asks once more for what was refused */
void evb_subs_reset(struct evb_subs *subs); /* the link is gone: all is open again */
int evb_subs_ping(struct evb_subs *subs);   /* and asks once more for what was refused for now */
/* A reply that is no message. 0, or an error with a sentence: the connection cannot be trusted.
 * EVBUS_EAWAY: a subscription was refused for now, which may wait. */
int evb_subs_reply(struct evb_subs *subs, const struct evb_reply *reply, char *why, size_t room);

#endif
