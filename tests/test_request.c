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

static void open_hybrid(const char *key, const char *value)
{
    bus = open_on(1, key, value, NULL);
    ck_assert_ptr_nonnull(bus);
    await_mode(EVBUS_MODE_HYBRID);
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

/* ---- through Redis ---- */

START_TEST(on_the_wire)
{
    static const char begins[] = "PUBLISH " CHANNEL " {\"node\":";
    char inbox[64];
    int64_t now_ms = evb_clock_us() / 1000;
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", ":1\r\n", 1); /* somebody */
    const char *id = ask("timeout=90s");
    turn();
    const char *sent = scripted_last(server, "PUBLISH");
    snprintf(inbox, sizeof inbox, "evbus:inbox:%s", evbus_node(bus));
    ck_assert_msg(strncmp(sent, begins, sizeof begins - 1) == 0, "%s", sent);
    ck_assert_ptr_nonnull(strstr(sent, id));
    const char *to = strstr(sent, ",\"replyTo\":\""), *until = strstr(sent, ",\"deadline\":");
    ck_assert_msg(to && until, "%s", sent);
    ck_assert_int_eq(strncmp(to + 12, inbox, strlen(inbox)), 0);
    int64_t deadline_ms = atoll(until + 12);
    ck_assert_int_ge(deadline_ms, now_ms + 90000);
    ck_assert_int_lt(deadline_ms, now_ms + 90000 + 60000);
    expect("");
    say_inbox("{\"inReplyTo\":\"%s\",\"data\":[1]}", id);
    turn();
    expect("reply=[1] ");
    expect_requests(1, 0, 0, 0);
}
END_TEST

/* What Redis counts as receivers, and who of them is nobody but this bus. */
static const struct {
    const char *pattern, *options; /* a subscription of this bus's own, or NULL */
    int receivers;
    const char *end;
} receivers[] = {
    {NULL, NULL, 0, "E-16 "},           {NULL, NULL, 1, ""},
    {"ask", "echo=no", 1, "E-16 "},     {"ask", "echo=no", 2, ""},
    {"ask", "scope=redis", 1, "E-16 "}, {"glob:a*", "echo=no", 1, "E-16 "},
    {"glob:b*", "echo=no", 1, ""},      {"ask", "scope=local", 0, "ask "}, /* takes it */
    {"ask", NULL, 1, "ask "},
};

START_TEST(receivers_are_judged)
{
    char answer[16];
    open_hybrid("history.enabled", _i % 2 ? "yes" : "no");
    evbus_sub *sub =
        receivers[_i].pattern ? subscribe(receivers[_i].pattern, receivers[_i].options, "") : NULL;
    ck_assert(!sub || evbus_wait_connected(bus, 0) == 0 || run_until(base, is_told, "", 1));
    for (int i = 0; i < 5; i++)
        turn();
    snprintf(answer, sizeof answer, ":%d\r\n", receivers[_i].receivers);
    scripted_answer(server, "PUBLISH", answer, 1);
    ask(NULL);
    for (int i = 0; i < 5; i++)
        turn();
    expect(receivers[_i].end);
    if (sub)
        evbus_unsubscribe(sub);
}
END_TEST

/* Nobody knows whether an own channel counted, if it has changed meanwhile. */
START_TEST(changed_meanwhile)
{
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", "", 1); /* the answer comes when the channel is there */
    ask("timeout=80ms");
    turn();
    evbus_sub *sub = respond(give_answer, "echo=no");
    for (int i = 0; i < 5; i++)
        turn();
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
    scripted_send(server, SCRIPTED_PUBLISHER, ":1\r\n", 4);
    await("E-");
    expect("E-3 ");
    evbus_unsubscribe(sub);
}
END_TEST

static const char *const garbage[] = {
    "",
    "{}",
    "nonsense",
    "{\"inReplyTo\":7,\"data\":1}",
    "{\"inReplyTo\":\"\",\"data\":1}",
    "{\"data\":1}",
    "{\"inReplyTo\":\"%s\",\"data\":}",
    "{\"inReplyTo\":\"%s\",\"inReplyTo\":\"%s\",\"data\":1}",
    "{\"inReplyTo\":\"%s\",\"data\":1",
    "{\"inReplyTo\":\"a\\u0000b\",\"data\":1}",
    "{\"inReplyTo\":{\"id\":\"%s\"},\"data\":1}",
    "{\"inReplyTo\":\"%s\",\"dataBase64\":\"*\"}",
    "[\"inReplyTo\"]",
    "{\"eventId\":\"1\",\"type\":\"evbus.gap\",\"version\":\"1.0\",\"inReplyTo\":\"%s\"}",
};

START_TEST(what_is_no_reply)
{
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", ":1\r\n", 1);
    const char *id = ask(NULL);
    turn();
    for (size_t i = 0; i < EVB_COUNT(garbage); i++) {
        char text[400], *at;
        snprintf(text, sizeof text, "%s", garbage[i]);
        while ((at = strstr(text, "%s"))) {
            char rest[400];
            snprintf(rest, sizeof rest, "%s", at + 2);
            snprintf(at, sizeof text - (size_t)(at - text), "%s%s", id, rest);
        }
        int64_t before = stat_of("decode_errors") + stat_of("forged");
        say_inbox("%s", text);
        turn();
        ck_assert_msg(stat_of("decode_errors") + stat_of("forged") == before + 1, "%s: %s",
                      garbage[i], story);
        expect("");
    }
    ck_assert_int_eq(stat_of("late_replies"), 0);
    say_inbox("{\"inReplyTo\":\"%sx\",\"data\":1}", id);
    turn();
    ck_assert_int_eq(stat_of("late_replies"), 1);
    say_inbox("{\"inReplyTo\":\"%s\"}", id); /* no data, no type: an answer */
    turn();
    expect("reply= ");
    say_inbox("{\"inReplyTo\":\"%s\",\"data\":1}", id);
    turn();
    expect("");
    ck_assert_int_eq(stat_of("late_replies"), 2);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID); /* the link lives */
}
END_TEST

static const struct {
    const char *reply, *end;
} replies[] = {
    {"{\"inReplyTo\":\"%s\",\"type\":\"t.x\",\"data\":\"d\"}", "t.x=\"d\" "},
    {"{\"inReplyTo\":\"%s\",\"type\":\"not a type\",\"data\":1}", "reply=1 "},
    {"{\"inReplyTo\":\"%s\",\"payload\":{}}", "reply={} "},
    {"{\"inReplyTo\":\"%s\",\"error\":null,\"data\":2}", "reply=2 "},
    {"{\"inReplyTo\":\"%s\",\"error\":false,\"data\":2}", "reply=2 "},
    {"{\"inReplyTo\":\"%s\",\"error\":\"no\"}", "E-17(no) "},
    {"{\"inReplyTo\":\"%s\",\"error\":\"\",\"data\":2}",
     "E-17(the responder refused, and did not say why) "},
    {"{\"inReplyTo\":\"%s\",\"error\":\"a\\nb\\u0000\\u00fc\"}", "E-17(a b \?\?) "},
    {"{\"inReplyTo\":\"%s\",\"error\":\"a\\n\\u00fc\"}", "E-17(a \xc3\xbc) "},
    {"{\"inReplyTo\":\"%s\",\"error\":{\"code\":5},\"data\":1}", "E-17({\"code\":5}) "},
    {"{\"inReplyTo\":\"%s\",\"error\":5}", "E-17(5) "},
};

static void tell_error(evbus_event *reply, int error, void *user)
{
    if (reply)
        on_reply(reply, error, user);
    else
        tell("E%d(%s) ", error, evbus_last_error());
}

START_TEST(others_replies)
{
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", ":1\r\n", 1);
    evbus_event *event = event_with("ask", NULL);
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, tell_error, NULL), 0);
    turn();
    char text[400];
    const char *at = strstr(replies[_i].reply, "%s");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - replies[_i].reply), replies[_i].reply,
             evbus_event_id(event), at + 2);
    say_inbox("%s", text);
    turn();
    expect(replies[_i].end);
    evbus_event_unref(event);
}
END_TEST

START_TEST(while_redis_is_away)
{
    scripted_listen(server, false);
    bus = open_on(1, NULL);
    ask_as("timeout=30ms", "soon:");
    await("soon:");
    expect("soon:E-3 ");
    turn();
    ck_assert_int_eq(stat_of("outbox_events"), 0); /* it waits no longer than its asker */
    const char *id = ask("timeout=20s");
    evbus_sub *sub = respond(give_answer, NULL);
    ask_as(NULL, "here:"); /* needs no Redis */
    turn();
    expect("a0 here:answer=7 ");
    evbus_unsubscribe(sub);
    scripted_answer(server, "PUBLISH", NULL, 0);
    scripted_listen(server, true);
    await_mode(EVBUS_MODE_HYBRID);
    await("E-16 "); /* the link is back, and nobody listens there */
    expect("E-16 ");
    ck_assert_ptr_nonnull(id);
    expect_requests(1, 1, 1, 0);
}
END_TEST

static const struct {
    const char *full;
    int call;
    const char *end;
} full[] = {
    {"drop-newest", 0, "E-5 "},
    {"drop-oldest", 0, "E-3 "}, /* it takes the place of another one */
    {"reject", EVBUS_EFULL, ""},
    {"off", 0, "E-4 "},
};

START_TEST(a_full_outbox)
{
    evbus_event *event = event_with("ask", NULL);
    scripted_listen(server, false);
    bus = open_on(1, "outbox.events", "8", "outbox.full", full[_i].full, "request.timeout", "50ms",
                  NULL);
    for (int i = 0; i < 8; i++)
        ck_assert_int_ge(evbus_publish(bus, "other", NULL), 0);
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, NULL), full[_i].call);
    if (full[_i].call == 0)
        await("E-");
    turn();
    expect(full[_i].end);
    expect_requests(0, _i == 1, 0, _i == 0 || _i == 3);
    evbus_event_unref(event);
}
END_TEST

static const struct {
    const char *command, *answer;
    const char *end, *says;
} lacking[] = {
    {"PUBLISH", "-NOPERM this user has no permissions to access one of the channels\r\n", "E-12 ",
     "PUBLISH refused"},
    {"PUBLISH", "-ERR nonsense\r\n", "E-17 ", "nonsense"},
};

START_TEST(without_a_right)
{
    open_hybrid(NULL, NULL);
    scripted_answer(server, lacking[_i].command, lacking[_i].answer, 1);
    ask(NULL);
    await("E-");
    expect(lacking[_i].end);
    expect_requests(_i == 1, 0, 0, _i == 0);
    ck_assert_msg(strstr(evbus_last_error(), lacking[_i].says) != NULL, "%s", evbus_last_error());
    evbus_sub *sub = respond(give_answer, NULL); /* in this process it goes on */
    turn();
    scripted_answer(server, lacking[_i].command, lacking[_i].answer, 1);
    ask(NULL);
    await("answer=7 ");
    expect("a0 answer=7 ");
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(without_an_inbox)
{
    scripted_answer(server, "SUBSCRIBE", "-NOPERM this user has no permissions\r\n", 1);
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", ":1\r\n", 1);
    ask(NULL);
    await("E-");
    expect("E-12 ");
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "evbus:inbox:"));
}
END_TEST

/* A reply before Redis has answered the PUBLISH; and the link breaks before that. */
START_TEST(a_reply_before_the_report)
{
    open_hybrid(NULL, NULL);
    scripted_answer(server, "PUBLISH", "", 1);
    const char *id = ask(NULL);
    turn();
    say_inbox("{\"inReplyTo\":\"%s\",\"data\":3}", id);
    turn();
    expect("reply=3 ");
    if (_i)
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    else
        scripted_send(server, SCRIPTED_PUBLISHER, ":1\r\n", 4);
    await_mode(EVBUS_MODE_HYBRID);
    turn();
    expect("");
    expect_requests(1, 0, 0, 0);
}
END_TEST

/* The link breaks before Redis has answered; sent again, nobody hears it, or (publish.resend=no) it
 * is not sent again: somebody may have it from the first time. */
START_TEST(heard_before_the_drop)
{
    open_hybrid("publish.resend", _i ? "no" : "yes");
    scripted_answer(server, "PUBLISH", "", 1);
    const char *id = ask("timeout=20s");
    turn();
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    await_mode(EVBUS_MODE_HYBRID);
    for (int i = 0; i < 5; i++)
        turn();
    ck_assert_int_eq(stat_of(_i ? "unknown" : "resent"), 1);
    ck_assert_int_eq(stat_of("outbox_events"), 0);
    expect("");
    say_inbox("{\"inReplyTo\":\"%s\",\"data\":4}", id);
    turn();
    expect("reply=4 ");
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
    tcase_add_test(tc, on_the_wire);
    tcase_add_loop_test(tc, receivers_are_judged, 0, EVB_COUNT(receivers));
    tcase_add_test(tc, changed_meanwhile);
    tcase_add_test(tc, what_is_no_reply);
    tcase_add_loop_test(tc, others_replies, 0, EVB_COUNT(replies));
    tcase_add_test(tc, while_redis_is_away);
    tcase_add_loop_test(tc, a_full_outbox, 0, EVB_COUNT(full));
    tcase_add_loop_test(tc, without_a_right, 0, EVB_COUNT(lacking));
    tcase_add_test(tc, without_an_inbox);
    tcase_add_loop_test(tc, a_reply_before_the_report, 0, 2);
    tcase_add_loop_test(tc, heard_before_the_drop, 0, 2);
    tcase_add_test(tc, memory);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(own, 60);
    tcase_add_test(own, waits);
    tcase_add_test(own, not_in_an_inline_handler);
    suite_add_tcase(suite, own);
    return run(suite);
}
