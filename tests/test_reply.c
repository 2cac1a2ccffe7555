/* test_reply.c - answering: who is answered, where, until when, and what is refused. */
#include "request_fixture.h"
#include "bus.h"
#include "event.h"
#include "list.h"

static evbus_event *kept; /* the last request */

static int keep(evbus_sub *sub, evbus_event *event, void *user)
{
    on_event(sub, event, user);
    evbus_event_unref(kept);
    kept = evbus_event_ref(event);
    return 0;
}

static void let_go(void)
{
    evbus_event_unref(kept);
    kept = NULL;
}

static evbus_sub *open_listening(const char *key, const char *value)
{
    bus = open_on(1, key, value, NULL);
    ck_assert_ptr_nonnull(bus);
    evbus_sub *sub = respond(keep, NULL);
    await_mode(EVBUS_MODE_HYBRID);
    return sub;
}

#define HEAD "{\"eventId\":\"e-1\",\"type\":\"ask\",\"version\":\"1.0\",\"correlationId\":\"c-1\","

/* A request of somebody else's, or what looks like one. */
static void be_asked(const char *rest)
{
    char text[1000];
    int length = snprintf(text, sizeof text, "%s%s}", HEAD, rest);
    ck_assert_int_eq(scripted_publish(server, CHANNEL, text, (size_t)length), 1);
    turn();
}

static int reply_with(const char *type, const char *correlation)
{
    evbus_event *reply = event_with(type, "{\"x\":1}");
    if (correlation)
        ck_assert_int_eq(evbus_event_set_correlation(reply, correlation), 0);
    int rc = evbus_reply(bus, kept, reply);
    evbus_event_unref(reply);
    return rc;
}

static void expect_sent(const char *part)
{
    const char *sent = scripted_last(server, "PUBLISH");
    ck_assert_msg(strstr(sent, part) != NULL, "no %s in %s", part, sent);
}

START_TEST(to_the_asker)
{
    evbus_sub *sub = open_listening("history.enabled", "yes");
    be_asked("\"replyTo\":\"evbus:inbox:me\",\"deadline\":99999999999999");
    expect("ask ");
    ck_assert_int_eq(evbus_event_deadline_ms(kept), 99999999999999);
    ck_assert_int_eq(reply_with("done", _i ? "c-2" : NULL), 0);
    turn();
    expect_sent("PUBLISH evbus:inbox:me {\"node\":\"");
    expect_sent("\"local\":false,");
    expect_sent("\"type\":\"done\",");
    expect_sent(_i ? "\"correlationId\":\"c-2\",\"inReplyTo\":\"e-1\",\"data\":{\"x\":1}}"
                   : "\"correlationId\":\"c-1\",\"inReplyTo\":\"e-1\",\"data\":{\"x\":1}}");
    ck_assert_ptr_null(strstr(scripted_last(server, "PUBLISH"), "position"));
    ck_assert_int_eq(stat_of("answered"), 1);
    ck_assert_int_eq(stat_of("published_redis"), 1);
    ck_assert_int_eq(stat_of("acked"), 1);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(refusing)
{
    evbus_sub *sub = open_listening(NULL, NULL);
    be_asked("\"replyTo\":\"evbus:inbox:me\"");
    ck_assert_int_eq(evbus_event_deadline_ms(kept), INT64_MAX);
    ck_assert_int_eq(evbus_reply_error(bus, kept, "not\n\"here\" \xc3\xbc"), 0);
    turn();
    expect_sent("\"type\":\"ask\",");
    expect_sent(",\"inReplyTo\":\"e-1\",\"error\":\"not \\\"here\\\" \xc3\xbc\"}");
    ck_assert_int_eq(evbus_reply_error(bus, kept, "\xff"), 0);
    turn();
    expect_sent("\"error\":\"?\"}");
    ck_assert_int_eq(evbus_reply_error(bus, kept, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply_error(bus, kept, ""), EVBUS_EINVAL);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

/* Nobody makes this bus publish where it is not asked from. */
static const struct {
    const char *rest, *says;
} no_requests[] = {
    {"\"data\":1", "is no request"},
    {"\"replyTo\":7", "is no request"},
    {"\"replyTo\":\"\"", "is no request"},
    {"\"replyTo\":\"a\\nb\"", "is no request"},
    {"\"replyTo\":{\"to\":\"evbus:inbox:x\"}", "is no request"},
    {"\"replyTo\":\"evbus:events:task.created\"", "answers go to evbus:inbox:..."},
    {"\"replyTo\":\"evbus:inbox:\"", "answers go to evbus:inbox:..."},
    {"\"replyTo\":\"evbus:inbo\"", "answers go to evbus:inbox:..."},
    {"\"inReplyTo\":\"evbus:inbox:x\"", "is no request"},
};

START_TEST(no_request)
{
    evbus_sub *sub = open_listening(NULL, NULL);
    be_asked(no_requests[_i].rest);
    expect("ask ");
    ck_assert_int_eq(reply_with("done", NULL), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), no_requests[_i].says) != NULL, "%s",
                  evbus_last_error());
    ck_assert_int_eq(evbus_reply_error(bus, kept, "no"), EVBUS_EINVAL);
    turn();
    ck_assert_ptr_null(strstr(scripted_last(server, "PUBLISH"), "inReplyTo"));
    ck_assert_int_eq(stat_of("answered"), 0);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

/* What others mean by these keys stays theirs. */
static const struct {
    const char *rest, *name, *value;
} theirs[] = {
    {"\"error\":\"boom\",\"data\":1", "error", "boom"},
    {"\"error\":{\"code\":1},\"data\":1", "error", NULL},
    {"\"deadline\":\"friday\",\"data\":1", "deadline", "friday"},
    {"\"deadline\":1,\"data\":1", "deadline", NULL},
    {"\"replyTo\":false,\"data\":1", "replyTo", NULL},
    {"\"replyTo\":\"evbus:inbox:x\",\"error\":\"boom\",\"data\":1", "error", "boom"},
    {"\"replyTo\":\"evbus:inbox:x\",\"deadline\":\"friday\",\"data\":1", "deadline", "friday"},
};

START_TEST(others_keys)
{
    evbus_sub *sub = open_listening(NULL, NULL);
    be_asked(theirs[_i].rest);
    expect("ask ");
    const char *value = evbus_event_attr(kept, theirs[_i].name);
    ck_assert_int_eq(value != NULL, theirs[_i].value != NULL);
    ck_assert(!value || strcmp(value, theirs[_i].value) == 0);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(too_late)
{
    char rest[100];
    evbus_sub *sub = open_listening(NULL, NULL);
    int64_t now_ms = evb_clock_us() / 1000;
    snprintf(rest, sizeof rest, "\"replyTo\":\"evbus:inbox:me\",\"deadline\":%lld",
             (long long)now_ms);
    be_asked(rest); /* comes after its deadline */
    expect("");
    ck_assert_int_eq(stat_of("late_requests"), 1);
    be_asked("\"replyTo\":\"evbus:inbox:me\",\"deadline\":-5");
    expect("");
    now_ms = evb_clock_us() / 1000;
    snprintf(rest, sizeof rest,
             "\"replyTo\":\"evbus:inbox:me\",\"deadline\":%lld.5,\"version\":\"2\"",
             (long long)now_ms / 1000 + 1); /* seconds will do */
    be_asked(rest);
    turn();
    if (kept) { /* a second may have passed on a busy machine */
        ck_assert_int_gt(evbus_event_deadline_ms(kept), now_ms);
        run_for(base, 1600);
        ck_assert_int_eq(reply_with("done", NULL), EVBUS_ETIMEDOUT);
        ck_assert_int_eq(evbus_reply_error(bus, kept, "no"), EVBUS_ETIMEDOUT);
    }
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

static int64_t wall_us = INT64_C(1700000000000000);

static int64_t own_clock(void)
{
    return wall_us;
}

/* A request that waits for its handler longer than its asker does is let go. */
START_TEST(late_in_the_queue)
{
    evb_clock_set(own_clock, NULL);
    bus = open_on(0, NULL);
    evbus_sub *sub = respond(keep, NULL);
    ask("timeout=10s");
    wall_us += 9999000;
    turn();
    expect("ask ");
    ask("timeout=10s");
    wall_us += 10000000;
    turn();
    expect("");
    ck_assert_int_eq(stat_of("late_requests"), 1);
    let_go();
    evbus_unsubscribe(sub);
    evb_clock_set(NULL, NULL);
}
END_TEST

START_TEST(doors)
{
    evbus_event *reply = event_with("done", "1"), *bad = event_with("done", "{");
    evbus_sub *sub = open_listening("event.max.bytes", "100");
    be_asked("\"replyTo\":\"evbus:inbox:me\"");
    ck_assert_int_eq(evbus_reply(NULL, kept, reply), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply(bus, NULL, reply), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply(bus, kept, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply(bus, reply, reply), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply(bus, kept, bad), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_reply_error(NULL, kept, "no"), EVBUS_EINVAL);
    char large[200] = "";
    memset(large, '1', sizeof large - 1);
    evbus_event_set_json(bad, large, sizeof large - 1);
    ck_assert_int_eq(evbus_reply(bus, kept, bad), EVBUS_ETOOBIG);
    ck_assert_int_eq(evbus_reply(bus, kept, reply), 0);
    ck_assert_int_eq(evbus_reply(bus, kept, reply), EVBUS_EINVAL); /* published already */
    evbus_event_unref(reply);
    reply = event_with("done", "1");
    evbus_close(bus, 0);
    turn();
    ck_assert_int_eq(evbus_reply(bus, kept, reply), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_reply_error(bus, kept, "no"), EVBUS_ECLOSED);
    evbus_event_unref(reply);
    evbus_event_unref(bad);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

/* What was refused is as it was, and may be given again. */
START_TEST(refused_and_given_again)
{
    evbus_sub *sub = open_listening("outbox.full", _i ? "off" : "drop-newest");
    be_asked("\"replyTo\":\"evbus:inbox:me\"");
    evbus_event *reply = event_with("done", "1");
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    bus->redis.outbox.max_events = 0;
    ck_assert_int_eq(evbus_reply(bus, kept, reply), _i ? EVBUS_EAWAY : EVBUS_EFULL);
    ck_assert_str_eq(evbus_event_correlation(reply), "");
    ck_assert_str_eq(evbus_event_source(reply), "");
    ck_assert_ptr_null(reply->exchange);
    ck_assert_int_eq(evbus_event_set_json(reply, "2", 1), 0);
    ck_assert_int_eq(stat_of("answered"), 0);
    bus->redis.outbox.max_events = 10;
    scripted_listen(server, true);
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_reply(bus, kept, reply), 0);
    turn();
    expect_sent("\"correlationId\":\"c-1\",\"inReplyTo\":\"e-1\",\"data\":2}");
    evbus_event_unref(reply);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

/* It waits for Redis no longer than its asker waits for it. */
START_TEST(waits_as_long_as_its_asker)
{
    char rest[100];
    evbus_sub *sub = open_listening(NULL, NULL);
    snprintf(rest, sizeof rest, "\"replyTo\":\"evbus:inbox:me\",\"deadline\":%lld",
             (long long)evb_clock_us() / 1000 + suite_patience(400));
    be_asked(rest);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(reply_with("done", NULL), 0);
    turn();
    ck_assert_int_eq(stat_of("outbox_events"), 1);
    run_for(base, suite_patience(400) + 100);
    ck_assert_int_eq(stat_of("outbox_events"), 0);
    ck_assert_int_eq(stat_of("expired"), 1);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

/* A request can be written down, and be answered later by whoever reads it. */
START_TEST(from_text)
{
    static const char text[] = HEAD "\"replyTo\":\"evbus:inbox:me\",\"deadline\":99999999999999}";
    bus = open_on(_i, NULL);
    turn();
    kept = evbus_event_from_json(text, strlen(text));
    ck_assert_ptr_nonnull(kept);
    ck_assert_int_eq(evbus_event_deadline_ms(kept), 99999999999999);
    char *json = evbus_event_to_json(kept);
    ck_assert_ptr_nonnull(
        strstr(json, ",\"replyTo\":\"evbus:inbox:me\",\"deadline\":99999999999999"));
    evbus_string_free(json);
    evbus_event *copy = evbus_event_copy(kept);
    ck_assert_int_eq(evbus_event_deadline_ms(copy), 0); /* another event */
    evbus_event_unref(copy);
    ck_assert_int_eq(reply_with("done", NULL), _i ? 0 : EVBUS_EAWAY);
    if (_i) {
        await_mode(EVBUS_MODE_HYBRID);
        turn();
        expect_sent("PUBLISH evbus:inbox:me ");
    }
    let_go();
}
END_TEST

/* Own replies that wait for the loop have a bound. */
START_TEST(many_for_the_loop)
{
    bus = open_on(0, "request.pending", "3", NULL);
    evbus_sub *sub = respond(keep, NULL);
    ask(NULL);
    turn();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(reply_with("done", NULL), i < 3 ? 0 : EVBUS_EFULL);
    turn();
    expect("ask done={\"x\":1} ");
    ck_assert_int_eq(reply_with("done", NULL), 0);
    turn();
    ck_assert_int_eq(stat_of("late_replies"), 3);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(memory)
{
    evbus_sub *sub = open_listening(NULL, NULL);
    be_asked("\"replyTo\":\"evbus:inbox:me\"");
    int failed = 0;
    bool reached = true;
    for (int n = 0; reached; n++) {
        evbus_event *reply = event_with("a.reply.with.a.name.that.leaves.no.room.to.spare", "1");
        failing_at(n, false);
        int rc = _i ? evbus_reply(bus, kept, reply) : evbus_reply_error(bus, kept, "no");
        reached = failing_off();
        if (rc != 0) {
            ck_assert_int_eq(rc, EVBUS_ENOMEM);
            ck_assert_int_eq(evbus_event_set_ttl(reply, 0), 0); /* as it was */
            ck_assert_int_eq(evbus_reply(bus, kept, reply), 0);
        }
        failed += reached;
        evbus_event_unref(reply);
        turn();
        ck_assert_int_eq(stat_of("outbox_events"), 0);
    }
    ck_assert_int_ge(failed, 2);
    let_go();
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reply");
    TCase *tc = tcase_create("reply");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, to_the_asker, 0, 2);
    tcase_add_test(tc, refusing);
    tcase_add_loop_test(tc, no_request, 0, EVB_COUNT(no_requests));
    tcase_add_loop_test(tc, others_keys, 0, EVB_COUNT(theirs));
    tcase_add_test(tc, too_late);
    tcase_add_test(tc, late_in_the_queue);
    tcase_add_test(tc, doors);
    tcase_add_loop_test(tc, refused_and_given_again, 0, 2);
    tcase_add_test(tc, waits_as_long_as_its_asker);
    tcase_add_loop_test(tc, from_text, 0, 2);
    tcase_add_test(tc, many_for_the_loop);
    tcase_add_loop_test(tc, memory, 0, 2);
    suite_add_tcase(suite, tc);
    return run(suite);
}
