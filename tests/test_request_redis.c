/* test_request_redis.c - asking through Redis: what is on the wire, whom Redis counts, what others
 * answer, what lacks, and links that break. */
#include "request_fixture.h"
#include "bus.h"
#include "list.h"

static void open_hybrid(const char *key, const char *value)
{
    bus = open_on(1, key, value, NULL);
    ck_assert_ptr_nonnull(bus);
    await_mode(EVBUS_MODE_HYBRID);
}

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

static bool owes_nothing(void *none)
{
    (void)none;
    return stat_of("outbox_events") == 0;
}

START_TEST(while_redis_is_away)
{
    scripted_listen(server, false);
    bus = open_on(1, NULL);
    ask_as("timeout=30ms", "soon:");
    await("soon:");
    expect("soon:E-3 ");
    ck_assert(run_until(base, owes_nothing, NULL, 10000)); /* it waits no longer than its asker */
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
    scripted_answer(server, "SUBSCRIBE", "-NOPERM this user has no permissions\r\n", 0);
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

int main(void)
{
    Suite *suite = suite_create("request, Redis");
    TCase *tc = tcase_create("request, Redis");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
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
    suite_add_tcase(suite, tc);
    return run(suite);
}
