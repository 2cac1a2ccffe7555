/* test_codec_write.c - the envelope as it is written, and the look at its first bytes. */
#include "codec_fixture.h"
#include "unit.h"

START_TEST(written_text)
{
    evbus_event *event = shape(FULL);
    struct evb_buf out;
    write_event(&out, event, false, 42);
    ck_assert_str_eq(out.data,
                     "{\"node\":\"0123456789abcdef\",\"local\":false,\"seq\":              42,"
                     "\"eventId\":\"evt_abc123\",\"type\":\"task.created\",\"version\":\"2.7\","
                     "\"timestamp\":\"2024-12-22T10:30:00.123Z\",\"ttl\":92233720368547758,"
                     "\"source\":\"music-service\",\"correlationId\":\"corr\","
                     "\"attrs\":{\"userId\":\"user123\",\"e\":\"\"},\"data\":{\"a\":[1,\"}\"]}}");
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

START_TEST(json_of_unpublished)
{
    evbus_event *event = evbus_event_new("a.b");
    char *json = evbus_event_to_json(event);
    ck_assert_str_eq(json, "{\"eventId\":\"\",\"type\":\"a.b\",\"version\":\"1.0\"}");
    evbus_event *back = evbus_event_from_json(json, strlen(json));
    ck_assert_ptr_null(evbus_event_data(back, NULL));
    ck_assert_int_eq((int)strlen(evbus_event_id(back)), 36);
    ck_assert_int_eq(evbus_event_time_us(back), NOW);
    evbus_string_free(json);
    evbus_event_unref(event);
    evbus_event_unref(back);
}
END_TEST

START_TEST(json_of_received)
{
    evbus_event *event = shape(FULL), *back;
    struct evb_buf out;
    uint64_t seq;
    write_event(&out, event, true, 17);
    ck_assert_int_eq(read_bytes(out.data, out.length, EVB_READ_CHECK, &back), 0);
    char *json = evbus_event_to_json(back);
    ck_assert_ptr_nonnull(strstr(json, "{\"node\":\"" NODE "\",\"eventId\""));
    ck_assert_int_eq(evb_codec_is_echo(json, strlen(json), NODE, &seq), 0);
    evbus_event *again = read_good(json);
    ck_assert_uint_eq(again->seq, 0); /* sent to Redis by hand, it is not old */
    evbus_string_free(json);
    evbus_event_unref(event);
    evbus_event_unref(back);
    evbus_event_unref(again);
    evb_buf_fini(&out);
}
END_TEST

START_TEST(json_of_nothing)
{
    ck_assert_ptr_null(evbus_event_to_json(NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
}
END_TEST

static const struct {
    const char *text;
    int echo;
    uint64_t seq;
} echoes[] = {
    {HEAD "               0,", 1, 0},
    {HEAD "              17,", 1, 17},
    {HEAD "1234567890123456,\"eventId\":", 1, 1234567890123456},
    {"", 0, 0},
    {"{", 0, 0},
    {HEAD, 0, 0},
    {HEAD "              17", 0, 0},
    {HEAD "              17}", 0, 0},
    {HEAD "             017,", 0, 0},
    {HEAD "17              ,", 0, 0},
    {HEAD "             1 7,", 0, 0},
    {HEAD "             -17,", 0, 0},
    {HEAD "             1a7,", 0, 0},
    {HEAD "                ,", 0, 0},
    {HEAD "17,\"data\":1}            ", 0, 0},
    {HEAD "               17,", 0, 0},
    {" " HEAD "              17,", 0, 0},
    {"{\"node\":\"0123456789abcdeF\",\"local\":true,\"seq\":              17,", 0, 0},
    {"{\"node\":\"1123456789abcdef\",\"local\":true,\"seq\":              17,", 0, 0},
    {"{\"node\":\"0123456789abcdef\",\"local\":false,\"seq\":              17,", 0, 0},
    {"{\"node\":\"0123456789abcdef\", \"local\":true,\"seq\":              17,", 0, 0},
    {"{\"node\":\"0123456789abcdef\",\"seq\":              17,\"local\":true,", 0, 0},
    {"{\"data\":{\"node\":\"0123456789abcdef\",\"local\":true,\"seq\":              17,", 0, 0},
};

START_TEST(echo)
{
    size_t length = strlen(echoes[_i].text);
    uint64_t seq = 0;
    char *exact = malloc(length ? length : 1);
    memcpy(exact, echoes[_i].text, length);
    ck_assert_int_eq(evb_codec_is_echo(exact, length, NODE, &seq), echoes[_i].echo);
    if (echoes[_i].echo)
        ck_assert_uint_eq(seq, echoes[_i].seq);
    free(exact);
}
END_TEST

START_TEST(echo_of_written)
{
    evbus_event *event = shape(BARE);
    struct evb_buf out;
    uint64_t seq;
    write_event(&out, event, true, 9999999999999999);
    ck_assert_int_eq(evb_codec_is_echo(out.data, out.length, NODE, &seq), 1);
    ck_assert_uint_eq(seq, 9999999999999999);
    ck_assert_int_eq(evb_codec_is_echo(out.data, out.length, "fedcba9876543210", &seq), 0);
    evb_buf_fini(&out);
    write_event(&out, event, false, 1); /* REDIS_ONLY: nobody here had it */
    ck_assert_int_eq(evb_codec_is_echo(out.data, out.length, NODE, &seq), 0);
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

static void *no_resize(void *old, size_t size)
{
    (void)old;
    (void)size;
    return NULL;
}

START_TEST(no_memory_to_write)
{
    for (int which = 0; which < SHAPES; which++) {
        evbus_event *event = shape(which);
        struct evb_buf out;
        size_t seq_at;
        evb_buf_init(&out);
        evbus_set_allocator(malloc, no_resize, free);
        evb_codec_write(&out, event, true, &seq_at);
        ck_assert(out.failed);
        ck_assert_ptr_null(evbus_event_to_json(event));
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
        evbus_set_allocator(NULL, NULL, NULL);
        evb_buf_fini(&out);
        evbus_event_unref(event);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_write");
    TCase *tests = unit_case(suite, "codec_write");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, written_text);
    tcase_add_test(tests, json_of_unpublished);
    tcase_add_test(tests, json_of_received);
    tcase_add_test(tests, json_of_nothing);
    tcase_add_loop_test(tests, echo, 0, (int)EVB_COUNT(echoes));
    tcase_add_test(tests, echo_of_written);
    tcase_add_test(tests, no_memory_to_write);
    return unit_run(suite);
}
