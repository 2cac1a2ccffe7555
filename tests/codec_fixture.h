/* codec_fixture.h - events, readers and scans for the tests of the envelope. */
#ifndef CODEC_FIXTURE_H
#define CODEC_FIXTURE_H
#include "codec.h"
#include "codec_scan.h"
#include "json.h"
#include "list.h"
#include "harness/check.h"
#include <stdlib.h>
#include <string.h>

#define NODE "0123456789abcdef"
#define NOW  INT64_C(1700000000123456)
#define HEAD "{\"node\":\"" NODE "\",\"local\":true,\"seq\":"

static inline int64_t stopped_clock(void)
{
    return NOW;
}

static inline void setup(void)
{
    evb_clock_set(stopped_clock, NULL);
}

/* From memory of exactly that size, so that a sanitizer sees a look beyond the end. */
static inline int read_bytes(const char *text, size_t length, unsigned flags, evbus_event **event)
{
    const char *why = "", *type = flags & EVB_READ_TYPE ? NULL : "the.channel";
    char *exact = malloc(length ? length : 1);
    memcpy(exact, text, length);
    *event = NULL;
    int error = evb_codec_read(exact, length, type, type ? 11 : 0, 1 << 20, flags, event, &why);
    free(exact);
    ck_assert_int_eq(!error, *event != NULL);
    ck_assert_int_eq(!error, why == NULL);
    return error;
}

static inline evbus_event *read_good(const char *text)
{
    evbus_event *event;
    int error = read_bytes(text, strlen(text), EVB_READ_CHECK, &event);
    ck_assert_msg(!error, "%d: %s", error, text);
    return event;
}

/* What any event that was read must be, whatever came. */
static inline void sane(const evbus_event *event, unsigned flags)
{
    const struct evb_text texts[] = {event->type,        event->version, event->source, event->node,
                                     event->correlation, event->id,      event->data};
    for (size_t i = 0; i < EVB_COUNT(texts); i++)
        ck_assert(!texts[i].ptr || texts[i].ptr[texts[i].length] == '\0');
    for (size_t i = 0; i + 1 < EVB_COUNT(texts); i++)
        ck_assert(!texts[i].ptr || evb_text_good(texts[i].ptr, texts[i].length, false));
    const struct evb_exchange *exchange = event->exchange;
    if (exchange) {
        ck_assert(exchange->reply_to.length || exchange->in_reply_to.length);
        ck_assert(exchange->reply_to.length <= EVB_TEXT_MAX &&
                  exchange->in_reply_to.length <= EVB_TEXT_MAX &&
                  exchange->error.length <= EVB_REFUSAL_MAX && exchange->deadline_ms > 0);
        ck_assert(!exchange->error.ptr ||
                  (exchange->error.ptr[exchange->error.length] == '\0' &&
                   evb_text_good(exchange->error.ptr, exchange->error.length, false)));
    }
    for (uint32_t i = 0; i < event->attr_count; i++) {
        ck_assert(evb_text_good(event->attrs[i].name.ptr, event->attrs[i].name.length, false));
        ck_assert(evb_text_good(event->attrs[i].value.ptr, event->attrs[i].value.length, true));
    }
    if (event->is_json && flags & EVB_READ_CHECK)
        ck_assert_ptr_null(evb_json_check(event->data.ptr, event->data.length, NULL));
    ck_assert_int_gt((int)strlen(evbus_event_id(event)), 0);
    ck_assert_int_eq((int)strlen(evbus_event_timestamp(event)), 24);
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_REDIS);
}

static inline void text_equal(struct evb_text a, struct evb_text b)
{
    ck_assert_uint_eq(a.length, b.length);
    ck_assert_int_eq(!a.ptr, !b.ptr);
    if (!a.ptr)
        return;
    ck_assert_mem_eq(a.ptr, b.ptr, a.length);
    ck_assert_int_eq(a.ptr[a.length], '\0');
    ck_assert_int_eq(b.ptr[b.length], '\0');
}

static inline void event_equal(const evbus_event *a, const evbus_event *b)
{
    text_equal(a->type, b->type);
    text_equal(a->version, b->version);
    text_equal(a->source, b->source);
    text_equal(a->data, b->data);
    ck_assert_str_eq(evbus_event_id(a), evbus_event_id(b));
    ck_assert_str_eq(evbus_event_correlation(a), evbus_event_correlation(b));
    ck_assert_str_eq(evbus_event_timestamp(a), evbus_event_timestamp(b));
    ck_assert_int_eq(a->is_json, b->is_json);
    ck_assert_int_eq(a->ttl_ms, b->ttl_ms);
    ck_assert_int_eq(!a->exchange, !b->exchange);
    if (a->exchange) {
        text_equal(a->exchange->reply_to, b->exchange->reply_to);
        text_equal(a->exchange->in_reply_to, b->exchange->in_reply_to);
        text_equal(a->exchange->error, b->exchange->error);
        ck_assert_int_eq(a->exchange->deadline_ms, b->exchange->deadline_ms);
    }
    ck_assert_uint_eq(a->attr_count, b->attr_count);
    for (uint32_t i = 0; i < a->attr_count; i++) {
        text_equal(a->attrs[i].name, b->attrs[i].name);
        text_equal(a->attrs[i].value, b->attrs[i].value);
    }
}

/* ---- a scan alone ---- */
/* Over a copy, a NUL behind it, as codec.c makes it. */
static inline void scan_open(struct evb_scan *scan, const char *text, bool check)
{
    size_t length = strlen(text);
    memset(scan, 0, sizeof *scan);
    scan->begin = malloc(length + 1);
    memcpy(scan->begin, text, length + 1);
    scan->p = scan->begin + 1;
    scan->end = scan->begin + length;
    scan->first = true;
    scan->check = check;
}

static inline void scan_close(struct evb_scan *scan)
{
    free(scan->begin);
}

static inline void value_is(const struct evb_scan_value *value, int kind, const char *text)
{
    ck_assert_int_eq(value->kind, kind);
    ck_assert_uint_eq(value->length, strlen(text));
    ck_assert_mem_eq(value->ptr, text, value->length);
}

/* ---- events to write ---- */
enum {
    BARE,
    PLAIN,
    FULL,
    BYTES,
    EMPTY_BYTES,
    ESCAPES,
    REQUEST,
    PLAIN_REQUEST,
    REPLY,
    PLAIN_REPLY,
    REFUSAL,
    SHAPES
};

static inline void exchange_of(evbus_event *event, int which)
{
    struct evb_exchange *exchange = event->exchange = evb_event_exchange(event);
    ck_assert_ptr_nonnull(exchange);
    if (which == REQUEST || which == PLAIN_REQUEST) {
        exchange->reply_to = (struct evb_text){"evbus:inbox:\"me\"", 16};
        if (which == PLAIN_REQUEST)
            exchange->reply_to = (struct evb_text){"evbus:inbox:me", 14};
        exchange->deadline_ms = INT64_C(1734863400123);
        return;
    }
    exchange->in_reply_to = (struct evb_text){"an \"id\"", 7};
    if (which == PLAIN_REPLY)
        exchange->in_reply_to = (struct evb_text){"id", 2};
    if (which == REFUSAL)
        exchange->error = (struct evb_text){"no \"\xc3\xa9\"", 7};
}

static inline evbus_event *shape(int which)
{
    evbus_event *event = evbus_event_new("task.created");
    if (which == FULL || which == ESCAPES) {
        evbus_event_set_id(event, which == FULL ? "evt_abc123" : "an \"id\" \\ caf\xc3\xa9");
        evbus_event_set_version(event, which == FULL ? "2.7" : "\"");
        evbus_event_set_source(event, which == FULL ? "music-service" : "\\");
        evbus_event_set_correlation(event, which == FULL ? "corr" : "\"\"\"\"\"\"\"\"\"\"\"\"");
        evbus_event_set_time_us(event, INT64_C(1734863400123000));
        evbus_event_set_ttl(event, INT64_MAX / 100);
        evbus_event_set_json(event, "{\"a\":[1,\"}\"]}", 13);
        evbus_event_set_attr(event, "userId", "user123");
        evbus_event_set_attr(event, which == FULL ? "e" : "\"k\\", which == FULL ? "" : "\"v\\");
    }
    if (which >= REQUEST)
        exchange_of(event, which);
    if (which == PLAIN || (which >= REQUEST && which != REFUSAL))
        evbus_event_set_json(event, "{\"task_id\":[1,\"}\"]}", 19);
    if (which == BYTES || which == EMPTY_BYTES)
        evbus_event_set_bytes(event, "\0\xff{}\"\n", which == BYTES ? 6 : 0);
    ck_assert_int_eq(evb_event_freeze(event, NODE, which == BARE ? NULL : "billing"), 0);
    return event;
}

static inline void write_event(struct evb_buf *out, evbus_event *event, bool local, uint64_t seq)
{
    size_t seq_at;
    evb_buf_init(out);
    evb_codec_write(out, event, local, &seq_at);
    ck_assert(!out->failed);
    ck_assert_mem_eq(out->data + seq_at, "               0", EVB_SEQ_WIDTH);
    evb_codec_write_seq(out->data + seq_at, seq);
    ck_assert_ptr_null(evb_json_check(out->data, out->length, NULL));
}

#endif
