/* test_codec_hostile.c - what hostile or broken peers send must neither crash nor pass as what it
 * is not. */
#include "codec_fixture.h"
#include <jansson.h>

/* ---- hostile ---- */
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

/* ---- echoes ---- */
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

/* ---- no memory: the n-th allocation fails ---- */
static int allocations_left;

static void *scarce_alloc(size_t size)
{
    return allocations_left-- == 0 ? NULL : malloc(size);
}

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
    tcase_add_test(tests, nul_bytes);
    tcase_add_test(tests, depth);
    tcase_add_test(tests, limits);
    tcase_add_loop_test(tests, mutated, 0, SHAPES);
    tcase_add_loop_test(tests, truncated, 0, SHAPES);
    tcase_add_test(tests, unseen_data);
    tcase_add_loop_test(tests, echo, 0, (int)EVB_COUNT(echoes));
    tcase_add_test(tests, echo_of_written);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, no_memory_to_write);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
