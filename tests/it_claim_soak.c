/*
 * it_claim_soak.c - the outside verifier of claims (share/claim.h): a short run, and made-up books
 * that show that it sees each thing that it is there to see.
 */
#include "harness/suite.h"
#include "share/claim.h"
#include <stdlib.h>
#include <string.h>

enum { CALLS = 3 };

static const struct {
    const char *what;
    struct share_call calls[CALLS]; /* event, life, begin, end, rc, lease's end */
    struct share_verdict want;
} cases[] = {
    {"one of two", {{1, 0, 100, 200, 0, 0}}, {.handled = 1, .unhandled = 1, .calls = 1}},
    {"both", {{1, 0, 100, 200, 0, 0}, {2, 1, 90, 95, 0, 0}}, {.handled = 2, .calls = 2}},
    {"failed, and again",
     {{1, 0, 100, 200, -1, 0}, {1, 1, 200, 300, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .failed = 1}},
    {"failed alone",
     {{1, 0, 100, 200, -1, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 1, .unhandled = 1, .calls = 2, .failed = 1}},
    {"at the same time",
     {{1, 1, 150, 300, 0, 0}, {1, 0, 100, 200, -1, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .failed = 1, .overlapping = 1}},
    {"twice",
     {{1, 0, 100, 200, 0, 0}, {1, 1, 900000, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .doubled = 1}},
    {"twice, for the first died before it had told",
     {{1, 0, 100, 200, 0, 800000}, {1, 1, 900000, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .again = 1}},
    {"the same, too early",
     {{1, 0, 100, 200, 0, 800000}, {1, 1, 700000, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .again = 1, .early = 1}},
    {"died in its handler",
     {{1, 0, 100, 0, 0, 800000}, {1, 1, 800100, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .unfinished = 1}},
    {"the same, too early",
     {{1, 0, 100, 0, 0, 800000}, {1, 1, 790000, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .unfinished = 1, .early = 1}},
    {"the same, and it had no lease",
     {{1, 0, 100, 0, 0, 0}, {1, 1, 790000, 900001, 0, 0}, {2, 1, 90, 95, 0, 0}},
     {.handled = 2, .calls = 3, .unfinished = 1, .overlapping = 1}},
    {"died in its handler, and nobody has it",
     {{1, 0, 100, 0, 0, 800000}, {2, 1, 90, 95, 0, 0}},
     {.handled = 1, .unhandled = 1, .calls = 2, .unfinished = 1}},
};

START_TEST(books)
{
    struct share_calls calls = {0};
    const struct share_verdict *want = &cases[_i].want;
    for (int i = 0; i < CALLS && cases[_i].calls[i].event; i++)
        share_add(&calls, cases[_i].calls[i]);
    struct share_verdict got = share_judge(&calls, 2);
    ck_assert_int_eq(got.handled, want->handled);
    ck_assert_int_eq(got.unhandled, want->unhandled);
    ck_assert_int_eq(got.calls, want->calls);
    ck_assert_int_eq(got.failed, want->failed);
    ck_assert_int_eq(got.unfinished, want->unfinished);
    ck_assert_int_eq(got.again, want->again);
    ck_assert_int_eq(got.overlapping, want->overlapping);
    ck_assert_int_eq(got.doubled, want->doubled);
    ck_assert_int_eq(got.early, want->early);
    ck_assert_int_eq(share_is_clean(&got),
                     !want->unhandled && !want->overlapping && !want->doubled && !want->early);
    free(calls.call);
}
END_TEST

START_TEST(short_run)
{
    char command[] = "build/it_claim_soak";
    struct share_plan plan = {.events = suite_scaled(2000),
                              .kills = 5,
                              .rate = suite_sanitized() ? 200 : 800,
                              .seed = suite_seed("share"),
                              .command = command};
    share_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = share_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("share");
    TCase *tests = tcase_create("books");
    tcase_add_loop_test(tests, books, 0, (int)(sizeof cases / sizeof cases[0]));
    suite_add_tcase(suite, tests);
    suite_add(suite, "short run", short_run, 240);
    return suite_run(suite, argc, argv);
}
