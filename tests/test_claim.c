/* test_claim.c - what claims share: the end of a bus that has some, and what is told once. */
#include "claim_fixture.h"
#include "bus.h"
#include "claim.h"

static evbus_sub *sub;
static int told;

static int on_claimed(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s ", evbus_event_type(event));
    return 0;
}

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed:%d ", result);
}

static void claim(void)
{
    sub = evbus_subscribe(bus, "t.*", "claim=c", on_claimed, NULL);
    ck_assert_ptr_nonnull(sub);
}

static void finish(void)
{
    evbus_unsubscribe(sub);
    sub = NULL;
    end();
}

/* Closing asks for what came, handles it, and waits until Redis knows. */
START_TEST(close_settles)
{
    char closed[] = "closed:0 ";
    publish_id("t.a");
    publish_id("t.b");
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    await(closed);
    expect("t.a t.b closed:0 ");
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "done");
    ck_assert_str_eq(value_of("evbus:claim:c:t.b"), "done");
}
END_TEST

/* It does not wait for what somebody else has in progress. */
START_TEST(close_leaves_others)
{
    char closed[] = "closed:0 ";
    set_key("evbus:claim:c:t.a", "other");
    publish_id("t.a");
    if (_i)
        run_for(base, 10);
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    await(closed);
    expect("closed:0 ");
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "other");
}
END_TEST

/* Nor for a Redis that has gone; what was asked for is nobody's then. */
START_TEST(close_while_away)
{
    char asked[] = "take evbus:claim:c:t.a", closed[] = "closed:0 ";
    answer_with("", 0);
    publish_id("t.a");
    await_call(asked);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    if (_i)
        evbus_free(bus);
    bus = _i ? NULL : bus;
    run_for(base, 20);
    evbus_free(bus); /* the event for Redis is not sent: it does not close by itself */
    bus = NULL;
    await(closed);
}
END_TEST

/* A key that was given back just before is free when the bus is closed. */
START_TEST(close_releases)
{
    char won[] = "closed:1 ", closed[] = "closed:0 ";
    ck_assert_int_eq(evbus_claim_async(bus, "k", 0, on_closed, NULL), 0);
    await(won);
    ck_assert_int_eq(evbus_release(bus, "k"), 0);
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    await(closed);
    ck_assert_str_eq(value_of("evbus:claim:k"), "");
}
END_TEST

/* Freed while closing waits for an answer: both come to their end. */
START_TEST(freed_while_closing)
{
    char asked[] = "take evbus:claim:c:t.a", closed[] = "closed:0 ";
    while (evbus_sub_wait(sub, 0) != 0)
        run_for(base, 1);
    answer_with("", 0);
    send_id("t.a");
    await_call(asked);
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    run_for(base, 20);
    expect("");
    evbus_free(bus);
    bus = NULL;
    await(closed);
    expect("closed:0 ");
}
END_TEST

static void on_line(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    told += strstr(line, "claims are refused") != NULL;
    if (strstr(line, "claims are refused"))
        ck_assert_ptr_nonnull(strstr(line, "+get +set +pttl +del and ~evbus:claim:*"));
}

START_TEST(told_once_a_connection)
{
    char last[] = "t.b ", again[] = "t.c ";
    told = 0;
    ck_assert_int_eq(evbus_set_log(bus, EVBUS_LOG_WARNING, on_line, NULL), 0);
    answer_with("-NOPERM this user has no permissions to run the 'eval' command\r\n", 0);
    publish_id("t.a");
    publish_id("t.b");
    await(last);
    ck_assert_int_eq(told, 1);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    await_mode(EVBUS_MODE_HYBRID);
    publish_id("t.c");
    await(again);
    run_for(base, 5);
    ck_assert_int_eq(told, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claim");
    TCase *tests = tcase_create("claim");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, NULL);
    tcase_add_checked_fixture(tests, claim, finish);
    tcase_add_test(tests, close_settles);
    tcase_add_loop_test(tests, close_leaves_others, 0, 2);
    tcase_add_loop_test(tests, close_while_away, 0, 2);
    tcase_add_test(tests, close_releases);
    tcase_add_test(tests, freed_while_closing);
    tcase_add_test(tests, told_once_a_connection);
    return run(suite);
}
