/*
 * acl.h - what a user lacks by Redis's access list
 * (redis.io/docs/latest/operate/oss_and_stack/management/security/acl): read from a refusal, and
 * named as the rule that grants it.
 */
#ifndef EVB_ACL_H
#define EVB_ACL_H
#include "log.h"
#include <stdbool.h>
#include <stddef.h>

enum { EVB_RIGHT_TEXT = 400 }; /* room for a right's name */

enum evb_right {
    EVB_RIGHT_BOTH, /* the refusal does not tell which of the two */
    EVB_RIGHT_COMMAND,
    EVB_RIGHT_CHANNEL
};

enum evb_channel_kind {
    EVB_CHANNEL_EXACT,
    EVB_CHANNEL_PATTERN, /* of PSUBSCRIBE: Redis wants it granted word for word */
    EVB_CHANNEL_PREFIX   /* all that begin so */
};

struct evb_need { /* of a command with a channel; borrowed texts */
    enum evb_right right;
    const char *command; /* "publish" */
    enum evb_channel_kind kind;
    const char *channel;
    size_t length;
};

/* Pure; any thread. */
bool evb_acl_refuses(const char *error); /* is it an access list's refusal? */
/* Which right a refusal is about; its words differ between versions of Redis. */
enum evb_right evb_acl_right(const char *error);
/* "+publish", "&evbus:events:a", "+publish and &evbus:events:a"; cut to the room. */
void evb_acl_name(char *out, size_t room, const struct evb_need *need);

/* Rights without which the link lives on. */
enum evb_lack {
    EVB_LACK_NAME,
    EVB_LACK_PING,
    EVB_LACK_ROLE,
    EVB_LACK_UNSUBSCRIBE,
    EVB_LACK_PUNSUBSCRIBE,
    EVB_LACK_FENCE,
    EVB_LACK_GROUPS,
    EVB_LACK_CONTROL,
    EVB_LACKS
};

struct evb_lacks { /* one pair of connections'; loop only */
    struct evb_log *log;
    unsigned told; /* bits: those that this pair has logged */
};

/* Logs, once, which right is missing and what is lost without it. `right` NULL: the table's. */
void evb_lacks_tell(struct evb_lacks *lacks, enum evb_lack lack, const char *right);

#endif
