/* test_event_copy.c - what an event takes from another one: from its cause, or as its copy. */
#include "event_fixture.h"

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

/* The first half of the trace finds no room: nothing is taken, and the event is as it was. */
START_TEST(cause_without_room)
{
    evbus_event *event = full_of_attrs("tracestate"), *first = evbus_event_new("a");
    evbus_event_set_id(first, "not published, but known");
    evbus_event_set_attr(first, "traceparent", "00-1-2-01");
    evbus_event_set_attr(first, "tracestate", "new");
    ck_assert_int_eq(evbus_event_set_cause(event, first), EVBUS_EFULL);
    ck_assert_str_eq(evbus_event_attr(event, "tracestate"), "old");
    ck_assert_ptr_null(evbus_event_attr(event, "traceparent"));
    ck_assert_str_eq(evbus_event_correlation(event), evbus_event_id(event));
    evbus_event_unref(event);
    evbus_event_unref(first);
}
END_TEST

START_TEST(half_a_trace)
{
    evbus_event *event = evbus_event_new("b"), *first = evbus_event_new("a");
    evbus_event_set_correlation(first, "of another one");
    evbus_event_set_attr(first, "tracestate", "x=1");
    ck_assert_int_eq(evbus_event_set_cause(event, first), 0);
    ck_assert_str_eq(evbus_event_correlation(event), "of another one");
    ck_assert_str_eq(evbus_event_attr(event, "tracestate"), "x=1");
    ck_assert_int_eq(evbus_event_attr_count(event), 1);
    evbus_event_unref(event);
    evbus_event_unref(first);
}
END_TEST

/* Who it was and when is not copied, nor that it asked for an answer; and no text needs a piece. */
START_TEST(copy_is_another)
{
    evbus_event *event = make(NULL);
    evbus_event_set_id(event, "mine");
    evbus_event_set_time_us(event, 1000000);
    evbus_event_set_bytes(event, "a\0b", 3);
    event->exchange = evb_event_exchange(event);
    event->exchange->reply_to = (struct evb_text){"inbox", 5};
    evb_event_freeze(event, NODE, "a source that is longer than the room which is left");
    evb_event_set_position(event, (struct evb_position){1, 2});
    evbus_event *twin = evbus_event_copy(event);
    size_t length;
    ck_assert_ptr_null(twin->pieces);
    ck_assert_str_eq(evbus_event_id(twin), "");
    ck_assert_str_eq(evbus_event_correlation(twin), "mine");
    ck_assert_str_eq(evbus_event_timestamp(twin), "");
    ck_assert_ptr_null(evbus_event_node(twin));
    ck_assert_ptr_null(evbus_event_position(twin));
    ck_assert(!evb_event_is_request(twin));
    ck_assert_mem_eq(evbus_event_data(twin, &length), "a\0b", 4);
    ck_assert_uint_eq(length, 3);
    ck_assert_int_eq(evbus_event_is_json(twin), 0);
    ck_assert_str_eq(evbus_event_source(twin), event->source.ptr);
    evbus_event_unref(event);
    evbus_event_unref(twin);
}
END_TEST

START_TEST(copy_too_big)
{
    evbus_event *event = make("1");
    event->data.length = INT32_MAX; /* refused before anybody looks */
    ck_assert_ptr_null(evbus_event_copy(event));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETOOBIG);
    event->data.length = 1;
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory ---- */
static evbus_event *whole;

static void from_another_run(bool fails)
{
    evbus_event *event = evbus_event_new("a");
    if (came_through(event ? 0 : evbus_last_code(), fails) &&
        came_through(evbus_event_set_cause(event, whole), fails)) {
        ck_assert_str_eq(evbus_event_correlation(event), big);
        ck_assert_int_eq(evbus_event_attr_count(event), 2);
    }
    evbus_event_unref(event);
    event = evbus_event_copy(whole);
    if (came_through(event ? 0 : evbus_last_code(), fails)) {
        ck_assert_str_eq(evbus_event_data(event, NULL), big);
        ck_assert_int_eq(evbus_event_attr_count(event), 2);
    }
    evbus_event_unref(event);
}

START_TEST(no_memory)
{
    whole = make(big);
    evbus_event_set_correlation(whole, big);
    evbus_event_set_attr(whole, "traceparent", big);
    evbus_event_set_attr(whole, "tracestate", big);
    ck_assert_int_ge(memory_fail_each(from_another_run), 7);
    evbus_event_unref(whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event, copies");
    TCase *tests = unit_case(suite, "copies");

    tcase_add_checked_fixture(tests, big_setup, NULL);
    tcase_add_test(tests, cause);
    tcase_add_test(tests, cause_without_room);
    tcase_add_test(tests, half_a_trace);
    tcase_add_test(tests, copy);
    tcase_add_test(tests, copy_is_another);
    tcase_add_test(tests, copy_too_big);
    tcase_add_test(tests, no_memory);
    return unit_run(suite);
}
