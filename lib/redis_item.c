/* redis_item.c - from an event to a command. Any thread; freed on the loop. */
#include "redis_item.h"
#include "alloc.h"
#include "codec.h"
#include "pool.h"
#include <stdlib.h>
#include <string.h>

#define HEAD "*3\r\n$7\r\nPUBLISH\r\n"

void evb_item_init(struct evb_item *item)
{
    memset(item, 0, sizeof *item);
    item->expires_ms = INT64_MAX;
    evb_list_init(&item->node);
}

void evb_item_free(struct evb_item *item)
{
    if (item->event)
        evbus_event_unref(item->event);
    evb_free(item->settles);
    evb_pool_give(item);
}

static size_t decimal(char *out, size_t value)
{
    char digits[20];
    size_t n = 0, at = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        out[at++] = digits[--n];
    return at;
}

static char *append(char *out, const void *bytes, size_t length)
{
    memcpy(out, bytes, length);
    return out + length;
}

static char *append_length(char *out, size_t length)
{
    *out++ = '$';
    out += decimal(out, length);
    return append(out, "\r\n", 2);
}

/* An item, a gap for the command's head, the envelope, its end. */
static size_t room_for(size_t prefix_length, const evbus_event *event, size_t guess)
{
    return sizeof(struct evb_item) + 64 + prefix_length + event->type.length + guess + 8;
}

/*
 * The PUBLISH command (redis.io/commands/publish) behind the item, in one block. The payload's
 * length is known only when it is written, so the command's head goes into a gap in front of it.
 */
static struct evb_item *encode(struct evb_text prefix, struct evb_text type, evbus_event *event,
                               bool local, size_t guess)
{
    char head[64 + 512], *end = head;
    size_t channel = (size_t)prefix.length + type.length, seq_at;
    size_t room = room_for(prefix.length, event, guess), gap = room - guess - 8;
    struct evb_item *item = evb_pool_take(room, NULL);
    struct evb_buf buf = {.data = (char *)item, .length = gap, .room = room, .fixed = true};
    if (!item)
        return NULL;
    evb_codec_write(&buf, event, local, &seq_at);
    end = append(end, HEAD, sizeof HEAD - 1);
    end = append_length(end, channel);
    end = append(end, prefix.ptr, prefix.length);
    end = append(end, type.ptr, type.length);
    end = append(end, "\r\n", 2);
    end = append_length(end, buf.length - gap);
    evb_buf_add(&buf, "\r\n", 2);
    if (buf.failed) {
        evb_pool_give(item);
        return NULL;
    }
    evb_item_init(item);
    item->bytes = buf.data + gap - (end - head);
    memcpy(item->bytes, head, (size_t)(end - head));
    item->seq_slot = buf.data + seq_at;
    item->length = buf.length - gap + (size_t)(end - head);
    return item;
}

const char *evb_item_channel(const struct evb_item *item, size_t *length)
{
    char *end;
    *length = strtoul(item->bytes + sizeof HEAD, &end, 10);
    return end + 2;
}

void evb_item_words(const struct evb_item *item, struct evb_buf *out)
{
    const char *from = item->bytes + sizeof HEAD - 1;
    size_t length;
    const char *end = evb_item_channel(item, &length) + length + 2;
    char *envelope, head[24];
    evb_buf_add(out, from, (size_t)(end - from));
    length = strtoul(end + 1, &envelope, 10) - 1;
    evb_buf_add(out, head, (size_t)(append_length(head, length) - head));
    evb_buf_add(out, envelope + 2, length);
    evb_buf_add(out, "\r\n", 2);
}

size_t evb_item_size(size_t prefix_length, const evbus_event *event)
{
    return evb_pool_room(room_for(prefix_length, event, evb_codec_size(event)));
}

/* Quoting may need more than was guessed. */
static struct evb_item *encode_fitting(struct evb_text prefix, struct evb_text type,
                                       evbus_event *event, bool local)
{
    struct evb_item *item = NULL;
    size_t guess = evb_codec_size(event);
    for (int i = 0; !item && i < 3; i++, guess *= 3)
        item = encode(prefix, type, event, local, guess);
    return item;
}

struct evb_item *evb_item_encode(const char *prefix, size_t prefix_length, evbus_event *event,
                                 bool local)
{
    return encode_fitting((struct evb_text){prefix, (uint32_t)prefix_length}, event->type, event,
                          local);
}

struct evb_item *evb_item_encode_to(struct evb_text channel, evbus_event *event, bool local)
{
    return encode_fitting(channel, (struct evb_text){"", 0}, event, local);
}
