/* test_json_jansson.c - the JSON scanner against jansson, on generated and damaged texts. */
#include "json.h"
#include "list.h"
#include "harness/check.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXTS 200000

static uint64_t dice_state;

static uint64_t dice(uint64_t bound)
{
    dice_state ^= dice_state << 13; /* xorshift64, Marsaglia 2003 */
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return dice_state % bound;
}

static void grow_space(struct evb_buf *out)
{
    while (!dice(6))
        evb_buf_char(out, " \t\r\n"[dice(4)]);
}

static void grow_string(struct evb_buf *out)
{
    static const char *const pieces[] = {"a",
                                         "key",
                                         "0123456789",
                                         " ",
                                         "\\n",
                                         "\\\"",
                                         "\\\\",
                                         "\\/",
                                         "\\u0041",
                                         "\\u00e9",
                                         "\\u20ac",
                                         "\\u0000",
                                         "\\ud834\\udd1e",
                                         "\x7f",
                                         "\xc3\xa9",
                                         "\xe2\x82\xac",
                                         "\xf0\x9d\x84\x9e",
                                         "\xed\x9f\xbf",
                                         "{[,:]}",
                                         "'",
                                         "data"};
    evb_buf_char(out, '"');
    for (uint64_t n = dice(6); n; n--)
        evb_buf_text(out, pieces[dice(EVB_COUNT(pieces))]);
    evb_buf_char(out, '"');
}

static void grow_number(struct evb_buf *out)
{
    evb_buf_printf(out, "%s%" PRIu64, dice(3) ? "" : "-", dice(dice(2) ? 10 : 1000000));
    if (!dice(3))
        evb_buf_printf(out, ".%" PRIu64, dice(1000));
    if (!dice(4))
        evb_buf_printf(out, "%c%s%" PRIu64, "eE"[dice(2)],
                       dice(2)   ? ""
                       : dice(2) ? "+"
                                 : "-",
                       dice(200));
}

static void grow_value(struct evb_buf *out, int depth)
{
    static const char *const literals[] = {"true", "false", "null"};
    uint64_t kind = dice(depth > 0 ? 6 : 3);
    grow_space(out);
    if (kind == 0)
        evb_buf_text(out, literals[dice(3)]);
    else if (kind == 1)
        grow_number(out);
    else if (kind == 2)
        grow_string(out);
    else
        evb_buf_char(out, kind == 3 ? '[' : '{');
    for (uint64_t i = 0, n = kind > 2 ? dice(4) : 0; i < n; i++) {
        if (i)
            evb_buf_char(out, ',');
        grow_space(out);
        if (kind > 3) {
            grow_string(out);
            grow_space(out);
            evb_buf_char(out, ':');
        }
        grow_value(out, depth - 1);
    }
    if (kind > 2)
        evb_buf_char(out, kind == 3 ? ']' : '}');
    grow_space(out);
}

static void damage(struct evb_buf *text)
{
    static const char bytes[] =
        "\"\\{}[],:0-+.eE1 ntu\n\0\x01\x7f\x80\xbf\xc0\xc3\xe0\xed\xf0\xf4\xff";
    if (!text->length)
        return;
    size_t at = dice(text->length), left = text->length - at;
    char byte = bytes[dice(sizeof bytes - 1)];
    switch (dice(5)) {
    case 0:
        text->data[at] = byte;
        break;
    case 1: /* a byte less */
        memmove(text->data + at, text->data + at + 1, left - 1);
        text->length--;
        break;
    case 2: /* one more */
        evb_buf_char(text, ' ');
        memmove(text->data + at + 1, text->data + at, left);
        text->data[at] = byte;
        break;
    case 3: /* one bit */
        text->data[at] = (char)(text->data[at] ^ (1 << dice(8)));
        break;
    default: /* the end off */
        text->length = at;
    }
}

/* jansson holds numbers as int64_t and double and keys as C strings; evb_json_check() checks
 * grammar. */
static bool differs_by_design(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key;
}

/* jansson's reader swallows a NUL behind a number (its push-back buffer ends with one). No JSON
 * text has a raw NUL. */
static bool jansson_takes(const char *text, size_t length, json_error_t *error)
{
    json_t *json = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, error);
    bool taken = json && !memchr(text, '\0', length);
    json_decref(json);
    return taken;
}

START_TEST(against_jansson)
{
    const char *given = getenv("EVB_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    int taken = 0, refused = 0, excused = 0;
    dice_state = seed ? seed : 1;
    printf("test_json_jansson: EVB_TEST_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < TEXTS; i++) {
        struct evb_buf text;
        json_error_t error;
        evb_buf_init(&text);
        grow_value(&text, 4);
        for (uint64_t n = dice(4); n; n--)
            damage(&text);
        char *exact = malloc(text.length ? text.length : 1);
        memcpy(exact, text.data, text.length);
        const char *why = evb_json_check(exact, text.length, NULL);
        bool theirs = jansson_takes(exact, text.length, &error);
        if (!theirs && differs_by_design(&error))
            excused++;
        else
            ck_assert_msg(theirs == !why, "text %d of seed %" PRIu64 ": %.*s\n%s / %s", i, seed,
                          (int)text.length, exact, why ? why : "good",
                          theirs ? "good" : error.text);
        taken += !why;
        refused += why != NULL;
        free(exact);
        evb_buf_fini(&text);
    }
    ck_assert_int_gt(taken, TEXTS / 5);
    ck_assert_int_gt(refused, TEXTS / 5);
    ck_assert_int_lt(excused, TEXTS / 10);
}
END_TEST

/* What evb_json_quote() writes, jansson reads back; what jansson writes, evb_json_unescape() does.
 */
START_TEST(strings_against_jansson)
{
    for (int i = 0; i < 20000; i++) {
        struct evb_buf text;
        evb_buf_init(&text);
        grow_string(&text);
        json_t *json = json_loadb(text.data, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(json);
        size_t length = evb_json_unescape(text.data + 1, text.length - 2);
        ck_assert_uint_eq(length, json_string_length(json));
        ck_assert_mem_eq(text.data + 1, json_string_value(json), length);
        text.length = 0;
        evb_json_quote(&text, json_string_value(json), length);
        json_t *again = json_loadb(text.data, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        ck_assert(json_equal(json, again));
        json_decref(json);
        json_decref(again);
        evb_buf_fini(&text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json, against jansson");
    TCase *tests = tcase_create("jansson");
    SRunner *runner = srunner_create(suite);

    dice_state = 88172645463325252u;
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, against_jansson);
    tcase_add_test(tests, strings_against_jansson);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
