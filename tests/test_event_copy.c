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

int main(void)
{
    Suite *suite = suite_create("event, copies");
    TCase *tests = unit_case(suite, "copies");

    tcase_add_test(tests, cause);
    tcase_add_test(tests, copy);
    return unit_run(suite);
}
