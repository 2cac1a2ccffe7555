/* test_codec_scan.c - the members that are found in an envelope, and what is no JSON object. */
#include "codec_fixture.h"
#include "unit.h"
#include <stdio.h>

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

/* ---- the scanner alone ---- */
static const struct {
    const char *text, *inside; /* NULL: all of it */
    int kind;                  /* EVB_KIND_ABSENT: it is none */
    bool escaped;
} values[] = {
    {"\"\"", "", EVB_KIND_STRING, false},
    {"\"a b\"", "a b", EVB_KIND_STRING, false},
    {"\"caf\xc3\xa9\"", "caf\xc3\xa9", EVB_KIND_STRING, false},
    {"\"a\\n\\\"\"", "a\\n\\\"", EVB_KIND_STRING, true},
    {"0", NULL, EVB_KIND_NUMBER, false},
    {"-1.5e+3", NULL, EVB_KIND_NUMBER, false},
    {"true", NULL, EVB_KIND_BOOL, false},
    {"false", NULL, EVB_KIND_BOOL, false},
    {"null", NULL, EVB_KIND_NULL, false},
    {"{\"a\":[1,\"}\"]}", NULL, EVB_KIND_OBJECT, false},
    {"[ {} , \"]\" ]", NULL, EVB_KIND_ARRAY, false},
    {"\"a", NULL, EVB_KIND_ABSENT, false},
    {"\"a\\x\"", NULL, EVB_KIND_ABSENT, false},
    {"tru", NULL, EVB_KIND_ABSENT, false},
    {"nul", NULL, EVB_KIND_ABSENT, false},
    {"-", NULL, EVB_KIND_ABSENT, false},
    {"x", NULL, EVB_KIND_ABSENT, false},
    {"{\"a\":}", NULL, EVB_KIND_ABSENT, false},
    {"[1", NULL, EVB_KIND_ABSENT, false},
    {"", NULL, EVB_KIND_ABSENT, false},
};

START_TEST(value_of_each_kind)
{
    struct evb_scan_value value = {.kind = EVB_KIND_ANY};
    struct evb_scan scan;
    char text[64];
    snprintf(text, sizeof text, "%s,", values[_i].text);
    scan_open(&scan, text, true);
    scan.p = scan.begin;
    if (values[_i].kind) {
        ck_assert_int_eq(evb_scan_value(&scan, &value), 0);
        value_is(&value, values[_i].kind, values[_i].inside ? values[_i].inside : values[_i].text);
        ck_assert_int_eq(value.escaped, values[_i].escaped);
        ck_assert_str_eq(scan.p, ",");
        ck_assert_ptr_null(scan.why);
    } else {
        ck_assert_int_eq(evb_scan_value(&scan, &value), EVBUS_EPARSE);
        ck_assert_ptr_nonnull(scan.why);
    }
    scan_close(&scan);
}
END_TEST

START_TEST(names_in_turn)
{
    static const char *const names[] = {"a", "", "b\\n"};
    struct evb_scan_value name, value;
    struct evb_scan scan;
    scan_open(&scan, "{ \"a\" : 1 ,\"\":2\t, \"b\\n\"\n:3\r} x", true);
    for (size_t i = 0; i < EVB_COUNT(names); i++) {
        ck_assert_int_eq(evb_scan_name(&scan, &name), 1);
        value_is(&name, EVB_KIND_STRING, names[i]);
        ck_assert_int_eq(name.escaped, i == 2);
        ck_assert_int_eq(*scan.p, '1' + (int)i);
        ck_assert_int_eq(evb_scan_value(&scan, &value), 0);
    }
    ck_assert_int_eq(evb_scan_name(&scan, &name), 0);
    ck_assert_str_eq(scan.p, " x");
    scan_close(&scan);
}
END_TEST

static const struct {
    const char *text, *why;
} wrong[] = {
    {"{1:2}", "a key in quotes is missing"},        {"{,}", "a key in quotes is missing"},
    {"{\"a\":1,}", "a key in quotes is missing"},   {"{", "a key in quotes is missing"},
    {"{\"a\" 1}", "':' is missing behind a key"},   {"{\"a\"", "':' is missing behind a key"},
    {"{\"a\":1 \"b\":2}", "',' or '}' is missing"}, {"{\"a\":1", "',' or '}' is missing"},
    {"{\"a\":1]", "',' or '}' is missing"},         {"{} x", "more behind the object"},
    {"{\"a\":1}}", "more behind the object"},
};

START_TEST(wrong_is_told)
{
    struct evb_scan scan;
    scan_open(&scan, wrong[_i].text, true);
    ck_assert_int_eq(evb_scan_object(&scan), EVBUS_EPARSE);
    ck_assert_str_eq(scan.why, wrong[_i].why);
    scan_close(&scan);
}
END_TEST

START_TEST(fail_says_why)
{
    struct evb_scan scan = {.why = NULL};
    ck_assert_int_eq(evb_scan_fail(&scan, "because"), EVBUS_EPARSE);
    ck_assert_str_eq(scan.why, "because");
}
END_TEST

/* ---- members by their slot ---- */
static const struct {
    const char *name;
    enum evb_scan_slot slot; /* EVB_SLOT_COUNT: none knows it */
} spellings[] = {
    {"node", EVB_SLOT_NODE},
    {"local", EVB_SLOT_LOCAL},
    {"seq", EVB_SLOT_SEQ},
    {"eventId", EVB_SLOT_EVENT_ID},
    {"event_id", EVB_SLOT_EVENT_ID},
    {"type", EVB_SLOT_TYPE},
    {"Type", EVB_SLOT_TYPE},
    {"version", EVB_SLOT_VERSION},
    {"timestamp", EVB_SLOT_TIME},
    {"time", EVB_SLOT_TIME},
    {"Timestamp", EVB_SLOT_TIME},
    {"ttl", EVB_SLOT_TTL},
    {"source", EVB_SLOT_SOURCE},
    {"correlationId", EVB_SLOT_CORRELATION},
    {"correlation_id", EVB_SLOT_CORRELATION},
    {"correlationid", EVB_SLOT_CORRELATION},
    {"attrs", EVB_SLOT_ATTRS},
    {"data", EVB_SLOT_DATA},
    {"Data", EVB_SLOT_DATA},
    {"dataBase64", EVB_SLOT_BYTES},
    {"data_base64", EVB_SLOT_BYTES},
    {"payload", EVB_SLOT_PAYLOAD},
    {"metadata", EVB_SLOT_METADATA},
    {"sig", EVB_SLOT_SIGNATURE},
    {"position", EVB_SLOT_POSITION},
    {"id", EVB_SLOT_ID},
    {"specversion", EVB_SLOT_SPEC},
    {"replyTo", EVB_SLOT_REPLY_TO},
    {"deadline", EVB_SLOT_DEADLINE},
    {"inReplyTo", EVB_SLOT_IN_REPLY_TO},
    {"error", EVB_SLOT_ERROR},
    {"", EVB_SLOT_COUNT},
    {"Node", EVB_SLOT_COUNT},
    {"nod", EVB_SLOT_COUNT},
    {"nodes", EVB_SLOT_COUNT},
    {"\\u006eode", EVB_SLOT_COUNT},
    {"userId", EVB_SLOT_COUNT},
};

START_TEST(each_name_has_its_slot)
{
    struct evb_scan scan;
    char text[64];
    int known = spellings[_i].slot < EVB_SLOT_COUNT;
    snprintf(text, sizeof text, "{\"%s\":\"x\"}", spellings[_i].name);
    scan_open(&scan, text, true);
    ck_assert_int_eq(evb_scan_object(&scan), 0);
    for (int i = 0; i < EVB_SLOT_COUNT; i++)
        if (i == (int)spellings[_i].slot)
            value_is(&scan.slots[i], EVB_KIND_STRING, "x");
        else
            ck_assert_int_eq(scan.slots[i].kind, EVB_KIND_ABSENT);
    ck_assert_uint_eq(scan.foreign_count, !known);
    if (!known) {
        value_is(&scan.foreign[0].name, EVB_KIND_STRING, spellings[_i].name);
        value_is(&scan.foreign[0].value, EVB_KIND_STRING, "x");
    }
    ck_assert_ptr_eq(scan.p, scan.end);
    scan_close(&scan);
}
END_TEST

/* The search for the next key begins behind the last one: it finds those before it, too. */
START_TEST(any_order)
{
    struct evb_scan scan;
    struct evb_buf text;
    evb_buf_init(&text);
    for (size_t i = EVB_COUNT(spellings); i-- > 0;)
        evb_buf_printf(&text, "%s\"%s\":%zu", text.length ? "," : "{", spellings[i].name, i);
    evb_buf_text(&text, "}");
    scan_open(&scan, text.data, true);
    ck_assert_int_eq(evb_scan_object(&scan), 0);
    ck_assert(!scan.twice);
    for (size_t i = 0; i < EVB_COUNT(spellings); i++) {
        char number[16];
        bool last = i + 1 == EVB_COUNT(spellings) || spellings[i + 1].slot != spellings[i].slot;
        snprintf(number, sizeof number, "%zu", i);
        if (last && spellings[i].slot < EVB_SLOT_COUNT) /* of its spellings, the first to come */
            value_is(&scan.slots[spellings[i].slot], EVB_KIND_NUMBER, number);
    }
    ck_assert_uint_eq(scan.foreign_count, 0); /* numbers are nothing to keep */
    scan_close(&scan);
    evb_buf_fini(&text);
}
END_TEST

static const struct {
    const char *text, *time;
    bool twice;
    size_t foreign;
} doubles[] = {
    {"{\"time\":\"1\",\"time\":\"2\"}", "2", true, 0},
    {"{\"time\":null,\"time\":\"2\"}", "2", true, 0},
    {"{\"time\":1,\"a\":1,\"time\":2,\"time\":\"3\"}", "3", true, 0},
    {"{\"time\":1,\"time\":\"2\",\"ttl\":3}", "2", true, 0},
    {"{\"time\":\"1\",\"timestamp\":\"2\"}", "1", false, 1},
    {"{\"Timestamp\":\"1\",\"time\":\"2\",\"timestamp\":\"3\"}", "1", false, 2},
    {"{\"time\":\"1\",\"timestamp\":2}", "1", false, 0},
    {"{\"time\":\"1\",\"a\":\"2\",\"a\":\"3\"}", "1", false, 2},
};

START_TEST(twice_or_spelt_anew)
{
    struct evb_scan scan;
    scan_open(&scan, doubles[_i].text, true);
    ck_assert_int_eq(evb_scan_object(&scan), 0);
    value_is(&scan.slots[EVB_SLOT_TIME], EVB_KIND_STRING, doubles[_i].time);
    ck_assert_int_eq(scan.twice, doubles[_i].twice);
    ck_assert_uint_eq(scan.foreign_count, doubles[_i].foreign);
    scan_close(&scan);
}
END_TEST

START_TEST(foreign_bounded)
{
    struct evb_scan scan;
    struct evb_buf text;
    evb_buf_init(&text);
    for (int i = 0; i < EVB_ATTR_MAX + 6; i++)
        evb_buf_printf(&text, "%s\"k%d\":\"%d\"", i ? "," : "{", i, i);
    evb_buf_text(&text, ",\"data\":1}");
    scan_open(&scan, text.data, true);
    ck_assert_int_eq(evb_scan_object(&scan), 0);
    ck_assert_uint_eq(scan.foreign_count, EVB_ATTR_MAX);
    value_is(&scan.foreign[0].name, EVB_KIND_STRING, "k0");
    value_is(&scan.foreign[EVB_ATTR_MAX - 1].value, EVB_KIND_STRING, "63");
    value_is(&scan.slots[EVB_SLOT_DATA], EVB_KIND_NUMBER, "1");
    scan_close(&scan);
    evb_buf_fini(&text);
}
END_TEST

/* ---- the position at the end ---- */
#define MOST "18446744073709551615"

static const struct {
    const char *text;
    size_t at; /* 0: it has none */
    struct evb_position position;
} ends[] = {
    {"{,\"position\":\"1-2\"}", 1, {1, 2}},
    {"{\"data\":{},\"position\":\"1763712345678-42\"}", 10, {1763712345678, 42}},
    {"x,\"position\":\"" MOST "-" MOST "\"}", 1, {UINT64_MAX, UINT64_MAX}},
    {"x,\"position\":\"1" MOST "-" MOST "\"}", 0, {0, 0}},
    {"x,\"position\":\"00000000000000000000" MOST "-" MOST "\"}", 0, {0, 0}},
    {"x,\"position\":\"\"}", 0, {0, 0}},
    {"x,\"position\":\"}", 0, {0, 0}},
    {"x,\"position\":\"1-2\"", 0, {0, 0}},
    {"x,\"position\":\"1-2\"]", 0, {0, 0}},
    {"x,\"position\":\"1-2\"} ", 0, {0, 0}},
    {"x,\"position\":\"1-2}", 0, {0, 0}},
    {"x,\"position\":\"12\"}", 0, {0, 0}},
    {"x,\"position\":\"1-a\"}", 0, {0, 0}},
    {"x,\"Position\":\"1-2\"}", 0, {0, 0}},
    {"x \"position\":\"1-2\"}", 0, {0, 0}},
    {"x,\"position\": \"1-2\"}", 0, {0, 0}},
    {"\"position\":\"1-2\"}", 0, {0, 0}},
    {"1-2\"}", 0, {0, 0}},
    {"{\"data\":\"0000000000000000000000000000000000000000000000000001-2\"}", 0, {0, 0}},
    {"\"}", 0, {0, 0}},
    {"}", 0, {0, 0}},
    {"", 0, {0, 0}},
};

START_TEST(position_at_the_end)
{
    struct evb_position position = {0, 0};
    size_t length = strlen(ends[_i].text);
    char *exact = malloc(length ? length : 1);
    memcpy(exact, ends[_i].text, length);
    ck_assert_uint_eq(evb_scan_position(exact, length, &position), ends[_i].at);
    if (ends[_i].at)
        ck_assert_int_eq(evb_position_compare(position, ends[_i].position), 0);
    free(exact);
}
END_TEST

/* ---- data that nobody looks at ---- */
#define MINE "{\"node\":\"x\",\"data\":"

static const struct {
    const char *text, *data; /* NULL: refused */
    bool check;
} unseen[] = {
    {MINE "[1,}", "[1,", false},
    {MINE "[1,}", NULL, true},
    {MINE "1,\"position\":\"5-7\"}", "1", false},
    {MINE "{}} \n", "{}", false},
    {"{\"node\":\"x\",\"Data\":nul}", "nul", false},
    {"{\"data\":1,\"node\":\"x\"}", "1", false}, /* nobody's own so far */
    {"{\"data\":nul,\"node\":\"x\"}", NULL, false},
    {"{\"node\":\"x\",\"payload\":nul}", NULL, false},
    {MINE "[1", NULL, false},
    {MINE "}", NULL, false},
    {MINE "", NULL, false},
};

START_TEST(rest_as_data)
{
    struct evb_scan scan;
    scan_open(&scan, unseen[_i].text, unseen[_i].check);
    ck_assert_int_eq(evb_scan_object(&scan), unseen[_i].data ? 0 : EVBUS_EPARSE);
    if (unseen[_i].data) {
        const struct evb_scan_value *data = &scan.slots[EVB_SLOT_DATA];
        ck_assert_uint_eq(data->length, strlen(unseen[_i].data));
        ck_assert_mem_eq(data->ptr, unseen[_i].data, data->length);
    }
    scan_close(&scan);
}
END_TEST

START_TEST(no_end_of_the_rest)
{
    struct evb_scan scan;
    scan_open(&scan, MINE "[1", false);
    ck_assert_int_eq(evb_scan_object(&scan), EVBUS_EPARSE);
    ck_assert_str_eq(scan.why, "an object without its end");
    scan_close(&scan);
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
    tcase_add_loop_test(tests, value_of_each_kind, 0, (int)EVB_COUNT(values));
    tcase_add_test(tests, names_in_turn);
    tcase_add_loop_test(tests, wrong_is_told, 0, (int)EVB_COUNT(wrong));
    tcase_add_test(tests, fail_says_why);
    tcase_add_loop_test(tests, each_name_has_its_slot, 0, (int)EVB_COUNT(spellings));
    tcase_add_test(tests, any_order);
    tcase_add_loop_test(tests, twice_or_spelt_anew, 0, (int)EVB_COUNT(doubles));
    tcase_add_test(tests, foreign_bounded);
    tcase_add_loop_test(tests, position_at_the_end, 0, (int)EVB_COUNT(ends));
    tcase_add_loop_test(tests, rest_as_data, 0, (int)EVB_COUNT(unseen));
    tcase_add_test(tests, no_end_of_the_rest);
    return unit_run(suite);
}
