/* test_lease_ask.c - when a lease is asked for, and in which words. */
#include "lease_fixture.h"

START_TEST(takes_and_renews)
{
    char words[200];
    hold();
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    await_answer(0);
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 1);
    expect("gained:self:1} ");
    snprintf(words, sizeof words,
             " 2 evbus:leader:{0}:c evbus:leader-waiting:{0}:c %s take 1000 604800000 0 "
             "evbus:inbox:%s lease c t ",
             evbus_node(bus), evbus_node(bus));
    ck_assert_msg(strstr(last(), words) != NULL, "%s: %s", words, last());
    int count = keeper_count(keeper, KEEPER_LEASE);
    await_asked(count + 4);
    await_said(" stay 1000 604800000 1 ");
    ck_assert_int_eq(evbus_stat(bus, "leases_gained"), 1);
    expect("");
}
END_TEST

START_TEST(follows)
{
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    expect("changed:other:7} ");
    int count = keeper_count(keeper, KEEPER_LEASE);
    keeper_lease(keeper, "", 7, "");
    await_told("gained:self:8} "); /* when that one's second is over */
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), count + 1);
    await_said(" careful ");
}
END_TEST

/* After an outage it is for who held it to come first; then for whoever asks. */
START_TEST(lets_the_holder_come_first)
{
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    keeper_lease(keeper, "", 7, "");
    int count = keeper_count(keeper, KEEPER_LEASE);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_asked(count + 1);
    await_said(" look ");
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER); /* and once more, at once */
    await_asked(count + 2);
    await_said(" look ");
    await_answer(0);
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    await_told("gained:self:8} ");
    await_said(" take ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), count + 3);
}
END_TEST

/* The same when it is registered: it goes on, or tries again. */
START_TEST(no_memory_later)
{
    for (long n = 0; n < 60; n++) {
        sub = evbus_subscribe(bus, "t", "leader=c away=last poll=1s", on_t, NULL);
        ck_assert_ptr_nonnull(sub);
        failing_at(n, false);
        turn();
        bool failed = failing_off();
        evbus_unsubscribe(sub);
        sub = NULL;
        await_mode(EVBUS_MODE_HYBRID);
        turn();
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease ask");
    TCase *tests = lease_case(suite, "lease ask");
    tcase_add_test(tests, takes_and_renews);
    tcase_add_test(tests, follows);
    tcase_add_test(tests, lets_the_holder_come_first);
    tcase_add_test(tests, no_memory_later);
    return run(suite);
}
