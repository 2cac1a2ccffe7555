/* test_redis_pair.c - how the two connections come, go, and come back. */
#include "redis_fixture.h"

START_TEST(gives_up)
{
    char error[100];
    scripted_listen(server, false);
    set.max_retries = _i;
    ck_assert_int_eq(open_redis(), 0);
    for (int round = 0; round < 2; round++) {
        redis.backoff.attempts = 0; /* as evbus_reconnect() does */
        story[0] = '\0';
        start();
        await(EVB_REDIS_OFF);
        for (int i = 0; i <= _i; i++) {
            ck_assert_int_eq(strncmp(story, "dialing backoff ", 16), 0);
            memmove(story, story + 16, strlen(story + 16) + 1);
        }
        ck_assert_str_eq(story, "off ");
        ck_assert_int_eq(atomic_load(&redis.retry_at_ms), 0);
    }
    evb_fault_read(&redis.fault, error, sizeof error);
    ck_assert_str_ne(error, "");
    scripted_listen(server, true);
    start();
    await(EVB_REDIS_READY);
}
END_TEST

START_TEST(comes_back)
{
    come_up();
    want("a", false);
    await_story("+a ");
    story[0] = '\0';
    scripted_close(server, _i);
    await_story("backoff ");
    ck_assert_ptr_nonnull(strstr(last_why, "closed by the server"));
    publish(1, 0);
    await(EVB_REDIS_READY);
    await_story("a1 ");
    ck_assert_str_eq(story, "backoff dialing handshake +a ready a1 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_disconnects), 1);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connects), 2);
}
END_TEST

START_TEST(stops_anywhere)
{
    static const int states[] = {EVB_REDIS_OFF, EVB_REDIS_DIALING, EVB_REDIS_HANDSHAKE,
                                 EVB_REDIS_BACKOFF, EVB_REDIS_RESOLVING};
    if (states[_i] == EVB_REDIS_BACKOFF)
        scripted_listen(server, false);
    if (states[_i] == EVB_REDIS_RESOLVING) {
        set.path = "";
        set.host = "no.such.host.example";
    }
    set.backoff_ms = set.backoff_max_ms = 1000000;
    ck_assert_int_eq(open_redis(), 0);
    if (_i)
        start();
    await(states[_i]);
    story[0] = '\0';
    stop();
    ck_assert_str_eq(story, "closing off ");
    run_for(base, 10);
    ck_assert_str_eq(story, "closing off ");
}
END_TEST

START_TEST(in_flight_at_a_drop)
{
    redis.outbox.may_resend = true;
    come_up();
    redis.outbox.may_resend = _i;
    scripted_answer(server, "PUBLISH", "", 2);
    publish(1, 0);
    publish(2, 0);
    run_for(base, 5);
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story("ready ");
    publish(3, 0);
    await_story("a3 ");
    ck_assert_str_eq(story, _i ? "backoff dialing handshake ready a1 a2 a3 "
                               : "u1 u2 backoff dialing handshake ready a3 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis pair");
    TCase *tests = tcase_create("redis pair");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, gives_up, 0, 3);
    tcase_add_loop_test(tests, comes_back, SCRIPTED_PUBLISHER, SCRIPTED_SUBSCRIBER + 2);
    tcase_add_loop_test(tests, stops_anywhere, 0, 5);
    tcase_add_loop_test(tests, in_flight_at_a_drop, 0, 2);
    return run_suite(suite);
}
