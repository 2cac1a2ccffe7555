/* test_trie.c - the trie finds exactly those patterns that the matcher says match. */
#include "match.h"
#include "trie.h"
#include "unit.h"
#include <evbus.h>

enum { PATTERNS = 400, WORDS_MOST = 6 };

struct known {
    char pattern[64];
    bool in;
    int hits;
};

static struct known known[PATTERNS];

static void hit(void *value, void *user)
{
    ck_assert_ptr_eq(user, known);
    ((struct known *)value)->hits++;
}

/* Words of a small language, so that much collides; `wild` for patterns. */
static void compose(uint32_t *dice, char *out, bool wild)
{
    static const char *const words[] = {"a", "b", "ab", "evbus", "a-b"};
    int count = 1 + (int)(roll(dice) % WORDS_MOST);
    out[0] = '\0';
    for (int i = 0; i < count; i++) {
        uint32_t kind = roll(dice) % 8;
        const char *word = words[roll(dice) % EVB_COUNT(words)];
        if (i == 0 && kind == 0)
            word = "evbus";
        if (wild && kind >= 5)
            word = kind == 7 && i + 1 == count ? ">" : "*";
        strcat(strcat(out, i ? "." : ""), word);
    }
}

static bool is_there(const char *pattern)
{
    for (int i = 0; i < PATTERNS; i++)
        if (known[i].in && !strcmp(known[i].pattern, pattern))
            return true;
    return false;
}

static void change_one(struct evb_trie *trie, uint32_t *dice)
{
    struct known *one = &known[roll(dice) % PATTERNS];
    if (one->in) {
        evb_trie_remove(trie, one->pattern, strlen(one->pattern));
        one->in = false;
        return;
    }
    do
        compose(dice, one->pattern, true);
    while (evb_pattern_check(one->pattern, strlen(one->pattern)) != EVB_PATTERN_WORDS);
    if (is_there(one->pattern))
        return;
    ck_assert_int_eq(evb_trie_add(trie, one->pattern, strlen(one->pattern), one), 0);
    one->in = true;
}

static void compare(struct evb_trie *trie, const char *type)
{
    size_t length = strlen(type);
    for (int i = 0; i < PATTERNS; i++)
        known[i].hits = 0;
    evb_trie_match(trie, type, length, hit, known);
    for (int i = 0; i < PATTERNS; i++) {
        int want = known[i].in &&
                   evb_pattern_matches(known[i].pattern, strlen(known[i].pattern), type, length);
        ck_assert_msg(known[i].hits == want, "%s: %s hit %d times", type, known[i].pattern,
                      known[i].hits);
    }
}

START_TEST(as_the_matcher_says)
{
    struct evb_trie trie;
    long before = atomic_load(&memory_live);
    uint32_t dice = 1234567 + (uint32_t)_i;
    char type[64];
    memset(known, 0, sizeof known);
    evb_trie_init(&trie);
    compare(&trie, "a.b");
    for (int round = 0; round < 120; round++) {
        for (int i = 0; i < 10; i++)
            change_one(&trie, &dice);
        for (int i = 0; i < 10; i++) {
            compose(&dice, type, false);
            compare(&trie, type);
        }
    }
    for (int i = 0; i < PATTERNS; i++)
        if (known[i].in)
            evb_trie_remove(&trie, known[i].pattern, strlen(known[i].pattern));
    /* nothing is left but the root and its table */
    ck_assert_int_le(atomic_load(&memory_live) - before, 2);
    evb_trie_fini(&trie);
    ck_assert_int_eq(atomic_load(&memory_live), before);
}
END_TEST

static const struct {
    const char *pattern, *type;
    bool matches;
} cases[] = {
    {">", "a", true},
    {">", "a.b.c", true},
    {">", "evbus.mode", false},
    {">", "evbus", true},
    {"*", "evbus", true},
    {"*.mode", "evbus.mode", false},
    {"*.>", "evbus.mode", false},
    {"evbus.*", "evbus.mode", true},
    {"evbus.>", "evbus.mode", true},
    {"evbus.>", "evbus.a.b", true},
    {"evbus.>", "evbus", false},
    {"*", "a", true},
    {"*", "a.b", false},
    {"a.*", "a", false},
    {"a.*", "a.b", true},
    {"a.*", "a.b.c", false},
    {"a.>", "a", false},
    {"a.>", "a.b", true},
    {"a.*.c", "a.b.c", true},
    {"a.*.c", "a.b.d", false},
    {"*.*.*", "a.b.c", true},
    {"*.*.>", "a.b", false},
    {"a.*.>", "a.evbus.x", true},
    {"*.evbus.*", "a.evbus.x", true},
};

START_TEST(single_patterns)
{
    struct evb_trie trie;
    known[0] = (struct known){.in = true};
    evb_trie_init(&trie);
    const char *pattern = cases[_i].pattern, *type = cases[_i].type;
    ck_assert_int_eq(evb_trie_add(&trie, pattern, strlen(pattern), &known[0]), 0);
    evb_trie_match(&trie, type, strlen(type), hit, known);
    ck_assert_msg(known[0].hits == cases[_i].matches, "%s %s", pattern, type);
    evb_trie_remove(&trie, pattern, strlen(pattern));
    evb_trie_match(&trie, type, strlen(type), hit, known);
    ck_assert_int_eq(known[0].hits, cases[_i].matches);
    evb_trie_fini(&trie);
}
END_TEST

/* As deep as a pattern can be, and with both branches open at every word. */
START_TEST(deep)
{
    struct evb_trie trie;
    char pattern[256] = "*", type[256] = "a";
    evb_trie_init(&trie);
    for (int i = 1; i < 127; i++) {
        strcat(pattern, ".*");
        strcat(type, ".a");
    }
    strcat(pattern, ".>");
    strcat(type, ".a");
    known[0] = known[1] = known[2] = (struct known){.in = true};
    ck_assert_int_eq(evb_trie_add(&trie, pattern, strlen(pattern), &known[0]), 0);
    pattern[2] = 'a';
    ck_assert_int_eq(evb_trie_add(&trie, pattern, strlen(pattern), &known[1]), 0);
    evb_trie_match(&trie, type, strlen(type), hit, known);
    evb_trie_remove(&trie, "a.*", 3); /* not there: nothing happens */
    evb_trie_remove(&trie, "*.>", 3);
    evb_trie_remove(&trie, pattern, strlen(pattern));
    evb_trie_match(&trie, type, strlen(type), hit, known);
    ck_assert_int_eq(known[0].hits, 2);
    ck_assert_int_eq(known[1].hits, 1);
    evb_trie_fini(&trie);
}
END_TEST

static void grow(bool fails)
{
    static const char *const patterns[] = {"a.*", "a.b.>", "*.c.d.*.e", ">", "a.b.*"};
    struct evb_trie trie;
    int refused = -1;
    evb_trie_init(&trie);
    for (int i = 0; i < (int)EVB_COUNT(patterns); i++) {
        known[i] = (struct known){.in = true};
        if (evb_trie_add(&trie, patterns[i], strlen(patterns[i]), &known[i]) != 0) {
            ck_assert(fails && evbus_last_code() == EVBUS_ENOMEM && refused < 0);
            evb_trie_remove(&trie, patterns[i], strlen(patterns[i])); /* as its owner does */
            refused = i;
        }
    }
    ck_assert_int_eq(refused >= 0, fails && memory_failed());
    evb_trie_match(&trie, "a.b", 3, hit, known);
    evb_trie_match(&trie, "a.b.c", 5, hit, known);
    evb_trie_match(&trie, "x.c.d.y.e", 9, hit, known);
    static const int hits[] = {1, 1, 1, 3, 1};
    for (int i = 0; i < (int)EVB_COUNT(patterns); i++)
        ck_assert_int_eq(known[i].hits, i == refused ? 0 : hits[i]);
    for (int i = 0; i < (int)EVB_COUNT(patterns); i++)
        evb_trie_remove(&trie, patterns[i], strlen(patterns[i]));
    evb_trie_match(&trie, "a.b.c", 5, hit, known);
    ck_assert_int_eq(known[3].hits, refused == 3 ? 0 : 3);
    evb_trie_fini(&trie);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(grow), 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trie");
    TCase *tests = unit_case(suite, "trie");
    tcase_add_loop_test(tests, as_the_matcher_says, 0, 4);
    tcase_add_loop_test(tests, single_patterns, 0, (int)EVB_COUNT(cases));
    tcase_add_test(tests, deep);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
