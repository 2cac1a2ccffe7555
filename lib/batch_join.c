/*
 * batch_join.c - from a publisher to a batch. Publisher's thread.
 *
 * A member's room is reserved among the outbox's reports, in a bus without Redis too; its batch
 * takes that over (batch.c), so that no limit refuses later what was accepted here.
 */
#include "batch_join.h"
#include "clock.h"
#include "codec.h"
#include "err.h"
#include "json.h"
#include "pool.h"
#include <string.h>

enum { TYPE_MOST = EVB_TYPE_MAX - (int)sizeof EVB_BATCH_SUFFIX + 1 };

/* As deep as its data stands in a batch, for is_too_deep(). */
#define IN_FRONT "[["
#define BEHIND   "]]"

static size_t room_for(size_t guess)
{
    return sizeof(struct evb_batched) + sizeof IN_FRONT + guess + sizeof BEHIND;
}

/* Member and envelope in one block; NULL: no memory, or the guess was too low. */
static struct evb_batched *encode(evbus_event *event, size_t guess)
{
    const size_t start = sizeof(struct evb_batched) + sizeof IN_FRONT - 1;
    struct evb_batched *member = evb_pool_take(room_for(guess), NULL);
    struct evb_buf buf = {
        .data = (char *)member, .length = start, .room = room_for(guess), .fixed = true};
    if (!member)
        return NULL;
    evb_codec_write_plain(&buf, event);
    size_t length = buf.length - start;
    evb_buf_text(&buf, BEHIND);
    if (buf.failed) {
        evb_pool_give(member);
        return NULL;
    }
    *member = (struct evb_batched){.envelope = buf.data + start, .length = length};
    memcpy(buf.data + sizeof *member, IN_FRONT, sizeof IN_FRONT - 1);
    return member;
}

/* Its data is JSON, and yet would make a batch that readers refuse. */
static bool is_too_deep(const struct evbus *bus, const evbus_event *event,
                        const struct evb_batched *member)
{
    if (bus->check == EVB_CHECK_NEVER || !event->is_json ||
        event->data.length < 2 * (EVB_JSON_DEPTH - EVB_BATCH_LEVELS))
        return false;
    return evb_json_check(member->envelope - (sizeof IN_FRONT - 1),
                          member->length + sizeof IN_FRONT + sizeof BEHIND - 2, NULL) != NULL;
}

static int check_member(const struct evbus *bus, const evbus_event *event,
                        const struct evb_batched *member)
{
    size_t length = member->length + 1 + EVB_BATCH_FRAME;
    if (length > bus->max_data)
        return evb_fail(EVBUS_ETOOBIG,
                        "a batch of this event alone has %zu bytes of data: event.max.bytes "
                        "allows %zu",
                        length, bus->max_data);
    if (is_too_deep(bus, event, member))
        return evb_fail(EVBUS_EINVAL, "data is nested deeper than %d levels, the most in a batch",
                        EVB_JSON_DEPTH - EVB_BATCH_LEVELS);
    return 0;
}

static int add(struct evbus *bus, evbus_event *event, int flags, struct evb_batched *member)
{
    bool look;
    int rc = evb_accumulator_add(&bus->batches, event->type, flags & ~EVBUS_BATCH, member,
                                 evb_clock_mono_ms(), &look);
    if (look)
        evb_loop_post(&bus->loop, &bus->batch_job);
    return rc;
}

/* Of a frozen event; `size` bytes are reserved. */
static int encode_and_add(struct evbus *bus, evbus_event *event, int flags,
                          const struct evb_handover *way, size_t size)
{
    struct evb_batched *member = NULL;
    size_t guess = evb_codec_size(event);
    for (int i = 0; !member && i < 3; i++, guess *= 3) /* quoting may need more */
        member = encode(event, guess);
    if (!member)
        return evb_fail_memory();
    int rc = check_member(bus, event, member);
    member->size = size;
    member->report = way->report;
    member->user = way->user;
    member->event = way->report ? evbus_event_ref(event) : NULL;
    if (rc == 0)
        rc = add(bus, event, flags, member);
    if (rc != 0)
        evb_batched_free(member);
    return rc;
}

int evb_batch_join(struct evbus *bus, evbus_event *event, int flags, const struct evb_handover *way)
{
    struct evb_outbox *outbox = &bus->redis.outbox;
    size_t guess = evb_codec_size(event);
    size_t size = evb_pool_room(room_for(guess)) + guess; /* it is there while its batch is made */
    int rc = evb_bus_check(bus, false);
    if (rc != 0)
        return rc;
    if (event->type.length > TYPE_MOST)
        return evb_fail(EVBUS_EINVAL,
                        "a type of %u bytes: at most %d, to have \"" EVB_BATCH_SUFFIX
                        "\" behind it",
                        event->type.length, TYPE_MOST);
    if (way->report)
        size += event->size;
    if (!evb_outbox_admit_report(outbox, size))
        return evb_fail(EVBUS_EFULL, "so many events wait in batches, or for their reports, "
                                     "already (outbox.events, outbox.bytes)");
    if ((rc = evb_event_freeze(event, bus->node, bus->source)) == 0) {
        if ((rc = encode_and_add(bus, event, flags, way, size)) == 0) {
            evb_count(&bus->metrics, EVB_COUNT_batched, 1);
            return EVBUS_SENT_BATCH;
        }
        evb_event_thaw(event);
    }
    evb_outbox_release_report(outbox, size);
    return rc;
}
