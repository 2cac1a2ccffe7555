/*
 * it_group_soak.c - the outside verifier of groups (share/group_run.h): a short run, and made-up
 * books that show that its checker sees each thing that it is there to see.
 */
#include "harness/suite.h"
#include "share/group_check.h"
#include "share/group_member.h"
#include "share/group_run.h"
#include "harness/check.h"
#include <stdio.h>
#include <string.h>

/* A run in which all is well, the book first: 1 is handled at once, 2 again after the kill of book
 * 2 in mid-call, 3 twice for book 3 died before its acknowledgement, 7 is poison. */
static const char *const story[] = {
    "1 publish 1 10",  "1 publish 2 11",  "1 publish 3 12",  "1 publish 7 13", "1 report 1 1 20",
    "1 report 2 1 21", "1 report 3 1 22", "1 report 7 1 23", "4 begin 1 1 30", "4 end 1 0 31",
    "2 begin 2 1 40",  "0 killed 2 45",   "3 begin 2 2 60",  "3 end 2 0 61",   "3 begin 3 1 62",
    "3 end 3 0 63",    "0 killed 3 64",   "4 begin 3 2 70",  "4 end 3 0 71",   "4 begin 7 1 80",
    "4 end 7 1 81",    "4 begin 7 2 90",  "4 end 7 1 91",    "5 dead 7 100",
};

static const struct {
    const char *what;
    int rule; /* the one that is broken; -1: none */
    const char *without, *with;
} cases[] = {
    {"all is well", -1, NULL, NULL},
    {"nobody handled it", GROUP_RULE_LOST, "4 end 1 0 31", "4 end 1 1 31"},
    {"again, though its member lived", GROUP_RULE_DOUBLED, NULL, "4 begin 1 2 50"},
    {"it died long after", GROUP_RULE_DOUBLED, "0 killed 3 64", "0 killed 3 9000064"},
    {"by two at a time", GROUP_RULE_BESIDE, "0 killed 2 45", "0 killed 2 65"},
    {"the first never ended", GROUP_RULE_BESIDE, "0 killed 2 45", NULL},
    {"no dead letter", GROUP_RULE_UNDEAD, "5 dead 7 100", NULL},
    {"two of them", GROUP_RULE_DEAD_TWICE, NULL, "5 dead 7 101"},
    {"one of what was handled", GROUP_RULE_BURIED, NULL, "5 dead 1 102"},
    {"a number never published", GROUP_RULE_STRANGE, NULL, "4 begin 9 1 103"},
    {"two reports", GROUP_RULE_REPORTS, NULL, "1 report 1 1 104"},
    {"no report", GROUP_RULE_REPORTS, "1 report 1 1 20", NULL},
    {"stuck", GROUP_RULE_STUCK, NULL, "0 stuck flush"},
    {"an end without a beginning", GROUP_RULE_BOOKS, NULL, "4 end 1 0 105"},
    {"no such line", GROUP_RULE_BOOKS, NULL, "4 perhaps 1 2 3"},
};

static void tell(struct group_check *check, const char *line)
{
    group_check_line(check, line + 2, line[0] - '0');
    if (!strcmp(line, "4 begin 1 2 50"))
        group_check_line(check, "end 1 0 51", 4);
    if (!strcmp(line, "4 begin 9 1 103"))
        group_check_line(check, "end 9 0 104", 4);
}

START_TEST(checker)
{
    struct group_check *check = group_check_new();
    bool found = !cases[_i].without;
    for (size_t i = 0; i < sizeof story / sizeof story[0]; i++) {
        bool out = cases[_i].without && !strcmp(cases[_i].without, story[i]);
        found = found || out;
        if (out && cases[_i].with)
            tell(check, cases[_i].with);
        else if (!out)
            tell(check, story[i]);
    }
    if (!cases[_i].without && cases[_i].with)
        tell(check, cases[_i].with);
    ck_assert_msg(found, "%s: no such line: %s", cases[_i].what, cases[_i].without);
    bool kept = group_check_judge(check);
    ck_assert_msg(kept == (cases[_i].rule < 0), "%s", cases[_i].what);
    for (int rule = 0; rule < GROUP_RULE_COUNT; rule++)
        if (rule == cases[_i].rule)
            ck_assert_msg(group_check_broken(check, rule) > 0, "%s: not seen", cases[_i].what);
        else
            ck_assert_msg(!group_check_broken(check, rule), "%s: rule %d is broken, too",
                          cases[_i].what, rule);
    group_check_free(check);
}
END_TEST

START_TEST(sums)
{
    struct group_check *check = group_check_new();
    for (size_t i = 0; i < sizeof story / sizeof story[0]; i++)
        tell(check, story[i]);
    ck_assert(group_check_judge(check));
    struct group_sums all = group_check_sums(check);
    ck_assert_int_eq(all.published, 4);
    ck_assert_int_eq(all.handled, 3);
    ck_assert_int_eq(all.doubles, 1);
    ck_assert_int_eq(all.cut_off, 1);
    ck_assert_int_eq(all.failed, 2);
    ck_assert_int_eq(all.dead, 1);
    ck_assert_int_eq(all.killed, 2);
    group_check_free(check);
}
END_TEST

START_TEST(short_run)
{
    char command[160];
    struct group_plan plan = {.events = suite_scaled(4000),
                              .rate = 800,
                              .members = 8,
                              .kills = suite_scaled(6),
                              .restarts = suite_scaled(2),
                              .seed = suite_seed("group"),
                              .command = command};
    snprintf(command, sizeof command, "EVB_TEST_SCALE=%d EVB_TEST_SEED=%u build/it_group_soak",
             suite_scaled(100), plan.seed);
    group_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = group_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("group_soak");
    TCase *tests = tcase_create("checker");
    tcase_add_loop_test(tests, checker, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(tests, sums);
    suite_add_tcase(suite, tests);
    suite_add(suite, "short_run", short_run, 180);
    return suite_run(suite, argc, argv);
}
