/* test_codec_hostile.c - what hostile or broken peers send must neither crash nor pass as what it
 * is not. */
#include "codec_fixture.h"
#include <jansson.h>

/* ---- hostile ---- */
static const char *const broken[] = {
    /* twice */
    "{\"data\":1,\"data\":2}",
    "{\"type\":\"a\",\"type\":\"a\",\"data\":1}",
    "{\"node\":\"" NODE "\",\"node\":\"" NODE "\",\"data\":1}",
    "{\"eventId\":\"a\",\"data\":1,\"eventId\":\"b\"}",
    "{\"eventId\":null,\"eventId\":\"b\",\"data\":1}",
    "{\"seq\":1,\"seq\":2,\"data\":1}",
    "{\"data\":1,\"dataBase64\":\"\"}",
    /* of the wrong kind */
    "{\"node\":5,\"data\":1}",
    "{\"node\":true,\"data\":1}",
    "{\"local\":\"true\",\"data\":1}",
    "{\"seq\":\"5\",\"data\":1}",
    "{\"eventId\":[],\"data\":1}",
    "{\"eventId\":true,\"data\":1}",
    "{\"type\":5,\"data\":1}",
    "{\"version\":{},\"data\":1}",
    "{\"timestamp\":true,\"data\":1}",
    "{\"source\":1,\"data\":1}",
    "{\"correlationId\":false,\"data\":1}",
    "{\"attrs\":\"a\",\"data\":1}",
    "{\"attrs\":[],\"data\":1}",
    "{\"dataBase64\":5}",
    "{\"ttl\":\"5\",\"data\":1}",
    /* values */
    "{\"node\":\"" NODE "\",\"seq\":-1,\"data\":1}",
    "{\"node\":\"" NODE "\",\"seq\":1.5,\"data\":1}",
    "{\"node\":\"" NODE "\",\"seq\":1e3,\"data\":1}",
    "{\"node\":\"" NODE "\",\"seq\":1000000000000000000,\"data\":1}",
    "{\"dataBase64\":\"====\"}",
    "{\"dataBase64\":\"Zg\"}",
    "{\"dataBase64\":\"Z\\ng=\"}",
    "{\"eventId\":\"a\\u0000b\",\"data\":1}",
    "{\"eventId\":\"a\\nb\",\"data\":1}",
    "{\"source\":\"\\u0000\",\"data\":1}",
    "{\"version\":\"\\u001f\",\"data\":1}",
    "{\"correlationId\":\"\\t\",\"data\":1}",
    "{\"attrs\":{\"a\":\"\\u0000\"},\"data\":1}",
    "{\"attrs\":{\"a\\u0000\":\"\"},\"data\":1}",
};

START_TEST(broken_refused)
{
    evbus_event *event;
    int error = read_bytes(broken[_i], strlen(broken[_i]), EVB_READ_CHECK, &event);
    ck_assert_msg(error == EVBUS_EPARSE, "%d: %s", error, broken[_i]);
}
END_TEST

START_TEST(limits)
{
    struct evb_buf text;
    evbus_event *event;
    const char *why;
    evb_buf_init(&text);
    evb_buf_text(&text, "{\"attrs\":{");
    for (int i = 0; i < 100; i++)
        evb_buf_printf(&text, "%s\"own%d\":\"%d\"", i ? "," : "", i, i);
    evb_buf_text(&text, "},\"foreign\":\"x\",\"data\":1}");
    event = read_good(text.data);
    ck_assert_int_eq(evbus_event_attr_count(event), EVB_ATTR_MAX);
    ck_assert_str_eq(evbus_event_attr(event, "own63"), "63");
    ck_assert_ptr_null(evbus_event_attr(event, "own64"));
    evbus_event_unref(event);
    text.length = 0;
    evb_buf_printf(&text, "{\"%0256d\":\"x\",\"y\":\"%04097d\",\"%0255d\":\"%04096d\",\"data\":1}",
                   0, 0, 0, 0);
    event = read_good(text.data);
    ck_assert_int_eq(evbus_event_attr_count(event), 1);
    ck_assert_uint_eq(event->attrs[0].value.length, 4096);
    evbus_event_unref(event);
    text.length = 0;
    evb_buf_printf(&text, "{\"eventId\":\"%0256d\",\"data\":1}", 0);
    ck_assert_int_eq(read_bytes(text.data, text.length, EVB_READ_CHECK, &event), EVBUS_EPARSE);
    evb_buf_fini(&text);
    ck_assert_int_eq(evb_codec_read("{\"data\":[1,2]}", 14, "a", 1, 4, 0, &event, &why),
                     EVBUS_ETOOBIG);
    ck_assert_int_eq(evb_codec_read("{\"data\":[1,2]}", 14, "a", 1, 5, 0, &event, &why), 0);
    evbus_event_unref(event);
    ck_assert_int_eq(evb_codec_read("{\"dataBase64\":\"AAEC\"}", 21, "a", 1, 3, 0, &event, &why),
                     0);
    evbus_event_unref(event);
    ck_assert_int_eq(evb_codec_read("{\"dataBase64\":\"AAEC\"}", 21, "a", 1, 2, 0, &event, &why),
                     EVBUS_ETOOBIG);
    ck_assert_int_eq(evb_codec_read("plain", 5, "a", 1, 4, 0, &event, &why), EVBUS_ETOOBIG);
    ck_assert_int_eq(evb_codec_read("{\"a\":1}", 7, "a", 1, 6, 0, &event, &why), EVBUS_ETOOBIG);
}
END_TEST

static const char meaningful[] = "\"\\{}[],:0159-+.eEtrufalsn /=\n\0\x7f\x80\xc0\xed\xf4\xff";

static char changed(char byte, size_t change)
{
    unsigned flipped = (unsigned char)byte ^ (1u << change % 8);
    return change < 8 ? (char)flipped : meaningful[change - 8];
}

/* What is taken with a check, jansson takes, too; and with a space after its brace, which bars the
 * short way, a text gets the same answer. */
static bool read_changed(const struct evb_buf *text)
{
    evbus_event *event, *spaced_event, *typed;
    char spaced[1024] = "{ ";
    json_error_t why;
    int error = read_bytes(text->data, text->length, EVB_READ_CHECK, &event);
    memcpy(spaced + 2, text->data + 1, text->length - 1);
    if (*text->data == '{') {
        ck_assert_int_eq(read_bytes(spaced, text->length + 1, EVB_READ_CHECK, &spaced_event),
                         error);
        evbus_event_unref(spaced_event);
        ck_assert_int_eq(
            read_bytes(spaced, text->length + 1, EVB_READ_CHECK | EVB_READ_TYPE, &spaced_event),
            read_bytes(text->data, text->length, EVB_READ_CHECK | EVB_READ_TYPE, &typed));
        evbus_event_unref(spaced_event);
        evbus_event_unref(typed);
    }
    if (error)
        return false;
    sane(event, EVB_READ_CHECK);
    json_t *json = json_loadb(text->data, text->length, JSON_ALLOW_NUL, &why);
    bool excused = !json && json_error_code(&why) == json_error_numeric_overflow;
    ck_assert_msg(json || !event->is_json || excused, "%s", text->data);
    json_decref(json);
    evbus_event_unref(event);
    return true;
}

/* Every byte of every shape changed in every bit and into every byte that means something. */
START_TEST(mutated)
{
    evbus_event *event = shape(_i), *back;
    struct evb_buf out;
    int taken = 0;
    write_event(&out, event, true, 17);
    for (size_t at = 0; at < out.length; at++) {
        char byte = out.data[at];
        for (size_t change = 0; change < sizeof meaningful + 7; change++) {
            out.data[at] = changed(byte, change);
            taken += read_changed(&out);
            if (read_bytes(out.data, out.length, 0, &back) == 0)
                sane(back, 0);
            evbus_event_unref(back);
        }
        out.data[at] = byte;
    }
    ck_assert_int_gt(taken, (int)out.length);
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

START_TEST(truncated)
{
    evbus_event *event = shape(_i), *back;
    struct evb_buf out;
    write_event(&out, event, true, 17);
    for (unsigned flags = 0; flags <= EVB_READ_CHECK; flags++)
        for (size_t length = 1; length < out.length; length++) {
            int error = read_bytes(out.data, length, flags, &back);
            if (!error)
                sane(back, flags);
            ck_assert(error == EVBUS_EPARSE || (!error && !flags)); /* unseen data may end early */
            evbus_event_unref(back);
        }
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory: the n-th allocation fails ---- */
static int allocations_left;

static void *scarce_alloc(size_t size)
{
    return allocations_left-- == 0 ? NULL : malloc(size);
}

START_TEST(no_memory)
{
    static const char text[] =
        "{\"type\":\"a\",\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\",\"e\":\"5\","
        "\"data\":1}";
    int n = 0;
    evbus_event *event;
    evbus_set_allocator(scarce_alloc, realloc, free);
    do {
        allocations_left = n++;
        event = evbus_event_from_json(text, sizeof text - 1);
        ck_assert(event || evbus_last_code() == EVBUS_ENOMEM);
    } while (!event && n < 50);
    ck_assert_int_gt(n, 2);
    ck_assert_int_lt(n, 50);
    ck_assert_int_eq(evbus_event_attr_count(event), 5);
    evbus_event_unref(event);
    evbus_set_allocator(NULL, NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec, hostile");
    TCase *tests = tcase_create("hostile");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, broken_refused, 0, (int)EVB_COUNT(broken));
    tcase_add_test(tests, limits);
    tcase_add_loop_test(tests, mutated, 0, SHAPES);
    tcase_add_loop_test(tests, truncated, 0, SHAPES);
    tcase_add_test(tests, no_memory);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
