/* test_event.c - building, freezing, sharing and copying events. */
#include "event.h"
#include "list.h"
#include "rand.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE "0123456789abcdef"

static int64_t stopped_clock(void)
{
    return INT64_C(1645557742000123); /* RFC 9562 appendix A.6: 2022-02-22T19:22:22.000Z */
}

/* So that the next ten bytes drawn are those of the RFC's example, but for version and variant. */
static void rfc_dice(void *out, size_t length)
{
    static const unsigned char tail[10] = {0xfc, 0xc3, 0xd8, 0xc4, 0xdc,
                                           0x0c, 0x0c, 0x07, 0x39, 0x8f};
    memset(out, 0, length);
    memcpy((unsigned char *)out + length - sizeof tail, tail, sizeof tail);
}

static evbus_event *make(const char *json)
{
    evbus_event *event = evb_event_make("task.created", 12, json, json ? strlen(json) : 0, true);
    ck_assert_ptr_nonnull(event);
    return event;
}

static void refused(int result)
{
    ck_assert_int_eq(result, EVBUS_EINVAL);
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_int_gt((int)strlen(evbus_last_error()), 0);
    evbus_event_unref(evbus_event_new(NULL)); /* another sentence, so that the next one is seen */
}

START_TEST(publish_makes)
{
    evb_clock_set(stopped_clock, NULL);
    evb_rand_set(rfc_dice);
    evbus_event *event = make("{\"a\":1}");
    size_t length = 0;
    ck_assert_str_eq(evbus_event_id(event), "");
    ck_assert_str_eq(evbus_event_timestamp(event), "");
    ck_assert_ptr_null(evbus_event_node(event));
    ck_assert_int_eq(evb_event_freeze(event, NODE, "billing"), 0);
    ck_assert_str_eq(evbus_event_type(event), "task.created");
    ck_assert_str_eq(evbus_event_id(event), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    ck_assert_str_eq(evbus_event_correlation(event), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_timestamp(event), "2022-02-22T19:22:22.000Z");
    ck_assert_int_eq(evbus_event_time_us(event), stopped_clock());
    ck_assert_str_eq(evbus_event_version(event), "1.0");
    ck_assert_str_eq(evbus_event_source(event), "billing");
    ck_assert_str_eq(evbus_event_node(event), NODE);
    ck_assert_str_eq(evbus_event_data(event, &length), "{\"a\":1}");
    ck_assert_uint_eq(length, 7);
    ck_assert_int_eq(evbus_event_is_json(event), 1);
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_LOCAL);
    ck_assert_int_eq(evbus_event_ttl(event), 0);
    ck_assert_int_eq(evbus_event_attr_count(event), 0);
    ck_assert_ptr_null(event->pieces); /* one allocation */
    ck_assert_ptr_eq(evbus_event_id(event), evbus_event_id(event));
    evbus_event_unref(event);
    evb_clock_set(NULL, NULL);
    evb_rand_set(NULL);
}
END_TEST

START_TEST(freeze_once)
{
    evbus_event *event = make(NULL);
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    refused(evb_event_freeze(event, "fedcba9876543210", "other"));
    ck_assert_str_eq(evbus_event_node(event), NODE);
    ck_assert_str_eq(evbus_event_source(event), "");
    ck_assert_ptr_null(evbus_event_data(event, NULL));
    ck_assert_int_eq(evbus_event_is_json(event), 0);
    evbus_event_unref(event);
}
END_TEST

START_TEST(given_stays)
{
    evbus_event *event = evbus_event_new("order.paid");
    size_t length;
    ck_assert_int_eq(evbus_event_set_id(event, "evt_abc123"), 0);
    ck_assert_int_eq(evbus_event_set_version(event, "2.1"), 0);
    ck_assert_int_eq(evbus_event_set_source(event, "shop"), 0);
    ck_assert_int_eq(evbus_event_set_correlation(event, "corr-1"), 0);
    ck_assert_int_eq(evbus_event_set_time_us(event, INT64_C(1734863400000000)), 0);
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T10:30:00.000Z");
    ck_assert_int_eq(evbus_event_set_time_us(event, INT64_C(1734863400999999)), 0);
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T10:30:00.999Z");
    ck_assert_int_eq(evbus_event_set_ttl(event, 1500), 0);
    ck_assert_int_eq(evbus_event_set_bytes(event, "a\0b", 3), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, "userId", "user123"), 0);
    ck_assert_int_eq(evb_event_freeze(event, NODE, "not taken"), 0);
    ck_assert_str_eq(evbus_event_id(event), "evt_abc123");
    ck_assert_str_eq(evbus_event_version(event), "2.1");
    ck_assert_str_eq(evbus_event_source(event), "shop");
    ck_assert_str_eq(evbus_event_correlation(event), "corr-1");
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T10:30:00.999Z");
    ck_assert_int_eq(evbus_event_ttl(event), 1500);
    ck_assert_mem_eq(evbus_event_data(event, &length), "a\0b", 4);
    ck_assert_uint_eq(length, 3);
    ck_assert_int_eq(evbus_event_is_json(event), 0);
    ck_assert_str_eq(evbus_event_attr(event, "userId"), "user123");
    ck_assert_str_eq(evbus_event_attr_name(event, 0), "userId");
    ck_assert_ptr_null(evbus_event_attr(event, "userid"));
    ck_assert_ptr_null(evbus_event_attr_name(event, 1));
    ck_assert_ptr_null(evbus_event_attr_name(event, -1));
    evbus_event_unref(event);
}
END_TEST

START_TEST(frozen_refuses)
{
    evbus_event *event = make("1");
    ck_assert_int_eq(evb_event_freeze(event, NODE, "a"), 0);
    refused(evbus_event_set_id(event, "x"));
    refused(evbus_event_set_version(event, "x"));
    refused(evbus_event_set_source(event, "x"));
    refused(evbus_event_set_time_us(event, 1));
    refused(evbus_event_set_correlation(event, "x"));
    refused(evbus_event_set_cause(event, event));
    refused(evbus_event_set_json(event, "2", 1));
    refused(evbus_event_set_bytes(event, "x", 1));
    refused(evbus_event_set_attr(event, "a", "b"));
    refused(evbus_event_set_ttl(event, 1));
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "NULL"));
    ck_assert_str_eq(evbus_event_data(event, NULL), "1");
    evbus_event_unref(event);
}
END_TEST

START_TEST(null_refused)
{
    evbus_event *event = evbus_event_new("a");
    refused(evbus_event_set_id(event, NULL));
    refused(evbus_event_set_version(event, NULL));
    refused(evbus_event_set_source(event, NULL));
    refused(evbus_event_set_correlation(event, NULL));
    refused(evbus_event_set_cause(event, NULL));
    refused(evbus_event_set_json(event, NULL, 5));
    refused(evbus_event_set_json(event, "1", 0));
    refused(evbus_event_set_bytes(event, NULL, 0));
    refused(evbus_event_set_attr(event, NULL, "x"));
    refused(evbus_event_set_attr(event, "x", NULL));
    refused(evbus_event_set_ttl(event, -1));
    refused(evbus_event_set_id(NULL, "x"));
    refused(evbus_event_set_json(NULL, "1", 1));
    refused(evbus_event_attr_count(NULL));
    refused(evbus_event_is_json(NULL));
    refused(evbus_event_origin(NULL));
    size_t length = 7;
    ck_assert_ptr_null(evbus_event_data(NULL, &length));
    ck_assert_uint_eq(length, 0);
    ck_assert_ptr_null(evbus_event_type(NULL));
    ck_assert_ptr_null(evbus_event_id(NULL));
    ck_assert_ptr_null(evbus_event_timestamp(NULL));
    ck_assert_ptr_null(evbus_event_attr(event, NULL));
    ck_assert_ptr_null(evbus_event_copy(NULL));
    ck_assert_ptr_null(evbus_event_ref(NULL));
    evbus_event_unref(NULL);
    evbus_event_unref(event);
}
END_TEST

START_TEST(types_checked)
{
    static const char *const rows[] = {"", "a b", ".a", "evbus.mode", "evbus.", "caf\xc3\xa9"};
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        ck_assert_ptr_null(evbus_event_new(rows[i]));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    }
    evbus_event *event = evbus_event_new("evbusiness.a");
    ck_assert_ptr_nonnull(event);
    evbus_event_unref(event);
}
END_TEST

START_TEST(texts_checked)
{
    static const char *const rows[] = {"", "a\nb", "\x01", "caf\xc3", "\xff", "\xed\xa0\x80"};
    evbus_event *event = evbus_event_new("a");
    char text[4098];
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        refused(evbus_event_set_id(event, rows[i]));
        refused(evbus_event_set_version(event, rows[i]));
        refused(evbus_event_set_correlation(event, rows[i]));
        refused(evbus_event_set_attr(event, rows[i], "x"));
        if (*rows[i]) {
            refused(evbus_event_set_source(event, rows[i]));
            if ((unsigned char)rows[i][0] >= 0x80 || rows[i][0] == 'c')
                refused(evbus_event_set_attr(event, "x", rows[i]));
        }
    }
    ck_assert_int_eq(evbus_event_set_attr(event, "a", "two\nlines"), 0);
    memset(text, 'x', sizeof text);
    text[255] = '\0';
    ck_assert_int_eq(evbus_event_set_id(event, text), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, text, ""), 0);
    text[255] = 'x';
    text[256] = '\0';
    refused(evbus_event_set_id(event, text));
    refused(evbus_event_set_attr(event, text, ""));
    text[256] = 'x';
    text[4096] = '\0';
    ck_assert_int_eq(evbus_event_set_attr(event, "a", text), 0);
    text[4096] = 'x';
    text[4097] = '\0';
    refused(evbus_event_set_attr(event, "a", text));
    ck_assert_int_eq(evbus_event_attr_count(event), 2);
    evbus_event_unref(event);
}
END_TEST

START_TEST(attrs_bounded)
{
    evbus_event *event = evbus_event_new("a");
    char name[16];
    for (int i = 0; i < EVB_ATTR_MAX; i++) {
        snprintf(name, sizeof name, "name%d", i);
        ck_assert_int_eq(evbus_event_set_attr(event, name, name + 4), 0);
    }
    ck_assert_int_eq(evbus_event_set_attr(event, "one more", "x"), EVBUS_EFULL);
    ck_assert_int_eq(evbus_event_set_attr(event, "name7", "again"), 0);
    ck_assert_int_eq(evbus_event_attr_count(event), EVB_ATTR_MAX);
    for (int i = 0; i < EVB_ATTR_MAX; i++) {
        snprintf(name, sizeof name, "name%d", i);
        ck_assert_str_eq(evbus_event_attr_name(event, i), name);
        ck_assert_str_eq(evbus_event_attr(event, name), i == 7 ? "again" : name + 4);
    }
    evbus_event_unref(event);
}
END_TEST

START_TEST(set_again_replaces)
{
    evbus_event *event = evbus_event_new("a");
    static const char json[] =
        "\"a text that is too long for the spare room of an event's allocation\"";
    ck_assert_int_eq(evbus_event_set_json(event, json, sizeof json - 1), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, "name", json), 0);
    ck_assert_int_eq(evbus_event_set_id(event, json), 0);
    uint32_t size = event->size;
    for (int i = 0; i < 1000; i++) {
        size_t length;
        const char *data = evbus_event_data(event, &length);
        ck_assert_int_eq(evbus_event_set_json(event, data, length), 0); /* its own text, even */
        ck_assert_int_eq(evbus_event_set_attr(event, "name", evbus_event_attr(event, "name")), 0);
        ck_assert_int_eq(evbus_event_set_id(event, evbus_event_id(event)), 0);
    }
    ck_assert_uint_le(event->size, size + 100);
    ck_assert_str_eq(evbus_event_data(event, NULL), json);
    ck_assert_str_eq(evbus_event_attr(event, "name"), json);
    ck_assert_str_eq(evbus_event_id(event), json);
    evbus_event_unref(event);
}
END_TEST

START_TEST(exact_length)
{
    evbus_event *event = evbus_event_new("a");
    size_t length;
    ck_assert_int_eq(evbus_event_set_json(event, "[1,2]and more", 5), 0);
    ck_assert_str_eq(evbus_event_data(event, &length), "[1,2]");
    ck_assert_uint_eq(length, 5);
    ck_assert_int_eq(evbus_event_set_bytes(event, "", 0), 0);
    ck_assert_str_eq(evbus_event_data(event, &length), "");
    ck_assert_uint_eq(length, 0);
    ck_assert_int_eq(evbus_event_set_json(event, "1", SIZE_MAX), EVBUS_ETOOBIG);
    ck_assert_int_eq(evbus_event_set_json(event, "1", (size_t)UINT32_MAX + 2), EVBUS_ETOOBIG);
    ck_assert_ptr_null(evb_event_make("a", 1, "1", SIZE_MAX, true));
    ck_assert_ptr_null(evb_event_alloc(SIZE_MAX));
    evbus_event_unref(event);
}
END_TEST

START_TEST(cause)
{
    evbus_event *first = evbus_event_new("a"), *second = evbus_event_new("b");
    evbus_event *third = evbus_event_new("c");
    refused(evbus_event_set_cause(second, first)); /* not published: nothing to point at */
    evbus_event_set_attr(first, "traceparent", "00-1-2-01");
    evbus_event_set_attr(first, "tracestate", "x=1");
    evbus_event_set_attr(first, "userId", "u");
    ck_assert_int_eq(evb_event_freeze(first, NODE, NULL), 0);
    ck_assert_int_eq(evbus_event_set_cause(second, first), 0);
    ck_assert_str_eq(evbus_event_correlation(second), evbus_event_id(first));
    ck_assert_str_eq(evbus_event_attr(second, "traceparent"), "00-1-2-01");
    ck_assert_str_eq(evbus_event_attr(second, "tracestate"), "x=1");
    ck_assert_int_eq(evbus_event_attr_count(second), 2);
    ck_assert_int_eq(evb_event_freeze(second, NODE, NULL), 0);
    ck_assert_int_eq(evbus_event_set_cause(third, second), 0);
    ck_assert_str_eq(evbus_event_correlation(third), evbus_event_id(first));
    evbus_event_unref(first);
    evbus_event_unref(second);
    ck_assert_int_eq((int)strlen(evbus_event_correlation(third)), 36);
    evbus_event_unref(third);
}
END_TEST

START_TEST(copy)
{
    evbus_event *event = evbus_event_new("a.b");
    evbus_event_set_version(event, "3");
    evbus_event_set_source(event, "s");
    evbus_event_set_ttl(event, 9);
    evbus_event_set_json(event, "[1]", 3);
    evbus_event_set_attr(event, "k", "v");
    evbus_event_set_attr(event, "l", "");
    evb_event_freeze(event, NODE, NULL);
    evbus_event *twin = evbus_event_copy(event);
    ck_assert_str_eq(evbus_event_id(twin), "");
    ck_assert_str_eq(evbus_event_correlation(twin), evbus_event_id(event));
    ck_assert_int_eq(evbus_event_set_attr(twin, "k", "w"), 0);
    ck_assert_int_eq(evb_event_freeze(twin, "fedcba9876543210", "t"), 0);
    ck_assert_str_ne(evbus_event_id(twin), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_correlation(twin), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_node(twin), "fedcba9876543210");
    ck_assert_str_eq(evbus_event_type(twin), "a.b");
    ck_assert_str_eq(evbus_event_version(twin), "3");
    ck_assert_str_eq(evbus_event_source(twin), "s");
    ck_assert_str_eq(evbus_event_data(twin, NULL), "[1]");
    ck_assert_int_eq(evbus_event_is_json(twin), 1);
    ck_assert_int_eq(evbus_event_ttl(twin), 9);
    ck_assert_str_eq(evbus_event_attr(event, "k"), "v");
    ck_assert_str_eq(evbus_event_attr(twin, "k"), "w");
    ck_assert_str_eq(evbus_event_attr(twin, "l"), "");
    evbus_event_unref(event);
    evbus_event_unref(twin);
    event = evbus_event_new("bare");
    twin = evbus_event_copy(event); /* nothing to copy but the type */
    ck_assert_ptr_null(evbus_event_data(twin, NULL));
    ck_assert_int_eq(evb_event_freeze(twin, NODE, NULL), 0);
    ck_assert_str_eq(evbus_event_correlation(twin), evbus_event_id(twin));
    evbus_event_unref(event);
    evbus_event_unref(twin);
}
END_TEST

START_TEST(long_source)
{
    evbus_event *event = make("1");
    char source[256];
    memset(source, 's', sizeof source);
    source[255] = '\0';
    ck_assert_int_eq(evb_event_freeze(event, NODE, source), 0);
    ck_assert_str_eq(evbus_event_source(event), source);
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory: every n-th allocation fails once ---- */
static int allocations_left;

static void *scarce_alloc(size_t size)
{
    return allocations_left-- == 0 ? NULL : malloc(size);
}

static bool build_all(void)
{
    char text[256];
    memset(text, 'x', sizeof text);
    text[255] = '\0';
    evbus_event *event = evbus_event_new("a"), *twin = NULL;
    bool done =
        event && !evbus_event_set_id(event, text) && !evbus_event_set_json(event, text, 200) &&
        !evbus_event_set_attr(event, text, text) && !evbus_event_set_attr(event, "b", text) &&
        !evb_event_freeze(event, NODE, text) && (twin = evbus_event_copy(event)) != NULL;
    if (!done)
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    evbus_event_unref(event);
    evbus_event_unref(twin);
    return done;
}

static const struct {
    const char *text;
    size_t length;
    const char *clean;
} refusals[] = {
    {"", 0, ""},
    {"no", 2, "no"},
    {"a\tb\nc\x7f", 6, "a b c "},
    {"caf\xc3\xa9", 5, "caf\xc3\xa9"},
    {"caf\xc3", 4, "caf?"},
    {"\xff\xc3\xa9", 3, "\?\?\?"},
    {"a\0b", 3, "a b"},
};

START_TEST(refusals_are_cleaned)
{
    char text[EVB_REFUSAL_MAX + 20];
    memcpy(text, refusals[_i].text, refusals[_i].length + 1);
    ck_assert_uint_eq(evb_refusal_clean(text, refusals[_i].length), strlen(refusals[_i].clean));
    ck_assert_str_eq(text, refusals[_i].clean);
}
END_TEST

/* Cut between characters. */
START_TEST(refusals_are_cut)
{
    for (size_t lead = 0; lead < 3; lead++) {
        char text[EVB_REFUSAL_MAX + 20] = "";
        memset(text, 'x', lead);
        while (strlen(text) < EVB_REFUSAL_MAX + 10)
            strcat(text, "\xe2\x82\xac");
        uint32_t length = evb_refusal_clean(text, strlen(text));
        ck_assert_uint_eq(length, strlen(text));
        ck_assert_uint_gt(length, EVB_REFUSAL_MAX - 3);
        ck_assert_uint_le(length, EVB_REFUSAL_MAX);
        ck_assert_uint_eq((length - lead) % 3, 0);
        ck_assert_ptr_null(strchr(text, '?'));
    }
}
END_TEST

START_TEST(time_left)
{
    int64_t now_ms = stopped_clock() / 1000;
    evb_clock_set(stopped_clock, NULL);
    evbus_event *event = make("1");
    ck_assert_int_eq(evb_event_time_left_ms(event), INT64_MAX);
    ck_assert(!evb_event_is_request(event));
    uint32_t size = event->size;
    event->exchange = evb_event_exchange(event);
    ck_assert_uint_gt(event->size, size);
    ck_assert_int_eq(evb_event_time_left_ms(event), INT64_MAX);
    ck_assert_int_eq(evbus_event_deadline_ms(event), 0);
    event->exchange->reply_to = (struct evb_text){"x", 1};
    ck_assert(evb_event_is_request(event));
    ck_assert_int_eq(evbus_event_deadline_ms(event), INT64_MAX);
    for (int64_t left = -1; left <= 1; left++) {
        event->exchange->deadline_ms = now_ms + left;
        ck_assert_int_eq(evb_event_time_left_ms(event), left > 0 ? left : 0);
        ck_assert_int_eq(evbus_event_deadline_ms(event), now_ms + left);
    }
    evb_event_drop(event, event->exchange);
    ck_assert_uint_eq(event->size, size);
    event->exchange = NULL;
    evbus_event_unref(event);
    evb_clock_set(NULL, NULL);
}
END_TEST

START_TEST(no_memory)
{
    int n = 0;
    ck_assert_int_eq(evbus_set_allocator(scarce_alloc, realloc, free), 0);
    do
        allocations_left = n++;
    while (!build_all() && n < 100);
    ck_assert_int_gt(n, 8);
    ck_assert_int_lt(n, 100);
    evbus_set_allocator(NULL, NULL, NULL);
}
END_TEST

/* It shows all that the other has, and one attribute more; the other stays as it is. */
START_TEST(a_view)
{
    static const char *const names[] = {"a", "n", NULL};
    evbus_event *event = evbus_event_new("t.x");
    evbus_event_set_json(event, "{\"a\":1}", 7);
    evbus_event_set_correlation(event, "c");
    evbus_event_set_ttl(event, 50);
    for (int i = 0; names[i]; i++)
        evbus_event_set_attr(event, names[i], "old");
    ck_assert_int_eq(evb_event_freeze(event, "0123456789abcdef", "me"), 0);
    evbus_event *view = evb_event_view(event, "n", "17", 3),
                *plain = evb_event_view(event, "x", "", 0);
    ck_assert(view && plain);
    ck_assert_str_eq(evbus_event_attr(view, "n"), "17");
    ck_assert_str_eq(evbus_event_attr(view, "a"), "old");
    ck_assert_int_eq(evbus_event_attr_count(view), 2);
    ck_assert_int_eq(evbus_event_attr_count(plain), 3);
    ck_assert_str_eq(evbus_event_attr(event, "n"), "old");
    ck_assert_uint_eq(view->term, 3);
    ck_assert_str_eq(evbus_event_id(view), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_type(view), "t.x");
    ck_assert_str_eq(evbus_event_data(view, NULL), "{\"a\":1}");
    ck_assert_str_eq(evbus_event_correlation(view), "c");
    ck_assert_str_eq(evbus_event_source(view), "me");
    ck_assert_str_eq(evbus_event_node(view), "0123456789abcdef");
    ck_assert_str_eq(evbus_event_timestamp(view), evbus_event_timestamp(event));
    ck_assert_int_eq(evbus_event_ttl(view), 50);
    ck_assert_int_eq(evbus_event_set_attr(view, "a", "new"), EVBUS_EINVAL);
    ck_assert_uint_gt(view->size, event->size);
    evbus_event_unref(event); /* the views keep it */
    evbus_event_unref(plain);
    ck_assert_str_eq(evbus_event_data(view, NULL), "{\"a\":1}");
    evbus_event_unref(view);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event");
    TCase *tests = tcase_create("event");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, a_view);
    tcase_add_test(tests, publish_makes);
    tcase_add_test(tests, freeze_once);
    tcase_add_test(tests, given_stays);
    tcase_add_test(tests, frozen_refuses);
    tcase_add_test(tests, null_refused);
    tcase_add_test(tests, types_checked);
    tcase_add_test(tests, texts_checked);
    tcase_add_test(tests, attrs_bounded);
    tcase_add_test(tests, set_again_replaces);
    tcase_add_test(tests, exact_length);
    tcase_add_test(tests, cause);
    tcase_add_test(tests, copy);
    tcase_add_test(tests, long_source);
    tcase_add_loop_test(tests, refusals_are_cleaned, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(tests, refusals_are_cut);
    tcase_add_test(tests, time_left);
    tcase_add_test(tests, no_memory);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
