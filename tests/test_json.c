/* test_json.c - the JSON scanner: by table. */
#include "json.h"
#include "list.h"
#include "harness/check.h"
#include <evbus.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- by table; a text with a NUL inside is given with its length ---- */
#define TEXT(literal) literal, sizeof(literal) - 1

static const struct {
    const char *text;
    size_t length;
} good[] = {
    {TEXT("null")},
    {TEXT("true")},
    {TEXT("false")},
    {TEXT(" \t\r\n1 \t\r\n")},
    {TEXT("0")},
    {TEXT("-0")},
    {TEXT("-0.0e-0")},
    {TEXT("1E+2")},
    {TEXT("0.1e99999")},
    {TEXT("123456789012345678901234567890123456789012345678901234567890")},
    {TEXT("\"\"")},
    {TEXT("\"01234567\"")},
    {TEXT("\"0123456789abcdef\"")},
    {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")},
    {TEXT("\"\\u0000\"")},
    {TEXT("\"\\uD834\\uDd1e\"")},
    {TEXT("\"\x7f\"")},
    {TEXT("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"")},
    {TEXT("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"")},
    {TEXT("[]")},
    {TEXT("[ ]")},
    {TEXT("{}")},
    {TEXT("{ }")},
    {TEXT("[1,2 , 3]")},
    {TEXT("{\"a\":1,\"a\":2}")},
    {TEXT("{ \"a\" : [ { } , [ ] , { \"b\" : null } ] }")},
};

START_TEST(check_good)
{
    size_t at = 77;
    const char *why = evb_json_check(good[_i].text, good[_i].length, &at);
    ck_assert_msg(!why, "%s: %s at %zu", good[_i].text, why, at);
    ck_assert_uint_eq(at, 77);
}
END_TEST

static const struct {
    const char *text;
    size_t length;
    size_t at;
} bad[] = {
    {TEXT(""), 0},
    {TEXT("  "), 2},
    {TEXT("\0"), 0},
    {TEXT("1\0"), 1},
    {TEXT("\xef\xbb\xbf{}"), 0},
    {TEXT("nul"), 0},
    {TEXT("nulL"), 0},
    {TEXT("True"), 0},
    {TEXT("truefalse"), 4},
    {TEXT("1 2"), 2},
    {TEXT("-"), 1},
    {TEXT("+1"), 0},
    {TEXT(".5"), 0},
    {TEXT("01"), 0},
    {TEXT("-01"), 1},
    {TEXT("1."), 2},
    {TEXT("1.e1"), 2},
    {TEXT("1e"), 2},
    {TEXT("1e+"), 3},
    {TEXT("0x10"), 1},
    {TEXT("NaN"), 0},
    {TEXT("'a'"), 0},
    {TEXT("\""), 1},
    {TEXT("\"a"), 2},
    {TEXT("\"0123456"), 8},
    {TEXT("\"01234567\n\""), 9},
    {TEXT("\"a\0b\""), 2},
    {TEXT("\"\x1f\""), 1},
    {TEXT("\"\\"), 1},
    {TEXT("\"\\\""), 3},
    {TEXT("\"\\x41\""), 1},
    {TEXT("\"\\\0\""), 1},
    {TEXT("\"\\u12\""), 1},
    {TEXT("\"\\u123g\""), 1},
    {TEXT("\"\\u"), 1},
    {TEXT("\"\\ud800\""), 1},
    {TEXT("\"\\ud800x\""), 1},
    {TEXT("\"\\ud800\\n\""), 1},
    {TEXT("\"\\ud800\\u0041\""), 1},
    {TEXT("\"\\ud800\\ud800\""), 1},
    {TEXT("\"\\ud800\\u"), 1},
    {TEXT("\"\\udc00\""), 1},
    {TEXT("\"\\udc00\\udc00\""), 1},
    {TEXT("\"\x80\""), 1},
    {TEXT("\"\xbf\""), 1},
    {TEXT("\"\xc0\x80\""), 1},
    {TEXT("\"\xc1\xbf\""), 1},
    {TEXT("\"\xc2\""), 1},
    {TEXT("\"\xc2"), 1},
    {TEXT("\"\xe0\x9f\xbf\""), 1},
    {TEXT("\"\xe2\x82\""), 1},
    {TEXT("\"\xed\xa0\x80\""), 1},
    {TEXT("\"\xed\xbf\xbf\""), 1},
    {TEXT("\"\xf0\x8f\xbf\xbf\""), 1},
    {TEXT("\"\xf0\x90\x80\""), 1},
    {TEXT("\"\xf4\x90\x80\x80\""), 1},
    {TEXT("\"\xf5\x80\x80\x80\""), 1},
    {TEXT("\"\xff\""), 1},
    {TEXT("\"\xc3\xa9\xc3(\""), 3},
    {TEXT("["), 1},
    {TEXT("[1"), 2},
    {TEXT("[1,"), 3},
    {TEXT("[1,]"), 3},
    {TEXT("[,1]"), 1},
    {TEXT("[1 2]"), 3},
    {TEXT("[1}"), 2},
    {TEXT("{"), 1},
    {TEXT("{]"), 1},
    {TEXT("{1:2}"), 1},
    {TEXT("{\"a\"}"), 4},
    {TEXT("{\"a\":}"), 5},
    {TEXT("{\"a\":1,}"), 7},
    {TEXT("{\"a\":1"), 6},
    {TEXT("{\"a\":1]"), 6},
    {TEXT("{\"a\" 1}"), 5},
    {TEXT("{,}"), 1},
    {TEXT("[]]"), 2},
    {TEXT("{}}"), 2},
    {TEXT("[1]/**/"), 3},
};

START_TEST(check_bad)
{
    /* In memory of exactly that size, so that a sanitizer sees a look beyond the end. */
    char *text = malloc(bad[_i].length ? bad[_i].length : 1);
    size_t at = 77;
    memcpy(text, bad[_i].text, bad[_i].length);
    const char *why = evb_json_check(text, bad[_i].length, &at);
    ck_assert_msg(why != NULL, "taken: %s", bad[_i].text);
    ck_assert_msg(at == bad[_i].at, "%s: %s at %zu, not %zu", bad[_i].text, why, at, bad[_i].at);
    ck_assert_ptr_nonnull(evb_json_check(text, bad[_i].length, NULL));
    free(text);
}
END_TEST

/* `depth` containers, arrays and objects in turn, around `inner`. */
static void nest(struct evb_buf *out, int depth, const char *inner)
{
    evb_buf_init(out);
    for (int i = 0; i < depth; i++)
        evb_buf_text(out, i % 3 ? "[" : "{\"a\":");
    evb_buf_text(out, inner);
    for (int i = depth - 1; i >= 0; i--)
        evb_buf_text(out, i % 3 ? "]" : "}");
}

static const struct {
    int depth;
    const char *inner;
    bool good;
} depths[] = {
    {63, "1", true},       {64, "1", true},     {65, "1", true},    {128, "{}", true},
    {2000, "\"x\"", true}, {2047, "1", true},   {2047, "[]", true}, {2047, "[1]", false},
    {2048, "1", false},    {2048, "[]", false}, {3000, "1", false}, {100000, "", false},
};

START_TEST(check_depth)
{
    struct evb_buf text;
    nest(&text, depths[_i].depth, depths[_i].inner);
    const char *why = evb_json_check(text.data, text.length, NULL);
    json_t *json = json_loadb(text.data, text.length, JSON_DECODE_ANY, NULL);
    ck_assert_int_eq(!why, depths[_i].good);
    ck_assert_int_eq(json != NULL, depths[_i].good);
    json_decref(json);
    evb_buf_fini(&text);
}
END_TEST

START_TEST(skip_stops_behind)
{
    static const struct {
        const char *text;
        size_t length;
    } rows[] = {{"[1,{\"a\":[]}] ,", 12}, {"\"a\\\"b\"x", 6}, {"12,", 2}, {"null}", 4}, {"{}", 2}};
    const char *why = NULL;
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        const char *end = rows[i].text + strlen(rows[i].text);
        const char *p = evb_json_skip(rows[i].text, end, &why);
        ck_assert_ptr_eq(p, rows[i].text + rows[i].length);
    }
    ck_assert_ptr_null(why);
    ck_assert_ptr_null(evb_json_skip(rows[0].text, rows[0].text, &why));
    ck_assert_ptr_nonnull(why);
}
END_TEST

/* ---- strings ---- */
static const struct {
    const char *inside;
    size_t length;
    const char *text;
    size_t text_length;
} escapes[] = {
    {TEXT(""), TEXT("")},
    {TEXT("plain"), TEXT("plain")},
    {TEXT("\\\"\\\\\\/\\b\\f\\n\\r\\t"), TEXT("\"\\/\b\f\n\r\t")},
    {TEXT("a\\u0041b\\u00e9c\\u20ACd\\uD834\\uDD1Ee"), TEXT("aAb\xc3\xa9"
                                                            "c\xe2\x82\xac"
                                                            "d\xf0\x9d\x84\x9e"
                                                            "e")},
    {TEXT("\\u0000"), TEXT("\0")},
    {TEXT("\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff"),
     TEXT("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
};

START_TEST(unescape)
{
    char text[128];
    memcpy(text, escapes[_i].inside, escapes[_i].length);
    size_t length = evb_json_unescape(text, escapes[_i].length);
    ck_assert_uint_eq(length, escapes[_i].text_length);
    ck_assert_mem_eq(text, escapes[_i].text, length);
}
END_TEST

static const struct {
    const char *text;
    size_t length;
    const char *quoted;
} quotes[] = {
    {TEXT(""), "\"\""},
    {TEXT("0123456789 plain"), "\"0123456789 plain\""},
    {TEXT("\"\\/\b\f\n\r\t\x01\x1f\x7f"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
    {TEXT("a\0b"), "\"a\\u0000b\""},
    {TEXT("caf\xc3\xa9 \xf0\x9d\x84\x9e"), "\"caf\xc3\xa9 \xf0\x9d\x84\x9e\""},
    {TEXT("\xff"), "\"\xef\xbf\xbd\""},
    {TEXT("a\xc3"), "\"a\xef\xbf\xbd\""},
    {TEXT("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {TEXT("\xc3(\xe2\x82"), "\"\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\""},
};

START_TEST(quote)
{
    struct evb_buf out;
    evb_buf_init(&out);
    evb_json_quote(&out, quotes[_i].text, quotes[_i].length);
    ck_assert_str_eq(out.data, quotes[_i].quoted);
    ck_assert_ptr_null(evb_json_check(out.data, out.length, NULL));
    evb_buf_fini(&out);
}
END_TEST

/* A quote, a control character and a byte that is no UTF-8 at each place of texts of each length. */
START_TEST(quote_at_each_place)
{
    static const struct {
        char byte;
        const char *quoted;
    } bytes[] = {{'"', "\\\""}, {'\n', "\\n"}, {'\x1f', "\\u001f"}, {'\xff', "\xef\xbf\xbd"}};
    char text[40], want[60];
    for (size_t length = 1; length < sizeof text; length++)
        for (size_t at = 0; at < length; at++) {
            struct evb_buf out;
            memset(text, 'x', length);
            text[at] = bytes[_i].byte;
            snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)at, text, bytes[_i].quoted,
                     (int)(length - at - 1), text + at + 1);
            evb_buf_init(&out);
            evb_json_quote(&out, text, length);
            ck_assert_str_eq(out.data, want);
            ck_assert_uint_eq(out.length, strlen(want));
            evb_buf_fini(&out);
        }
}
END_TEST

START_TEST(text_good)
{
    ck_assert(evb_text_good(TEXT(""), false));
    ck_assert(evb_text_good(TEXT("a\"b\\c caf\xc3\xa9 0123456789"), false));
    ck_assert(!evb_text_good(TEXT("a\0b"), false));
    ck_assert(!evb_text_good(TEXT("a\nb"), false));
    ck_assert(!evb_text_good(TEXT("0123456789\x1f"), false));
    ck_assert(!evb_text_good(TEXT("caf\xc3"), false));
    ck_assert(!evb_text_good(TEXT("\xc0\x80"), false));
    ck_assert(evb_text_good(TEXT("a\n\tb"), true));
    ck_assert(!evb_text_good(TEXT("a\0b"), true));
    ck_assert(!evb_text_good(TEXT("a\n\xc3"), true));
}
END_TEST

/* ---- base64: RFC 4648 section 10, then what must be refused ---- */
static const struct {
    const char *bytes, *text;
} vectors[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"},
               {"\xfb\xff\xbf", "+/+/"}};

START_TEST(base64_vectors)
{
    struct evb_buf out;
    evb_buf_init(&out);
    evb_base64_write(&out, vectors[_i].bytes, strlen(vectors[_i].bytes));
    ck_assert_str_eq(out.data ? out.data : "", vectors[_i].text);
    ptrdiff_t length = evb_base64_read(out.data, out.length);
    ck_assert_int_eq(length, (ptrdiff_t)strlen(vectors[_i].bytes));
    ck_assert_mem_eq(out.data, vectors[_i].bytes, (size_t)length);
    evb_buf_fini(&out);
}
END_TEST

START_TEST(base64_refused)
{
    static const char *const rows[] = {
        "Z",           "Zg",   "Zg=",      "=",      "====", "Z===", "Zh==",
        "Zm9=",        "Zm 9", "Zg==Zg==", "Zm9v\n", "Zm-_", "Z=g=", "\xff\xff\xff\xff",
        "Zm9vZg==Zm9v"};
    char text[16];
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        memcpy(text, rows[i], strlen(rows[i]));
        ck_assert_msg(evb_base64_read(text, strlen(rows[i])) == -1, "taken: %s", rows[i]);
    }
}
END_TEST

START_TEST(base64_all_bytes)
{
    unsigned char bytes[256];
    struct evb_buf out;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t length = 0; length <= sizeof bytes; length++) {
        evb_buf_init(&out);
        evb_base64_write(&out, bytes, length);
        ck_assert_uint_eq(out.length, (length + 2) / 3 * 4);
        ck_assert_int_eq(evb_base64_read(out.data, out.length), (ptrdiff_t)length);
        ck_assert_mem_eq(out.data, bytes, length);
        evb_buf_fini(&out);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, check_good, 0, (int)EVB_COUNT(good));
    tcase_add_loop_test(tests, check_bad, 0, (int)EVB_COUNT(bad));
    tcase_add_loop_test(tests, check_depth, 0, (int)EVB_COUNT(depths));
    tcase_add_test(tests, skip_stops_behind);
    tcase_add_loop_test(tests, unescape, 0, (int)EVB_COUNT(escapes));
    tcase_add_loop_test(tests, quote, 0, (int)EVB_COUNT(quotes));
    tcase_add_loop_test(tests, quote_at_each_place, 0, 4);
    tcase_add_test(tests, text_good);
    tcase_add_loop_test(tests, base64_vectors, 0, (int)EVB_COUNT(vectors));
    tcase_add_test(tests, base64_refused);
    tcase_add_test(tests, base64_all_bytes);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
