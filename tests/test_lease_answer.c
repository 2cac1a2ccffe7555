/* test_lease_answer.c - what follows from each answer to the question for a lease. */
#include "lease_fixture.h"

/* Who comes back before the last word is answered gets it again. */
START_TEST(leaves_and_returns)
{
    hold();
    await_answer(0);
    evbus_unsubscribe(sub);
    sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    await_answer(0);
    ck_assert_int_gt(evbus_sub_stat(sub, "leading"), 0);
}
END_TEST

/* Somebody else has it, though this one held it. */
START_TEST(loses)
{
    hold();
    await_answer(0);
    keeper_lease(keeper, "other", 9, "");
    await_told("lost:other:9} ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), 1);
    expect("gained:self:1} lost:other:9} ");
}
END_TEST

/* What was there is not there any more: somebody may still hold it, for its time. */
START_TEST(waits_for_the_flushed)
{
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    keeper_answer(keeper, KEEPER_LEASE, "*4\r\n:0\r\n$0\r\n\r\n:0\r\n:50\r\n", 1);
    keeper_lease(keeper, "", 0, "");
    await_told("gained:self:8} "); /* above what it had heard of */
    await_said(" take 1000 604800000 7 ");
}
END_TEST

static const struct {
    const char *reply, *says;
} refusals[] = {
    {"-NOPERM this user\r\n", "leader: NOPERM this user"},
    {"*1\r\n:1\r\n", "leader: no answer of the script"},
    {"*3\r\n:1\r\n:5\r\n:0\r\n", "leader: no answer of the script"}, /* and where is the place? */
    {"+OK\r\n", "leader: no answer of the script"},
};

START_TEST(refused)
{
    keeper_answer(keeper, KEEPER_LEASE, refusals[_i].reply, 1);
    hold();
    await_answer(EVBUS_EDENIED);
    ck_assert_str_eq(evbus_last_error(), refusals[_i].says);
    await_answer(0);
    expect("gained:self:1} ");
}
END_TEST

static const char *const passing[] = {"-BUSY a script\r\n", "-LOADING data\r\n", "-OOM full\r\n"};

START_TEST(passes)
{
    keeper_answer(keeper, KEEPER_LEASE, passing[_i], 3);
    hold();
    await_answer(0);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 4);
}
END_TEST

static void jump(void *user)
{
    (void)user;
    ahead_us += 5000000;
}

/* The answer came, but after the time that it gives: the next one counts. */
START_TEST(answered_too_late)
{
    keeper_after(keeper, KEEPER_LEASE, jump, NULL);
    hold();
    await_answer(0);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 2);
    expect("gained:self:1} ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease answer");
    TCase *tests = lease_case(suite, "lease answer");
    tcase_add_test(tests, leaves_and_returns);
    tcase_add_test(tests, loses);
    tcase_add_test(tests, waits_for_the_flushed);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, passes, 0, (int)EVB_COUNT(passing));
    tcase_add_test(tests, answered_too_late);
    return run(suite);
}
