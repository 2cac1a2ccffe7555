/*
 * group_main.c - the long run: SHARE_EVENTS, SHARE_KILLS, SHARE_RESTARTS, SHARE_SEED, SHARE_RATE.
 * `make soak-group` starts it.
 */
#include "harness/suite.h"
#include "share/group_member.h"
#include "share/group_run.h"
#include "harness/check.h"
#include <stdio.h>

START_TEST(group)
{
    char command[160];
    struct group_plan plan = {.events = suite_number("SHARE_EVENTS", 0, 100000000, 100000),
                              .rate = suite_number("SHARE_RATE", 0, 100000000, 1500),
                              .members = 8,
                              .kills = suite_number("SHARE_KILLS", 0, 100000000, 100),
                              .restarts = suite_number("SHARE_RESTARTS", 0, 100000000, 20),
                              .seed = suite_seed_in("SHARE_SEED", "group"),
                              .command = command};
    snprintf(command, sizeof command,
             "make soak-group SHARE_SEED=%u SHARE_EVENTS=%d SHARE_KILLS=%d SHARE_RESTARTS=%d",
             plan.seed, plan.events, plan.kills, plan.restarts);
    group_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = group_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("group");
    TCase *tests = tcase_create("group");
    tcase_set_timeout(tests, 0); /* its parts have deadlines */
    tcase_add_test(tests, group);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
