/* leader_main.c - the long run: SHARE_TAKEOVERS, SHARE_SEED, SHARE_MEMBERS. `make soak-leader`
 * starts it. */
#include "harness/suite.h"
#include "share/leader_member.h"
#include "share/leader_run.h"
#include <stdlib.h>

static int number(const char *name, int least, int most, int otherwise)
{
    const char *text = getenv(name);
    long value = text && *text ? strtol(text, NULL, 10) : -1;
    return value >= least && value <= most ? (int)value : otherwise;
}

START_TEST(takeovers)
{
    const char *seed = getenv("SHARE_SEED");
    char command[160];
    struct leader_plan plan = {.takeovers = number("SHARE_TAKEOVERS", 1, 100000, 200),
                               .members = number("SHARE_MEMBERS", 2, 5, 3),
                               .rate = 200,
                               .seed = seed ? (unsigned)strtoul(seed, NULL, 10) : 0,
                               .p95_ms = 2000,
                               .command = command};
    if (!plan.seed)
        plan.seed = suite_seed("takeovers");
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
