/* test_lease.c - one bus's lease on a leader's name: what is asked when, and what follows from each
 * answer. A Redis in memory answers; the machine's clock goes as the test says. */
#include "lease.h"
#include "bus_fixture.h"
#include "clock.h"
#include "harness/keeper.h"
#include "list.h"

static struct keeper *keeper;
static evbus_sub *sub, *changes;
static int64_t ahead_us; /* of the machine's clock */

static int64_t clock_ahead(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + ahead_us;
}

static int on_leader(evbus_sub *one, evbus_event *event, void *user)
{
    char change[20] = "";
    const char *data = evbus_event_data(event, NULL);
    (void)one;
    (void)user;
    sscanf(strstr(data, "change\":\"") + 9, "%19[a-z]", change);
    tell("%s:%s:%s ", change,
         strstr(data, evbus_node(bus)) ? "self"
         : strstr(data, "null")        ? "nobody"
                                       : "other",
         strstr(data, "fence\":") + 7);
    return 0;
}

static int on_t(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s ", evbus_event_type(event));
    return 0;
}

static void connect_again(const char *history)
{
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  "history.enabled", history, NULL);
    changes = evbus_subscribe(bus, "evbus.leader", NULL, on_leader, NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static void begin(void)
{
    ahead_us = 0;
    evb_clock_set(NULL, clock_ahead);
    setup();
    keeper = keeper_start(server);
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static void hold(void)
{
    changes = evbus_subscribe(bus, "evbus.leader", NULL, on_leader, NULL);
    sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    ck_assert_msg(sub && changes, "%s", evbus_last_error());
}

static void end(void)
{
    evbus_unsubscribe(sub);
    evbus_unsubscribe(changes);
    sub = changes = NULL;
    evbus_free(bus);
    bus = NULL;
    turn();
    keeper_free(keeper);
    teardown();
    evb_clock_set(NULL, NULL);
}

static const char *last(void)
{
    return keeper_last(keeper, KEEPER_LEASE);
}

static bool is_said(void *words)
{
    return strstr(last(), words) != NULL;
}

static void await_said(const char *words)
{
    ck_assert_msg(run_until(base, is_said, (void *)words, suite_patience(10000)), "%s: %s", words,
                  last());
}

static bool is_asked(void *count)
{
    return keeper_count(keeper, KEEPER_LEASE) >= *(int *)count;
}

static void await_asked(int count)
{
    ck_assert(run_until(base, is_asked, &count, suite_patience(10000)));
}

static bool is_answered(void *want)
{
    return evbus_sub_wait(sub, 0) == *(int *)want;
}

static void await_answer(int want)
{
    ck_assert_msg(run_until(base, is_answered, &want, suite_patience(10000)), "%s",
                  evbus_last_error());
}

static void await_told(const char *what)
{
    char text[60];
    snprintf(text, sizeof text, "%s", what);
    await(text);
}

/* ---- holding ---- */

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

/* ---- following ---- */

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

/* ---- trouble ---- */

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
    Suite *suite = suite_create("lease");
    TCase *tests = tcase_create("lease");
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, takes_and_renews);
    tcase_add_test(tests, shared);
    tcase_add_loop_test(tests, leaves, 0, 2);
    tcase_add_test(tests, leaves_and_returns);
    tcase_add_test(tests, follows);
    tcase_add_test(tests, hears);
    tcase_add_test(tests, loses);
    tcase_add_test(tests, waits_for_the_flushed);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, passes, 0, (int)EVB_COUNT(passing));
    tcase_add_test(tests, link_is_lost);
    tcase_add_test(tests, lets_the_holder_come_first);
    tcase_add_test(tests, ends_by_itself);
    tcase_add_test(tests, answered_too_late);
    tcase_add_test(tests, without_history);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, no_memory_later);
    suite_add_tcase(suite, tests);
    return run(suite);
}
