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

/* Each allocation fails once while it is registered: it goes on, or tries again. */
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

/* As a round of the loop does, at whose end what was said is written. True: it is under way. */
static bool ask(struct evb_lease *lease, bool leave)
{
    evb_loop_begin(&bus->loop);
    evb_lease_question(lease, leave);
    bool is_under_way = lease->asked;
    evb_loop_end(&bus->loop);
    return is_under_way;
}

/* ---- the words ---- */

static char asked[1000]; /* what was, when note_asked() was called */

static void note_asked(void *unused)
{
    (void)unused;
    snprintf(asked, sizeof asked, "%s", last());
}

static bool is_noted(void *words)
{
    return strstr(asked, words) != NULL;
}

static const struct {
    bool leave, holds, looks, waited;
    int64_t above;
    const char *words;
} modes[] = {
    {false, false, false, false, 0, " take 1000 604800000 0 "},
    {false, false, false, false, 7, " careful 1000 604800000 7 "},
    {false, false, false, true, 7, " take 1000 604800000 7 "},
    {false, false, true, false, 7, " look 1000 604800000 7 "},
    {false, false, true, true, 7, " look 1000 604800000 7 "},
    {false, true, true, true, 7, " stay 1000 604800000 7 "},
    {true, true, true, true, 7, " leave 1000 604800000 7 "},
    {true, false, false, false, 0, " leave 1000 604800000 0 "},
};

START_TEST(mode)
{
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    asked[0] = '\0';
    keeper_after(keeper, KEEPER_LEASE, note_asked, NULL);
    lease->holds = modes[_i].holds;
    lease->looks = modes[_i].looks;
    lease->waited = modes[_i].waited;
    lease->above = modes[_i].above;
    ck_assert(ask(lease, modes[_i].leave));
    ck_assert_int_eq(lease->leaving, modes[_i].leave);
    ck_assert_msg(run_until(base, is_noted, (void *)modes[_i].words, suite_patience(10000)),
                  "%s: %s", modes[_i].words, asked);
}
END_TEST

static bool has_place;

static bool fake_place(struct evb_lease_member *member, char *out, size_t room)
{
    snprintf(out, room, "%s-is-here", member->name);
    return has_place;
}

static const struct {
    bool leads, has_place;
    const char *words;
} placed[] = {
    {true, true, " lease c t t-is-here"},
    {true, false, " lease c t "},
    {false, true, " lease c t "},
};

/* A place is said of those alone that lead and have one. */
START_TEST(place)
{
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    struct evb_lease_member *member =
        evb_container(lease->members.next, struct evb_lease_member, node);
    while (lease->asked)
        run_for(base, 1);
    asked[0] = '\0';
    keeper_after(keeper, KEEPER_LEASE, note_asked, NULL);
    has_place = placed[_i].has_place;
    member->place = fake_place;
    member->leads = placed[_i].leads;
    ck_assert(ask(lease, false));
    ck_assert(run_until(base, is_noted, " lease ", suite_patience(10000)));
    ck_assert_str_eq(strstr(asked, " lease "), placed[_i].words);
}
END_TEST

/* Each says its own, and who has ended is noted. */
START_TEST(places)
{
    char words[100], want[100];
    long long ms;
    hold();
    await_answer(0);
    await_said("-0 1.5"); /* when it began: the server's time, and what has gone since */
    ck_assert_int_eq(sscanf(strstr(last(), " c t "), " c t %lld-0 1.5", &ms), 1);
    ck_assert_int_ge(ms, KEEPER_MS - 1);
    evbus_sub *second = evbus_subscribe(bus, "u", "leader=c", on_t, NULL);
    await_said(" u ");
    snprintf(words, sizeof words, "%s", strstr(last(), " c t "));
    snprintf(want, sizeof want, " c t %lld-0 1.5 u ", ms);
    ck_assert_str_eq(words, want);
    struct evb_lease *lease = lease_now();
    ck_assert_uint_eq(lease->asked_count, 2);
    while (lease->asked)
        run_for(base, 1);
    evbus_unsubscribe(second);
    ck_assert(ask(lease, false));
    int number = 0;
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        ck_assert_int_eq(member->asked, number);
        ck_assert_int_eq(member->over, number == 1);
        number++;
    }
    ck_assert_int_eq(number, 2);
}
END_TEST

/* ---- when ---- */

START_TEST(one_at_a_time)
{
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    int count = keeper_count(keeper, KEEPER_LEASE);
    ck_assert(ask(lease, false) && ask(lease, false) && ask(lease, true));
    ck_assert(!lease->leaving);
    while (lease->asked)
        run_for(base, 1);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), count + 1);
}
END_TEST

START_TEST(nobody_to_ask)
{
    evbus_free(bus);
    bus = NULL;
    if (_i)
        scripted_listen(server, false);
    bus = open_on(_i, NULL);
    hold();
    turn();
    struct evb_lease *lease = lease_now();
    ck_assert(!evb_lease_is_ready(lease));
    ck_assert(!ask(lease, false));
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 0);
    scripted_listen(server, true);
}
END_TEST

static int64_t stopped(void)
{
    return 5000000000;
}

static int64_t armed(struct evb_lease *lease)
{
    return lease->timer_ms - stopped() / 1000;
}

/* The earliest counts. */
START_TEST(arms)
{
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    evb_clock_set(NULL, stopped);
    evb_lease_disarm(lease);
    ck_assert_int_eq(lease->timer_ms, 0);
    evb_lease_arm(lease, 60000);
    evb_lease_arm(lease, 70000);
    ck_assert_int_eq(armed(lease), 60000);
    evb_lease_arm(lease, 1500);
    ck_assert_int_eq(armed(lease), 1500);
    evb_lease_arm(lease, 1500);
    ck_assert_int_eq(armed(lease), 1500);
    evb_lease_arm(lease, -5);
    ck_assert_int_eq(armed(lease), 0);
    int count = keeper_count(keeper, KEEPER_LEASE);
    evb_clock_set(NULL, clock_ahead);
    await_asked(count + 1); /* it fires */
}
END_TEST

static const struct {
    int64_t left_us, ms;
} holders[] = {
    {1000000, 333},                                             /* a third of its time */
    {333000, 333},  {332000, 333}, {331000, 332}, {5000, 6},    /* or when it ends */
    {1, 1},         {0, 1},        {-1000, 333},  {-5000, 333}, /* it has ended */
};

START_TEST(arms_holder)
{
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    evb_clock_set(NULL, stopped);
    evb_lease_disarm(lease);
    atomic_store(&lease->until_us, stopped() + holders[_i].left_us);
    evb_lease_arm_holder(lease);
    ck_assert_int_eq(armed(lease), holders[_i].ms);
    evb_clock_set(NULL, clock_ahead);
}
END_TEST

/* ---- want of memory ---- */

/* The words do not come together: it is asked again, a little later. Or the link is lost. */
START_TEST(no_memory)
{
    enum { WORDS = 2 }; /* allocations before the question is one */
    hold();
    await_answer(0);
    struct evb_lease *lease = lease_now();
    bool failed = true;
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 20);
        while (lease->asked || !evb_lease_is_ready(lease))
            run_for(base, 1);
        int count = keeper_count(keeper, KEEPER_LEASE);
        evb_lease_disarm(lease);
        failing_at(n, false);
        bool is_under_way = ask(lease, n == 0);
        failed = failing_off();
        ck_assert_int_eq(is_under_way, n > WORDS);
        ck_assert(!lease->leaving);
        if (n < WORDS)
            ck_assert(lease->timer_ms > 0 && lease->timer_ms <= evb_clock_mono_ms() + 100);
        await_asked(count + 1);
        await_said(" stay ");
    }
    await_answer(0);
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 1);
    expect("gained:self:1} ");
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
    tcase_add_loop_test(tests, mode, 0, (int)EVB_COUNT(modes));
    tcase_add_loop_test(tests, place, 0, (int)EVB_COUNT(placed));
    tcase_add_test(tests, places);
    tcase_add_test(tests, one_at_a_time);
    tcase_add_loop_test(tests, nobody_to_ask, 0, 2);
    tcase_add_test(tests, arms);
    tcase_add_loop_test(tests, arms_holder, 0, (int)EVB_COUNT(holders));
    tcase_add_test(tests, no_memory);
    return run(suite);
}
