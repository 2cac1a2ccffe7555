/* test_subscribe.c - options, waiting for Redis's word, queues' subscriptions, and no memory. */
#include "bus_fixture.h"
#include "list.h"

static const struct {
    const char *options;
    bool good;
} options[] = {
    {NULL, true},
    {"", true},
    {"scope=both echo=yes deliver=loop size=1 bytes=1 full=drop-oldest", true},
    {"scope=local", true},
    {"scope='redis' echo=no", true},
    {"deliver=inline", true},
    {"size=1000000000 bytes=1GiB full=drop-newest", true},
    {"scope=all", false},
    {"scope=", false},
    {"echo=perhaps", false},
    {"deliver=workers", false}, /* the bus has none */
    {"key=type", false},
    {"limit=1", true},
    {"limit=9223372036854775807", true},
    {"limit=0", false},
    {"limit=-1", false},
    {"limit=9223372036854775808", false},
    {"limit=x", false},
    {"size=0", false},
    {"size=-1", false},
    {"size=1073741824", false},
    {"size=x", false},
    {"bytes=0", false},
    {"bytes=9223372036854775808", false},
    {"full=reject", false},
    {"full=off", false},
    {"tag=1", false},
    {"scope=local scope=redis", false},
    {"scope", false},
    {"=1", false},
    {"scope='local", false},
    {"scope=local,echo=no", false},
};

START_TEST(option)
{
    bus = open_on(false, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "t", options[_i].options, on_event, NULL);
    ck_assert_msg(!!sub == options[_i].good, "%s: %s", options[_i].options, evbus_last_error());
    if (!sub)
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), options[_i].good);
    if (sub)
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
}
END_TEST

START_TEST(queue_option)
{
    static const char *const bad[] = {"scope=local",  "size=0", "full=off",
                                      "deliver=loop", "size",   "limit=1"};
    bus = open_on(false, NULL);
    for (size_t i = 0; i < EVB_COUNT(bad); i++) {
        ck_assert_ptr_null(evbus_queue_open(bus, bad[i]));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    }
    evbus_queue *queue = evbus_queue_open(bus, "size=2 bytes=1KiB full=drop-newest");
    ck_assert_ptr_nonnull(queue);
    ck_assert_ptr_null(evbus_queue_subscribe(queue, "t", "size=1", 0)); /* it is the queue's */
    ck_assert_ptr_null(evbus_queue_subscribe(queue, "t", "deliver=inline", 0));
    ck_assert_ptr_null(evbus_queue_subscribe(queue, "a b", NULL, 0));
    ck_assert_ptr_null(evbus_queue_subscribe(NULL, "t", NULL, 0));
    ck_assert_ptr_null(evbus_queue_subscribe(queue, NULL, NULL, 0));
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", "scope=local echo=yes", 5);
    ck_assert_ptr_nonnull(sub);
    for (int i = 0; i < 5; i++)
        evbus_publish(bus, "t", NULL);
    ck_assert_int_eq(evbus_queue_stat(queue, "queued"), 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 3);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
}
END_TEST

/* ---- waiting ---- */

START_TEST(wait_tells)
{
    scripted_answer(server, "PSUBSCRIBE", "-NOPERM x\r\n", 0);
    bus = open_on(true, NULL);
    evbus_sub *both = subscribe("t", NULL, ""), *local = subscribe("t", "scope=local", ""),
              *refused = subscribe("p.*", NULL, ""), *alone = subscribe("p.*", "scope=local", "");
    ck_assert_int_eq(evbus_sub_wait(both, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_sub_wait(both, 1000), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_sub_wait(local, 0), 0); /* needs no Redis, whoever shares its pattern */
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_sub_wait(both, 0), 0);
    ck_assert_int_eq(evbus_sub_wait(local, 0), 0);
    ck_assert_int_eq(evbus_sub_wait(refused, 0), EVBUS_EDENIED);
    ck_assert_int_eq(evbus_sub_wait(alone, 0), 0);
    evbus_publish(bus, "p.q", NULL); /* local events come */
    turn();
    ck_assert_int_eq(evbus_sub_stat(refused, "delivered"), 1);
    evbus_free(bus);
    bus = NULL;
    ck_assert_int_eq(evbus_sub_wait(both, 0), EVBUS_ECLOSED);
    ck_assert_str_eq(evbus_sub_pattern(both), "t");
    evbus_sub *subs[] = {both, local, refused, alone};
    for (size_t i = 0; i < EVB_COUNT(subs); i++)
        ck_assert_int_eq(evbus_unsubscribe(subs[i]), 0);
}
END_TEST

/* ---- a limit ---- */

static int publishes(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)event;
    (void)user;
    tell("%lld,%d ", (long long)evbus_sub_stat(sub, "delivered"), evbus_sub_wait(sub, 0));
    evbus_publish(bus, "t", NULL); /* its next one, if there is a next one */
    return 0;
}

static void is_free(void *user)
{
    (void)user;
    tell("free ");
}

static bool is_unsubscribed(void *arg)
{
    (void)arg;
    return scripted_count(server, "UNSUBSCRIBE") == 1;
}

/* It ends by itself, and Redis is told; the handle answers until it is given back. */
START_TEST(a_limit)
{
    static const char *const ways[] = {"limit=3", "limit=3 deliver=inline"};
    bus = open_on(true, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "t", ways[_i], publishes, NULL);
    ck_assert_int_eq(evbus_sub_on_free(sub, is_free), 0);
    await_mode(EVBUS_MODE_HYBRID);
    for (int n = 0; n < 5; n++)
        evbus_publish(bus, "t", NULL);
    for (int n = 0; n < 20; n++)
        turn();
    expect("0,0 1,0 2,0 free ");
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 3);
    ck_assert_str_eq(evbus_sub_pattern(sub), "t");
    ck_assert(run_until(base, is_unsubscribed, NULL, suite_patience(10000)));
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}
END_TEST

START_TEST(a_limit_in_a_queue)
{
    evbus_event *event;
    bus = open_on(false, NULL);
    evbus_queue *queue = evbus_queue_open(bus, "size=10");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", "limit=3", 5),
              *other = evbus_queue_subscribe(queue, "t", NULL, 6);
    for (int n = 0; n < 4; n++)
        evbus_publish(bus, "t", NULL);
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 1);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_queue_stat(queue, "queued"), 7);
    for (int64_t tag; evbus_queue_next(queue, 0, &event, &tag) == 1; evbus_event_unref(event))
        tell("%d ", (int)tag);
    expect("5 6 5 6 5 6 6 ");
    for (int n = 0; n < 2; n++) { /* what waits of it is let go with it, as it ever is */
        evbus_sub *gone = evbus_queue_subscribe(queue, "t", n ? "limit=1" : NULL, 7);
        evbus_publish(bus, "t", NULL);
        evbus_unsubscribe(gone);
    }
    for (int64_t tag; evbus_queue_next(queue, 0, &event, &tag) == 1; evbus_event_unref(event))
        tell("%d ", (int)tag);
    expect("6 6 ");
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(other);
}
END_TEST

/* ---- no memory ---- */

/* Every n-th allocation fails: a subscription that works, or NULL and nothing left. */
START_TEST(no_memory)
{
    static const char *const patterns[] = {"t", "t.*", "t.>", "glob:t*"};
    bool failed = true;
    bus = open_on(_i >= 2, NULL);
    if (_i >= 2)
        await_mode(EVBUS_MODE_HYBRID);
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 200);
        failed = false;
        for (size_t p = 0; p < EVB_COUNT(patterns); p++) {
            failing_at(n, _i % 2);
            evbus_sub *sub =
                evbus_subscribe(bus, patterns[p], p % 2 ? "limit=9" : NULL, on_event, "");
            bool none = failing_off();
            failed = failed || none;
            ck_assert(sub || (none && evbus_last_code() == EVBUS_ENOMEM));
            ck_assert_int_eq(evbus_stat(bus, "subscriptions"), sub != NULL);
            turn();
            if (sub)
                evbus_unsubscribe(sub);
            turn();
            ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
        }
    }
}
END_TEST

START_TEST(no_memory_for_a_queue)
{
    bool failed = true;
    bus = open_on(false, NULL);
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 200);
        failing_at(n, _i);
        evbus_queue *queue = evbus_queue_open(bus, "size=10");
        evbus_sub *sub = queue ? evbus_queue_subscribe(queue, "t", "limit=9", 1) : NULL;
        failed = failing_off();
        ck_assert(failed || (queue && sub));
        ck_assert(sub || evbus_last_code() == EVBUS_ENOMEM);
        evbus_publish(bus, "t", NULL);
        if (queue)
            ck_assert_int_eq(evbus_queue_stat(queue, "queued"), sub != NULL);
        evbus_queue_free(queue);
        if (sub)
            evbus_unsubscribe(sub);
        ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("subscribe");
    TCase *tests = tcase_create("subscribe");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, option, 0, (int)EVB_COUNT(options));
    tcase_add_test(tests, queue_option);
    tcase_add_test(tests, wait_tells);
    tcase_add_loop_test(tests, a_limit, 0, 2);
    tcase_add_test(tests, a_limit_in_a_queue);
    tcase_add_loop_test(tests, no_memory, 0, 4);
    tcase_add_loop_test(tests, no_memory_for_a_queue, 0, 2);
    return run(suite);
}
