/* test_event_get.c - what is read in an event: given, drawn when somebody asks, or not there. */
#include "event_fixture.h"
#include "rand.h"
#include <sched.h>
#include <stdio.h>

static const struct {
    const char *(*text)(const evbus_event *event);
    int64_t (*number)(const evbus_event *event);
    int (*count)(const evbus_event *event);
} getters[] = {
    {.text = evbus_event_type},        {.text = evbus_event_id},
    {.text = evbus_event_version},     {.text = evbus_event_source},
    {.text = evbus_event_node},        {.text = evbus_event_correlation},
    {.text = evbus_event_timestamp},   {.number = evbus_event_time_us},
    {.number = evbus_event_ttl},       {.number = evbus_event_deadline_ms},
    {.count = evbus_event_attr_count}, {.count = evbus_event_is_json},
    {.count = evbus_event_origin},
};

/* It stands in the last error; then another sentence, so that the next one is seen. */
static void an_argument_is_null(void)
{
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "an argument is NULL");
    evbus_event_unref(evbus_event_new(NULL));
}

START_TEST(null_has_nothing)
{
    if (getters[_i].text)
        ck_assert_ptr_null(getters[_i].text(NULL));
    if (getters[_i].number)
        ck_assert_int_eq(getters[_i].number(NULL), EVBUS_EINVAL);
    if (getters[_i].count)
        ck_assert_int_eq(getters[_i].count(NULL), EVBUS_EINVAL);
    an_argument_is_null();
}
END_TEST

START_TEST(null_arguments)
{
    evbus_event *event = make("1");
    size_t length = 7;
    ck_assert_ptr_null(evbus_event_data(NULL, &length));
    ck_assert_uint_eq(length, 0);
    an_argument_is_null();
    ck_assert_ptr_null(evbus_event_data(NULL, NULL));
    an_argument_is_null();
    ck_assert_ptr_null(evbus_event_attr(event, NULL));
    an_argument_is_null();
    ck_assert_ptr_null(evbus_event_attr(NULL, "a"));
    an_argument_is_null();
    ck_assert_ptr_null(evbus_event_attr_name(NULL, 0));
    an_argument_is_null();
    ck_assert_ptr_null(evbus_event_position(NULL));
    evbus_event_unref(event);
}
END_TEST

/* Before it is published, and without any setter. */
START_TEST(of_a_new_one)
{
    evbus_event *event = evbus_event_new("a.b");
    size_t length = 7;
    ck_assert_str_eq(evbus_event_type(event), "a.b");
    ck_assert_str_eq(evbus_event_version(event), EVB_VERSION_DEFAULT);
    ck_assert_str_eq(evbus_event_id(event), "");
    ck_assert_str_eq(evbus_event_source(event), "");
    ck_assert_str_eq(evbus_event_correlation(event), "");
    ck_assert_uint_eq(evb_event_correlation(event).length, 0);
    ck_assert_str_eq(evbus_event_timestamp(event), "");
    ck_assert_ptr_null(evbus_event_node(event));
    ck_assert_ptr_null(evbus_event_position(event));
    ck_assert_ptr_null(evbus_event_data(event, &length));
    ck_assert_uint_eq(length, 0);
    ck_assert_int_eq(evbus_event_is_json(event), 0);
    ck_assert_int_eq(evbus_event_ttl(event), 0);
    ck_assert_int_eq(evbus_event_deadline_ms(event), 0);
    ck_assert_int_eq(evbus_event_attr_count(event), 0);
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_LOCAL);
    evbus_event_unref(event);
}
END_TEST

START_TEST(of_a_given_one)
{
    evbus_event *event = evb_event_make("a.b", 3, "a\0b", 3, false);
    size_t length;
    evbus_event_set_version(event, "2");
    evbus_event_set_id(event, "e");
    evbus_event_set_source(event, "shop");
    evbus_event_set_correlation(event, "c");
    evbus_event_set_time_us(event, INT64_C(1734863400123456));
    evbus_event_set_ttl(event, 9);
    ck_assert_str_eq(evbus_event_version(event), "2");
    ck_assert_str_eq(evbus_event_id(event), "e");
    ck_assert_str_eq(evbus_event_source(event), "shop");
    ck_assert_str_eq(evbus_event_correlation(event), "c");
    ck_assert_int_eq(evbus_event_time_us(event), INT64_C(1734863400123456));
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T10:30:00.123Z");
    ck_assert_int_eq(evbus_event_ttl(event), 9);
    ck_assert_mem_eq(evbus_event_data(event, &length), "a\0b", 4);
    ck_assert_uint_eq(length, 3);
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    ck_assert_str_eq(evbus_event_node(event), NODE);
    evbus_event_unref(event);
}
END_TEST

/* ---- ids ---- */
static const struct {
    uint8_t bytes[16];
    const char *text;
} uuids[] = {
    {{0}, "00000000-0000-0000-0000-000000000000"},
    {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32,
      0x10},
     "01234567-89ab-cdef-fedc-ba9876543210"},
};

START_TEST(uuid_text)
{
    char text[EVB_ID_TEXT];
    memset(text, 'x', sizeof text);
    evb_uuid_write(uuids[_i].bytes, text);
    ck_assert_str_eq(text, uuids[_i].text);
}
END_TEST

static int dice_byte, draws;

static void known_dice(void *out, size_t length)
{
    draws++;
    memset(out, dice_byte, length);
}

static const struct {
    int64_t time_us;
    int byte;
    const char *id;
} drawn[] = {
    {0, 0, "00000000-0000-7000-8000-000000000000"},
    {INT64_C(1645557742000999), 0xff, "017f22e2-79b0-7fff-bfff-ffffffffffff"},
    {INT64_C(281474976710655999), 0x5a, "ffffffff-ffff-7a5a-9a5a-5a5a5a5a5a5a"},
};

/* Version and variant are always there; and it is drawn once. */
START_TEST(id_is_drawn)
{
    evbus_event *event = make("1");
    evb_rand_set(known_dice);
    dice_byte = drawn[_i].byte;
    evbus_event_set_time_us(event, drawn[_i].time_us);
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    ck_assert_int_eq(draws, 0); /* nobody has asked */
    ck_assert_str_eq(evbus_event_id(event), drawn[_i].id);
    ck_assert_uint_eq(evb_event_id(event).length, EVB_ID_TEXT - 1);
    ck_assert_str_eq(evbus_event_correlation(event), drawn[_i].id);
    ck_assert_int_eq((int)strlen(evbus_event_timestamp(event)), EVB_TIME_TEXT - 1);
    ck_assert_str_eq(evbus_event_id(event), drawn[_i].id);
    ck_assert_int_eq(draws, 1);
    evbus_event_unref(event);
    evb_rand_set(NULL);
}
END_TEST

START_TEST(given_id_is_not_drawn)
{
    evbus_event *event = make("1");
    evb_rand_set(known_dice);
    evbus_event_set_id(event, "mine");
    ck_assert_str_eq(evbus_event_correlation(event), "mine");
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    ck_assert_str_eq(evbus_event_id(event), "mine");
    ck_assert_int_eq((int)strlen(evbus_event_timestamp(event)), EVB_TIME_TEXT - 1);
    ck_assert_int_eq(draws, 0);
    evbus_event_unref(event);
    evb_rand_set(NULL);
}
END_TEST

static evbus_event *being_written; /* by another thread, as it seems */
static int yields;

int sched_yield(void) /* the library's, in this program */
{
    if (being_written && ++yields == 3) {
        strcpy(being_written->id_text, uuids[1].text);
        strcpy(being_written->time_text, "2001-02-03T04:05:06.007Z");
        atomic_store(&being_written->text_state, EVB_TEXT_THERE);
    }
    return 0;
}

START_TEST(waits_for_the_other_reader)
{
    being_written = make("1");
    ck_assert_int_eq(evb_event_freeze(being_written, NODE, NULL), 0);
    atomic_store(&being_written->text_state, EVB_TEXT_BEING_WRITTEN);
    ck_assert_str_eq(evbus_event_id(being_written), uuids[1].text);
    ck_assert_str_eq(evbus_event_timestamp(being_written), "2001-02-03T04:05:06.007Z");
    ck_assert_int_eq(yields, 3);
    evbus_event_unref(being_written);
}
END_TEST

/* ---- the rest ---- */
START_TEST(attr_by_name)
{
    static const char *const others[] = {"", "user", "userIds", "userid", "v"};
    evbus_event *event = make("1");
    char name[EVB_TEXT_MAX + 2];
    evbus_event_set_attr(event, "userId", "v");
    evbus_event_set_attr(event, "e", "");
    ck_assert_str_eq(evbus_event_attr(event, "userId"), "v");
    ck_assert_str_eq(evbus_event_attr(event, "e"), "");
    for (size_t i = 0; i < EVB_COUNT(others); i++)
        ck_assert_ptr_null(evbus_event_attr(event, others[i]));
    memset(name, 'x', sizeof name);
    name[EVB_TEXT_MAX + 1] = '\0';
    ck_assert_ptr_null(evbus_event_attr(event, name));
    name[EVB_TEXT_MAX] = '\0';
    evbus_event_set_attr(event, name, "longest");
    ck_assert_str_eq(evbus_event_attr(event, name), "longest");
    evbus_event_unref(event);
}
END_TEST

START_TEST(attr_by_number)
{
    static const int beyond[] = {-1, INT32_MIN, 2, INT32_MAX};
    evbus_event *event = make("1");
    char sentence[64];
    evbus_event_set_attr(event, "a", "1");
    evbus_event_set_attr(event, "b", "2");
    ck_assert_int_eq(evbus_event_attr_count(event), 2);
    ck_assert_str_eq(evbus_event_attr_name(event, 0), "a");
    ck_assert_str_eq(evbus_event_attr_name(event, 1), "b");
    for (size_t i = 0; i < EVB_COUNT(beyond); i++) {
        ck_assert_ptr_null(evbus_event_attr_name(event, beyond[i]));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
        snprintf(sentence, sizeof sentence, "there is no attribute number %d", beyond[i]);
        ck_assert_str_eq(evbus_last_error(), sentence);
    }
    evbus_event_unref(event);
}
END_TEST

START_TEST(position_once_known)
{
    evbus_event *event = make("1");
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    ck_assert_ptr_null(evbus_event_position(event));
    evb_event_set_position(event, (struct evb_position){1763712345678, 42});
    ck_assert_str_eq(evbus_event_position(event), "1763712345678-42");
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

    tcase_add_loop_test(tests, null_has_nothing, 0, (int)EVB_COUNT(getters));
    tcase_add_test(tests, null_arguments);
    tcase_add_test(tests, of_a_new_one);
    tcase_add_test(tests, of_a_given_one);
    tcase_add_loop_test(tests, uuid_text, 0, (int)EVB_COUNT(uuids));
    tcase_add_loop_test(tests, id_is_drawn, 0, (int)EVB_COUNT(drawn));
    tcase_add_test(tests, given_id_is_not_drawn);
    tcase_add_test(tests, waits_for_the_other_reader);
    tcase_add_test(tests, attr_by_name);
    tcase_add_test(tests, attr_by_number);
    tcase_add_test(tests, position_once_known);
    tcase_add_test(tests, time_left);
    return unit_run(suite);
}
