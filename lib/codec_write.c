/* codec_write.c - the envelope's writer and the look at its first bytes. Written on the publisher's
 * thread; echoes are looked for on the loop. */
#include "codec.h"
#include "err.h"
#include "json.h"
#include "list.h"
#include <assert.h>
#include <string.h>

#define NODE_KEY    "{\"node\":\""
#define TIME_LENGTH (EVB_TIME_TEXT - 1)

/* With room reserved before, this is a comparison and a copy. */
static inline void put(struct evb_buf *out, const char *bytes, size_t length)
{
    if (length < out->room - out->length) {
        memcpy(out->data + out->length, bytes, length);
        out->length += length;
    } else {
        evb_buf_add(out, bytes, length);
    }
}

static inline void put_text(struct evb_buf *out, const char *text)
{
    put(out, text, strlen(text));
}

/* The decimal digits of `value`, right-aligned before `end`; answers the first. */
static char *digits_before(char *end, uint64_t value)
{
    do
        *--end = (char)('0' + value % 10);
    while (value /= 10);
    return end;
}

static void put_number(struct evb_buf *out, uint64_t value)
{
    char text[20];
    const char *first = digits_before(text + sizeof text, value);
    put(out, first, (size_t)(text + sizeof text - first));
}

static void put_exchange(struct evb_buf *out, const struct evb_exchange *exchange)
{
    const struct {
        const char *key;
        const struct evb_text *text;
    } texts[] = {{",\"replyTo\":", &exchange->reply_to},
                 {",\"inReplyTo\":", &exchange->in_reply_to},
                 {",\"error\":", &exchange->error}};
    for (size_t i = 0; i < EVB_COUNT(texts); i++) {
        if (!texts[i].text->ptr)
            continue;
        put_text(out, texts[i].key);
        evb_json_quote(out, texts[i].text->ptr, texts[i].text->length);
    }
    if (exchange->reply_to.ptr && exchange->deadline_ms != INT64_MAX) {
        put_text(out, ",\"deadline\":");
        put_number(out, (uint64_t)exchange->deadline_ms);
    }
}

static void put_attrs(struct evb_buf *out, const evbus_event *event)
{
    const char *before = ",\"attrs\":{";
    for (uint32_t i = 0; i < event->attr_count; i++) {
        const struct evb_attr *attr = &event->attrs[i];
        put_text(out, before);
        evb_json_quote(out, attr->name.ptr, attr->name.length);
        put(out, ":", 1);
        evb_json_quote(out, attr->value.ptr, attr->value.length);
        before = ",";
    }
    if (event->attr_count)
        put(out, "}", 1);
}

static void put_data(struct evb_buf *out, const evbus_event *event)
{
    if (!event->data.ptr)
        return;
    if (event->is_json) {
        put_text(out, ",\"data\":");
        put(out, event->data.ptr, event->data.length);
        return;
    }
    put_text(out, ",\"dataBase64\":\"");
    evb_base64_write(out, event->data.ptr, event->data.length);
    put(out, "\"", 1);
}

/* One that was drawn has nothing to escape. */
static void put_id(struct evb_buf *out, struct evb_text id, bool drawn)
{
    if (!drawn) {
        evb_json_quote(out, id.ptr, id.length);
        return;
    }
    put(out, "\"", 1);
    put(out, id.ptr, id.length);
    put(out, "\"", 1);
}

/* From eventId on, which is always there: with type and version it makes the object an envelope.
 * Without its end. */
static void put_body(struct evb_buf *out, const evbus_event *event)
{
    const char *timestamp = evbus_event_timestamp(event);
    struct evb_text correlation = evb_event_correlation(event);
    put_text(out, "\"eventId\":");
    put_id(out, evb_event_id(event), !event->id.ptr);
    put_text(out, ",\"type\":\"");
    put(out, event->type.ptr, event->type.length);
    put_text(out, "\",\"version\":");
    evb_json_quote(out, event->version.ptr, event->version.length);
    if (*timestamp) {
        put_text(out, ",\"timestamp\":\"");
        put(out, timestamp, TIME_LENGTH);
        put(out, "\"", 1);
    }
    if (event->ttl_ms > 0) {
        put_text(out, ",\"ttl\":");
        put_number(out, (uint64_t)event->ttl_ms);
    }
    if (event->source.length) {
        put_text(out, ",\"source\":");
        evb_json_quote(out, event->source.ptr, event->source.length);
    }
    if (correlation.length) {
        put_text(out, ",\"correlationId\":");
        put_id(out, correlation, !event->correlation.ptr && !event->id.ptr);
    }
    if (event->exchange)
        put_exchange(out, event->exchange);
    put_attrs(out, event);
    put_data(out, event);
}

static void put_end(struct evb_buf *out)
{
    put(out, "}", 1);
    evb_buf_add(out, "", 0);
}

size_t evb_codec_size(const evbus_event *event)
{
    size_t size = 320 + (size_t)event->type.length + event->version.length + event->source.length +
                  event->id.length + event->correlation.length;
    for (uint32_t i = 0; i < event->attr_count; i++)
        size += (size_t)event->attrs[i].name.length + event->attrs[i].value.length + 6;
    if (event->exchange)
        size += (size_t)event->exchange->reply_to.length + event->exchange->in_reply_to.length +
                event->exchange->error.length + 80;
    size_t data = event->data.length;
    return size + (event->is_json ? data : data / 3 * 4 + 4);
}

void evb_codec_write(struct evb_buf *out, evbus_event *event, bool local, size_t *seq_at)
{
    static const char blank[] = "               0,";
    assert(event->node.ptr && sizeof blank == EVB_SEQ_WIDTH + 2);
    evb_buf_reserve(out, evb_codec_size(event));
    put_text(out, NODE_KEY);
    put(out, event->node.ptr, EVB_NODE_LENGTH);
    put_text(out, local ? "\",\"local\":true,\"seq\":" : "\",\"local\":false,\"seq\":");
    *seq_at = out->length;
    put(out, blank, sizeof blank - 1);
    put_body(out, event);
    put_end(out);
}

void evb_codec_write_plain(struct evb_buf *out, evbus_event *event)
{
    put(out, "{", 1);
    put_body(out, event);
    put_end(out);
}

void evb_codec_write_seq(char *slot, uint64_t seq)
{
    char text[20];
    memset(text, ' ', sizeof text);
    digits_before(text + sizeof text, seq);
    memcpy(slot, text + sizeof text - EVB_SEQ_WIDTH, EVB_SEQ_WIDTH);
}

/* The slot's number; -1 when a writer of ours would not have written it so. */
static int slot_read(const char *slot, uint64_t *seq)
{
    int at = 0;
    while (at < EVB_SEQ_WIDTH - 1 && slot[at] == ' ')
        at++;
    if (slot[at] == '0' && at < EVB_SEQ_WIDTH - 1)
        return -1;
    for (*seq = 0; at < EVB_SEQ_WIDTH; at++) {
        if (slot[at] < '0' || slot[at] > '9')
            return -1;
        *seq = *seq * 10 + (uint64_t)(slot[at] - '0');
    }
    return 0;
}

int evb_codec_is_echo(const char *text, size_t length, const char *node, uint64_t *seq)
{
    static const char mark[] = "\",\"local\":true,\"seq\":";
    const size_t key = sizeof NODE_KEY - 1, slot = key + EVB_NODE_LENGTH + sizeof mark - 1;
    return length > slot + EVB_SEQ_WIDTH && memcmp(text, NODE_KEY, key) == 0 &&
           memcmp(text + key, node, EVB_NODE_LENGTH) == 0 &&
           memcmp(text + key + EVB_NODE_LENGTH, mark, sizeof mark - 1) == 0 &&
           text[slot + EVB_SEQ_WIDTH] == ',' && slot_read(text + slot, seq) == 0;
}

char *evbus_event_to_json(const evbus_event *event)
{
    struct evb_buf out;
    if (!event) {
        evb_fail(EVBUS_EINVAL, "the event is NULL");
        return NULL;
    }
    evb_buf_init(&out);
    evb_buf_reserve(&out, evb_codec_size(event));
    put(&out, "{", 1);
    /* Without local and seq: sent into Redis again, no other node takes it for old. */
    if (event->origin != EVBUS_ORIGIN_LOCAL && event->node.ptr) {
        put_text(&out, "\"node\":\"");
        put(&out, event->node.ptr, event->node.length);
        put_text(&out, "\",");
    }
    put_body(&out, event);
    const char *position = evbus_event_position(event);
    if (position) {
        put_text(&out, ",\"position\":\"");
        put_text(&out, position);
        put(&out, "\"", 1);
    }
    put_end(&out);
    char *json = evb_buf_take(&out);
    if (!json)
        evb_fail_memory();
    return json;
}
