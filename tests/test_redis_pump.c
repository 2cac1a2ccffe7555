/* test_redis_pump.c - what leaves the outbox: to the publishing connection, or by its age. */
#include "history_fixture.h"
#include "pair_fixture.h"

/* ---- to the connection ---- */

static void expect_written(int count)
{
    ck_assert_uint_eq(redis.outbox.written_count, (unsigned)count);
}

START_TEST(writes_what_waits)
{
    come_up();
    evb_loop_begin(&loop);
    ck_assert(!evb_redis_idle(&redis));
    publish(1, 0);
    publish(2, 0);
    expect_written(0);
    ck_assert(evb_redis_idle(&redis));
    expect_written(2);
    ck_assert(!evb_redis_idle(&redis));
    evb_loop_end(&loop);
    await_story("a1 a2 ");
}
END_TEST

/* In no state but READY, whatever the connection may take. */
START_TEST(writes_when_ready)
{
    bool ready = _i == EVB_REDIS_READY;
    come_up();
    evb_loop_begin(&loop);
    publish(1, 0);
    atomic_store(&redis.state, _i);
    ck_assert_int_eq(evb_redis_idle(&redis), ready);
    expect_written(ready);
    atomic_store(&redis.state, EVB_REDIS_READY);
    evb_loop_end(&loop);
    await_story("a1 ");
}
END_TEST

START_TEST(writes_to_a_link_that_is_up)
{
    static const enum evb_link_stage stages[] = {EVB_LINK_CLOSED, EVB_LINK_CONNECTING,
                                                 EVB_LINK_SECURING};
    come_up();
    evb_loop_begin(&loop);
    publish(1, 0);
    redis.publisher.stage = stages[_i];
    ck_assert(!evb_redis_idle(&redis));
    expect_written(0);
    redis.publisher.stage = EVB_LINK_UP;
    evb_loop_end(&loop);
    await_story("a1 ");
}
END_TEST

/* What the subscriptions want goes in the same round, and is no event. */
START_TEST(flushes_the_subscriber)
{
    come_up();
    evb_loop_begin(&loop);
    want("a", false);
    ck_assert_uint_gt(evb_link_backlog(&redis.subscriber), 0);
    ck_assert(!evb_redis_idle(&redis));
    ck_assert_uint_eq(evb_link_backlog(&redis.subscriber), 0);
    evb_loop_end(&loop);
    await_story("+a ");
}
END_TEST

static void publish_many(int count)
{
    redis.outbox.max_events = count;
    redis.outbox.max_bytes = count * 10;
    for (int id = 1; id <= count; id++)
        publish(id, 0);
}

static bool are_acked(void *count)
{
    return evb_metrics_read(&metrics, EVB_COUNT_acked) == *(int *)count;
}

static void expect_acked(int count)
{
    ck_assert(run_until(base, are_acked, &count, 20000));
    ck_assert_int_eq(strncmp(story, "a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 ", 31), 0);
    ck_assert(evb_list_empty(&redis.outbox.waiting) && evb_outbox_settled(&redis.outbox));
}

/* The kernel takes what it has room for, the connection a little more; the rest waits. */
START_TEST(holds_back)
{
    enum { MANY = 20000, COMMAND = 100 };
    size_t backlog;
    come_up();
    scripted_deafen(server, SCRIPTED_PUBLISHER, true);
    evb_loop_begin(&loop);
    publish_many(MANY);
    ck_assert(evb_redis_idle(&redis));
    backlog = evb_link_backlog(&redis.publisher);
    ck_assert(backlog > 0 && backlog < EVB_LINK_FULL + COMMAND);
    evb_redis_idle(&redis);
    backlog = evb_link_backlog(&redis.publisher);
    ck_assert(backlog >= EVB_LINK_FULL && backlog < EVB_LINK_FULL + COMMAND);
    ck_assert(!evb_redis_idle(&redis));
    ck_assert(!evb_list_empty(&redis.outbox.waiting));
    evb_loop_end(&loop);
    scripted_deafen(server, SCRIPTED_PUBLISHER, false);
    expect_acked(MANY);
}
END_TEST

/* More waits than the connection takes at once, and it breaks: all waits again. */
START_TEST(breaks_under_it)
{
    enum { MANY = 3000 };
    come_up();
    event_del(redis.publisher.readable);
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_hang_up(&redis.publisher);
    evb_loop_begin(&loop);
    publish_many(MANY);
    ck_assert(!evb_redis_idle(&redis));
    ck_assert_str_eq(story, "backoff ");
    expect_written(0);
    ck_assert_int_eq(atomic_load(&redis.outbox.owed.events), MANY);
    evb_loop_end(&loop);
    await(EVB_REDIS_READY);
    ck_assert_str_eq(story, "backoff dialing handshake ready ");
    story[0] = '\0';
    expect_acked(MANY);
}
END_TEST

/* ---- by the script ---- */

/* Some go in one call; behind the first call of a connection no other goes before its answer. */
START_TEST(calls)
{
    come_up_keeping();
    evb_loop_begin(&loop);
    publish_as(1, 0, true);
    publish_as(2, 0, true);
    ck_assert(evb_redis_idle(&redis));
    ck_assert(redis.outbox.history && redis.outbox.hold);
    publish_as(3, 0, true);
    ck_assert(!evb_redis_idle(&redis));
    expect_written(1);
    evb_loop_end(&loop);
    await_story("a1 a2 a3 ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 2);
    /* the last one sent before it, its own, the last one answered */
    ck_assert_ptr_nonnull(strstr(keeper_last(keeper, KEEPER_APPEND), ":{0} 2 3 2 "));
    evb_loop_begin(&loop);
    publish_as(4, 0, true);
    publish_as(5, 0, false);
    ck_assert(evb_redis_idle(&redis));
    ck_assert(!redis.outbox.hold);
    expect_written(4);
    evb_loop_end(&loop);
    await_story("a4 a5 ");
    ck_assert_int_eq(keeper_length(keeper), 4);
    ck_assert_int_eq(scripted_count(server, "PUBLISH"), 1);
}
END_TEST

static bool in_a_group(const struct evb_item *item, void *groups)
{
    (void)item;
    (void)groups;
    return true;
}

/* Without a history PUBLISH does, but for groups. */
START_TEST(no_script)
{
    come_up();
    redis.stream.no_script = true;
    publish_as(1, 0, true);
    await_story("a1 ");
    ck_assert_int_eq(scripted_count(server, "EVAL"), 0);
    redis.outbox.grouped = in_a_group;
    publish(2, 0);
    await_story("f2 ");
    ck_assert_int_eq(scripted_count(server, "EVAL"), 0);
}
END_TEST

/* ---- by age ---- */

static const struct {
    int64_t ttl_ms, then_ms; /* 0: no such event */
    int64_t due_ms;          /* from now; 0: none is planned */
} plans[] = {
    {0, 0, 0},   {100, 0, 101}, /* it is over when that time has passed */
    {11, 0, 12}, {10, 0, 10},   /* not at once: others may come in between */
    {1, 0, 10},  {100, 1000, 101}, {1000, 100, 101}, {100, 100, 101}, {12, 1, 10},
};

START_TEST(plans_the_next_end)
{
    open_at_rest();
    redis.outbox.max_age_ms = 0;
    publish(1, plans[_i].ttl_ms);
    if (plans[_i].then_ms)
        publish(2, plans[_i].then_ms);
    ck_assert_int_eq(is_pending(redis.expiry), plans[_i].due_ms > 0);
    if (plans[_i].due_ms)
        ck_assert_int_eq(redis.expiry_ms - now_ms, plans[_i].due_ms);
}
END_TEST

/* Whatever happens until then does not put it off. */
START_TEST(what_is_planned_stays)
{
    open_at_rest();
    publish(1, 5);
    int64_t due_ms = redis.expiry_ms;
    now_ms += 4;
    publish(2, 0);
    ck_assert_int_eq(redis.expiry_ms, due_ms);
    ck_assert(is_pending(redis.expiry));
}
END_TEST

START_TEST(plans_no_end)
{
    open_at_rest();
    publish(1, 50);
    ck_assert(is_pending(redis.expiry));
    now_ms += 50;
    evb_loop_begin(&loop);
    evb_outbox_expire(&redis.outbox);
    evb_loop_end(&loop);
    ck_assert_str_eq(story, "x1 ");
    ck_assert(!is_pending(redis.expiry));
}
END_TEST

/* What is too old is not written; nothing else has to look for it. */
START_TEST(plans_none_when_ready)
{
    ck_assert_int_eq(open_redis(), 0);
    publish(1, 1000000);
    ck_assert(is_pending(redis.expiry));
    scripted_answer(server, "PUBLISH", "", 0);
    scripted_answer(server, "SUBSCRIBE", "-NOPERM x\r\n", 0);
    start();
    await(EVB_REDIS_READY);
    publish(2, 1000000);
    ck_assert(!is_pending(redis.expiry));
}
END_TEST

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
    TCase *tests = tcase_create("redis pump"), *script = tcase_create("by the script");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, writes_what_waits);
    tcase_add_loop_test(tests, writes_when_ready, 0, EVB_REDIS_STATES);
    tcase_add_loop_test(tests, writes_to_a_link_that_is_up, 0, 3);
    tcase_add_test(tests, flushes_the_subscriber);
    tcase_add_test(tests, holds_back);
    tcase_add_test(tests, breaks_under_it);
    tcase_add_test(tests, no_script);
    tcase_add_loop_test(tests, plans_the_next_end, 0, (int)EVB_COUNT(plans));
    tcase_add_test(tests, what_is_planned_stays);
    tcase_add_test(tests, plans_no_end);
    tcase_add_test(tests, plans_none_when_ready);
    tcase_add_test(tests, expires_while_away);

    suite_add_tcase(suite, script);
    tcase_set_timeout(script, 60);
    tcase_add_checked_fixture(script, setup_history, teardown_history);
    tcase_add_test(script, calls);
    return run_suite(suite);
}
