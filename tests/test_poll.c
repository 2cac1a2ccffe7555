/* test_poll.c - calls without an event: when, why, how they are counted; without Redis, and with one
 * of a script. */
#include "poll.h"
#include "bus_fixture.h"
#include "list.h"

static evbus_sub *sub;

static int on_poll(evbus_sub *one, evbus_event *event, void *user)
{
    char reason[20] = "-", since[40] = "";
    (void)one;
    if (evb_poll_is(event)) {
        ck_assert_int_eq(sscanf(evbus_event_data(event, NULL),
                                "{\"reason\":\"%19[a-z]\",\"since\":\"%39[^\"]\"}", reason, since),
                         2);
        ck_assert_uint_eq(strlen(since), EVB_TIME_TEXT - 1);
        ck_assert_str_eq(evbus_event_node(event), evbus_node(bus));
        ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_LOCAL);
    }
    tell("%s ", evb_poll_is(event) ? reason : evbus_event_type(event));
    return user ? *(int *)user : 0;
}

static void end(void)
{
    evbus_unsubscribe(sub);
    sub = NULL;
    evbus_free(bus);
    bus = NULL;
    turn();
    teardown();
}

static void begin(void)
{
    setup();
    bus = open_on(0, "poll.interval", "15ms", NULL);
}

static void hold(const char *options, int *answer)
{
    sub = evbus_subscribe(bus, "t", options, on_poll, answer);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
}

static void await_story(const char *text)
{
    char what[60];
    snprintf(what, sizeof what, "%s", text);
    await(what);
}

static const char *const ways[] = {"poll=10ms", "poll=yes", "poll=10ms when=always",
                                   "poll=10ms scope=redis", "poll=10ms echo=no"};

/* A bus without Redis is away. */
START_TEST(away)
{
    hold(ways[_i], NULL);
    await_story("away away away ");
    ck_assert_int_ge(evbus_sub_stat(sub, "polled"), 3);
    ck_assert_int_eq(evbus_sub_stat(sub, "polled"), evbus_stat(bus, "polls"));
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered") + evbus_stat(bus, "handled"), 0);
}
END_TEST

/* What answers anything but 0 is counted as ever. */
START_TEST(counts_failures)
{
    int answer = _i;
    hold("poll=10ms limit=2", &answer);
    await_story("away away away ");
    ck_assert_int_eq(evbus_sub_stat(sub, "polled"), 0);
    ck_assert_int_ge(evbus_sub_stat(sub, "failed"), 3);
    evbus_publish(bus, "t", "1");
    evbus_publish(bus, "t", "1");
    evbus_publish(bus, "t", "1");
    await_story("t t ");
    int64_t failed = evbus_sub_stat(sub, "failed");
    run_for(base, 50);
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), failed); /* its limit has ended it */
    ck_assert(evb_list_empty(&((struct evbus *)bus)->polls));
}
END_TEST

START_TEST(ends)
{
    hold("poll=10ms", NULL);
    await_story("away ");
    evbus_unsubscribe(sub);
    sub = NULL;
    story[0] = '\0';
    run_for(base, 50);
    expect("");
    ck_assert(evb_list_empty(&((struct evbus *)bus)->polls));
}
END_TEST

/* Nothing while it is connected, and no timer; once when it is back. */
START_TEST(back)
{
    evbus_free(bus);
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", NULL);
    hold("poll=20ms", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    run_for(base, 60);
    expect(""); /* its first connection is no return */
    for (int round = 0; round < 2; round++) {
        scripted_listen(server, false);
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        await_story("away away ");
        scripted_listen(server, true);
        await_story("back ");
        ck_assert_ptr_null(strstr(strstr(story, "back "), "away"));
        story[0] = '\0';
        run_for(base, 60);
        expect("");
    }
}
END_TEST

/* Not there from the beginning: that is a return, too. */
START_TEST(back_at_last)
{
    evbus_free(bus);
    scripted_listen(server, false);
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", NULL);
    hold("poll=10s", NULL);
    run_for(base, 30);
    scripted_listen(server, true);
    await_story("back ");
    expect("back ");
}
END_TEST

START_TEST(takes_memory)
{
    bool failed = true;
    for (long n = 0; failed && n < 100; n++) {
        failing_at(n, false);
        sub = evbus_subscribe(bus, "t", "poll=10ms", on_poll, NULL);
        failed = failing_off();
        ck_assert(sub || evbus_last_code() == EVBUS_ENOMEM);
        evbus_unsubscribe(sub);
        sub = NULL;
        turn();
    }
    ck_assert(!failed);
    hold("poll=10ms", NULL);
    failing_at(0, true);
    run_for(base, 40);
    failing_off();
    expect("");
    await_story("away "); /* it goes on */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("poll");
    TCase *tests = tcase_create("poll");
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, away, 0, (int)EVB_COUNT(ways));
    tcase_add_loop_test(tests, counts_failures, 1, 4);
    tcase_add_test(tests, ends);
    tcase_add_test(tests, back);
    tcase_add_test(tests, back_at_last);
    tcase_add_test(tests, takes_memory);
    suite_add_tcase(suite, tests);
    return run(suite);
}
