/* test_request.c - asking: each request has one end, whatever comes in between. */
#include "request_fixture.h"
#include "bus.h"
#include "list.h"
#include <pthread.h>

static void open_local(void)
{
    bus = open_on(0, NULL);
    ck_assert_ptr_nonnull(bus);
    turn();
}

/* ---- in this process ---- */

START_TEST(answered_here)
{
    static const char *const options[] = {NULL, "deliver=inline"};
    open_local();
    evbus_sub *sub = respond(give_answer, options[_i]);
    ask(NULL);
    ck_assert_ptr_null(strstr(story, "=")); /* never from inside the call */
    turn();
    expect("a0 answer=7 ");
    expect_requests(1, 0, 0, 0);
    ck_assert_int_eq(stat_of("answered"), 1);
    ck_assert_int_eq(stat_of("late_replies"), 0);
    evbus_unsubscribe(sub);
}
END_TEST

/* Subscriptions that do not get this bus's events are no responders. */
START_TEST(nobody_here)
{
    open_local();
    evbus_sub *deaf = respond(give_answer, "echo=no"), *far = respond(give_answer, "scope=redis");
    evbus_sub *gone = respond(give_answer, NULL);
    evbus_unsubscribe(gone);
    ask(NULL);
    expect("");
    turn();
    expect("E-16 ");
    expect_requests(0, 0, 1, 0);
    evbus_unsubscribe(deaf);
    evbus_unsubscribe(far);
}
END_TEST

START_TEST(in_time_or_not)
{
    open_local();
    evbus_sub *sub = subscribe("ask", NULL, ""); /* says nothing */
    ask_as("timeout=80ms", "late:");
    ask_as("timeout=20ms", "soon:");
    ask_as("timeout=1h", "never:");
    turn();
    expect("ask ask ask ");
    await("late:");
    expect("soon:E-3 late:E-3 ");
    expect_requests(0, 2, 0, 0);
    ck_assert_int_eq(stat_of("requests_pending"), 1);
    evbus_free(bus);
    bus = NULL;
    expect("never:E-7 ");
    evbus_unsubscribe(sub);
}
END_TEST

static int answer_thrice(evbus_sub *sub, evbus_event *request, void *user)
{
    give_answer(sub, request, user);
    ck_assert_int_eq(evbus_reply_error(bus, request, "no"), 0);
    return give_answer(sub, request, user);
}

START_TEST(the_first_wins)
{
    open_local();
    evbus_sub *one = respond(answer_thrice, NULL), *other = respond(give_answer, NULL);
    ask(NULL);
    turn();
    expect("a0 a0 a0 answer=7 ");
    ck_assert_int_eq(stat_of("late_replies"), 3);
    ck_assert_int_eq(stat_of("answered"), 4);
    expect_requests(1, 0, 0, 0);
    evbus_unsubscribe(one);
    evbus_unsubscribe(other);
}
END_TEST

static int refuse(evbus_sub *sub, evbus_event *request, void *user)
{
    (void)sub;
    (void)user;
    return evbus_reply_error(bus, request, "no such\tuser");
}

static void on_refusal(evbus_event *reply, int error, void *user)
{
    ck_assert_str_eq(evbus_last_error(), "no such user");
    on_reply(reply, error, user);
}

START_TEST(refused)
{
    open_local();
    evbus_sub *sub = respond(refuse, NULL);
    evbus_event *event = event_with("ask", NULL);
    ck_assert_int_eq(evbus_request_async(bus, event, "", on_refusal, NULL), 0);
    evbus_event_unref(event);
    turn();
    expect("E-17 ");
    expect_requests(1, 0, 0, 0);
    evbus_unsubscribe(sub);
}
END_TEST

/* A handler that asks, and answers with what it was told. */
static evbus_event *first;

static void pass_on(evbus_event *reply, int error, void *user)
{
    ck_assert_int_eq(error, 0);
    (void)user;
    evbus_event *mine = event_with("passed", evbus_event_data(reply, NULL));
    ck_assert_int_eq(evbus_reply(bus, first, mine), 0);
    evbus_event_unref(mine);
    evbus_event_unref(first);
}

static int ask_further(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus_event *event = event_with("ask.further", "8");
    (void)sub;
    (void)user;
    first = evbus_event_ref(request);
    int rc = evbus_request_async(bus, event, NULL, pass_on, NULL);
    evbus_event_unref(event);
    return rc;
}

START_TEST(from_a_handler)
{
    open_local();
    evbus_sub *sub = respond(ask_further, _i ? "deliver=inline" : NULL);
    evbus_sub *further = evbus_subscribe(bus, "ask.further", NULL, give_answer, NULL);
    ask(NULL);
    turn();
    expect("a0 passed=8 ");
    expect_requests(2, 0, 0, 0);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(further);
}
END_TEST

/* ---- the doors ---- */

START_TEST(doors)
{
    evbus_event *event = event_with("ask", "7"), *bad = event_with("ask", "{");
    ck_assert_int_eq(evbus_request_async(NULL, event, NULL, on_reply, NULL), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_request(NULL, event, 10));
    bus = open_on(0, "event.check", "always", NULL);
    ck_assert_int_eq(evbus_request_async(bus, NULL, NULL, on_reply, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, NULL, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_request_async(bus, bad, NULL, on_reply, NULL), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_request(bus, event, 1000)); /* this thread is the loop's */
    ck_assert_int_eq(evbus_last_code(), EVBUS_EDEADLK);
    ck_assert_ptr_null(evbus_request(bus, event, 0));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_publish_event(bus, event, 0), EVBUS_SENT_LOCAL); /* it is untouched */
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_event_deadline_ms(event), 0);
    ck_assert_int_eq(evbus_event_deadline_ms(NULL), EVBUS_EINVAL);
    evbus_event_unref(event);
    event = event_with("ask", NULL);
    evbus_close(bus, 0);
    turn();
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, NULL), EVBUS_ECLOSED);
    evbus_event_unref(event);
    evbus_event_unref(bad);
    expect("");
    expect_requests(0, 0, 0, 0);
}
END_TEST

static const struct {
    const char *options, *says;
} bad_options[] = {
    {"timeout=0", "timeout"},  {"timeout=soon", "timeout"}, {"timeout=5", "timeout"},
    {"timeout=2d", "timeout"}, {"patience=5s", "patience"}, {"timeout", "timeout"},
};

START_TEST(options)
{
    evbus_event *event = event_with("ask", NULL);
    open_local();
    int rc = evbus_request_async(bus, event, bad_options[_i].options, on_reply, NULL);
    ck_assert_int_eq(rc, EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), bad_options[_i].says) != NULL, "%s",
                  evbus_last_error());
    turn();
    expect("");
    evbus_event_unref(event);
}
END_TEST

START_TEST(too_many)
{
    bus = open_on(0, "request.pending", "2", "request.timeout", "30ms", NULL);
    evbus_sub *sub = subscribe("ask", NULL, "");
    evbus_event *third = event_with("ask", "7");
    ask(NULL);
    ask(NULL);
    ck_assert_int_eq(evbus_request_async(bus, third, NULL, on_reply, NULL), EVBUS_EFULL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "request.pending"));
    ck_assert_str_eq(evbus_event_id(third), ""); /* it is not published */
    await("E-3 E-3 ");
    ck_assert_int_eq(evbus_request_async(bus, third, NULL, on_reply, NULL), 0);
    await("E-3 E-3 ask E-3 ");
    evbus_event_unref(third);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(one_id_at_a_time)
{
    open_local();
    evbus_sub *sub = subscribe("ask", NULL, "");
    for (int i = 0; i < 2; i++) {
        evbus_event *event = event_with("ask", NULL);
        evbus_event_set_id(event, "mine");
        ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, i ? "2:" : "1:"), 0);
        evbus_event_unref(event);
    }
    turn();
    ck_assert_ptr_nonnull(strstr(story, "2:E-2 "));
    ck_assert_ptr_null(strstr(story, "1:"));
    expect_requests(0, 0, 0, 1);
    evbus_unsubscribe(sub);
}
END_TEST

/* ---- the end of the bus ---- */

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed%d ", result);
}

START_TEST(closed_meanwhile)
{
    open_local();
    evbus_sub *sub = subscribe("ask", NULL, "");
    ask(NULL);
    ask(NULL);
    ck_assert_int_eq(evbus_close_async(bus, -1, on_closed, NULL), 0);
    await("closed0 ");
    expect("ask ask E-7 E-7 closed0 ");
    expect_requests(0, 0, 0, 2);
    evbus_unsubscribe(sub);
}
END_TEST

static void end_bus(evbus_event *reply, int error, void *user)
{
    on_reply(reply, error, NULL);
    if (user)
        evbus_free(bus);
    else
        evbus_close(bus, -1); /* starts and returns */
    bus = user ? NULL : bus;
}

START_TEST(ended_by_its_own_end)
{
    open_local();
    evbus_sub *sub = respond(give_answer, NULL), *silent = subscribe("silent", NULL, "");
    evbus_event *event = event_with("ask", "7"), *other = event_with("silent", NULL);
    ck_assert_int_eq(evbus_request_async(bus, other, NULL, on_reply, "other:"), 0);
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, end_bus, _i ? "free" : NULL), 0);
    turn();
    await("other:E-7 ");
    ck_assert_ptr_nonnull(strstr(story, "answer=7 "));
    evbus_event_unref(event);
    evbus_event_unref(other);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(silent);
}
END_TEST

static int ends_left;

/* Asks again, whatever came of it. */
static void never_give_up(evbus_event *reply, int error, void *user)
{
    evbus_event *event = event_with("ask", "7");
    (void)reply;
    (void)user;
    ends_left--;
    int rc = evbus_request_async(bus, event, NULL, never_give_up, NULL);
    ends_left += rc == 0;
    tell("%d:%d ", error, rc);
    evbus_event_unref(event);
}

START_TEST(asks_again_when_ended)
{
    bus = open_on(_i & 1, NULL);
    evbus_sub *sub = subscribe("ask", NULL, "");
    turn();
    for (ends_left = 0; ends_left < 3;) {
        evbus_event *event = event_with("ask", "7");
        ends_left++;
        ck_assert_int_eq(evbus_request_async(bus, event, NULL, never_give_up, NULL), 0);
        evbus_event_unref(event);
    }
    if (_i < 2)
        turn();
    evbus_free(bus);
    bus = NULL;
    ck_assert_int_eq(ends_left, 0);
    ck_assert_ptr_nonnull(strstr(story, "-7:-7 "));
    evbus_unsubscribe(sub);
}
END_TEST

/* ---- waiting ---- */

static void *wait_for_it(void *own)
{
    evbus_event *event = event_with("ask", "7");
    evbus_event *reply = evbus_request(own, event, -1);
    ck_assert_msg(reply != NULL, "%s", evbus_last_error());
    ck_assert_str_eq(evbus_event_type(reply), "answer");
    ck_assert_int_eq(evbus_event_deadline_ms(event), INT64_MAX);
    evbus_event_unref(reply);
    evbus_event_unref(event);
    return NULL;
}

static int answer_own(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus_event *reply = event_with("answer", "1");
    (void)sub;
    int rc = evbus_reply(*(evbus **)user, request, reply);
    evbus_event_unref(reply);
    return rc;
}

static int ask_and_wait(evbus_sub *sub, evbus_event *event, void *user)
{
    evbus_event *request = event_with("ask", "7");
    (void)sub;
    (void)event;
    ck_assert_ptr_null(evbus_request(*(evbus **)user, request, 60000));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EDEADLK);
    ck_assert_str_eq(evbus_event_id(request), ""); /* not published */
    evbus_event_unref(request);
    tell("refused ");
    return 0;
}

/* Its own request would be delivered when it has returned. */
START_TEST(not_in_an_inline_handler)
{
    evbus *own = evbus_open(NULL);
    evbus_sub *sub = evbus_subscribe(own, "ask", "deliver=inline", answer_own, &own);
    evbus_sub *asks = evbus_subscribe(own, "go", "deliver=inline", ask_and_wait, &own);
    ck_assert_int_eq(evbus_publish(own, "go", NULL), EVBUS_SENT_LOCAL);
    expect("refused ");
    evbus_free(own);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(asks);
}
END_TEST

START_TEST(waits)
{
    evbus *own = evbus_open(NULL);
    evbus_event *event = event_with("ask", "7");
    ck_assert_ptr_null(evbus_request(own, event, 60000));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENORESPONDER);
    ck_assert_str_eq(evbus_last_error(), "nobody in this process takes ask");
    evbus_event_unref(event);
    evbus_sub *sub = evbus_subscribe(own, "ask", "deliver=inline", answer_own, &own);
    wait_for_it(own);
    evbus_unsubscribe(sub);
    sub = evbus_subscribe(own, "ask", NULL, on_event, NULL);
    event = event_with("ask", "7");
    ck_assert_ptr_null(evbus_request(own, event, 20));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETIMEDOUT);
    evbus_event_unref(event);
    evbus_free(own);
    evbus_unsubscribe(sub);
}
END_TEST

/* ---- without memory ---- */

static int answer_if_possible(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus_event *reply = evbus_event_new("answer");
    (void)sub;
    (void)user;
    int rc = reply ? evbus_reply(bus, request, reply) : EVBUS_ENOMEM;
    if (rc != 0)
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    evbus_event_unref(reply);
    return rc;
}

START_TEST(memory)
{
    open_local();
    evbus_sub *sub = respond(answer_if_possible, NULL);
    int failed = 0;
    bool reached = true;
    ask(NULL);
    turn();
    for (int n = 0; reached; n++) {
        evbus_event *event = event_with("ask", "7");
        story[0] = '\0';
        failing_at(n, false);
        int rc = evbus_request_async(bus, event, "timeout=30ms", on_reply, NULL);
        turn();
        reached = failing_off();
        if (rc == 0) {
            await(reached ? "E-3 " : "answer= "); /* the reply had no memory */
            rc = evbus_request_async(bus, event, NULL, on_reply, NULL);
            ck_assert_int_eq(rc, EVBUS_EINVAL); /* it was published */
        } else {
            ck_assert_int_eq(rc, EVBUS_ENOMEM);
            ck_assert_str_eq(evbus_event_source(event), "");
            ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, NULL), 0);
            await("answer= ");
        }
        failed += reached;
        evbus_event_unref(event);
        ck_assert_int_eq(stat_of("requests_pending"), 0);
    }
    ck_assert_int_ge(failed, 5);
    evbus_unsubscribe(sub);
}
END_TEST

static bool libevent_fails;

static void *libevent_alloc(size_t size)
{
    return libevent_fails ? NULL : malloc(size);
}

static void *libevent_resize(void *block, size_t size)
{
    return libevent_fails ? NULL : realloc(block, size);
}

/* A timer that cannot be set ends its request, and not the timers of those that come later. */
START_TEST(no_memory_for_the_timer)
{
    event_set_mem_functions(libevent_alloc, libevent_resize, free);
    open_local();
    evbus_sub *sub = subscribe("ask", NULL, "");
    libevent_fails = true;
    ask_as("timeout=1h", "first:");
    turn();
    libevent_fails = false;
    expect("first:E-1 ask ");
    ask_as("timeout=20ms", "second:");
    await("second:E-3 ");
    expect_requests(0, 1, 0, 1);
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("request");
    TCase *tc = tcase_create("on a loop of the test's own");
    TCase *own = tcase_create("on the bus's");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, answered_here, 0, 2);
    tcase_add_test(tc, nobody_here);
    tcase_add_test(tc, in_time_or_not);
    tcase_add_test(tc, the_first_wins);
    tcase_add_test(tc, refused);
    tcase_add_loop_test(tc, from_a_handler, 0, 2);
    tcase_add_test(tc, doors);
    tcase_add_loop_test(tc, options, 0, EVB_COUNT(bad_options));
    tcase_add_test(tc, too_many);
    tcase_add_test(tc, one_id_at_a_time);
    tcase_add_test(tc, closed_meanwhile);
    tcase_add_loop_test(tc, ended_by_its_own_end, 0, 2);
    tcase_add_loop_test(tc, asks_again_when_ended, 0, 4);
    tcase_add_test(tc, memory);
    tcase_add_test(tc, no_memory_for_the_timer);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(own, 60);
    tcase_add_test(own, waits);
    tcase_add_test(own, not_in_an_inline_handler);
    suite_add_tcase(suite, own);
    return run(suite);
}
