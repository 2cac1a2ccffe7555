/* test_match.c - event types, patterns, Redis globs and what goes over the wire. */
#include "alloc.h"
#include "list.h"
#include "match.h"
#include "harness/check.h"
#include <evbus.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *type;
    int want;
} types[] = {
    {"task", 0},
    {"task.created", 0},
    {"a.b.c.d", 0},
    {"A-Z_0:9/x", 0},
    {"evbus.mode", 0},
    {"", EVBUS_EINVAL},
    {".", EVBUS_EINVAL},
    {".task", EVBUS_EINVAL},
    {"task.", EVBUS_EINVAL},
    {"task..created", EVBUS_EINVAL},
    {"task created", EVBUS_EINVAL},
    {"task.*", EVBUS_EINVAL},
    {"task\n", EVBUS_EINVAL},
    {"caf\xc3\xa9", EVBUS_EINVAL},
    {"a@b", EVBUS_EINVAL},
    {"a[b", EVBUS_EINVAL},
    {"a`b", EVBUS_EINVAL},
    {"a{b", EVBUS_EINVAL},
};

START_TEST(type_check)
{
    int got = evb_type_check(types[_i].type, strlen(types[_i].type));

    ck_assert_msg(got == types[_i].want, "\"%s\": %d", types[_i].type, got);
    if (got)
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "event type"));
}
END_TEST

START_TEST(type_lengths)
{
    char type[EVB_TYPE_MAX + 1];

    memset(type, 'a', sizeof type);
    ck_assert_int_eq(evb_type_check(type, 1), 0);
    ck_assert_int_eq(evb_type_check(type, EVB_TYPE_MAX), 0);
    ck_assert_int_eq(evb_type_check(type, EVB_TYPE_MAX + 1), EVBUS_EINVAL);
    ck_assert_int_eq(evb_type_check("a\0b", 3), EVBUS_EINVAL);
    ck_assert_int_eq(evb_type_check(NULL, 0), EVBUS_EINVAL);
}
END_TEST

START_TEST(type_system)
{
    ck_assert(evb_type_is_system("evbus.mode", 10));
    ck_assert(!evb_type_is_system("evbus", 5));
    ck_assert(!evb_type_is_system("evbusx.a", 8));
    ck_assert(!evb_type_is_system("evbus.mode", 3));
}
END_TEST

static const struct {
    const char *pattern;
    int want;
} patterns[] = {
    {"task.created", EVB_PATTERN_EXACT},
    {"task.*", EVB_PATTERN_WORDS},
    {"*", EVB_PATTERN_WORDS},
    {">", EVB_PATTERN_WORDS},
    {"*.created", EVB_PATTERN_WORDS},
    {"task.*.done", EVB_PATTERN_WORDS},
    {"*.*.>", EVB_PATTERN_WORDS},
    {"evbus.>", EVB_PATTERN_WORDS},
    {"glob:task*", EVB_PATTERN_GLOB},
    {"glob:[", EVB_PATTERN_GLOB},
    {"glob:evbus.*", EVB_PATTERN_GLOB},
    {"glob", EVB_PATTERN_EXACT},
    {"globe:x", EVB_PATTERN_EXACT},
    {"", EVBUS_EINVAL},
    {"glob:", EVBUS_EINVAL},
    {"glob:a\tb", EVBUS_EINVAL},
    {"task*", EVBUS_EINVAL},
    {"task.*x", EVBUS_EINVAL},
    {"**", EVBUS_EINVAL},
    {">>", EVBUS_EINVAL},
    {">.task", EVBUS_EINVAL},
    {"a.>.b", EVBUS_EINVAL},
    {"a.b>", EVBUS_EINVAL},
    {"a..b", EVBUS_EINVAL},
    {"a.", EVBUS_EINVAL},
    {".>", EVBUS_EINVAL},
    {"a b", EVBUS_EINVAL},
    {"a.?", EVBUS_EINVAL},
};

START_TEST(pattern_check)
{
    int got = evb_pattern_check(patterns[_i].pattern, strlen(patterns[_i].pattern));

    ck_assert_msg(got == patterns[_i].want, "\"%s\": %d", patterns[_i].pattern, got);
    if (got < 0)
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "pattern"));
}
END_TEST

START_TEST(pattern_lengths)
{
    char pattern[4000];

    memset(pattern, 'a', sizeof pattern);
    ck_assert_int_eq(evb_pattern_check(pattern, EVB_TYPE_MAX), EVB_PATTERN_EXACT);
    ck_assert_int_eq(evb_pattern_check(pattern, EVB_TYPE_MAX + 1), EVBUS_EINVAL);
    memcpy(pattern, "glob:", 5);
    ck_assert_int_eq(evb_pattern_check(pattern, 5 + EVB_TYPE_MAX), EVB_PATTERN_GLOB);
    ck_assert_int_eq(evb_pattern_check(pattern, 6 + EVB_TYPE_MAX), EVBUS_EINVAL);
    ck_assert_int_eq(evb_pattern_check(pattern, sizeof pattern), EVBUS_EINVAL);
    ck_assert_int_eq(evb_pattern_check("glob:a\0b", 8), EVBUS_EINVAL);
    ck_assert_int_eq(evb_pattern_check(NULL, 0), EVBUS_EINVAL);
}
END_TEST

static const struct {
    const char *pattern, *type;
    bool want;
} matches[] = {
    {"task.created", "task.created", true},
    {"task.created", "task.create", false},
    {"task.create", "task.created", false},
    {"task.*", "task.created", true},
    {"task.*", "task", false},
    {"task.*", "task.a.b", false},
    {"task.*", "tasks.a", false},
    {"task.*.done", "task.7.done", true},
    {"task.*.done", "task.7.8.done", false},
    {"*", "task", true},
    {"*", "task.a", false},
    {"*.a", "task.a", true},
    {"*.*", "task.a", true},
    {"*.*", "task", false},
    {"task.>", "task.a", true},
    {"task.>", "task.a.b.c", true},
    {"task.>", "task", false},
    {"task.>", "tas.k", false},
    {"*.>", "task.a.b", true},
    {"*.>", "task", false},
    {">", "task", true},
    {">", "a.b.c", true},
    {"a.*.c", "a..c", false},
    {">", "evbus.mode", false},
    {"*.mode", "evbus.mode", false},
    {"glob:*", "evbus.mode", false},
    {"glob:[e]vbus.*", "evbus.mode", false},
    {"evbus.*", "evbus.mode", true},
    {"evbus.>", "evbus.mode", true},
    {"evbus.mode", "evbus.mode", true},
    {"glob:evbus.*", "evbus.mode", true},
    {"evbus", "evbus", true},
    {">", "evbusx", true},
    {"glob:task*", "task.a.b", true},
    {"glob:task*", "tas", false},
    {"glob:*.created", "x.y.created", true},
};

START_TEST(pattern_matches)
{
    bool got = evb_pattern_matches(matches[_i].pattern, strlen(matches[_i].pattern),
                                   matches[_i].type, strlen(matches[_i].type));

    ck_assert_msg(got == matches[_i].want, "%s on %s", matches[_i].pattern, matches[_i].type);
}
END_TEST

/* What redis-server 7's own matcher answers; see stringmatchlen() in its util.c. */
static const struct {
    const char *glob, *text;
    bool want;
} globs[] = {
    {"a", "a", true},
    {"a", "b", false},
    {"a", "ab", false},
    {"ab", "a", false},
    {"?", "a", true},
    {"?", "ab", false},
    {"*", "abc", true},
    {"a*", "a", true},
    {"a**", "a", true},
    {"**c", "abc", true},
    {"a*c", "abbbc", true},
    {"a*c", "abbb", false},
    {"*b*b*", "abcb", true},
    {"*b*b*", "abc", false},
    {"a*bc*d", "abbcbcxd", true},
    {"h[ae]llo", "hello", true},
    {"h[ae]llo", "hillo", false},
    {"h[^e]llo", "hallo", true},
    {"h[^e]llo", "hello", false},
    {"h[a-c]llo", "hbllo", true},
    {"h[c-a]llo", "hbllo", true},
    {"h[a-c]llo", "hdllo", false},
    {"[a-c-e]", "-", true},
    {"[a-c-e]", "d", false},
    {"[\\]]", "]", true},
    {"[\\-]", "-", true},
    {"[a\\-c]", "b", false},
    {"[a\\-c]", "-", true},
    {"[]", "a", false},
    {"[]a", "a", false},
    {"[^]", "a", true},
    {"[abc", "b", true},
    {"[abc", "d", false},
    {"[^abc", "d", true},
    {"[a-", "-", true},
    {"[a-]", "b", false},
    {"[a-]", "_", true},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\", "\\", true},
    {"a\\", "a\\", true},
    {"\\a", "a", true},
    {"*[0-9]", "task7", true},
    {"*[0-9]x", "7a8x", true},
    {"*?", "a", true},
    {"*??", "a", false},
};

START_TEST(glob_matches)
{
    bool got = evb_glob_matches(globs[_i].glob, strlen(globs[_i].glob), globs[_i].text,
                                strlen(globs[_i].text));

    ck_assert_msg(got == globs[_i].want, "%s on %s", globs[_i].glob, globs[_i].text);
}
END_TEST

START_TEST(glob_edges)
{
    ck_assert(evb_glob_matches("", 0, "", 0));
    ck_assert(evb_glob_matches("*", 1, "", 0));
    ck_assert(!evb_glob_matches("", 0, "a", 1));
    ck_assert(!evb_glob_matches("[", 1, "a", 1));
    ck_assert(evb_glob_matches("[^", 2, "a", 1));
    ck_assert(evb_glob_matches("a?b", 3, "a\0b", 3));
    ck_assert(evb_glob_matches("[\x80-\xff]", 5, "\xc3", 1));
}
END_TEST

/* With backtracking into every star each of these would outlive the test's time limit by far. */
START_TEST(glob_hostile)
{
    char glob[4001], text[4001];

    memset(text, 'a', 4000);
    for (size_t i = 0; i < 4000; i += 2)
        memcpy(glob + i, "a*", 2);
    glob[4000] = 'b';
    ck_assert(!evb_glob_matches(glob, 4001, text, 4000));
    ck_assert(evb_glob_matches(glob, 4000, text, 4000));
    memset(glob, '*', 4000);
    ck_assert(!evb_glob_matches(glob, 4001, text, 4000));
    for (size_t i = 0; i < 4000; i += 4)
        memcpy(glob + i, "*[a]", 4);
    ck_assert(!evb_glob_matches(glob, 4001, text, 4000));
    memset(glob, '[', 4000);
    ck_assert(!evb_glob_matches(glob, 4000, text, 4000));
    memset(glob, '?', 4000);
    ck_assert(evb_glob_matches(glob, 4000, text, 4000));
}
END_TEST

static const struct {
    const char *prefix, *pattern, *want;
} wires[] = {
    {"evbus:events:", "task.created", "evbus:events:task.created"},
    {"evbus:events:", "task.*", "evbus:events:task.*"},
    {"evbus:events:", "task.>", "evbus:events:task.*"},
    {"evbus:events:", "*.*.>", "evbus:events:*.*.*"},
    {"evbus:events:", ">", "evbus:events:*"},
    {"", ">", "*"},
    {"", "task", "task"},
    {"a[1]*?\\:", "task", "a[1]*?\\:task"},
    {"a[1]*?\\:", "task.*", "a\\[1\\]\\*\\?\\\\:task.*"},
    {"a*:", "glob:t[ab]?", "a\\*:t[ab]?"},
};

START_TEST(pattern_wire)
{
    struct evb_buf buf;

    evb_buf_init(&buf);
    evb_pattern_wire(&buf, wires[_i].prefix, wires[_i].pattern, strlen(wires[_i].pattern));
    char *got = evb_buf_take(&buf);
    ck_assert_str_eq(got, wires[_i].want);
    evb_free(got);
}
END_TEST

/* What a pattern takes here must reach it through its Redis pattern. */
START_TEST(wire_covers)
{
    const char *prefix = "p[*]:", *pattern = matches[_i].pattern, *type = matches[_i].type;
    struct evb_buf channel, wire;

    if (!matches[_i].want || evb_type_is_system(type, strlen(type)))
        return;
    evb_buf_init(&channel);
    evb_buf_init(&wire);
    evb_buf_text(&channel, prefix);
    evb_buf_text(&channel, type);
    evb_pattern_wire(&wire, prefix, pattern, strlen(pattern));
    if (evb_pattern_check(pattern, strlen(pattern)) == EVB_PATTERN_EXACT)
        ck_assert_str_eq(wire.data, channel.data);
    else
        ck_assert(evb_glob_matches(wire.data, wire.length, channel.data, channel.length));
    evb_buf_fini(&channel);
    evb_buf_fini(&wire);
}
END_TEST

static const struct {
    const char *list;
    int want; /* of evb_patterns_check() */
    const char *type;
    bool matches;
} lists[] = {
    {"", 0, "task", false},
    {"   ", 0, "task", false},
    {"task", 0, "task", true},
    {"  task  ", 0, "task", true},
    {"task", 0, "task.created", false},
    {"audit.> task.*", 0, "task.created", true},
    {"audit.>  task.*", 0, "audit.a.b", true},
    {"audit.> task.*", 0, "audit", false},
    {"audit.> task.*", 0, "user.task.x", false},
    {"task.* glob:*secret*", 0, "my.secrets", true},
    {">", 0, "any.thing", true},
    {">", 0, "evbus.gap", false},
    {"a b c d e", 0, "e", true},
    {"a b", 0, "a b", false},
    {"task..x", EVBUS_EINVAL, NULL, false},
    {"good bad. good", EVBUS_EINVAL, NULL, false},
    {"a, b", EVBUS_EINVAL, NULL, false},
    {"a\tb", EVBUS_EINVAL, NULL, false},
    {"good glob:", EVBUS_EINVAL, NULL, false},
};

START_TEST(pattern_lists)
{
    int got = evb_patterns_check(lists[_i].list);

    ck_assert_msg(got == lists[_i].want, "\"%s\": %d", lists[_i].list, got);
    if (got)
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "pattern"));
    if (lists[_i].type)
        ck_assert_int_eq(evb_patterns_match(lists[_i].list, lists[_i].type, strlen(lists[_i].type)),
                         lists[_i].matches);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("match");
    TCase *tests = tcase_create("match");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, type_check, 0, (int)EVB_COUNT(types));
    tcase_add_test(tests, type_lengths);
    tcase_add_test(tests, type_system);
    tcase_add_loop_test(tests, pattern_check, 0, (int)EVB_COUNT(patterns));
    tcase_add_test(tests, pattern_lengths);
    tcase_add_loop_test(tests, pattern_matches, 0, (int)EVB_COUNT(matches));
    tcase_add_loop_test(tests, glob_matches, 0, (int)EVB_COUNT(globs));
    tcase_add_test(tests, glob_edges);
    tcase_add_test(tests, glob_hostile);
    tcase_add_loop_test(tests, pattern_wire, 0, (int)EVB_COUNT(wires));
    tcase_add_loop_test(tests, pattern_lists, 0, (int)EVB_COUNT(lists));
    tcase_add_loop_test(tests, wire_covers, 0, (int)EVB_COUNT(matches));
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
