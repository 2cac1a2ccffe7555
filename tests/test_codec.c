/* test_codec.c - the envelope: there and back, and the forms of other systems. */
#include "codec_fixture.h"
#include <stdio.h>

START_TEST(round_trip)
{
    evbus_event *event = shape(_i), *back;
    struct evb_buf out;
    write_event(&out, event, _i % 2, 1234567890123456);
    if (_i != ESCAPES)
        ck_assert_uint_le(out.length, evb_codec_size(event));
    for (unsigned flags = 0; flags <= (EVB_READ_CHECK | EVB_READ_TYPE); flags++) {
        ck_assert_int_eq(read_bytes(out.data, out.length, flags, &back), 0);
        sane(back, flags);
        ck_assert_str_eq(evbus_event_type(back),
                         flags & EVB_READ_TYPE ? "task.created" : "the.channel");
        back->type = event->type;
        event_equal(event, back);
        ck_assert_str_eq(evbus_event_node(back), NODE);
        ck_assert_uint_eq(back->seq, 1234567890123456);
        ck_assert_int_eq(atomic_load(&back->frozen), 1);
        evbus_event_unref(back);
    }
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

/* What the history's script makes of an envelope: read with and without a look at the data. */
START_TEST(with_position)
{
    evbus_event *event = shape(_i), *back;
    struct evb_position position = {0, 0};
    struct evb_buf out;
    write_event(&out, event, true, 17);
    ck_assert(!evb_codec_position(out.data, out.length, &position));
    out.length--;
    evb_buf_text(&out, ",\"position\":\"1763712345678-42\"}");
    ck_assert(evb_codec_position(out.data, out.length, &position));
    ck_assert_uint_eq(position.ms, 1763712345678);
    ck_assert_uint_eq(position.n, 42);
    for (unsigned flags = 0; flags <= EVB_READ_CHECK; flags++) {
        ck_assert_int_eq(read_bytes(out.data, out.length, flags, &back), 0);
        ck_assert_str_eq(evbus_event_position(back), "1763712345678-42");
        ck_assert_int_eq(evb_position_compare(back->position, position), 0);
        back->type = event->type;
        event_equal(event, back);
        char *json = evbus_event_to_json(back);
        ck_assert_ptr_nonnull(strstr(json, ",\"position\":\"1763712345678-42\"}"));
        evbus_event_unref(back);
        back = evbus_event_from_json(json, strlen(json));
        ck_assert_ptr_nonnull(back);
        ck_assert_ptr_null(evbus_event_position(back));
        evbus_string_free(json);
        evbus_event_unref(back);
    }
    evb_buf_fini(&out);
    evbus_event_unref(event);
}
END_TEST

#define OWN "{\"node\":\"" NODE "\",\"local\":true,\"seq\":               7,"
#define ID  "\"eventId\":\"x\",\"type\":\"t\",\"version\":\"1.0\","

static const struct {
    const char *text, *position, *attribute;
} positions[] = {
    {OWN ID "\"data\":{\"position\":\"1-2\"}}", NULL, NULL},
    {OWN ID "\"data\":1,\"position\":\"1-2\"}", "1-2", NULL},
    {OWN ID "\"position\":\"1-2\",\"data\":1}", "1-2", NULL},
    {OWN ID "\"data\":1,\"position\":\"chief\"}", NULL, "chief"},
    {OWN ID "\"data\":1,\"position\":\"1-\"}", NULL, "1-"},
    {OWN ID "\"data\":1,\"position\":\"18446744073709551616-1\"}", NULL, "18446744073709551616-1"},
    {"{" ID "\"data\":1,\"position\":\"1-2\"}", NULL, "1-2"},
    {"{\"node\":\"" NODE "\"," ID "\"data\":1,\"position\":\"1-2\"}", NULL, "1-2"},
};

/* Only what is numbered by its node can have a place; anybody else's word is an attribute. */
START_TEST(whose_position)
{
    evbus_event *event;
    const char *text = positions[_i].text;
    ck_assert_int_eq(read_bytes(text, strlen(text), EVB_READ_CHECK, &event), 0);
    ck_assert_pstr_eq(evbus_event_position(event), positions[_i].position);
    ck_assert_pstr_eq(evbus_event_attr(event, "position"), positions[_i].attribute);
    evbus_event_unref(event);
}
END_TEST

/* ---- the forms of other systems ---- */
static const struct {
    const char *name, *text;
    const char *id, *correlation, *version, *source; /* NULL: filled in */
    int64_t time_us;
    const char *data;
    const char *attrs; /* name=value, each with a ; behind it */
} forms[] = {
    {"S1 task scheduling",
     "{\"type\":\"task.created\",\"timestamp\":1734863400,"
     "\"data\":{\"task_id\":\"test-123\",\"circuit_type\":\"merkle_proof\"}}",
     NULL, NULL, "1.0", "", INT64_C(1734863400000000),
     "{\"task_id\":\"test-123\",\"circuit_type\":\"merkle_proof\"}", ""},
    {"S1 without struct tags",
     "{\"Type\":\"task.created\",\"Timestamp\":1734863400,\"Data\":{\"task_id\":\"test-123\"}}",
     NULL, NULL, "1.0", "", INT64_C(1734863400000000), "{\"task_id\":\"test-123\"}", ""},
    {"S2 task update",
     "{\"status\": \"in_progress\", \"message\": \"Processing commission...\", \"progress\": 50}",
     NULL, NULL, "1.0", "", NOW,
     "{\"status\": \"in_progress\", \"message\": \"Processing commission...\", \"progress\": 50}",
     ""},
    {"S2 general update",
     "{\"type\": \"system_notification\", \"message\": \"System maintenance scheduled\"}", NULL,
     NULL, "1.0", "", NOW,
     "{\"type\": \"system_notification\", \"message\": \"System maintenance scheduled\"}", ""},
    {"S3 booking",
     "{\"type\":\"booking.created\",\"userId\":\"user123\",\"organizationId\":\"org456\","
     "\"timestamp\":\"2024-12-22T10:30:00.000Z\",\"correlationId\":\"booking_789\","
     "\"metadata\":{\"bookingId\":\"789\",\"status\":\"confirmed\"}}",
     NULL, "booking_789", "1.0", "", INT64_C(1734863400000000),
     "{\"bookingId\":\"789\",\"status\":\"confirmed\"}", "userId=user123;organizationId=org456;"},
    {"S3 publish request",
     "{\"type\": \"custom.event\", \"payload\": { \"data\": \"example\" }, "
     "\"options\": { \"localOnly\": false, \"redisOnly\": false } }",
     NULL, NULL, "1.0", "", NOW, "{ \"data\": \"example\" }", ""},
    {"S4 standard event",
     "{\"eventId\":\"evt_abc123\",\"type\":\"analytics.events.batch\",\"version\":\"1.0\","
     "\"timestamp\":\"2024-12-22T10:30:00Z\",\"source\":\"music-service\",\"data\":{}}",
     "evt_abc123", "evt_abc123", "1.0", "music-service", INT64_C(1734863400000000), "{}", ""},
    {"S4 without data",
     "{\"eventId\":\"evt_abc123\",\"type\":\"config.cache.invalidate\",\"version\":\"1.1\","
     "\"timestamp\":\"2024-12-22T10:30:00Z\",\"source\":\"ai-config\"}",
     "evt_abc123", "evt_abc123", "1.1", "ai-config", INT64_C(1734863400000000), NULL, ""},
    {"CloudEvents",
     "{\"specversion\":\"1.0\",\"id\":\"A234-1234-1234\",\"source\":\"/mycontext\","
     "\"type\":\"com.example.someevent\",\"time\":\"2024-12-22T10:30:00Z\",\"subject\":\"123\","
     "\"datacontenttype\":\"application/json\",\"data\":{\"a\":1}}",
     "A234-1234-1234", "A234-1234-1234", "1.0", "/mycontext", INT64_C(1734863400000000),
     "{\"a\":1}", "subject=123;datacontenttype=application/json;"},
    {"CloudEvents, binary",
     "{\"specversion\":\"1.0\",\"id\":\"b\",\"source\":\"s\",\"type\":\"t\",\"data_base64\":"
     "\"AAEC\"}",
     "b", "b", "1.0", "s", NOW, "\0\1\2", ""},
    {"CloudEvents, no data",
     "{\"specversion\":\"1.0\",\"id\":\"c\",\"source\":\"s\",\"type\":\"t\"}", "c", "c", "1.0", "s",
     NOW, NULL, ""},
    {"milliseconds", "{\"timestamp\":1734863400123,\"data\":1}", NULL, NULL, "1.0", "",
     INT64_C(1734863400123000), "1", ""},
    {"microseconds", "{\"timestamp\":1734863400123456,\"data\":1}", NULL, NULL, "1.0", "",
     INT64_C(1734863400123456), "1", ""},
    {"nanoseconds", "{\"timestamp\":1734863400123456789,\"data\":1}", NULL, NULL, "1.0", "",
     INT64_C(1734863400123456), "1", ""},
    {"seconds with a fraction", "{\"timestamp\":1734863400.1234567,\"data\":1}", NULL, NULL, "1.0",
     "", INT64_C(1734863400123456), "1", ""},
    {"before 1970", "{\"timestamp\":-1.5,\"data\":1}", NULL, NULL, "1.0", "", -1500000, "1", ""},
    {"a time beyond all", "{\"timestamp\":99999999999999999999999,\"data\":1}", NULL, NULL, "1.0",
     "", NOW, "1", ""},
    {"a time without a zone", "{\"timestamp\":\"2024-12-22T10:30:00\",\"data\":1}", NULL, NULL,
     "1.0", "", NOW, "1", "timestamp=2024-12-22T10:30:00;"},
    {"nulls",
     "{\"eventId\":null,\"correlationId\":null,\"source\":null,\"timestamp\":null,\"data\":null}",
     NULL, NULL, "1.0", "", NOW, "null", ""},
    {"numbers for ids", "{\"id\":42,\"type\":\"t\",\"version\":2,\"correlation_id\":7,\"data\":0}",
     "42", "7", "2", "", NOW, "0", ""},
    {"another thing's id", "{\"id\":\"user-17\",\"data\":{}}", NULL, NULL, "1.0", "", NOW, "{}",
     "id=user-17;"},
    {"another thing's node", "{\"node\":\"worker-1\",\"seq\":9,\"data\":{}}", NULL, NULL, "1.0", "",
     NOW, "{}", "node=worker-1;"},
    {"an object's own id and type", "{\"id\":5,\"source\":{},\"version\":[],\"eventId\":\"e\"}",
     NULL, NULL, "1.0", "", NOW, "{\"id\":5,\"source\":{},\"version\":[],\"eventId\":\"e\"}", ""},
    {"data before metadata", "{\"metadata\":1,\"payload\":2,\"data\":3}", NULL, NULL, "1.0", "",
     NOW, "3", ""},
    {"payload before metadata", "{\"metadata\":1,\"payload\":2}", NULL, NULL, "1.0", "", NOW, "2",
     ""},
    {"a time and a timestamp", "{\"timestamp\":1,\"time\":\"noon\",\"data\":\"\"}", NULL, NULL,
     "1.0", "", 1000000, "\"\"", "time=noon;"},
    {"escapes", "{\"source\":\"caf\\u00e9 \\ud834\\udd1e\",\"data\":\"\\n\",\"a\\/b\":\"\\\"\"}",
     NULL, NULL, "1.0", "caf\xc3\xa9 \xf0\x9d\x84\x9e", NOW, "\"\\n\"", "a/b=\";"},
    {"any order, white space", " \n{ \"data\" : [ 1 ] , \"x\" : \"y\" , \"eventId\" : \"e\" }\r\n",
     "e", "e", "1.0", "", NOW, "[ 1 ]", "x=y;"},
    {"not to be attributes",
     "{\"a\":1,\"b\":true,\"c\":null,\"d\":{\"e\":\"f\"},\"g\":[\"h\"],\"\":\"i\",\"j\":"
     "\"k\\u0000l\","
     "\"data\":7}",
     NULL, NULL, "1.0", "", NOW, "7", ""},
    {"lines in an attribute", "{\"message\":\"a\\n\\tb\",\"data\":7}", NULL, NULL, "1.0", "", NOW,
     "7", "message=a\n\tb;"},
    {"empty object", "{}", NULL, NULL, "1.0", "", NOW, "{}", ""},
    {"empty object in space", " { } ", NULL, NULL, "1.0", "", NOW, "{ }", ""},
};

static void attrs_equal(const evbus_event *event, const char *want)
{
    char got[512] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < event->attr_count; i++)
        length += (size_t)snprintf(got + length, sizeof got - length, "%s=%s;",
                                   event->attrs[i].name.ptr, event->attrs[i].value.ptr);
    ck_assert_str_eq(got, want);
}

START_TEST(foreign_forms)
{
    evbus_event *event = read_good(forms[_i].text);
    sane(event, EVB_READ_CHECK);
    ck_assert_str_eq(evbus_event_type(event), "the.channel");
    ck_assert_ptr_null(evbus_event_node(event));
    ck_assert_uint_eq(event->seq, 0);
    if (forms[_i].id)
        ck_assert_str_eq(event->id.ptr, forms[_i].id);
    else
        ck_assert_ptr_null(event->id.ptr); /* drawn, so nothing for the window of ids */
    ck_assert_str_eq(evbus_event_correlation(event),
                     forms[_i].correlation ? forms[_i].correlation : evbus_event_id(event));
    ck_assert_str_eq(evbus_event_version(event), forms[_i].version);
    ck_assert_str_eq(evbus_event_source(event), forms[_i].source);
    ck_assert_int_eq(evbus_event_time_us(event), forms[_i].time_us);
    if (!forms[_i].data)
        ck_assert_ptr_null(evbus_event_data(event, NULL));
    else if (*forms[_i].data)
        ck_assert_str_eq(evbus_event_data(event, NULL), forms[_i].data);
    else
        ck_assert_mem_eq(evbus_event_data(event, NULL), "\0\1\2", 3);
    attrs_equal(event, forms[_i].attrs);
    evbus_event_unref(event);
}
END_TEST

START_TEST(no_object)
{
    static const char *const rows[] = {
        "",  "plain text",   "[1,2]", "42",   "\"a\"",    "null",          "true",
        "[", "\xff\xfe\x00", " ",     "\\{}", "\n\n[{}]", "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        evbus_event *event = read_good(rows[i]);
        size_t length;
        ck_assert_str_eq(evbus_event_data(event, &length), rows[i]);
        ck_assert_uint_eq(length, strlen(rows[i]));
        ck_assert_int_eq(evbus_event_is_json(event), 0);
        sane(event, 0);
        evbus_event_unref(event);
        ck_assert_int_eq(read_bytes(rows[i], length, EVB_READ_TYPE, &event), EVBUS_EPARSE);
    }
}
END_TEST

/* ---- the public pair ---- */
START_TEST(json_there_and_back)
{
    evbus_event *event = shape(_i);
    char *json = evbus_event_to_json(event);
    ck_assert_ptr_null(strstr(json, "\"node\""));
    ck_assert_ptr_null(strstr(json, "\"seq\""));
    evbus_event *back = evbus_event_from_json(json, strlen(json));
    ck_assert_ptr_nonnull(back);
    event_equal(event, back);
    ck_assert_int_eq(evbus_event_origin(back), EVBUS_ORIGIN_LOCAL);
    ck_assert_int_eq(evbus_event_set_attr(back, "new", "x"), 0); /* not published */
    ck_assert_int_eq(evb_event_freeze(back, "fedcba9876543210", "taken if none was"), 0);
    ck_assert_str_eq(evbus_event_id(back), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_node(back), "fedcba9876543210");
    evbus_string_free(json);
    evbus_event_unref(event);
    evbus_event_unref(back);
}
END_TEST

START_TEST(from_json_refused)
{
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        {"", EVBUS_EPARSE},
        {"text", EVBUS_EPARSE},
        {"[]", EVBUS_EPARSE},
        {"{}", EVBUS_EPARSE},
        {"{\"data\":1}", EVBUS_EPARSE},
        {"{\"type\":5,\"data\":1}", EVBUS_EPARSE},
        {"{\"type\":\"\",\"data\":1}", EVBUS_EPARSE},
        {"{\"type\":\"a b\",\"data\":1}", EVBUS_EPARSE},
        {"{\"type\":\"a\\u0000\",\"data\":1}", EVBUS_EPARSE},
        {"{\"type\":\"evbus.mode\",\"data\":1}", EVBUS_EINVAL},
        {"{\"type\":\"a\",\"data\":1", EVBUS_EPARSE},
    };
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        ck_assert_ptr_null(evbus_event_from_json(rows[i].text, strlen(rows[i].text)));
        ck_assert_msg(evbus_last_code() == rows[i].error, "%d: %s", evbus_last_code(),
                      rows[i].text);
        ck_assert_int_gt((int)strlen(evbus_last_error()), 0);
    }
    ck_assert_ptr_null(evbus_event_from_json(NULL, 0));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    static const char bare[] = "{\"type\":\"a\\/b\",\"progress\":50}";
    evbus_event *event = evbus_event_from_json(bare, strlen(bare));
    ck_assert_str_eq(evbus_event_type(event), "a/b");
    ck_assert_str_eq(evbus_event_data(event, NULL), bare);
    evbus_event_unref(event);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec");
    TCase *tests = tcase_create("codec");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, round_trip, 0, SHAPES);
    tcase_add_loop_test(tests, with_position, 0, SHAPES);
    tcase_add_loop_test(tests, whose_position, 0, (int)EVB_COUNT(positions));
    tcase_add_loop_test(tests, foreign_forms, 0, (int)EVB_COUNT(forms));
    tcase_add_test(tests, no_object);
    tcase_add_loop_test(tests, json_there_and_back, 0, SHAPES);
    tcase_add_test(tests, from_json_refused);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
