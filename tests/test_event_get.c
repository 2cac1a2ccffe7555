/* test_event_get.c - what is read in an event, and of no event. */
#include "event_fixture.h"

START_TEST(null_has_nothing)
{
    evbus_event *event = evbus_event_new("a");
    size_t length = 7;
    refused(evbus_event_attr_count(NULL));
    refused(evbus_event_is_json(NULL));
    refused(evbus_event_origin(NULL));
    ck_assert_ptr_null(evbus_event_data(NULL, &length));
    ck_assert_uint_eq(length, 0);
    ck_assert_ptr_null(evbus_event_type(NULL));
    ck_assert_ptr_null(evbus_event_id(NULL));
    ck_assert_ptr_null(evbus_event_timestamp(NULL));
    ck_assert_ptr_null(evbus_event_attr(event, NULL));
    evbus_event_unref(event);
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

int main(void)
{
    Suite *suite = suite_create("event_get");
    TCase *tests = unit_case(suite, "event_get");

    tcase_add_test(tests, null_has_nothing);
    tcase_add_test(tests, time_left);
    return unit_run(suite);
}
