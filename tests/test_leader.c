/* test_leader.c - what stands before a leader's handler: the lease, the term, the place; and what the
 * handler gets. A history in memory; the machine's clock goes as the test says. */
#include "leader.h"
#include "bus_fixture.h"
#include "clock.h"
#include "harness/keeper.h"
#include "list.h"

static struct keeper *keeper;
static evbus_sub *sub;
static int64_t ahead_us; /* of the machine's clock */

static int64_t clock_ahead(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + ahead_us;
}

static void put(int count)
{
    static int seq;
    char text[200];
    while (count--) {
        seq++;
        snprintf(
            text, sizeof text,
            "{\"node\":\"fedcba9876543210\",\"local\":true,\"seq\":%17d,\"eventId\":\"x%d\","
            "\"type\":\"t\",\"version\":\"1.0\",\"attrs\":{\"evbus.fence\":\"9999\",\"a\":\"b\"},"
            "\"data\":1}",
            seq, seq);
        keeper_add(keeper, "evbus:events:t", text);
    }
}

/* "t3" of position ...-3; what was published here and has none: its data. */
static int on_t(evbus_sub *one, evbus_event *event, void *user)
{
    const char *position = evbus_event_position(event);
    (void)one;
    (void)user;
    if (position)
        tell("t%s ", strchr(position, '-') + 1);
    else
        tell("%s ", evbus_event_data(event, NULL));
    return 0;
}

static void connect_again(void)
{
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  "workers", "1", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static void begin(void)
{
    ahead_us = 0;
    evb_clock_set(NULL, clock_ahead);
    setup();
    keeper = keeper_start(server);
    keeper_be_behind(keeper, 900);
    connect_again();
}

static void end(void)
{
    evbus_unsubscribe(sub);
    sub = NULL;
    evbus_free(bus);
    bus = NULL;
    turn();
    keeper_free(keeper);
    teardown();
    evb_clock_set(NULL, NULL);
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

static void hold(const char *options)
{
    sub = evbus_subscribe(bus, "t", options, on_t, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    await_answer(0);
}

static void await_text(const char *text)
{
    char what[60];
    snprintf(what, sizeof what, "%s", text);
    await(what);
}

static bool is_said(void *words)
{
    return strstr(keeper_last(keeper, KEEPER_LEASE), words) != NULL;
}

static void await_said(const char *words)
{
    ck_assert_msg(run_until(base, is_said, (void *)words, suite_patience(10000)), "%s: %s", words,
                  keeper_last(keeper, KEEPER_LEASE));
}

/* ---- places ---- */

static const struct {
    const char *options, *place, *story;
} places[] = {
    {"leader=c", "", "t4 t5 "},                   /* nobody ever led: from now on */
    {"leader=c from=all", "", "t1 t2 t3 t4 t5 "}, /* or from where it says */
    {"leader=c", "1000002-2 1.5", "t3 t4 t5 "},   /* behind the last leader's */
    {"leader=c from=all", "1000002-2 1.5", "t3 t4 t5 "},
    {"leader=c", "9000000-9 0.5", "t1 t2 t3 t4 t5 "}, /* of a history that is gone */
    {"leader=c", "nonsense", "t4 t5 "},
};

START_TEST(goes_on)
{
    evbus_free(bus);
    put(3);
    connect_again();
    keeper_lease(keeper, "", 7, places[_i].place);
    hold(places[_i].options);
    run_for(base, 20);
    put(2);
    await_text("t5 ");
    run_for(base, 20);
    expect(places[_i].story);
    await_said(" t 1000005-5 1.5");
}
END_TEST

/* Where it begins is kept, though nothing came; what is not for it is passed. */
/* Behind the last entry, or at a time after it, when one has passed since Redis told of that. */
static bool is_place_said(void *unused)
{
    const char *place = strstr(keeper_last(keeper, KEEPER_LEASE), " t ");
    long ms;
    int n;
    (void)unused;
    return place && sscanf(place, " t %ld-%d 1.5", &ms, &n) == 2 &&
           (n == 3 ? ms == 1000003 : n == 0 && ms > 1000003);
}

START_TEST(keeps_where_it_begins)
{
    evbus_free(bus);
    put(3);
    connect_again();
    hold("leader=c");
    ck_assert_msg(run_until(base, is_place_said, NULL, suite_patience(10000)), "%s",
                  keeper_last(keeper, KEEPER_LEASE));
}
END_TEST

/* Somebody else handled the first three, and what it had in hand itself is nothing any more. */
START_TEST(comes_back)
{
    hold("leader=c");
    put(2);
    await_text("t2 ");
    keeper_lease(keeper, "other", 50, "");
    while (evbus_sub_stat(sub, "leading"))
        run_for(base, 5);
    put(1); /* not for it */
    run_for(base, 20);
    expect("t1 t2 ");
    keeper_lease(keeper, "", 50, "1000003-3 1.5");
    while (!evbus_sub_stat(sub, "leading"))
        run_for(base, 5);
    put(1);
    await_text("t4 ");
    expect("t4 ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 51);
}
END_TEST

/* ---- what the handler gets ---- */

static int on_numbered(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    tell("%s%s,%s,%d,%d ", (const char *)user, evbus_event_attr(event, "evbus.fence"),
         evbus_event_attr(event, "a"), evbus_event_attr_count(event), evbus_event_origin(event));
    return 0;
}

START_TEST(bears_its_number)
{
    keeper_lease(keeper, "", 41, "");
    evbus_sub *plain = evbus_subscribe(bus, "t", NULL, on_numbered, "plain:");
    sub = evbus_subscribe(bus, "t", "leader=c", on_numbered, "leader:");
    await_answer(0);
    run_for(base, 20);
    put(1);
    run_for(base, 20);
    expect("plain:9999,b,2,2 leader:42,b,2,2 ");
    evbus_event *event = evbus_event_new("t");
    evbus_publish_event(bus, event, EVBUS_LOCAL_ONLY);
    run_for(base, 20);
    expect("plain:(null),(null),0,1 leader:42,(null),1,1 ");
    evbus_event_unref(event);
    evbus_unsubscribe(plain);
}
END_TEST

static evbus_event *kept;

static int on_kept(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    kept = evbus_event_ref(event);
    tell("kept ");
    return 0;
}

/* It may be kept for longer than all that it came from. */
START_TEST(may_be_kept)
{
    sub = evbus_subscribe(bus, "t", "leader=c from=all", on_kept, NULL);
    await_answer(0);
    put(1);
    await_text("kept ");
    evbus_unsubscribe(sub);
    sub = NULL;
    run_for(base, 20);
    ck_assert_str_eq(evbus_event_attr(kept, "evbus.fence"), "1");
    ck_assert_str_eq(evbus_event_type(kept), "t");
    ck_assert_str_eq(evbus_event_data(kept, NULL), "1");
    ck_assert_int_eq(strncmp(evbus_event_id(kept), "x", 1), 0);
    evbus_event *copy = evbus_event_copy(kept);
    ck_assert_str_eq(evbus_event_attr(copy, "a"), "b");
    evbus_event_unref(copy);
    evbus_event_unref(kept);
}
END_TEST

/* ---- the lease ---- */

START_TEST(nothing_without_it)
{
    keeper_lease(keeper, "other", 7, "");
    hold("leader=c from=all");
    put(3);
    evbus_event *event = evbus_event_new("t");
    evbus_publish_event(bus, event, EVBUS_LOCAL_ONLY);
    evbus_event_unref(event);
    run_for(base, 20);
    expect("");
    ck_assert_int_eq(evbus_stat(bus, "not_leading"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered") + evbus_sub_stat(sub, "failed") +
                         evbus_sub_stat(sub, "dropped"),
                     0);
}
END_TEST

/* The machine slept in the middle: the rest waits for a new answer, and comes once, in order. */
static int on_jump(evbus_sub *one, evbus_event *event, void *user)
{
    on_t(one, event, user);
    if (!strcmp(strchr(evbus_event_position(event), '-'), "-2"))
        ahead_us += 5000000;
    return 0;
}

START_TEST(ends_in_the_middle)
{
    put(5);
    sub = evbus_subscribe(bus, "t", "leader=c from=all", on_jump, NULL);
    await_text("t5 ");
    run_for(base, 20);
    expect("t1 t2 t3 t4 t5 ");
    ck_assert_int_ge(evbus_stat(bus, "not_leading"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 5);
}
END_TEST

/* The same, and somebody else has led meanwhile and handled up to the fourth. */
static int on_jump_and_lose(evbus_sub *one, evbus_event *event, void *user)
{
    if (!strcmp(strchr(evbus_event_position(event), '-'), "-2"))
        keeper_lease(keeper, "", 50, "1000004-4 1.5");
    return on_jump(one, event, user);
}

START_TEST(ends_and_somebody_led)
{
    put(6);
    sub = evbus_subscribe(bus, "t", "leader=c from=all", on_jump_and_lose, NULL);
    await_text("t6 ");
    run_for(base, 20);
    expect("t1 t2 t5 t6 ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 51);
}
END_TEST

/* As the loop gives it, before it waits in a queue. */
static evbus_event *given(uint64_t n)
{
    struct evb_position at = {9000000 + n, n};
    evbus_event *event = evb_event_make("t", 1, "0", 1, true);
    event->origin = EVBUS_ORIGIN_REDIS;
    evb_event_set_position(event, at);
    ck_assert_int_eq(evb_tally_give(sub->tally, at), EVB_TALLY_GIVEN);
    evbus_event *view = evb_leader_view(sub->leader, event);
    evbus_event_unref(event);
    return view;
}

static void expect_call(evbus_event *view, int rc, const char *want)
{
    ck_assert_int_eq(sub->fn(sub, view, NULL), rc);
    expect(want);
}

/* What waits behind one that was let go is let go, too, though the lease is live again; and when all
 * is given again, what was given before is nothing any more. */
START_TEST(in_order_or_not_at_all)
{
    hold("leader=c");
    run_for(base, 20);
    evbus_event *first = given(1), *second = given(2), *third = given(3);
    expect_call(first, 0, "t1 ");
    ahead_us += 5000000;
    expect_call(second, EVB_CALL_NONE, "");
    ahead_us = 0;
    expect_call(third, EVB_CALL_NONE, "");
    ck_assert_int_eq(evbus_stat(bus, "not_leading"), 2);
    run_for(base, 20);
    expect_call(second, EVB_CALL_NONE, "");
    expect_call(third, EVB_CALL_NONE, "");
    evbus_event *again = given(2);
    expect_call(again, 0, "t2 ");
    expect_call(again, EVB_CALL_NONE, "");
    evbus_event_unref(first);
    evbus_event_unref(second);
    evbus_event_unref(third);
    evbus_event_unref(again);
}
END_TEST

START_TEST(link_is_lost)
{
    hold("leader=c");
    put(2);
    await_text("t2 ");
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    put(2);
    await_text("t4 ");
    run_for(base, 20);
    expect("t1 t2 t3 t4 ");
    await_said(" t 1000004-4 1.5");
}
END_TEST

/* ---- Redis away ---- */

static void go_away(void)
{
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    ahead_us += 5000000;
}

static void come_back(void)
{
    scripted_listen(server, true);
    await_mode(EVBUS_MODE_HYBRID);
    await_answer(0);
}

static const struct {
    const char *options, *away, *back;
} ways[] = {
    {"leader=c", "", "t1 t2 "},
    {"leader=c away=none", "", "t1 t2 "},
    {"leader=c away=last", "\"own1\" \"own2\" ", ""},
};

/* Own events: at once and not again, or afterwards; what comes then comes by one way again. */
START_TEST(own_events)
{
    hold(ways[_i].options);
    run_for(base, 20);
    go_away();
    evbus_publish(bus, "t", "\"own1\"");
    evbus_publish(bus, "t", "\"own2\"");
    run_for(base, 20);
    expect(ways[_i].away);
    come_back();
    run_for(base, 50);
    expect(ways[_i].back);
    evbus_publish(bus, "t", "3");
    put(1);
    await_text("t4 ");
    expect("t3 t4 ");
    await_said("-4 1.5");
}
END_TEST

/* Only the last holder, and only until somebody else leads. */
START_TEST(only_the_last)
{
    keeper_lease(keeper, "other", 7, "");
    hold("leader=c away=last");
    go_away();
    evbus_publish(bus, "t", "\"own1\"");
    run_for(base, 20);
    expect("");
    keeper_lease(keeper, "", 7, "");
    come_back();
    while (!evbus_sub_stat(sub, "leading"))
        run_for(base, 5);
    await_text("t1 "); /* kept meanwhile */
    go_away();
    evbus_publish(bus, "t", "\"own2\"");
    run_for(base, 20);
    expect("t1 \"own2\" ");
    keeper_lease(keeper, "other", 70, "");
    come_back();
    run_for(base, 50); /* it goes on until it is known who leads */
    evbus_publish(bus, "t", "\"own3\"");
    run_for(base, 50);
    expect("");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("leader");
    TCase *tests = tcase_create("leader");
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, goes_on, 0, (int)EVB_COUNT(places));
    tcase_add_test(tests, keeps_where_it_begins);
    tcase_add_test(tests, comes_back);
    tcase_add_test(tests, bears_its_number);
    tcase_add_test(tests, may_be_kept);
    tcase_add_test(tests, nothing_without_it);
    tcase_add_test(tests, ends_in_the_middle);
    tcase_add_test(tests, ends_and_somebody_led);
    tcase_add_test(tests, in_order_or_not_at_all);
    tcase_add_test(tests, link_is_lost);
    tcase_add_loop_test(tests, own_events, 0, (int)EVB_COUNT(ways));
    tcase_add_test(tests, only_the_last);
    suite_add_tcase(suite, tests);
    return run(suite);
}
