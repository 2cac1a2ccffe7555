/*
 * redis_script.h - the server-side scripts that keep the history (redis.io/commands/eval): their
 * text, their digest, their place in a command. Loop only.
 *
 * append: publishes several events and adds them to the stream, once each
 *   keys  stream, state, mark of this node, latest of each channel, registry of groups
 *   args  after, first, told (the answers up to that number have come), mark's time to live (ms),
 *         most events, most bytes, number of special ones, {which event, "yes" or "no": to be kept,
 *         "" or the stream and the entry of a group that it settles}..., {channel, envelope without
 *         its last brace}...; entries hold what is published, with the position; those of groups
 *         the same
 *   reply {ms, n, result...}: n of the entry before the first one that was added; a result is the
 *         receivers, -1 (was done before, or what it settles is settled), "KEEP <error>"
 *         (published, but not kept), "GROUP <error>" (a group did not get it), "LOST <error>"
 *         (neither), or why it is, or was before, refused. Or the error ORDER: an event before
 *         these is missing; nothing was done.
 * fence: publishes a fence and tells what the history has
 *   keys  stream, state, latest of each channel
 *   args  channel, text, oldest age (ms), time to live of idle keys (ms)
 *   reply {receivers or why it was refused, epoch, last position, first position or "", length or
 *         -1 (no stream), server's time (ms), entries before this stream was made, position of the
 *         newest that was trimmed: its time may be that of the entry behind it}
 * read: entries from a position on, or back from it
 *   keys  stream, state
 *   args  position to begin with, -1 or 1: which way, where to end, most entries, most bytes
 *   reply {"more" or "end", epoch, last position, entries before this stream was made (only where
 *         the first entry is not the next), {position, channel, envelope}...}, without the inner
 *         brackets; reading back, the three are empty
 * cursor: the place of a durable subscription, and the lease on it
 *   keys  the place
 *   args  owner, place or "" (leaves it), its epoch, "stay" or "leave", lease (ms), time to live
 *         of the key (ms)
 *   reply {1, place or "", epoch or ""}; or, with somebody else's lease, {0, owner, ms left}
 * lease: a key that holds its owner for a time, or "done" (redis_claim.h)
 *   keys  the key
 *   args  "take" (or again: the whole time anew), "done" or "release"; owner, ms
 *   reply {1, owner or "" (the key was free before), 0}; or nothing was done: {0, owner, ms left}
 *         (somebody else's), {2, "done", ms left}
 *
 * Of groups. The registry is a hash: channel -> "group=until group=until", in milliseconds of the
 * server's time, and "" -> "1". A group's stream is <registry>:<group>:<channel>, its entries have
 * e (the envelope) and, those that were given out before, a (attempts so far).
 * member: a group has a living member
 *   keys  registry, stream, the member's own stream that wakes it
 *   args  channel, group, how long it lives without members (ms), channel that tells publishers,
 *         time to live of the member's own stream (ms)
 *   reply {1: the registry had it, 1: the stream had no group, the last entry there ever was, how
 *         many there were, -1: this Redis cannot tell}
 * settle: entries are handled
 *   keys  stream;  args  entry...;  reply  how many were pending
 * requeue: entries are given back, to whoever reads next
 *   keys  stream;  args  {entry, attempts that it had more}...;  reply  how many were pending
 * takeover: the same for all that nobody has claimed for so long, and what was given out and is in
 *         nobody's hand; and deletes consumers that have nothing in hand
 *   keys  stream;  args  idle (ms), most entries, a consumer that is to go, "" for none
 *   reply {entries, consumers}
 * forget: groups whose members have all gone are removed
 *   keys  registry;  args  channel that tells publishers;  reply  {channel, group, entries lost}...
 *         without the inner brackets
 * leader: the lease on a leader's name, and the places that belong to its holder
 *   keys  the lease, those who wait for its end
 *   args  owner, "stay" (it holds it, as far as it knows), "take", "careful" (takes one that was
 *         there before, no new one), "look" (takes none) or "leave", lease (ms), time to live of
 *         the key (ms), a number that the next holder's is above, own channel, what is published
 *         there when the holder leaves, {name of a place, what is to be kept there or "" (leaves
 *         it)}...
 *   reply {1 (goes on) or 2 (is the holder now), fencing number, when the last holder before
 *         renewed it (ms; 0: not known), places...}; or {0, owner or "", its number, ms left}
 */
#ifndef EVB_REDIS_SCRIPT_H
#define EVB_REDIS_SCRIPT_H
#include "buf.h"
#include <stdint.h>

#define EVB_GROUP "evbus" /* Redis's own name of the one group of each stream */

enum evb_script {
    EVB_SCRIPT_APPEND,
    EVB_SCRIPT_FENCE,
    EVB_SCRIPT_READ,
    EVB_SCRIPT_CURSOR,
    EVB_SCRIPT_LEASE,
    EVB_SCRIPT_LEADER,
    EVB_SCRIPT_MEMBER,
    EVB_SCRIPT_SETTLE,
    EVB_SCRIPT_REQUEUE,
    EVB_SCRIPT_TAKEOVER,
    EVB_SCRIPT_FORGET,
    EVB_SCRIPTS
};

struct evb_scripts {
    char digest[EVB_SCRIPTS][41]; /* "": this build has no SHA1, and the text goes each time */
};

void evb_scripts_init(struct evb_scripts *scripts);
/* EVALSHA or, `whole`, EVAL with the text, which Redis knows then. `args`: how many words follow;
 * the first is the number of keys. */
void evb_script_begin(const struct evb_scripts *scripts, struct evb_buf *out,
                      enum evb_script script, bool whole, size_t args);
void evb_script_word(struct evb_buf *out, const char *text, size_t length);
void evb_script_number(struct evb_buf *out, int64_t number);

/* ---- between the files of scripts ---- */

struct evb_script_text {
    const char *text;
    size_t length;
};
extern const struct evb_script_text evb_script_member, evb_script_settle, evb_script_requeue,
    evb_script_takeover, evb_script_forget;

#endif
