/* claim_main.c - the long run: SHARE_EVENTS, SHARE_KILLS, SHARE_SEED. `make soak-claim` starts it. */
#include "harness/suite.h"
#include "share/claim.h"

START_TEST(share)
{
    char command[120];
    struct share_plan plan = {.events = suite_number("SHARE_EVENTS", 0, 10000000, 100000),
                              .kills = suite_number("SHARE_KILLS", 0, 10000000, 50),
                              .rate = 1500,
                              .seed = suite_seed_in("SHARE_SEED", "share"),
                              .command = command};
    snprintf(command, sizeof command,
             "make soak-claim SHARE_SEED=%u SHARE_EVENTS=%d SHARE_KILLS=%d", plan.seed, plan.events,
             plan.kills);
    share_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = share_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("share");
    TCase *tests = tcase_create("share");
    tcase_set_timeout(tests, 0); /* its parts have deadlines */
    tcase_add_test(tests, share);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
