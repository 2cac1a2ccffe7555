/* test_event_set.c - what the setters take, and what they refuse and say. */
#include "event_fixture.h"
#include <stdio.h>

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
    evbus_event_unref(event);
}
END_TEST

/* ---- what each setter says ---- */
static const struct {
    int (*set)(evbus_event *event, const char *text);
    const char *(*get)(const evbus_event *event);
    const char *name;
    bool empty; /* it may be */
} texts[] = {
    {evbus_event_set_id, evbus_event_id, "an event's id", false},
    {evbus_event_set_version, evbus_event_version, "an event's version", false},
    {evbus_event_set_source, evbus_event_source, "an event's source", true},
    {evbus_event_set_correlation, evbus_event_correlation, "an event's correlation id", false},
};

static void says(int result, const char *name, const char *what)
{
    char sentence[128];
    snprintf(sentence, sizeof sentence, "%s%s", name, what);
    ck_assert_int_eq(result, EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), sentence);
}

/* After each refusal it has what it had. */
START_TEST(text_is_named)
{
    evbus_event *event = evbus_event_new("a");
    const char *name = texts[_i].name;
    char longest[EVB_TEXT_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[EVB_TEXT_MAX + 1] = '\0';
    ck_assert_int_eq(texts[_i].set(event, "old"), 0);
    says(texts[_i].set(event, NULL), name, " is NULL");
    says(texts[_i].set(event, longest), name, " is longer than 255 bytes");
    says(texts[_i].set(event, "\t"), name, " has control characters or is not UTF-8");
    if (!texts[_i].empty)
        says(texts[_i].set(event, ""), name, " is empty");
    ck_assert_str_eq(texts[_i].get(event), "old");
    if (texts[_i].empty) {
        ck_assert_int_eq(texts[_i].set(event, ""), 0);
        ck_assert_str_eq(texts[_i].get(event), "");
    }
    longest[EVB_TEXT_MAX] = '\0';
    ck_assert_int_eq(texts[_i].set(event, longest), 0);
    ck_assert_str_eq(texts[_i].get(event), longest);
    says(texts[_i].set(NULL, "x"), "", "the event is NULL");
    evb_event_freeze(event, NODE, NULL);
    says(texts[_i].set(event, "x"), "", "the event is published: it cannot be changed");
    evbus_event_unref(event);
}
END_TEST

START_TEST(refusals_are_told)
{
    evbus_event *event = evbus_event_new("a"), *other = evbus_event_new("b");
    char longest[EVB_ATTR_VALUE_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[EVB_ATTR_VALUE_MAX + 1] = '\0';
    says(evbus_event_set_attr(event, NULL, "x"), "", "an attribute's name is NULL");
    says(evbus_event_set_attr(event, "", "x"), "", "an attribute's name is empty");
    says(evbus_event_set_attr(event, longest, "x"), "",
         "an attribute's name is longer than 255 bytes");
    says(evbus_event_set_attr(event, "\t", "x"), "",
         "an attribute's name has control characters or is not UTF-8");
    says(evbus_event_set_attr(event, "a", NULL), "", "an attribute's value is NULL");
    says(evbus_event_set_attr(event, "a", longest), "",
         "an attribute's value is longer than 4096 bytes");
    says(evbus_event_set_attr(event, "a", "\xff"), "", "an attribute's value is not UTF-8");
    says(evbus_event_set_json(event, NULL, 1), "", "an event's JSON is NULL");
    says(evbus_event_set_json(event, "", 0), "", "an event's JSON is empty");
    says(evbus_event_set_bytes(event, NULL, 0), "", "an event's bytes are NULL");
    says(evbus_event_set_ttl(event, -1), "", "an event's time to live is negative");
    says(evbus_event_set_cause(event, NULL), "", "the cause is NULL");
    says(evbus_event_set_cause(event, other), "", "the cause is not published yet and has no id");
    ck_assert_int_eq(evbus_event_attr_count(event), 0);
    ck_assert_ptr_null(evbus_event_data(event, NULL));
    evbus_event_unref(event);
    evbus_event_unref(other);
}
END_TEST

START_TEST(no_event)
{
    static const char none[] = "the event is NULL";
    evbus_event *event = evbus_event_new("a");
    says(evbus_event_set_time_us(NULL, 1), "", none);
    says(evbus_event_set_cause(NULL, event), "", none);
    says(evbus_event_set_json(NULL, "1", 1), "", none);
    says(evbus_event_set_bytes(NULL, "1", 1), "", none);
    says(evbus_event_set_attr(NULL, "a", "x"), "", none);
    says(evbus_event_set_ttl(NULL, 1), "", none);
    ck_assert_ptr_null(evbus_event_copy(NULL));
    says(evbus_last_code(), "", none);
    ck_assert_ptr_null(evbus_event_new(NULL));
    says(evbus_last_code(), "", "an event's type is NULL");
    ck_assert_ptr_null(evbus_event_new("evbus.a"));
    says(evbus_last_code(), "", "types under 'evbus.' are the bus's own");
    evbus_event_unref(event);
}
END_TEST

START_TEST(data_stays_when_refused)
{
    evbus_event *event = evbus_event_new("a");
    for (int json = 0; json <= 1; json++) {
        if (json)
            evbus_event_set_json(event, "12", 2);
        else
            evbus_event_set_bytes(event, "12", 2);
        ck_assert_int_eq(evbus_event_set_json(event, "1", SIZE_MAX), EVBUS_ETOOBIG);
        ck_assert_int_eq(evbus_event_set_bytes(event, "1", SIZE_MAX), EVBUS_ETOOBIG);
        ck_assert_int_eq(evbus_event_is_json(event), json);
        ck_assert_str_eq(evbus_event_data(event, NULL), "12");
    }
    evbus_event_unref(event);
}
END_TEST

START_TEST(no_room_keeps_nothing)
{
    evbus_event *event = full_of_attrs("a");
    uint32_t size = event->size;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(evbus_event_set_attr(event, "one more", "and its value"), EVBUS_EFULL);
    ck_assert_uint_eq(event->size, size);
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory ---- */
static void fields_run(bool fails)
{
    evbus_event *event = evbus_event_new("a");
    if (!came_through(event ? 0 : evbus_last_code(), fails))
        return;
    for (size_t i = 0; i < EVB_COUNT(texts); i++) {
        ck_assert_int_eq(texts[i].set(event, "old"), 0);
        const char *want = came_through(texts[i].set(event, big), fails) ? big : "old";
        ck_assert_str_eq(texts[i].get(event), want);
    }
    evbus_event_set_bytes(event, "ab", 2);
    bool set = came_through(evbus_event_set_json(event, big, sizeof big - 1), fails);
    ck_assert_int_eq(evbus_event_is_json(event), set);
    ck_assert_str_eq(evbus_event_data(event, NULL), set ? big : "ab");
    evbus_event_unref(event);
}

static void attr_run(bool fails)
{
    evbus_event *event = evbus_event_new("a");
    if (!came_through(event ? 0 : evbus_last_code(), fails))
        return;
    uint32_t size = event->size;
    bool set = came_through(evbus_event_set_attr(event, big, big), fails);
    ck_assert_int_eq(evbus_event_attr_count(event), set);
    ck_assert_int_eq(event->size > size, set); /* a part of it is not kept */
    evbus_event_unref(event);
}

START_TEST(no_memory)
{
    ck_assert_int_ge(memory_fail_each(fields_run), 6);
    ck_assert_int_ge(memory_fail_each(attr_run), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event_set");
    TCase *tests = unit_case(suite, "event_set");

    tcase_add_checked_fixture(tests, big_setup, NULL);
    tcase_add_test(tests, given_stays);
    tcase_add_test(tests, frozen_refuses);
    tcase_add_test(tests, types_checked);
    tcase_add_test(tests, texts_checked);
    tcase_add_test(tests, attrs_bounded);
    tcase_add_test(tests, set_again_replaces);
    tcase_add_test(tests, exact_length);
    tcase_add_loop_test(tests, text_is_named, 0, (int)EVB_COUNT(texts));
    tcase_add_test(tests, refusals_are_told);
    tcase_add_test(tests, no_event);
    tcase_add_test(tests, data_stays_when_refused);
    tcase_add_test(tests, no_room_keeps_nothing);
    tcase_add_test(tests, no_memory);
    return unit_run(suite);
}
