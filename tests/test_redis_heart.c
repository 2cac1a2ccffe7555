/* test_redis_heart.c - heartbeats, fences and deadlines of a shard: who is dead, and who is not. */
#include "redis_fixture.h"

static int beats(void)
{
    return scripted_count(server, "HELLO") - 2;
}

static bool has_beaten(void *count)
{
    return beats() >= *(int *)count;
}

static void await_beats(int count)
{
    ck_assert_msg(run_until(base, has_beaten, &count, 20000), "%s", story);
}

static void come_up_fast(int interval_ms, int timeout_ms)
{
    set.ping_interval_ms = interval_ms;
    set.ping_timeout_ms = timeout_ms;
    come_up();
}

START_TEST(lives)
{
    come_up_fast(10, 5000);
    int64_t proven_us = redis.heart.fence.proven_us;
    publish(1, 0);
    await_beats(10);
    publish(2, 0);
    await_beats(20);
    ck_assert_str_eq(story, "a1 a2 ");
    ck_assert_int_gt(redis.heart.fence.proven_us, proven_us);
    ck_assert_int_ge(atomic_load(&redis.rtt_us), 0);
    ck_assert_int_lt(atomic_load(&redis.rtt_us), 20000000);
    ck_assert_int_ge(scripted_count(server, "PING"), 19);
}
END_TEST

static const struct {
    int interval_ms, timeout_ms, who;
    const char *why;
} deaths[] = {
    {60, 40, SCRIPTED_PUBLISHER, "publisher connection: no answer for"},
    {60, 40, SCRIPTED_SUBSCRIBER, "subscriber connection: no answer for"},
    {60, 40, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER, "connection: no answer for"},
    /* probed more often than a probe may take */
    {20, 100, SCRIPTED_PUBLISHER, "publisher connection: no answer for"},
    {20, 100, SCRIPTED_SUBSCRIBER, "subscriber connection: no answer for"},
    {50, 50, SCRIPTED_SUBSCRIBER, "subscriber connection: no answer for"},
};

START_TEST(dies)
{
    come_up_fast(deaths[_i].interval_ms, deaths[_i].timeout_ms);
    publish(1, 0);
    await_beats(2);
    scripted_deafen(server, deaths[_i].who, true);
    await_story("backoff ");
    ck_assert_msg(strstr(last_why, deaths[_i].why) != NULL, "%s", last_why);
    ck_assert_str_eq(story, "a1 backoff ");
    await(EVB_REDIS_READY);
}
END_TEST

/* The answer to the fence's PUBLISH comes, its message never: PONG alone is no proof. */
START_TEST(fence_is_lost)
{
    come_up_fast(60, 40);
    scripted_answer(server, "PUBLISH", ":1\r\n", 0);
    await_story("backoff ");
    ck_assert_str_eq(last_why, "subscriber connection: what is published does not arrive");
}
END_TEST

static const struct {
    const char *command, *answer, *why;
} beat_answers[] = {
    {"HELLO", "*2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", "the server is a replica"},
    {"HELLO", "-NOAUTH x\r\n", "NOAUTH"},
    {"HELLO", "+OK\r\n", "protocol error"},
    {"PUBLISH", ":0\r\n", "nobody hears"},
    {"PUBLISH", "+OK\r\n", "protocol error"},
    {"PING", "-NOAUTH x\r\n", "NOAUTH"},
    {"PING", "+PONG\r\n:1\r\n", "protocol error"},
};

START_TEST(beat_is_answered_badly)
{
    come_up_fast(20, 5000);
    scripted_answer(server, beat_answers[_i].command, beat_answers[_i].answer, 1);
    await_story("backoff ");
    ck_assert_msg(strstr(last_why, beat_answers[_i].why) != NULL, "%s", last_why);
    if (!strcmp(beat_answers[_i].why, "NOAUTH"))
        start(); /* by itself it waits for half a minute */
    await(EVB_REDIS_READY);
}
END_TEST

/* Redis is busy for a while: that takes no right away, and the next fence proves again. */
START_TEST(fence_is_refused_for_now)
{
    come_up_fast(20, 200);
    await_beats(1);
    scripted_answer(server, "PUBLISH", "-BUSY x\r\n", 3);
    scripted_answer(server, "PING", "-BUSY x\r\n", 3);
    await_beats(2);
    int64_t proven_us = redis.heart.fence.proven_us;
    await_beats(10);
    ck_assert(!redis.heart.fence.refused);
    ck_assert_int_gt(redis.heart.fence.proven_us, proven_us);
    ck_assert_str_eq(story, "");
}
END_TEST

/* Nor is a subscription worth the link; who has changed its mind meanwhile is not asked for. */
START_TEST(subscribes_while_busy)
{
    come_up_fast(20, 200);
    await_beats(1);
    int asked = scripted_count(server, "SUBSCRIBE");
    scripted_answer(server, "SUBSCRIBE", "-BUSY x\r\n", 3);
    evb_loop_begin(&loop);
    ck_assert_int_eq(evb_subs_add(&redis.subs, "late", 4, false), 0);
    ck_assert_int_eq(evb_subs_add(&redis.subs, "gone", 4, false), 0);
    evb_loop_end(&loop);
    while (scripted_count(server, "SUBSCRIBE") < asked + 2)
        event_base_loop(base, EVLOOP_ONCE);
    evb_loop_begin(&loop);
    evb_subs_remove(&redis.subs, "gone", 4, false);
    evb_loop_end(&loop);
    while (redis.subs.pending)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(evb_subs_matching(&redis.subs, "late", 4), 1);
    ck_assert(!redis.subs.put_off);
    ck_assert_int_eq(atomic_load(&redis.state), (int)EVB_REDIS_READY);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_disconnects), 0);
}
END_TEST

/* Without a right the link lives on, and finds it when it is granted. */
START_TEST(fence_loses_its_right)
{
    come_up_fast(20, 200);
    await_beats(1);
    scripted_answer(server, "PUBLISH", "-NOPERM x\r\n", 0);
    await_beats(2);
    int64_t proven_us = redis.heart.fence.proven_us;
    await_beats(5);
    ck_assert_int_eq(redis.heart.fence.proven_us, proven_us);
    ck_assert_str_eq(story, "");
    scripted_answer(server, "PUBLISH", NULL, 0);
    await_beats(10);
    ck_assert(!redis.heart.fence.refused);
    ck_assert_int_gt(redis.heart.fence.proven_us, proven_us);
    publish(1, 0);
    await_story("a1 ");
}
END_TEST

START_TEST(inbox_is_granted_later)
{
    scripted_answer(server, "SUBSCRIBE", "-NOPERM x\r\n", 1);
    come_up_fast(20, 200);
    await_beats(3);
    ck_assert(redis.heart.fence.no_inbox);
    ck_assert_int_eq(redis.heart.fence.proven_us, 0);
    evb_loop_begin(&loop);
    evb_subs_again(&redis.subs);
    evb_loop_end(&loop);
    await_beats(8);
    ck_assert(!redis.heart.fence.no_inbox);
    ck_assert_int_ne(redis.heart.fence.proven_us, 0);
    ck_assert_str_eq(story, "");
}
END_TEST

static const char *const beat_commands[] = {"HELLO", "PING", "PUBLISH"};

START_TEST(beat_without_a_right)
{
    come_up_fast(20, 200);
    await_beats(1);
    scripted_answer(server, beat_commands[_i], "-NOPERM x\r\n", 0);
    await_beats(6);
    ck_assert_str_eq(story, "");
    scripted_deafen(server, SCRIPTED_SUBSCRIBER, true); /* death is still seen */
    await_story("backoff ");
}
END_TEST

/* Words of others on this node's own channel, and old fences, prove nothing and hurt nobody. */
START_TEST(foreign_fences)
{
    static const char *const words[] = {
        "",         "fence:",   "fence:0", "fence:999",
        "fence:1x", "fence:-1", "{}",      "fence:18446744073709551616"};
    come_up();
    int64_t proven_us = redis.heart.fence.proven_us;
    uint64_t number = redis.heart.fence.number;
    for (size_t i = 0; i < EVB_COUNT(words); i++)
        scripted_publish(server, INBOX, words[i], strlen(words[i]));
    want("evbus:inbox:*", true);
    await_story("+evbus:inbox:* ");
    scripted_publish(server, INBOX, "fence:0", 7); /* twice, by both names */
    want("end", false);
    await_story("+end ");
    ck_assert_str_eq(story, "+evbus:inbox:* +end ");
    ck_assert_int_eq(redis.heart.fence.proven_us, proven_us);
    ck_assert_uint_eq(redis.heart.fence.number, number);
}
END_TEST

/* Answers to events and to heartbeats come in one stream: neither is taken for the other. */
START_TEST(between_events)
{
    int id = 0;
    come_up_fast(5, 300);
    while (beats() < 20) {
        for (int i = 0; i < 7 && evb_outbox_events(&redis.outbox) < 90; i++)
            publish(++id, 0);
        if (beats() % 5 == 4)
            scripted_answer(server, "PUBLISH", "-ERR x\r\n", 1);
        story[0] = '\0';
        event_base_loop(base, EVLOOP_ONCE);
    }
    ck_assert_int_eq(atomic_load(&redis.state), EVB_REDIS_READY);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connects), 1);
}
END_TEST

/* A slow server answers one beat after the next has gone: late is not dead. */
START_TEST(answers_late)
{
    come_up_fast(20, 400);
    for (int i = 0; i < 3; i++) {
        await_beats(beats() + 1);
        scripted_deafen(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER, true);
        run_for(base, 60);
        scripted_deafen(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER, false);
    }
    publish(1, 0);
    await_story("a1 ");
    ck_assert_str_eq(story, "a1 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis heart");
    TCase *tests = tcase_create("redis heart");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, lives);
    tcase_add_loop_test(tests, dies, 0, (int)EVB_COUNT(deaths));
    tcase_add_test(tests, fence_is_lost);
    tcase_add_loop_test(tests, beat_is_answered_badly, 0, (int)EVB_COUNT(beat_answers));
    tcase_add_test(tests, fence_is_refused_for_now);
    tcase_add_test(tests, subscribes_while_busy);
    tcase_add_test(tests, fence_loses_its_right);
    tcase_add_test(tests, inbox_is_granted_later);
    tcase_add_loop_test(tests, beat_without_a_right, 0, (int)EVB_COUNT(beat_commands));
    tcase_add_test(tests, foreign_fences);
    tcase_add_test(tests, between_events);
    tcase_add_test(tests, answers_late);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
