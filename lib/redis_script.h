/*
 * redis_script.h - the server-side scripts that keep the history (redis.io/commands/eval): their
 * text, their digest, their place in a command. Loop only.
 *
 * append: publishes several events and adds them to the stream, once each
 *   keys  stream, state, mark of this node, latest of each channel
 *   args  after, first, mark's time to live (ms), most events, most bytes, {channel, envelope
 *         without its last brace}...; entries hold what is published, with the position
 *   reply {ms, n, result...}: n of the entry before the first one that was added; a result is the
 *         receivers, -1 (was done before), "KEEP <error>" (published, but not kept), or why it was
 *         refused. Or the error ORDER: an event before these is missing; nothing was done.
 * fence: publishes a fence and tells what the history has
 *   keys  stream, state, latest of each channel
 *   args  channel, text, oldest age (ms), time to live of idle keys (ms)
 *   reply {receivers or why it was refused, epoch, last position, first position or "", length or
 *         -1 (no stream), server's time (ms), entries before this stream was made}
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
 * lease: the lease on a leader's name, and the places that belong to its holder
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

enum evb_script {
    EVB_SCRIPT_APPEND,
    EVB_SCRIPT_FENCE,
    EVB_SCRIPT_READ,
    EVB_SCRIPT_CURSOR,
    EVB_SCRIPT_LEASE,
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

#endif
