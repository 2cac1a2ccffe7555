/* test_codec_write.c - the envelope as it is written, and the look at its first bytes. */
#include "codec_fixture.h"
#include "rand.h"
#include "unit.h"
#include <stdio.h>

/* ---- the forms ---- */
#define DRAWN "018bcfe5-687b-7000-8000-000000000000" /* from NOW and dice that show 0 */
#define BEGIN                                                                                      \
    "\"eventId\":\"" DRAWN "\",\"type\":\"task.created\",\"version\":\"1.0\","                     \
    "\"timestamp\":\"2023-11-14T22:13:20.123Z\","
#define SENT "\"source\":\"billing\",\"correlationId\":\"" DRAWN "\""
#define TASK ",\"data\":{\"task_id\":[1,\"}\"]}}"

static const char *const written[SHAPES] = {
    [BARE] = BEGIN "\"correlationId\":\"" DRAWN "\"}",
    [PLAIN] = BEGIN SENT TASK,
    [FULL] = "\"eventId\":\"evt_abc123\",\"type\":\"task.created\",\"version\":\"2.7\","
             "\"timestamp\":\"2024-12-22T10:30:00.123Z\",\"ttl\":92233720368547758,"
             "\"source\":\"music-service\",\"correlationId\":\"corr\","
             "\"attrs\":{\"userId\":\"user123\",\"e\":\"\"},\"data\":{\"a\":[1,\"}\"]}}",
    [BYTES] = BEGIN SENT ",\"dataBase64\":\"AP97fSIK\"}",
    [EMPTY_BYTES] = BEGIN SENT ",\"dataBase64\":\"\"}",
    [ESCAPES] = "\"eventId\":\"an \\\"id\\\" \\\\ caf\xc3\xa9\",\"type\":\"task.created\","
                "\"version\":\"\\\"\",\"timestamp\":\"2024-12-22T10:30:00.123Z\","
                "\"ttl\":92233720368547758,\"source\":\"\\\\\",\"correlationId\":\""
                "\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\","
                "\"attrs\":{\"userId\":\"user123\",\"\\\"k\\\\\":\"\\\"v\\\\\"},"
                "\"data\":{\"a\":[1,\"}\"]}}",
    [REQUEST] =
        BEGIN SENT ",\"replyTo\":\"evbus:inbox:\\\"me\\\"\",\"deadline\":1734863400123" TASK,
    [PLAIN_REQUEST] = BEGIN SENT ",\"replyTo\":\"evbus:inbox:me\",\"deadline\":1734863400123" TASK,
    [REPLY] = BEGIN SENT ",\"inReplyTo\":\"an \\\"id\\\"\"" TASK,
    [PLAIN_REPLY] = BEGIN SENT ",\"inReplyTo\":\"id\"" TASK,
    [REFUSAL] = BEGIN SENT ",\"inReplyTo\":\"an \\\"id\\\"\",\"error\":\"no \\\"\xc3\xa9\\\"\"}",
};

static void no_dice(void *out, size_t length)
{
    memset(out, 0, length);
}

static void ends_with(const struct evb_buf *out, const char *begin, const char *end)
{
    ck_assert(!out->failed);
    ck_assert_uint_eq(strlen(out->data), out->length);
    ck_assert_uint_eq(out->length, strlen(begin) + strlen(end));
    ck_assert_mem_eq(out->data, begin, strlen(begin));
    ck_assert_str_eq(out->data + strlen(begin), end);
}

/* With its node in front, and behind what stands there already; without; and by hand. */
START_TEST(every_shape)
{
    static const char head[] = "{}{\"node\":\"" NODE "\",\"local\":false,\"seq\":";
    evb_rand_set(no_dice);
    evbus_event *event = shape(_i);
    struct evb_buf out;
    size_t seq_at = 0;
    evb_buf_init(&out);
    evb_buf_text(&out, "{}");
    evb_codec_write(&out, event, false, &seq_at);
    ends_with(&out, "{}{\"node\":\"" NODE "\",\"local\":false,\"seq\":               0,",
              written[_i]);
    ck_assert_uint_eq(seq_at, sizeof head - 1);
    out.length = 0;
    evb_codec_write_plain(&out, event);
    ends_with(&out, "{", written[_i]);
    char *json = evbus_event_to_json(event);
    ck_assert_str_eq(json, out.data);
    evbus_string_free(json);
    evb_buf_fini(&out);
    evbus_event_unref(event);
    evb_rand_set(NULL);
}
END_TEST

static const struct {
    int64_t ttl_ms, deadline_ms;
    const char *ttl, *deadline; /* NULL: there is none */
    bool reply;                 /* which has no deadline */
} numbers[] = {
    {0, INT64_MAX, NULL, NULL, false},
    {0, 5, NULL, NULL, true},
    {1, 0, ",\"ttl\":1,", ",\"deadline\":0}", false},
    {10, 1, ",\"ttl\":10,", ",\"deadline\":1}", false},
    {INT64_MAX, INT64_MAX - 1, ",\"ttl\":9223372036854775807,",
     ",\"deadline\":9223372036854775806}", false},
};

START_TEST(whole_numbers)
{
    evbus_event *event = shape(BARE);
    event->ttl_ms = numbers[_i].ttl_ms;
    event->exchange = evb_event_exchange(event);
    if (numbers[_i].reply)
        event->exchange->in_reply_to = (struct evb_text){"a", 1};
    else
        event->exchange->reply_to = (struct evb_text){"a", 1};
    event->exchange->deadline_ms = numbers[_i].deadline_ms;
    char *json = evbus_event_to_json(event);
    ck_assert_int_eq(!strstr(json, "\"ttl\""), !numbers[_i].ttl);
    ck_assert_int_eq(!strstr(json, "\"deadline\""), !numbers[_i].deadline);
    if (numbers[_i].ttl)
        ck_assert_ptr_nonnull(strstr(json, numbers[_i].ttl));
    if (numbers[_i].deadline)
        ck_assert_ptr_nonnull(strstr(json, numbers[_i].deadline));
    evbus_string_free(json);
    evbus_event_unref(event);
}
END_TEST

static const struct {
    uint64_t seq;
    const char *slot;
} seqs[] = {
    {0, "               0"},
    {9, "               9"},
    {10, "              10"},
    {123456789012345, " 123456789012345"},
    {9999999999999999, "9999999999999999"},
};

START_TEST(seq_fills_its_slot)
{
    char text[] = "<0123456789abcdef>";
    evb_codec_write_seq(text + 1, seqs[_i].seq);
    ck_assert_mem_eq(text + 1, seqs[_i].slot, EVB_SEQ_WIDTH);
    ck_assert_int_eq(text[0], '<');
    ck_assert_str_eq(text + 1 + EVB_SEQ_WIDTH, ">");
}
END_TEST

/* All as long as it may be, with nothing to be escaped: one allocation. */
START_TEST(size_is_enough)
{
    static char longest[EVB_REFUSAL_MAX];
    memset(longest, 'x', sizeof longest);
    evbus_event *event = evbus_event_new("task.created");
    struct evb_text text = {longest, EVB_TEXT_MAX};
    struct evb_buf out;
    size_t seq_at;
    if (_i % 2)
        event->id = event->correlation = text;
    event->version = event->source = text;
    event->ttl_ms = INT64_MAX;
    event->exchange = evb_event_exchange(event);
    *event->exchange = (struct evb_exchange){text, text, {longest, EVB_REFUSAL_MAX}, 1};
    event->exchange->deadline_ms = INT64_MAX - 1;
    for (uint32_t i = 0; i < EVB_ATTR_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        ck_assert_int_eq(evbus_event_set_attr(event, name, ""), 0);
    }
    evbus_event_set_bytes(event, longest, (size_t)_i * 52);
    evb_event_freeze(event, NODE, NULL);
    evb_buf_init(&out);
    atomic_store(&memory_left, 1);
    evb_codec_write(&out, event, false, &seq_at);
    atomic_store(&memory_left, -1);
    ck_assert(!out.failed);
    ck_assert_uint_le(out.length, evb_codec_size(event));
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

/* Escapes are not in the guess: the text grows, at whatever byte it comes to that. */
START_TEST(escapes_outgrow_the_guess)
{
    char quotes[601];
    size_t plain = 0;
    memset(quotes, '"', sizeof quotes);
    for (size_t count = 0; count < sizeof quotes; count++) {
        evbus_event *event = evbus_event_new("a");
        quotes[count] = '\0';
        evbus_event_set_attr(event, "b", quotes);
        evbus_event_set_json(event, "1", 1);
        char *json = evbus_event_to_json(event);
        size_t length = strlen(json);
        plain = count ? plain : length;
        ck_assert_uint_eq(length, plain + 2 * count);
        ck_assert_str_eq(json + length - 12, "\"},\"data\":1}");
        ck_assert_ptr_null(evb_json_check(json, length, NULL));
        quotes[count] = '"';
        evbus_string_free(json);
        evbus_event_unref(event);
    }
}
END_TEST

/* ---- by hand ---- */
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

static const struct {
    const char *text, *begin, *end;
} received[] = {
    {"{\"data\":1}", "{\"eventId\":\"", ",\"data\":1}"},
    {"{\"node\":\"me\",\"data\":1}", "{\"eventId\":\"", ",\"attrs\":{\"node\":\"me\"},\"data\":1}"},
    {"{\"node\":\"" NODE "\",\"data\":1}", "{\"node\":\"" NODE "\",\"eventId\":\"", ",\"data\":1}"},
    {HEAD "1,\"data\":1,\"position\":\"5-7\"}", "{\"node\":\"" NODE "\",\"eventId\":\"",
     ",\"data\":1,\"position\":\"5-7\"}"},
};

START_TEST(node_and_position)
{
    evbus_event *event = read_good(received[_i].text);
    char *json = evbus_event_to_json(event);
    size_t begin = strlen(received[_i].begin), end = strlen(received[_i].end);
    ck_assert_uint_gt(strlen(json), begin + end);
    ck_assert_mem_eq(json, received[_i].begin, begin);
    ck_assert_str_eq(json + strlen(json) - end, received[_i].end);
    evbus_string_free(json);
    evbus_event_unref(event);
}
END_TEST

/* One's own has a place, too, and no node. */
START_TEST(own_position)
{
    evbus_event *event = shape(FULL);
    evb_event_set_position(event, (struct evb_position){5, 7});
    char *json = evbus_event_to_json(event);
    ck_assert_ptr_null(strstr(json, "\"node\""));
    ck_assert_ptr_nonnull(strstr(json, "]},\"position\":\"5-7\"}"));
    evbus_string_free(json);
    evbus_event_unref(event);
}
END_TEST

START_TEST(json_of_nothing)
{
    ck_assert_ptr_null(evbus_event_to_json(NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
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

/* As soon as the comma behind its number is there, and not before. */
START_TEST(echo_cut_short)
{
    evbus_event *event = shape(PLAIN);
    struct evb_buf out;
    uint64_t seq;
    write_event(&out, event, true, 17);
    for (size_t length = 0; length <= out.length; length++) {
        char *exact = malloc(length ? length : 1);
        memcpy(exact, out.data, length);
        ck_assert_int_eq(evb_codec_is_echo(exact, length, NODE, &seq),
                         length > sizeof HEAD - 1 + EVB_SEQ_WIDTH);
        free(exact);
    }
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory ---- */
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

static evbus_event *to_write;

static void write_run(bool fails)
{
    struct evb_buf out;
    size_t seq_at;
    evb_buf_init(&out);
    evb_codec_write(&out, to_write, true, &seq_at);
    ck_assert_int_eq(out.failed, fails && memory_failed());
    evb_buf_fini(&out);
    evb_buf_init(&out);
    bool before = fails && memory_failed();
    evb_codec_write_plain(&out, to_write);
    ck_assert_int_eq(out.failed, !before && fails && memory_failed());
    evb_buf_fini(&out);
    before = fails && memory_failed();
    char *json = evbus_event_to_json(to_write);
    ck_assert_int_eq(!json, !before && fails && memory_failed());
    if (!json)
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    evbus_string_free(json);
}

START_TEST(each_allocation_fails)
{
    to_write = shape(_i);
    ck_assert_int_ge(memory_fail_each(write_run), 3);
    evbus_event_unref(to_write);
}
END_TEST

START_TEST(growing_fails)
{
    char quotes[EVB_ATTR_VALUE_MAX + 1];
    memset(quotes, '"', sizeof quotes);
    quotes[sizeof quotes - 1] = '\0';
    to_write = evbus_event_new("a");
    evbus_event_set_attr(to_write, "b", quotes);
    ck_assert_int_eq(evb_event_freeze(to_write, NODE, NULL), 0);
    ck_assert_int_gt(memory_fail_each(write_run), 6);
    evbus_event_unref(to_write);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_write");
    TCase *tests = unit_case(suite, "codec_write");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, every_shape, 0, SHAPES);
    tcase_add_loop_test(tests, whole_numbers, 0, (int)EVB_COUNT(numbers));
    tcase_add_loop_test(tests, seq_fills_its_slot, 0, (int)EVB_COUNT(seqs));
    tcase_add_loop_test(tests, size_is_enough, 0, 8);
    tcase_add_test(tests, escapes_outgrow_the_guess);
    tcase_add_test(tests, json_of_unpublished);
    tcase_add_test(tests, json_of_received);
    tcase_add_loop_test(tests, node_and_position, 0, (int)EVB_COUNT(received));
    tcase_add_test(tests, own_position);
    tcase_add_test(tests, json_of_nothing);
    tcase_add_loop_test(tests, echo, 0, (int)EVB_COUNT(echoes));
    tcase_add_test(tests, echo_of_written);
    tcase_add_test(tests, echo_cut_short);
    tcase_add_test(tests, no_memory_to_write);
    tcase_add_loop_test(tests, each_allocation_fails, 0, SHAPES);
    tcase_add_test(tests, growing_fails);
    return unit_run(suite);
}
