/* test_backoff.c - full jitter: every wait from 0 to its ceiling, and the ceilings double. */
#include "backoff.h"
#include "rand.h"
#include "unit.h"

static uint64_t shown;

static void fill_shown(void *out, size_t length)
{
    for (size_t i = 0; i + 8 <= length; i += 8)
        memcpy((char *)out + i, &shown, 8);
}

static int64_t next_with(struct evb_backoff *backoff, int64_t dice)
{
    shown = (uint64_t)dice;
    evb_rand_set(fill_shown);
    return evb_backoff_next_ms(backoff);
}

static void teardown(void)
{
    evb_rand_set(NULL);
}

static const struct {
    int64_t base_ms, max_ms;
    int64_t ceilings[8];
} courses[] = {
    {100, 2000, {100, 200, 400, 800, 1600, 2000, 2000, 2000}},
    {100, 100, {100, 100, 100, 100, 100, 100, 100, 100}},
    {500, 100, {100, 100, 100, 100, 100, 100, 100, 100}},
    {1, 100, {1, 2, 4, 8, 16, 32, 64, 100}},
    {100, 1600, {100, 200, 400, 800, 1600, 1600, 1600, 1600}},
    {0, 1000, {0, 0, 0, 0, 0, 0, 0, 0}},
    {3600000,
     86400000,
     {3600000, 7200000, 14400000, 28800000, 57600000, 86400000, 86400000, 86400000}},
};

/* Dice that show the ceiling give the ceiling, one more gives 0: so the bound is that and no
 * other. */
START_TEST(ceilings)
{
    struct evb_backoff highest, lowest;
    evb_backoff_init(&highest, courses[_i].base_ms, courses[_i].max_ms);
    evb_backoff_init(&lowest, courses[_i].base_ms, courses[_i].max_ms);
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < 8; n++) {
            int64_t ceiling = courses[_i].ceilings[n];
            ck_assert_int_eq(next_with(&highest, ceiling), ceiling);
            ck_assert_int_eq(next_with(&lowest, ceiling + 1), 0);
            ck_assert_int_eq(highest.attempts, n + 1);
        }
        evb_backoff_reset(&highest);
        evb_backoff_reset(&lowest);
    }
}
END_TEST

START_TEST(stays_at_the_top)
{
    struct evb_backoff backoff;
    evb_backoff_init(&backoff, 1, 86400000);
    for (int n = 0; n < 5000; n++)
        ck_assert_int_le(evb_backoff_next_ms(&backoff), 86400000);
    ck_assert_int_eq(next_with(&backoff, 86400000), 86400000);
    ck_assert_int_eq(next_with(&backoff, 86400001), 0);
}
END_TEST

START_TEST(spreads_over_the_whole)
{
    struct evb_backoff backoff;
    int quarters[4] = {0};
    for (int n = 0; n < 4000; n++) {
        evb_backoff_init(&backoff, 1000, 1000);
        int64_t wait_ms = evb_backoff_next_ms(&backoff);
        ck_assert(wait_ms >= 0 && wait_ms <= 1000);
        quarters[wait_ms < 1000 ? wait_ms / 250 : 3]++;
    }
    for (int i = 0; i < 4; i++)
        ck_assert(quarters[i] > 800 && quarters[i] < 1200);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backoff");
    TCase *tests = unit_case(suite, "backoff");
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_loop_test(tests, ceilings, 0, (int)EVB_COUNT(courses));
    tcase_add_test(tests, stays_at_the_top);
    tcase_add_test(tests, spreads_over_the_whole);
    return unit_run(suite);
}
