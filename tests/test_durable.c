/* test_durable.c - the place of a subscription in Redis, and the lease on it: who asks when, for
 * what, and what follows from the answer. A history in memory answers. */
#include "bus_fixture.h"
#include "harness/keeper.h"
#include "list.h"

static struct keeper *keeper;
static evbus_sub *sub;

static void put_or_add(int count, bool heard)
{
    static int seq;
    char text[200];
    while (count--) {
        snprintf(text, sizeof text,
                 "{\"node\":\"fedcba9876543210\",\"local\":true,\"seq\":%17d,\"eventId\":\"x%d\","
                 "\"type\":\"t\",\"version\":\"1.0\",\"data\":1}",
                 seq + 1, seq + 1);
        seq++;
        heard ? keeper_add(keeper, "evbus:events:t", text)
              : keeper_put(keeper, "evbus:events:t", text);
    }
}

static void put(int count)
{
    put_or_add(count, false);
}

static int on_t(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("t%s ", strchr(evbus_event_position(event), '-') + 1);
    return 0;
}

static void connect_again(void)
{
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", "lease.ttl", "1s",
                  NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static void begin(void)
{
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
}

static void hold(const char *options)
{
    sub = evbus_subscribe(bus, "t", options, on_t, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
}

static bool is_said(void *words)
{
    return strstr(keeper_last(keeper, KEEPER_CURSOR), words) != NULL;
}

/* The last call has these words: place, epoch, ... */
static void await_said(char *words)
{
    ck_assert_msg(run_until(base, is_said, words, suite_patience(10000)), "%s: %s", words,
                  keeper_last(keeper, KEEPER_CURSOR));
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

static bool is_asked(void *count)
{
    return keeper_count(keeper, KEEPER_CURSOR) >= *(int *)count;
}

/* ---- places ---- */

START_TEST(keeps_its_place)
{
    char third[] = "t3 ", at_3[] = " 1000003-3 1.5 stay 1000 604800000", owner[60];
    put(3);
    hold("durable=d from=all");
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    await(third);
    expect("t1 t2 t3 ");
    await_said(at_3);
    snprintf(owner, sizeof owner, " 1 evbus:durable:{0}:d %s-", evbus_node(bus));
    await_said(owner);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
}
END_TEST

static const struct {
    const char *options, *place, *epoch, *story;
} places[] = {
    {"durable=d from=all", "1000002-2", "1.5", "t3 t4 "},
    {"durable=d", "1000002-2", "1.5", "t3 t4 "},
    {"durable=d from=all", "0-0", "1.5", "t1 t2 t3 t4 "},
    {"durable=d from=all", "", "", "t1 t2 t3 t4 "},
    {"durable=d", "9000000-9", "0.5", "t1 t2 t3 t4 "}, /* of a history that is gone */
};

/* Where it was counts more than where it was asked to begin. */
START_TEST(goes_on)
{
    char fourth[] = "t4 ", mine[] = " stay ";
    put(3);
    keeper_place(keeper, places[_i].place, places[_i].epoch);
    hold(places[_i].options);
    await_said(mine);
    await_answer(0);
    put(1);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await(fourth);
    run_for(base, 5);
    expect(places[_i].story);
}
END_TEST

/* It begins at once, though nothing comes: after a restart it goes on from there. */
START_TEST(begins_now)
{
    char at_3[] = " 1000003-3 1.5 stay ";
    evbus_free(bus);
    put(3);
    connect_again();
    hold("durable=d");
    await_said(at_3);
    await_answer(0);
    expect("");
}
END_TEST

/* ---- leases ---- */

static const struct {
    const char *reply, *says;
} refusals[] = {
    {"*3\r\n:0\r\n$5\r\nother\r\n$2\r\n20\r\n", "durable: other holds it for another 20 ms"},
    {"-NOPERM this user\r\n", "durable: NOPERM this user"},
    {"*1\r\n:1\r\n", "durable: no answer of the script"},
    {"*3\r\n:1\r\n$1\r\nx\r\n:1\r\n", "durable: no answer of the script"},
    {"+OK\r\n", "durable: no answer of the script"},
};

/* Nothing comes, and it asks again when the lease may be free. */
START_TEST(refused)
{
    char third[] = "t3 ";
    put(3);
    keeper_answer(keeper, KEEPER_CURSOR, refusals[_i].reply, 2);
    hold("durable=d from=all");
    await_answer(EVBUS_EDENIED);
    ck_assert_str_eq(evbus_last_error(), refusals[_i].says);
    expect("");
    await(third);
    expect("t1 t2 t3 ");
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
    ck_assert_int_ge(keeper_count(keeper, KEEPER_CURSOR), 3);
}
END_TEST

/* Somebody else has it meanwhile: it is no longer given anything. */
START_TEST(loses_its_lease)
{
    char third[] = "t3 ", last[] = "t5 ";
    put(3);
    hold("durable=d from=all");
    await(third);
    await_answer(0);
    keeper_answer(keeper, KEEPER_CURSOR, "*3\r\n:0\r\n$5\r\nother\r\n$3\r\n100\r\n", 1);
    await_answer(EVBUS_EDENIED);
    expect("t1 t2 t3 ");
    put(2);
    await(last);
    expect("t4 t5 "); /* it goes on where it was */
}
END_TEST

/* Redis will not for a moment, and nobody else has it: it is asked again soon, and what comes is
 * given meanwhile while its lease lasts. */
START_TEST(passes)
{
    char third[] = "t3 ", fifth[] = "t5 ";
    evbus_free(bus);
    bus = open_on(1, "lease.ttl", "30s", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    int count = keeper_count(keeper, KEEPER_CURSOR);
    put(3);
    keeper_answer(keeper, KEEPER_CURSOR, "-BUSY Redis is busy running a script\r\n", 2);
    hold("durable=d from=all");
    await(third); /* not after lease.ttl */
    await_answer(0);
    keeper_answer(keeper, KEEPER_CURSOR, "-BUSY Redis is busy running a script\r\n", 2);
    count = keeper_count(keeper, KEEPER_CURSOR) + 3;
    put_or_add(1, true);
    ck_assert(run_until(base, is_asked, &count, suite_patience(10000)));
    await_answer(0);
    put_or_add(1, true);
    await(fifth);
}
END_TEST

START_TEST(link_is_lost)
{
    char third[] = "t3 ", last[] = "t5 ", at_5[] = " 1000005-5 1.5 stay ";
    put(3);
    hold("durable=d from=all");
    await(third);
    keeper_forget(keeper); /* and so are the scripts */
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    put(2);
    await(last);
    run_for(base, 5);
    expect("t1 t2 t3 t4 t5 ");
    await_said(at_5);
}
END_TEST

static bool has_three(void *queue)
{
    return evbus_queue_stat(queue, "queued") == 3;
}

/* What waits in a queue when a link is lost is not handled: its place does not pass it. */
START_TEST(what_waits_is_not_passed)
{
    char begins[] = " 0-0 1.5 stay ", at_1[] = " 1000001-1 1.5 stay ";
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_event *event;
    put(3);
    sub = evbus_queue_subscribe(queue, "t", "durable=d from=all", 0);
    ck_assert(run_until(base, has_three, queue, suite_patience(10000)));
    await_said(begins);
    await_answer(0);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_answer(EVBUS_ETIMEDOUT);
    await_answer(0);
    int asked = keeper_count(keeper, KEEPER_CURSOR);
    while (keeper_count(keeper, KEEPER_CURSOR) == asked)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert_ptr_nonnull(strstr(keeper_last(keeper, KEEPER_CURSOR), begins));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), 1);
        evbus_event_unref(event);
    }
    await_said(at_1); /* the second is in hand */
    evbus_queue_free(queue);
}
END_TEST

static int on_gap(evbus_sub *one, evbus_event *event, void *user)
{
    const char *text = evbus_event_data(event, NULL);
    (void)one;
    (void)user;
    if (strstr(text, "\"pattern\":\"t\""))
        tell("gap:%.9s ", strstr(text, "\"cause\":") + 8);
    return 0;
}

/* What came live since all keys were deleted is of the history that there is, and nothing was lost;
 * else the one that it knows is gone. */
START_TEST(flushed_while_live)
{
    char third[] = "t3 ", last[] = "t4 ";
    evbus_sub *gaps = evbus_subscribe(bus, "evbus.gap", "deliver=inline", on_gap, NULL);
    hold("durable=d");
    await_answer(0);
    run_for(base, 5);
    put_or_add(3, true);
    await(third);
    expect("t1 t2 t3 ");
    keeper_flush(keeper);
    put_or_add(_i ? 0 : 3, true);
    if (_i == 0)
        await(third);
    story[0] = '\0';
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    put(_i ? 4 : 1);
    await(last);
    run_for(base, 5);
    expect(_i ? "gap:\"flushed\" t1 t2 t3 t4 " : "t4 ");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), _i * 2); /* the bus's own, too */
    evbus_unsubscribe(gaps);
}
END_TEST

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed:%d ", result);
}

/* The last word is where it was, whether the subscription ends or the bus. */
START_TEST(leaves)
{
    char third[] = "t3 ", left[] = " 1000003-3 1.5 leave ";
    put(3);
    hold("durable=d from=all");
    await(third);
    await_answer(0);
    if (_i) {
        evbus_unsubscribe(sub);
        sub = NULL;
    } else {
        char closed[] = "closed:0 ";
        ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
        await(closed);
    }
    await_said(left);
}
END_TEST

/* The first question is not answered yet: what Redis grants then is given back. */
START_TEST(ends_before_it_is_held)
{
    int count = keeper_count(keeper, KEEPER_CURSOR) + 1;
    char left[] = " leave ", closed[] = "closed:0 ";
    keeper_answer(keeper, KEEPER_CURSOR, "", 1);
    hold("durable=d from=all");
    ck_assert(run_until(base, is_asked, &count, suite_patience(10000)));
    if (_i) {
        evbus_unsubscribe(sub);
        sub = NULL;
    } else {
        ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    }
    run_for(base, 5);
    expect("");
    scripted_send(server, SCRIPTED_PUBLISHER, "*3\r\n:1\r\n$0\r\n\r\n$0\r\n\r\n", 20);
    await_said(left);
    if (!_i)
        await(closed);
}
END_TEST

/* Each allocation fails once: there is a subscription or there is none, and nothing is left. */
START_TEST(no_memory)
{
    bool failed = true;
    int none = 0;
    for (long n = 0; failed && n < 100; n++) {
        failing_at(n, false);
        sub = evbus_subscribe(bus, "t", _i ? "from=all" : "durable=d from=all", on_t, NULL);
        failed = failing_off();
        none += !sub;
        ck_assert(sub || evbus_last_code() == EVBUS_ENOMEM);
        evbus_unsubscribe(sub);
        sub = NULL;
        turn();
    }
    ck_assert(!failed);
    ck_assert_int_ge(none, _i ? 4 : 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("durable");
    TCase *tests = tcase_create("durable");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, keeps_its_place);
    tcase_add_loop_test(tests, goes_on, 0, (int)EVB_COUNT(places));
    tcase_add_test(tests, begins_now);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(tests, loses_its_lease);
    tcase_add_test(tests, passes);
    tcase_add_test(tests, link_is_lost);
    tcase_add_test(tests, what_waits_is_not_passed);
    tcase_add_loop_test(tests, flushed_while_live, 0, 2);
    tcase_add_loop_test(tests, leaves, 0, 2);
    tcase_add_loop_test(tests, ends_before_it_is_held, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    return run(suite);
}
