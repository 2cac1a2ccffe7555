/* leader_main.c - the long run: SHARE_TAKEOVERS, SHARE_SEED, SHARE_MEMBERS. `make soak-leader`
 * starts it. */
#include "harness/suite.h"
#include "share/leader_member.h"
#include "share/leader_run.h"

START_TEST(takeovers)
{
    char command[160];
    struct leader_plan plan = {.takeovers = suite_number("SHARE_TAKEOVERS", 1, 100000, 200),
                               .members = suite_number("SHARE_MEMBERS", 2, 5, 3),
                               .rate = 200,
                               .seed = suite_seed_in("SHARE_SEED", "takeovers"),
                               .p95_ms = 2000,
                               .command = command};
    snprintf(command, sizeof command,
             "make soak-leader SHARE_SEED=%u SHARE_TAKEOVERS=%d SHARE_MEMBERS=%d", plan.seed,
             plan.takeovers, plan.members);
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
    Suite *suite = suite_create("takeovers");
    TCase *tests = tcase_create("takeovers");
    tcase_set_timeout(tests, 0); /* its parts have deadlines */
    tcase_add_test(tests, takeovers);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
