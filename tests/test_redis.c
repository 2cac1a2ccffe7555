/* test_redis.c - a shard against a script on the same loop: readiness, replies. */
#include "redis_fixture.h"

/* ---- up and down ---- */

START_TEST(comes_up)
{
    char error[100];
    come_up();
    ck_assert_str_eq(last_why, "connected");
    ck_assert_str_eq(scripted_last(server, "PUBLISH"), "PUBLISH " INBOX " fence:1");
    ck_assert_int_eq(scripted_count(server, "HELLO"), 2);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connects), 1);
    evb_fault_read(&redis.fault, error, sizeof error);
    ck_assert_str_eq(error, "");
    start(); /* nothing to do */
    want("a", false);
    want("b*", true);
    await_story("+a +b* ");
    ck_assert_int_eq(scripted_publish(server, "a", "x", 1), 1);
    scripted_publish(server, "bc", "y", 1);
    await_story("<a=x> <b*|bc=y> ");
    publish(1, 0);
    publish(2, 0);
    await_story("a1 a2 ");
    stop();
    stop();
    ck_assert_ptr_nonnull(strstr(story, "closing off "));
    ck_assert_int_eq(scripted_connections(server, 3) > 0, 1);
    run_for(base, 5);
    ck_assert_int_eq(scripted_connections(server, 3), 0);
}
END_TEST

/* What is asked for while a connection is on its way is confirmed before READY. */
START_TEST(subscriptions_come_first)
{
    ck_assert_int_eq(open_redis(), 0);
    want("a", false);
    start();
    scripted_answer(server, "PSUBSCRIBE", "-NOPERM x\r\n", 0);
    want("p*", true);
    await(EVB_REDIS_READY);
    ck_assert_str_eq(story, "dialing handshake +a -p* ready ");
}
END_TEST

static const struct {
    const char *command, *answer, *why;
    int again;  /* answered so that often */
    bool login; /* the login is wrong: no use in trying again soon */
} handshakes[] = {
    {"HELLO", "-NOAUTH x\r\n", "set redis.password", 1, true},
    {"HELLO", "-WRONGPASS x\r\n", "check redis.username and redis.password", 1, true},
    {"HELLO", "*2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", "the server is a replica", 1, false},
    {"HELLO", "*0\r\n", "without a role", 1, false},
    {"HELLO", "HTTP/1.1 400 Bad Request\r\n\r\n", "protocol error", 1, false},
    {"HELLO", ":1\r\n", "protocol error", 1, false},
    {"SUBSCRIBE", "-NOAUTH x\r\n", "NOAUTH", 1, true},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n", "not the answer", 1, false},
    {"PUBLISH", ":0\r\n", "nobody hears this node's own channel", 1, false},
    {"PUBLISH", "-LOADING data\r\n", "LOADING data", 1, false},
    {"PUBLISH", "+OK\r\n", "protocol error", 1, false},
    {"PUBLISH", "*0\r\n", "protocol error", 1, false},
    {"CLIENT", ":1\r\n:2\r\n", "protocol error", 1, false}, /* one answer too many */
};

START_TEST(handshake_fails)
{
    scripted_answer(server, handshakes[_i].command, handshakes[_i].answer, handshakes[_i].again);
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_msg(strstr(last_why, handshakes[_i].why) != NULL, "%s", last_why);
    ck_assert_int_gt(atomic_load(&redis.retry_at_ms), 0);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connect_errors), 1);
    int64_t wait_ms = atomic_load(&redis.retry_at_ms) - evb_clock_mono_ms();
    if (handshakes[_i].login) {
        ck_assert_int_gt(wait_ms, 20000);
        ck_assert_int_le(wait_ms, 30000);
        start(); /* evbus_reconnect() */
    } else {
        ck_assert_int_le(wait_ms, 2000);
    }
    await(EVB_REDIS_READY);
    ck_assert_str_eq(story, "dialing handshake backoff dialing handshake ready ");
    ck_assert_int_eq(atomic_load(&redis.attempts), 0);
    ck_assert_int_eq(atomic_load(&redis.retry_at_ms), 0);
}
END_TEST

/* Silence, or a fence that is answered and never arrives: the time to connect is up. */
START_TEST(handshake_takes_too_long)
{
    static const char *const commands[] = {"HELLO", "SUBSCRIBE", "PUBLISH", "PUBLISH"};
    scripted_answer(server, commands[_i], _i == 3 ? ":1\r\n" : "", 0);
    scripted_answer(server, _i == 0 ? "CLIENT" : "NOBODY", "", 0);
    set.connect_timeout_ms = 50;
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_str_eq(last_why, "no connection within 50 ms");
    ck_assert_str_eq(story, "dialing handshake backoff ");
}
END_TEST

START_TEST(no_right_to_the_inbox)
{
    scripted_answer(server, _i ? "PUBLISH" : "SUBSCRIBE", "-NOPERM x\r\n", 1);
    come_up();
    ck_assert(_i ? redis.heart.fence.refused : redis.heart.fence.no_inbox);
    publish(1, 0);
    await_story("a1 ");
}
END_TEST

/* ---- events ---- */

START_TEST(refused_for_now)
{
    come_up();
    scripted_answer(server, "PUBLISH", "-BUSY x\r\n", 2);
    publish(1, 0);
    publish(2, 0);
    publish(3, 0);
    await_story("a3 a1 a2 ");
    scripted_answer(server, "PUBLISH", "-NOPERM x\r\n", 1);
    publish(4, 0);
    await_story("f4 ");
    ck_assert_int_eq(atomic_load(&redis.state), EVB_REDIS_READY);
}
END_TEST

START_TEST(answer_out_of_the_blue)
{
    static const char *const answers[] = {":1\r\n",      "-ERR x\r\n", "+OK\r\n",
                                          "$1\r\na\r\n", "*0\r\n",     "$-1\r\n"};
    come_up();
    scripted_send(server, SCRIPTED_PUBLISHER, answers[_i], strlen(answers[_i]));
    await_story("backoff ");
    ck_assert_ptr_nonnull(strstr(last_why, "not the answer to what was asked"));
}
END_TEST

static const struct {
    const char *answer; /* to the first of two; the second is good */
    int gone;
    const char *story, *number; /* of the last one sent; NULL: that is a fence */
} unread[] = {
    {":1\r\n", SCRIPTED_SUBSCRIBER, "a1 a2 backoff dialing handshake ready ", NULL},
    {":1\r\n", SCRIPTED_PUBLISHER, "a1 a2 backoff dialing handshake ready a3 ", "3"},
    {"-BUSY x\r\n", SCRIPTED_SUBSCRIBER, "a2 backoff dialing handshake ready a1 ", "3"},
    {"-BUSY x\r\n", SCRIPTED_PUBLISHER, "a2 backoff dialing handshake ready a3 a1 ", "4"},
};

/* The answers are there when a connection is found dead, be it by writing: they count, and what was
 * refused gets a new number. */
START_TEST(answered_before_a_drop)
{
    char whole[80];
    snprintf(whole, sizeof whole, "%s", unread[_i].story);
    come_up();
    scripted_answer(server, "PUBLISH", unread[_i].answer, 1);
    event_del(redis.publisher.readable);
    publish(1, 0);
    publish(2, 0);
    run_for(base, 5);
    ck_assert_str_eq(story, "");
    scripted_close(server, unread[_i].gone);
    if (unread[_i].gone == SCRIPTED_PUBLISHER) {
        await_hang_up(&redis.publisher);
        publish(3, 0);
    }
    await_story(whole);
    ck_assert_str_eq(story, whole);
    const char *sent = strrchr(scripted_last(server, "PUBLISH"), ' ') + 1;
    ck_assert_str_eq(sent, unread[_i].number ? unread[_i].number : "fence:2");
}
END_TEST

/* Every n-th allocation fails: init says so, or a connection is lost and the next one stands. */
START_TEST(no_memory)
{
    bool failed = true;
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 200);
        story[0] = '\0';
        failing_at(n, false);
        int rc = open_redis();
        ck_assert(rc == 0 || rc == EVBUS_ENOMEM);
        if (rc == 0) {
            start();
            await(EVB_REDIS_READY);
        }
        failed = failing_off();
        stop();
        evb_redis_fini(&redis);
        run_for(base, 2);
        ck_assert_int_eq(failing_live(), live);
    }
    ck_assert_int_eq(open_redis(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis");
    TCase *tests = tcase_create("redis");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, comes_up);
    tcase_add_test(tests, subscriptions_come_first);
    tcase_add_loop_test(tests, handshake_fails, 0, (int)EVB_COUNT(handshakes));
    tcase_add_loop_test(tests, handshake_takes_too_long, 0, 4);
    tcase_add_loop_test(tests, no_right_to_the_inbox, 0, 2);
    tcase_add_test(tests, refused_for_now);
    tcase_add_loop_test(tests, answer_out_of_the_blue, 0, 6);
    tcase_add_loop_test(tests, answered_before_a_drop, 0, (int)EVB_COUNT(unread));
    tcase_add_test(tests, no_memory);
    return run_suite(suite);
}
