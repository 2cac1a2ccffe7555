/* claim_main.c - the long run: SHARE_EVENTS, SHARE_KILLS, SHARE_SEED. `make soak-claim` starts it. */
#include "harness/suite.h"
#include "share/claim.h"
#include <stdlib.h>

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    long value = text && *text ? strtol(text, NULL, 10) : -1;
    return value >= 0 && value <= 10000000 ? (int)value : otherwise;
}

START_TEST(share)
{
    const char *seed = getenv("SHARE_SEED");
    char command[120];
    struct share_plan plan = {.events = number("SHARE_EVENTS", 100000),
                              .kills = number("SHARE_KILLS", 50),
                              .rate = 1500,
                              .seed = seed ? (unsigned)strtoul(seed, NULL, 10) : 0,
                              .command = command};
    if (!plan.seed)
        plan.seed = suite_seed("share");
    snprintf(command, sizeof command,
             "make soak-claim SHARE_SEED=%u SHARE_EVENTS=%d SHARE_KILLS=%d", plan.seed,
             plan.events, plan.kills);
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
