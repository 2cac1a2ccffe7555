/* test_redis_pump.c - what leaves the outbox: to the publishing connection, or by its age. */
#include "redis_fixture.h"

/* While Redis is away each event ends in its time, and the loop sleeps in between. */
START_TEST(expires_while_away)
{
    set.backoff_ms = set.backoff_max_ms = 1000000;
    come_up();
    redis.outbox.max_age_ms = 60;
    scripted_answer(server, "PUBLISH", "", 1);
    publish(1, 0);
    run_for(base, 5);
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story("backoff ");
    redis.outbox.max_age_ms = 60;
    publish(2, 0);
    publish(3, 5);
    await_story("x3 x2 ");
    run_for(base, 5);
    ck_assert_int_eq(event_pending(redis.expiry, EV_TIMEOUT, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis pump");
    TCase *tests = tcase_create("redis pump");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, expires_while_away);
    return run_suite(suite);
}
