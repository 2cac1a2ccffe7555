/* test_option.c - option strings, values with units, the nearest name, quoting. */
#include "alloc.h"
#include "list.h"
#include "option.h"
#include "harness/check.h"
#include <evbus.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO INT64_MIN

static const struct {
    enum evb_value_kind kind;
    const char *text;
    int64_t want; /* NO: refused */
} values[] = {
    {EVB_VALUE_INT, "0", 0},
    {EVB_VALUE_INT, "42", 42},
    {EVB_VALUE_INT, "-7", -7},
    {EVB_VALUE_INT, "9223372036854775807", INT64_MAX},
    {EVB_VALUE_INT, "9223372036854775808", NO},
    {EVB_VALUE_INT, "99999999999999999999999", NO},
    {EVB_VALUE_INT, "", NO},
    {EVB_VALUE_INT, "-", NO},
    {EVB_VALUE_INT, "--1", NO},
    {EVB_VALUE_INT, " 1", NO},
    {EVB_VALUE_INT, "1 ", NO},
    {EVB_VALUE_INT, "1x", NO},
    {EVB_VALUE_INT, "0x10", NO},
    {EVB_VALUE_INT, "1e3", NO},
    {EVB_VALUE_SIZE, "0", 0},
    {EVB_VALUE_SIZE, "512", 512},
    {EVB_VALUE_SIZE, "512B", 512},
    {EVB_VALUE_SIZE, "64KiB", 65536},
    {EVB_VALUE_SIZE, "1MiB", 1048576},
    {EVB_VALUE_SIZE, "2GiB", 2147483648},
    {EVB_VALUE_SIZE, "3kB", 3000},
    {EVB_VALUE_SIZE, "3MB", 3000000},
    {EVB_VALUE_SIZE, "3GB", 3000000000},
    {EVB_VALUE_SIZE, "9000000000GiB", NO},
    {EVB_VALUE_SIZE, "-1", NO},
    {EVB_VALUE_SIZE, "1.5MiB", NO},
    {EVB_VALUE_SIZE, "1 MiB", NO},
    {EVB_VALUE_SIZE, "MiB", NO},
    {EVB_VALUE_SIZE, "1Mb", NO},
    {EVB_VALUE_DURATION, "500ms", 500},
    {EVB_VALUE_DURATION, "2s", 2000},
    {EVB_VALUE_DURATION, "3m", 180000},
    {EVB_VALUE_DURATION, "1h", 3600000},
    {EVB_VALUE_DURATION, "1d", 86400000},
    {EVB_VALUE_DURATION, "0", 0},
    {EVB_VALUE_DURATION, "5", NO},
    {EVB_VALUE_DURATION, "-1s", NO},
    {EVB_VALUE_DURATION, "1h30m", NO},
    {EVB_VALUE_DURATION, "9223372036854775807d", NO},
    {EVB_VALUE_BOOL, "yes", 1},
    {EVB_VALUE_BOOL, "True", 1},
    {EVB_VALUE_BOOL, "on", 1},
    {EVB_VALUE_BOOL, "1", 1},
    {EVB_VALUE_BOOL, "no", 0},
    {EVB_VALUE_BOOL, "FALSE", 0},
    {EVB_VALUE_BOOL, "off", 0},
    {EVB_VALUE_BOOL, "0", 0},
    {EVB_VALUE_BOOL, "", NO},
    {EVB_VALUE_BOOL, "y", NO},
    {EVB_VALUE_CHOICE, "both", 0},
    {EVB_VALUE_CHOICE, "local", 1},
    {EVB_VALUE_CHOICE, "REDIS", 2},
    {EVB_VALUE_CHOICE, "loc", NO},
    {EVB_VALUE_CHOICE, "locale", NO},
    {EVB_VALUE_CHOICE, "both|local", NO},
    {EVB_VALUE_CHOICE, "", NO},
    {EVB_VALUE_CHOICE, "|", NO},
};

START_TEST(value_read)
{
    int64_t n = 77;
    int error = evb_value_read(values[_i].kind, "both|local|redis", values[_i].text, &n);

    if (values[_i].want == NO) {
        ck_assert_msg(error == EVBUS_EINVAL, "\"%s\" was taken", values[_i].text);
        ck_assert_msg(n == 77, "\"%s\" was refused and changed the out", values[_i].text);
    } else {
        ck_assert_msg(error == 0, "\"%s\" was refused", values[_i].text);
        ck_assert_msg(n == values[_i].want, "\"%s\": %" PRId64, values[_i].text, n);
    }
}
END_TEST

START_TEST(value_bounds)
{
    static const struct {
        struct evb_option row;
        const char *text, *sentence; /* NULL: taken */
    } cases[] = {
        {{.kind = EVB_VALUE_INT, .min = 1, .max = 65535}, "1", NULL},
        {{.kind = EVB_VALUE_INT, .min = 1, .max = 65535}, "65535", NULL},
        {{.kind = EVB_VALUE_INT, .min = 1, .max = 65535},
         "65536",
         "L: \"65536\" is not a whole number from 1 to 65535"},
        {{.kind = EVB_VALUE_INT, .min = 1, .max = 65535},
         "0",
         "L: \"0\" is not a whole number from 1 to 65535"},
        {{.kind = EVB_VALUE_INT}, "-99999", NULL},
        {{.kind = EVB_VALUE_INT}, "x", "L: \"x\" is not a whole number"},
        {{.kind = EVB_VALUE_SIZE, .min = 1, .max = 268435456},
         "1GiB",
         "L: \"1GiB\" is not a size from 1B to 256MiB, such as 64KiB"},
        {{.kind = EVB_VALUE_DURATION, .min = 1, .max = 3600000},
         "7",
         "L: \"7\" is not a duration from 1ms to 1h, such as 500ms or 2s"},
        {{.kind = EVB_VALUE_DURATION, .min = 0, .max = 1500},
         "2s",
         "L: \"2s\" is not a duration from 0 to 1500ms, such as 500ms or 2s"},
        {{.kind = EVB_VALUE_BOOL}, "maybe", "L: \"maybe\" is not yes or no"},
        {{.kind = EVB_VALUE_CHOICE, .choices = "a|b"}, "c\n", "L: \"c?\" is not one of a|b"},
        {{.kind = EVB_VALUE_TEXT, .min = 1, .max = 3}, "abc", NULL},
        {{.kind = EVB_VALUE_TEXT, .min = 1, .max = 3},
         "abcd",
         "L: is 4 bytes long, must be 1 to 3"},
        {{.kind = EVB_VALUE_TEXT, .min = 1, .max = 3}, "", "L: is 0 bytes long, must be 1 to 3"},
    };

    for (size_t i = 0; i < EVB_COUNT(cases); i++) {
        int64_t n;
        int error = evb_value_check("L", &cases[i].row, cases[i].text, &n);

        ck_assert_msg(error == (cases[i].sentence ? EVBUS_EINVAL : 0), "case %zu", i);
        if (cases[i].sentence)
            ck_assert_str_eq(evbus_last_error(), cases[i].sentence);
    }
}
END_TEST

START_TEST(shown_is_short)
{
    char out[EVB_SHOWN], text[4000];

    memset(text, 'x', sizeof text);
    evb_shown(out, text, sizeof text);
    ck_assert_uint_eq(strlen(out), EVB_SHOWN - 1);
    ck_assert_str_eq(out + EVB_SHOWN - 4, "...");
    evb_shown(out, text, EVB_SHOWN - 1);
    ck_assert_uint_eq(strlen(out), EVB_SHOWN - 1);
    ck_assert_ptr_null(strchr(out, '.'));
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[0] = 'x'; /* so that the cut would fall inside a character, whichever way it is made */
    for (size_t from = 0; from < 3; from++) {
        evb_shown(out, text + from * 2, sizeof text - from * 2);
        size_t end = strlen(out) - 3;
        ck_assert_str_eq(out + end, "...");
        ck_assert_uint_eq((unsigned char)out[end - 1], 0xa9);
    }
    evb_shown(out, "a\x1b\n\x7f", 4);
    ck_assert_str_eq(out, "a???");
    evb_shown(out, "", 0);
    ck_assert_str_eq(out, "");
}
END_TEST

struct outs {
    char *name, *other;
    int64_t size, bytes, scope, echo, wait;
};

static int parse(struct outs *outs, const char *text)
{
    const struct evb_option table[] = {
        {"name", EVB_VALUE_TEXT, NULL, 0, 64, &outs->name},
        {"other", EVB_VALUE_TEXT, NULL, 0, 0, &outs->other},
        {"size", EVB_VALUE_INT, NULL, 1, 1000, &outs->size},
        {"bytes", EVB_VALUE_SIZE, NULL, 1, 1 << 30, &outs->bytes},
        {"scope", EVB_VALUE_CHOICE, "both|local|redis", 0, 0, &outs->scope},
        {"echo", EVB_VALUE_BOOL, NULL, 0, 0, &outs->echo},
        {"wait", EVB_VALUE_DURATION, NULL, 0, 3600000, &outs->wait},
        {NULL, EVB_VALUE_TEXT, NULL, 0, 0, NULL},
    };

    return evb_option_parse("test option", text, table);
}

static void outs_fini(struct outs *outs)
{
    evb_free(outs->name);
    evb_free(outs->other);
}

START_TEST(parse_all)
{
    struct outs o = {0};

    ck_assert_int_eq(parse(&o, "  size=10\tbytes=4KiB\nscope=redis echo=no wait=2s name='it''s a'  "
                               "other=x=y"),
                     0);
    ck_assert_int_eq(o.size, 10);
    ck_assert_int_eq(o.bytes, 4096);
    ck_assert_int_eq(o.scope, 2);
    ck_assert_int_eq(o.echo, 0);
    ck_assert_int_eq(o.wait, 2000);
    ck_assert_str_eq(o.name, "it's a");
    ck_assert_str_eq(o.other, "x=y");
    outs_fini(&o);
}
END_TEST

START_TEST(parse_keeps_what_is_not_named)
{
    struct outs o = {.size = 5, .echo = 1};

    ck_assert_int_eq(parse(&o, NULL), 0);
    ck_assert_int_eq(parse(&o, ""), 0);
    ck_assert_int_eq(parse(&o, " \n"), 0);
    ck_assert_int_eq(parse(&o, "echo=no"), 0);
    ck_assert_int_eq(o.size, 5);
    ck_assert_int_eq(o.echo, 0);
    ck_assert_ptr_null(o.name);
    ck_assert_int_eq(parse(&o, "name=''"), 0);
    ck_assert_str_eq(o.name, "");
    ck_assert_int_eq(parse(&o, "name='size=9'''"), 0);
    ck_assert_str_eq(o.name, "size=9'");
    ck_assert_int_eq(o.size, 5);
    outs_fini(&o);
}
END_TEST

static const struct {
    const char *text, *says;
} bad[] = {
    {"size", "\"size\" has no value"},
    {"=5", "is unknown"},
    {"size =5", "\"size\" has no value"},
    {"siz=5", "\"siz\" is unknown; the nearest is \"size\""},
    {"nothing=5", "known are name other size bytes scope echo wait"},
    {"size=", "option size: \"\" is not a whole number from 1 to 1000"},
    {"size=0", "option size: \"0\" is not a whole number from 1 to 1000"},
    {"size=5 size=6", "option size: is given twice"},
    {"scope=remote", "option scope: \"remote\" is not one of both|local|redis"},
    {"echo=si", "option echo: \"si\" is not yes or no"},
    {"wait=2", "option wait: \"2\" is not a duration"},
    {"name='open", "option name: the closing quote is missing"},
    {"name='", "option name: the closing quote is missing"},
    {"name='''", "option name: the closing quote is missing"},
    {"name='a'b", "option name: write a value with quotes"},
    {"name='a'size=5", "option name: write a value with quotes"},
    {"name=it's", "option name: write a value with quotes"},
    {"'name'=x", "has no value"},
    {"size\x01=5", "\"size?\" is unknown"},
};

START_TEST(parse_is_atomic)
{
    struct outs o = {.size = 5, .wait = 6};
    char text[200];

    o.name = evb_strdup("old");
    snprintf(text, sizeof text, "other=new %s", bad[_i].text);
    ck_assert_int_eq(parse(&o, text), EVBUS_EINVAL);
    ck_assert_msg(strncmp(evbus_last_error(), "test option", 11) == 0, "%s", evbus_last_error());
    ck_assert_msg(strstr(evbus_last_error(), bad[_i].says) != NULL, "%s: %s", bad[_i].text,
                  evbus_last_error());
    ck_assert_str_eq(o.name, "old");
    ck_assert_ptr_null(o.other);
    ck_assert_int_eq(o.size, 5);
    ck_assert_int_eq(o.wait, 6);
    outs_fini(&o);
}
END_TEST

START_TEST(parse_hostile)
{
    struct outs o = {0};
    char text[8200];

    memset(text, 'x', 4000);
    text[4000] = '\0';
    ck_assert_int_eq(parse(&o, text), EVBUS_EINVAL);
    memcpy(text, "name=", 5);
    ck_assert_int_eq(parse(&o, text), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "is 3995 bytes long, must be 0 to 64"));
    memcpy(text, "size=", 5);
    ck_assert_int_eq(parse(&o, text), EVBUS_EINVAL);
    ck_assert_uint_lt(strlen(evbus_last_error()), 200);
    memcpy(text, "other=", 6);
    ck_assert_int_eq(parse(&o, text), 0);
    ck_assert_uint_eq(strlen(o.other), 3994);
    memcpy(text, "other='", 7);
    memset(text + 7, '\'', 4001);
    text[4008] = '\0';
    ck_assert_int_eq(parse(&o, text), 0);
    ck_assert_uint_eq(strlen(o.other), 2000);
    outs_fini(&o);
}
END_TEST

static int allocations_left;

static void *alloc_some(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void *resize_some(void *old, size_t size)
{
    return allocations_left-- > 0 ? realloc(old, size) : NULL;
}

START_TEST(parse_without_memory)
{
    int error = EVBUS_ENOMEM, tries;

    ck_assert_int_eq(evbus_set_allocator(alloc_some, resize_some, free), 0);
    for (tries = 0; error; tries++) {
        struct outs o = {.size = 5};

        ck_assert_int_lt(tries, 100);
        allocations_left = tries;
        error = parse(&o, "name=a size=6 other='b'");
        ck_assert(error == 0 || error == EVBUS_ENOMEM);
        ck_assert_int_eq(o.size, error ? 5 : 6);
        ck_assert_int_eq(o.name == NULL, error != 0);
        outs_fini(&o);
    }
    ck_assert_int_gt(tries, 3);
    allocations_left = 0;
    ck_assert_ptr_null(evbus_quote("x"));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
}
END_TEST

START_TEST(nearest)
{
    static const char *const names[] = {"redis.host", "redis.port", "db", "outbox.age"};
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"redis.hots", "redis.host"},
        {"redis_port", "redis.port"},
        {"outbox.ages", "outbox.age"},
        {"redis.host", "redis.host"},
        {"bd", NULL},
        {"b", NULL},
        {"x", NULL},
        {"", NULL},
        {"completely.else", NULL},
        {"redis.hostname1", NULL},
    };
    char text[4000];

    for (size_t i = 0; i < EVB_COUNT(cases); i++) {
        const char *got = evb_nearest(cases[i].text, names, EVB_COUNT(names));

        ck_assert_msg(got == cases[i].want ||
                          (got && cases[i].want && strcmp(got, cases[i].want) == 0),
                      "%s: %s", cases[i].text, got ? got : "NULL");
    }
    memset(text, 'r', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ck_assert_ptr_null(evb_nearest(text, names, EVB_COUNT(names)));
    ck_assert_ptr_null(evb_nearest("a", names, 0));
}
END_TEST

START_TEST(quote)
{
    static const char *const texts[] = {"", "plain", "it's", "'", "''", "a b", "a=b", "\t\n'x' y="};

    for (size_t i = 0; i < EVB_COUNT(texts); i++) {
        struct outs o = {0};
        char option[100], *quoted = evbus_quote(texts[i]);

        snprintf(option, sizeof option, "other=%s size=3", quoted);
        ck_assert_int_eq(parse(&o, option), 0);
        ck_assert_str_eq(o.other, texts[i]);
        ck_assert_int_eq(o.size, 3);
        evbus_string_free(quoted);
        outs_fini(&o);
    }
    ck_assert_ptr_null(evbus_quote(NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("option");
    TCase *tests = tcase_create("option");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, value_read, 0, (int)EVB_COUNT(values));
    tcase_add_test(tests, value_bounds);
    tcase_add_test(tests, shown_is_short);
    tcase_add_test(tests, parse_all);
    tcase_add_test(tests, parse_keeps_what_is_not_named);
    tcase_add_loop_test(tests, parse_is_atomic, 0, (int)EVB_COUNT(bad));
    tcase_add_test(tests, parse_hostile);
    tcase_add_test(tests, parse_without_memory);
    tcase_add_test(tests, nearest);
    tcase_add_test(tests, quote);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
