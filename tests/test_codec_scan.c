/* test_codec_scan.c - the members that are found in an envelope, and what is no JSON object. */
#include "codec_fixture.h"
#include "unit.h"

static const char *const broken[] = {
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{1:2}",
    "{}}",
    "{} {}",
    "{\"data\":}",
    "{\"data\":nul}",
    "{\"data\":01}",
    "{\"data\":\"\x01\"}",
    "{\"data\":\"\xff\"}",
    "{\"x\":\"\xc0\x80\",\"data\":1}",
    "{\"\xed\xa0\x80\":1}",
    "{\"x\":\"\\ud800\"}",
    "{\"x\":[1,{\"y\":}],\"data\":1}", /* skipped, but checked */
};

START_TEST(broken_refused)
{
    evbus_event *event;
    int error = read_bytes(broken[_i], strlen(broken[_i]), EVB_READ_CHECK, &event);
    ck_assert_msg(error == EVBUS_EPARSE, "%d: %s", error, broken[_i]);
}
END_TEST

START_TEST(nul_bytes)
{
    static const struct {
        const char *text;
        size_t length;
    } rows[] = {{"{\0}", 3}, {"{\"a\0\":1}", 8},     {"{\"data\":1\0}", 11},
                {"{}\0", 3}, {"{\"data\":1}\0", 11}, {"{\"data\":\"\0\"}", 12}};
    evbus_event *event;
    for (size_t i = 0; i < EVB_COUNT(rows); i++)
        ck_assert_int_eq(read_bytes(rows[i].text, rows[i].length, EVB_READ_CHECK, &event),
                         EVBUS_EPARSE);
}
END_TEST

static int read_nested(int depth, const char *before, const char *open, const char *close,
                       const char *after)
{
    struct evb_buf text;
    evbus_event *event;
    evb_buf_init(&text);
    evb_buf_text(&text, before);
    for (int i = 0; i < depth; i++)
        evb_buf_text(&text, open);
    for (int i = 0; i < depth; i++)
        evb_buf_text(&text, close);
    evb_buf_text(&text, after);
    int error = read_bytes(text.data, text.length, EVB_READ_CHECK, &event);
    evbus_event_unref(event);
    evb_buf_fini(&text);
    return error;
}

START_TEST(depth)
{
    ck_assert_int_eq(read_nested(2000, "{\"data\":", "[", "]", "}"), 0);
    ck_assert_int_eq(read_nested(3000, "{\"data\":", "[", "]", "}"), EVBUS_EPARSE);
    ck_assert_int_eq(read_nested(2000, "{\"x\":", "[", "]", ",\"data\":1}"), 0);
    ck_assert_int_eq(read_nested(3000, "{\"x\":", "[", "]", ",\"data\":1}"), EVBUS_EPARSE);
    ck_assert_int_eq(read_nested(3000, "", "{\"a\":", "}", ""), EVBUS_EPARSE);
    ck_assert_int_eq(read_nested(500000, HEAD "1,\"data\":", "[", "", ""), EVBUS_EPARSE);
}
END_TEST

START_TEST(unseen_data)
{
    evbus_event *event;
    static const char text[] =
        HEAD "               1,\"eventId\":\"e\",\"type\":\"t\",\"version\":\"1\","
             "\"timestamp\":\"2024-12-22T10:30:00.000Z\",\"data\":{\"a\":nul}} ";
    ck_assert_int_eq(read_bytes(text, sizeof text - 1, EVB_READ_CHECK, &event), EVBUS_EPARSE);
    ck_assert_int_eq(read_bytes(text, sizeof text - 1, 0, &event), 0);
    ck_assert_str_eq(evbus_event_data(event, NULL), "{\"a\":nul}");
    ck_assert_int_eq(evbus_event_is_json(event), 1);
    evbus_event_unref(event);
    /* Another's envelope is always looked at: what stands behind its data counts. */
    ck_assert_int_eq(read_bytes("{\"data\":1,\"eventId\":\"e\"}", 24, 0, &event), 0);
    ck_assert_str_eq(evbus_event_id(event), "e");
    ck_assert_str_eq(evbus_event_data(event, NULL), "1");
    evbus_event_unref(event);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_scan");
    TCase *tests = unit_case(suite, "codec_scan");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, broken_refused, 0, (int)EVB_COUNT(broken));
    tcase_add_test(tests, nul_bytes);
    tcase_add_test(tests, depth);
    tcase_add_test(tests, unseen_data);
    return unit_run(suite);
}
