/*
 * codec.h - the envelope: a writer of its own and a scanner of its own; one pass each.
 * Keys in this order: node local seq eventId type version timestamp ttl source correlationId
 * replyTo inReplyTo error deadline attrs data|dataBase64. Written on the publisher's thread, read
 * on the loop.
 *
 * What a reader takes for an envelope: an object with data, payload, metadata (the first of these
 * that is there is the data) or dataBase64; or with specversion; or with eventId, type and version.
 * So an event without data has no data key on the wire, and comes back without data. Any other
 * object is itself the data, and nothing is read out of it.
 */
#ifndef EVB_CODEC_H
#define EVB_CODEC_H
#include "buf.h"
#include "event.h"

#define EVB_SEQ_WIDTH 16 /* digits, padded with spaces: JSON knows no leading zeros */

/* Appends the envelope of a frozen event; the seq slot is left blank (all spaces but a 0 at its
 * end), *seq_at is its offset in `out`. `local`: its node has delivered it to its own subscribers.
 */
void evb_codec_write(struct evb_buf *out, evbus_event *event, bool local, size_t *seq_at);
/* The same as one that goes not to Redis by itself: without node, local and seq. */
void evb_codec_write_plain(struct evb_buf *out, evbus_event *event);
void evb_codec_write_seq(char *slot, uint64_t seq);
size_t evb_codec_size(const evbus_event *event); /* upper guess of what evb_codec_write() appends */

/* Is this an envelope that `node` (EVB_NODE_LENGTH bytes) wrote and delivered itself? Looks at the
 * first bytes only. 1 and its seq, or 0. */
int evb_codec_is_echo(const char *text, size_t length, const char *node, uint64_t *seq);

/* The position at the very end of such an envelope, without a look at the rest. False: none. */
bool evb_codec_position(const char *text, size_t length, struct evb_position *position);

enum {
    EVB_READ_CHECK = 1, /* check data's JSON; without it data of evbus's own envelopes is all that
                           stands between its key and the last brace, unseen */
    EVB_READ_TYPE = 2,  /* the type stands inside */
    EVB_READ_REPLY = 4  /* an object with inReplyTo is an envelope, whatever it lacks */
};

/*
 * Reads what came on a channel. `type` is the channel's, which decides whatever the body says
 * (EVB_READ_TYPE: NULL, and the body's counts). *out is a frozen event (EVBUS_ORIGIN_REDIS).
 * What is no JSON object becomes bytes. EVBUS_EPARSE (broken JSON object, duplicate or wrongly
 * typed envelope key), EVBUS_ETOOBIG (data above max_data) or EVBUS_ENOMEM, with *why a static
 * text.
 *
 * Other names are understood: id (beside a type only: elsewhere it is the subject's, not the
 * event's) and event_id for eventId, time for timestamp, correlation_id and correlationid,
 * data_base64, and Go's Type, Timestamp, Data. A known key that is null is absent, but for data.
 * Strings under unknown keys become attributes, as do a node that is no evbus node's and a
 * timestamp that is not RFC 3339; other unknown values are let go. Beyond EVB_ATTR_MAX attributes,
 * or too long, they are let go, too.
 *
 * replyTo makes a request, inReplyTo a reply; deadline counts beside the one, error beside the
 * other. Elsewhere, or where they cannot be what they say, they are as unknown keys.
 */
int evb_codec_read(const char *text, size_t length, const char *type, size_t type_length,
                   size_t max_data, unsigned flags, evbus_event **out, const char **why);

#endif
