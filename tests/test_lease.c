/* test_lease.c - one bus's lease on a leader's name: who shares it, how it begins and ends, and
 * what becomes of it while the link is away. */
#include "lease_fixture.h"

static void connect_again(const char *history)
{
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  "history.enabled", history, NULL);
    changes = evbus_subscribe(bus, "evbus.leader", NULL, on_leader, NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

/* One lease for all of the bus's subscriptions of the name, and a place for each. */
START_TEST(shared)
{
    hold();
    await_answer(0);
    evbus_sub *second = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    evbus_sub *third = evbus_subscribe(bus, "u.*", "leader=c", on_t, NULL);
    evbus_sub *stranger = evbus_subscribe(bus, "t", "leader=d", on_t, NULL);
    await_said(" lease d t ");
    keeper_lease(keeper, evbus_node(bus), 1, "");
    await_said(" lease c t ");
    ck_assert_ptr_nonnull(strstr(last(), " t 2 "));
    ck_assert_ptr_nonnull(strstr(last(), " u.* "));
    evbus_unsubscribe(second);
    evbus_unsubscribe(third);
    evbus_unsubscribe(stranger);
}
END_TEST

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed:%d ", result);
}

START_TEST(leaves)
{
    hold();
    await_answer(0);
    expect("gained:self:1} ");
    if (_i) {
        evbus_unsubscribe(sub);
        sub = NULL;
        await_said(" leave ");
        await_told("lost:nobody:0} ");
    } else {
        ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
        await_told("closed:0 ");
        await_said(" leave ");
        ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    }
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), 0); /* it went by itself */
}
END_TEST

/* It need not wait for that where the holder says that it leaves. */
START_TEST(hears)
{
    char inbox[60];
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    keeper_lease(keeper, "", 7, "");
    int count = keeper_count(keeper, KEEPER_LEASE);
    snprintf(inbox, sizeof inbox, "evbus:inbox:%s", evbus_node(bus));
    scripted_publish(server, inbox, "lease d", 7);
    scripted_publish(server, inbox, "leas", 4);
    scripted_publish(server, inbox, "fence:99", 8);
    run_for(base, 20);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), count);
    scripted_publish(server, inbox, "lease c", 7);
    run_for(base, 20);
    ck_assert_int_gt(keeper_count(keeper, KEEPER_LEASE), count);
    expect("changed:other:7} gained:self:8} ");
}
END_TEST

/* The scripts and the link are lost: it goes on, without anybody in between. */
START_TEST(link_is_lost)
{
    hold();
    await_answer(0);
    keeper_forget(keeper);
    int count = keeper_count(keeper, KEEPER_LEASE);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_asked(count + 1);
    await_said(" stay ");
    await_answer(0);
    expect("gained:self:1} ");
}
END_TEST

/* Silence: it ends here by the clock, and goes on when there is an answer. */
START_TEST(ends_by_itself)
{
    hold();
    await_answer(0);
    keeper_answer(keeper, KEEPER_LEASE, "", 1);
    int count = keeper_count(keeper, KEEPER_LEASE);
    await_asked(count + 1);
    await_told("lost:nobody:1} ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_answer(0);
    expect("gained:self:1} lost:nobody:1} gained:self:1} ");
}
END_TEST

START_TEST(without_history)
{
    evbus_free(bus);
    connect_again("no");
    sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    await_answer(0);
    expect("gained:self:1} evbus.poll ");
    evbus_publish(bus, "t", "1");
    turn();
    expect("t ");
}
END_TEST

/* Each allocation fails once: there is a subscription or there is none, and nothing is left. */
START_TEST(no_memory)
{
    bool failed = true;
    int none = 0;
    for (long n = 0; failed && n < 100; n++) {
        failing_at(n, false);
        sub = evbus_subscribe(bus, "t", "leader=c away=last poll=1s", on_t, NULL);
        failed = failing_off();
        none += !sub;
        ck_assert(sub || evbus_last_code() == EVBUS_ENOMEM);
        turn();
        evbus_unsubscribe(sub);
        sub = NULL;
        turn();
    }
    ck_assert(!failed);
    ck_assert_int_ge(none, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease");
    TCase *tests = lease_case(suite, "lease");
    tcase_add_test(tests, shared);
    tcase_add_loop_test(tests, leaves, 0, 2);
    tcase_add_test(tests, hears);
    tcase_add_test(tests, link_is_lost);
    tcase_add_test(tests, ends_by_itself);
    tcase_add_test(tests, without_history);
    tcase_add_test(tests, no_memory);
    return run(suite);
}
