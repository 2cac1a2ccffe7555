/*
 * main.c - the long run: SOAK_EVENTS, SOAK_FAULTS, SOAK_SEED, SOAK_HISTORY=yes|no (what the library
 * has). `make soak` starts it.
 */
#include "harness/suite.h"
#include "soak/member.h"
#include "soak/run.h"
#include <stdlib.h>
#include <string.h>

START_TEST(soak)
{
    const char *history = getenv("SOAK_HISTORY");
    char command[160];
    struct soak_plan plan = {.events = suite_number("SOAK_EVENTS", 0, 100000000, 1000000),
                             .faults = suite_number("SOAK_FAULTS", 0, 100000000, 200),
                             .seed = suite_seed_in("SOAK_SEED", "soak"),
                             .history =
                                 history && *history ? !strcmp(history, "yes") : soak_has_history(),
                             .spacing_ms = 1500,
                             .stop_ms = 4000,
                             .backoff_max_ms = 2000,
                             .command = command};
    snprintf(command, sizeof command,
             "make soak SOAK_SEED=%u SOAK_EVENTS=%d SOAK_FAULTS=%d SOAK_HISTORY=%s", plan.seed,
             plan.events, plan.faults, plan.history ? "yes" : "no");
    soak_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("soak");
    TCase *tests = tcase_create("soak");
    tcase_set_timeout(tests, 0); /* its parts have deadlines */
    tcase_add_test(tests, soak);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
