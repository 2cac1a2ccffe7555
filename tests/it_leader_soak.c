/*
 * it_leader_soak.c - leaders judged from outside (share/leader_run.h): a short run, and made-up
 * books that show that the judge sees each thing that it is there to see.
 */
#include "harness/suite.h"
#include "share/leader_book.h"
#include "share/leader_member.h"
#include "share/leader_run.h"
#include <stdio.h>
#include <string.h>

static const char *const well[] = {"100 7 gained -", "110 7 event 1", "120 7 event 2",
                                   "900 8 gained -", "910 8 event 2", "920 8 event 3",
                                   "930 8 poll back"};

static const struct {
    const char *line; /* one more, in the first member's book */
    size_t overlaps, unnumbered;
    int lost, reordered;
} cases[] = {
    {NULL, 0, 0, 0, 0},
    {"905 7 event 2", 0, 0, 0, 0}, /* the next had not begun */
    {"915 7 event 2", 1, 0, 0, 0},
    {"940 7 poll away", 1, 0, 0, 0},
    {"940 8 event 2", 0, 1, 0, 0}, /* another one with the same number */
    {"905 0 event 2", 1, 1, 0, 0},
    {"105 7 event 3", 0, 0, 0, 1},
};

static void write_book(const char *path, size_t from, size_t to, const char *more)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    for (size_t i = from; i < to; i++)
        fprintf(file, "%s\n", well[i]);
    if (more)
        fprintf(file, "%s\n", more);
    fclose(file);
}

START_TEST(judges)
{
    char first[120], second[120];
    const char *paths[] = {first, second, "/nowhere"};
    struct leader_book book;
    snprintf(first, sizeof first, "%s/first", suite_folder());
    snprintf(second, sizeof second, "%s/second", suite_folder());
    write_book(first, 0, 3, cases[_i].line);
    write_book(second, 3, 7, NULL);
    leader_book_read(&book, paths, 3);
    ck_assert_uint_eq(leader_book_overlaps(&book, NULL), cases[_i].overlaps);
    ck_assert_uint_eq(leader_book_unnumbered(&book), cases[_i].unnumbered);
    ck_assert_int_eq(leader_book_lost(&book, 3, NULL), cases[_i].lost);
    ck_assert_int_eq(leader_book_lost(&book, 4, NULL), 1);
    ck_assert_int_eq(leader_book_reordered(&book), cases[_i].reordered);
    ck_assert_int_eq(leader_book_next_us(&book, 130, 7), 910);
    ck_assert_int_eq(leader_book_next_us(&book, 130, 8), -1);
    leader_book_free(&book);
}
END_TEST

START_TEST(short_run)
{
    char command[160];
    int takeovers = suite_scaled(5) + 1;
    struct leader_plan plan = {.takeovers = takeovers,
                               .members = 3,
                               .rate = 200,
                               .seed = suite_seed("takeovers"),
                               .p95_ms = suite_patience(2000),
                               .command = command};
    snprintf(command, sizeof command, "make soak-leader SHARE_SEED=%u SHARE_TAKEOVERS=%d",
             plan.seed, takeovers);
    leader_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = leader_member_main(argc, argv);
    if (status < 0)
        status = leader_publisher_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("leader soak");
    TCase *tests = tcase_create("leader soak");
    tcase_set_timeout(tests, suite_patience(120));
    tcase_add_loop_test(tests, judges, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tests, short_run);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
