/* test_claim_sub.c - what becomes of an event by what Redis answers, one thread, a Redis in memory. */
#include "claim_fixture.h"
#include <pthread.h>
#include <stdatomic.h>

static evbus_sub *sub;
static int rc; /* the handler's */

static int on_claimed(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s ", evbus_event_type(event));
    return rc;
}

static void claim(const char *options)
{
    sub = evbus_subscribe(bus, "t.*", options, on_claimed, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    rc = 0;
}

static void finish(void)
{
    evbus_unsubscribe(sub);
    sub = NULL;
    end();
}

static bool is_live(void *unused)
{
    (void)unused;
    return evbus_sub_wait(sub, 0) == 0;
}

static void begin_live(void)
{
    begin();
    claim("claim=c");
    ck_assert(run_until(base, is_live, NULL, suite_patience(10000)));
}

START_TEST(wins)
{
    char want[] = "t.b ", settled[] = "done evbus:claim:c:t.b ";
    publish_id("t.a");
    publish_id("t.b");
    expect(""); /* it waits for Redis */
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 2);
    await(want);
    expect("t.a t.b ");
    await_call(settled);
    ck_assert_ptr_nonnull(strstr(last_call, " 3600000")); /* history.ttl is longer */
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "done");
    ck_assert_int_eq(evbus_stat(bus, "claims_won"), 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}
END_TEST

START_TEST(done_elsewhere)
{
    char lost[] = "claims_lost=2";
    set_key("evbus:claim:c:t.a", "done");
    set_key("evbus:claim:c:t.b", "done");
    publish_id("t.a");
    send_id("t.b");
    await_stat(lost);
    expect("");
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}
END_TEST

/* Somebody has it in progress: it is looked at again, until it is free or done. */
START_TEST(in_progress)
{
    char won[] = "claims_won=1", lost[] = "claims_lost=1";
    set_key("evbus:claim:c:t.a", "other-1");
    set_key("evbus:claim:c:t.b", "1"); /* as others write it */
    send_id("t.a");
    publish_id("t.b");
    run_for(base, 60);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 2);
    expect("");
    set_key("evbus:claim:c:t.a", "");
    await_stat(won);
    set_key("evbus:claim:c:t.b", "done");
    await_stat(lost);
    run_for(base, 5);
    expect("t.a ");
    ck_assert_int_eq(evbus_stat(bus, "claims_taken_over"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}
END_TEST

/* It is released, tried here three times in all, and let go. */
START_TEST(fails)
{
    char release[] = "release evbus:claim:c:t.a", thrice[] = "t.a t.a t.a ";
    rc = -1;
    publish_id("t.a");
    await_call(release);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "");
    await(thrice);
    run_for(base, 20);
    expect("t.a t.a t.a ");
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "");
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 3);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}
END_TEST

/* What was asked for is asked for again with the same owner, and is won if it was. */
START_TEST(answer_is_lost)
{
    char asked[] = "take evbus:claim:c:t.a", told[] = "t.a ", owner[100];
    answer_with("", 1);
    send_id("t.a");
    await_call(asked);
    ck_assert_int_eq(sscanf(last_call, "%*s %*s %99s", owner), 1);
    set_key("evbus:claim:c:t.a", owner);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await(told);
    run_for(base, 5);
    ck_assert_int_eq(evbus_stat(bus, "claims_won"), 1);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "done");
}
END_TEST

/* "done" is said again when its answer was lost, and that it was said before is no lapse. */
START_TEST(done_is_lost)
{
    char told[] = "t.a ", asked[] = "done evbus:claim:c:t.a";
    publish_id("t.a");
    await(told);
    set_key("evbus:claim:c:t.a", "done"); /* it had come so far */
    answer_with("", 1);
    await_call(asked);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    await_mode(EVBUS_MODE_HYBRID);
    run_for(base, 10);
    expect("t.a ");
    ck_assert_int_eq(evbus_stat(bus, "claims_lapsed"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
}
END_TEST

/* It passes, and the event is asked for again. */
START_TEST(busy)
{
    char told[] = "t.a ";
    answer_with("-BUSY Redis is busy running a script\r\n", 1);
    publish_id("t.a");
    await(told);
    expect("t.a ");
}
END_TEST

static const struct {
    const char *away, *away_story, *refused_story, *back_story;
} aways[] = {
    {"run", "t.a ", "t.c ", ""},
    {"skip", "", "", ""},
    {"wait", "", "", "t.a "},
};

/* Redis away: this process's events go by the setting. What was handled without it is marked when
 * it is back, before it is published. */
START_TEST(away)
{
    begin_with("claim.away", aways[_i].away);
    claim("claim=c");
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    publish_id("t.a");
    run_for(base, 20);
    expect(aways[_i].away_story);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), _i == 1);
    scripted_listen(server, true);
    await_mode(EVBUS_MODE_HYBRID);
    run_for(base, 20);
    expect(aways[_i].back_story);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), _i == 1 ? "" : "done");
    ck_assert_int_eq(evbus_stat(bus, "claims_lapsed"), 0);
    finish();
}
END_TEST

/* And where a right is missing all of them do. */
START_TEST(refused)
{
    begin_with("claim.away", aways[_i].away);
    claim("claim=c");
    answer_with("-NOPERM this user has no permissions to run the 'eval' command\r\n", 0);
    publish_id("t.c");
    run_for(base, 30);
    expect(aways[_i].refused_story);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), _i == 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), _i == 2);
    finish();
}
END_TEST

/* ---- with a worker ---- */

static atomic_int working, go_on;

static int on_worker(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)event;
    (void)user;
    atomic_fetch_add(&working, 1);
    while (!atomic_load(&go_on))
        nap_us(500);
    return 0;
}

static bool is_working(void *unused)
{
    (void)unused;
    return atomic_load(&working) > 0;
}

static bool is_owned(void *key)
{
    return *value_of(key);
}

static void *make_record(void *unused)
{
    ck_assert_ptr_nonnull(evb_thread_self());
    return unused;
}

/* The worker's record is the process's, and made before anybody counts. */
static void begin_working(void)
{
    pthread_t thread;
    make_record(NULL); /* this thread's comes first */
    ck_assert_int_eq(pthread_create(&thread, NULL, make_record, NULL), 0);
    pthread_join(thread, NULL);
    begin();
    atomic_store(&working, 0);
    atomic_store(&go_on, 0);
    sub = evbus_subscribe(bus, "t.*", "claim=c deliver=workers key=all", on_worker, NULL);
    publish_id("t.a");
    publish_id("t.b");
    ck_assert(run_until(base, is_working, NULL, suite_patience(10000)));
    run_for(base, 5);
    all_calls[0] = '\0';
}

static void end_working(void)
{
    evbus_unsubscribe(sub);
    end();
}

/* At a third of it, the one in the handler and the one behind it. */
START_TEST(renewed)
{
    char a[] = "take evbus:claim:c:t.a", b[] = "take evbus:claim:c:t.b", done[] = "claims_won=2";
    int64_t from_us = now_us();
    await_call(a);
    ck_assert_int_ge(now_us() - from_us, 200000);
    await_call(b);
    atomic_store(&go_on, 1);
    await_stat(done);
    ck_assert_int_eq(evbus_stat(bus, "claims_lapsed"), 0);
}
END_TEST

/* Somebody else has taken both: the one that runs is told as lapsed and writes nothing over it, the
 * one that waits is not begun. */
START_TEST(lapsed)
{
    char lapse[] = "claims_lapsed=1", a[] = "take evbus:claim:c:t.b";
    set_key("evbus:claim:c:t.a", "other-1");
    set_key("evbus:claim:c:t.b", "other-2");
    await_call(a);
    await_stat(lapse);
    atomic_store(&go_on, 1);
    run_for(base, 100);
    ck_assert_int_eq(atomic_load(&working), 1);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "other-1");
    ck_assert_str_eq(value_of("evbus:claim:c:t.b"), "other-2");
    ck_assert_int_eq(evbus_stat(bus, "claims_lapsed"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 1); /* it may become free */
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 0);
}
END_TEST

/* Begun while Redis is away: it is claimed when that is back, before others can hear of it. */
START_TEST(begun_while_away)
{
    char take[] = "take evbus:claim:c:t.c", done[] = "done evbus:claim:c:t.c";
    atomic_store(&go_on, 1);
    run_for(base, 10);
    atomic_store(&working, 0);
    atomic_store(&go_on, 0);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    publish_id("t.c");
    ck_assert(run_until(base, is_working, NULL, suite_patience(10000)));
    scripted_listen(server, true);
    await_call(take);
    ck_assert_ptr_null(strstr(last_publish, "t.c"));
    atomic_store(&go_on, 1);
    await_call(done);
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:c:t.c"), "done");
    ck_assert_int_eq(atomic_load(&working), 1);
    ck_assert_int_eq(evbus_stat(bus, "claims_lapsed"), 0);
}
END_TEST

/* Redis will not for a moment when it is back: it is claimed all the same while its handler runs. */
START_TEST(claimed_when_calm)
{
    char take[] = "take evbus:claim:c:t.c", owned[] = "evbus:claim:c:t.c";
    atomic_store(&go_on, 1);
    run_for(base, 10);
    atomic_store(&working, 0);
    atomic_store(&go_on, 0);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    publish_id("t.c");
    ck_assert(run_until(base, is_working, NULL, suite_patience(10000)));
    answer_with("-BUSY Redis is busy running a script\r\n", 1);
    scripted_listen(server, true);
    await_call(take);
    ck_assert(run_until(base, is_owned, owned, suite_patience(5000)));
    atomic_store(&go_on, 1);
    run_for(base, 30);
    ck_assert_str_eq(value_of(owned), "done");
    ck_assert_int_eq(atomic_load(&working), 1);
}
END_TEST

/* What is not begun is given back. */
START_TEST(ends)
{
    char released[] = "release evbus:claim:c:t.b";
    atomic_store(&go_on, 1);
    evbus_unsubscribe(sub);
    sub = evbus_subscribe(bus, "x", NULL, on_worker, NULL);
    if (atomic_load(&working) == 1)
        await_call(released);
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:c:t.a"), "done");
    ck_assert_str_eq(value_of("evbus:claim:c:t.b"), atomic_load(&working) == 1 ? "" : "done");
}
END_TEST

/* ---- doors ---- */

START_TEST(doors)
{
    begin();
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    ck_assert_ptr_null(evbus_subscribe(bus, "t", "claim=c deliver=inline", on_claimed, NULL));
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "deliver=workers"));
    ck_assert_ptr_null(evbus_queue_subscribe(queue, "t", "claim=c", 0));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_subscribe(bus, "t", "claim=", on_claimed, NULL));
    evbus_queue_free(queue);
    end();

    setup(); /* without Redis there is nobody else */
    bus = open_on(0, NULL);
    claim("claim=c");
    publish_id("t.a");
    turn();
    expect("t.a ");
    evbus_unsubscribe(sub);
    evbus_free(bus);
    bus = NULL;
    turn();
    teardown();
}
END_TEST

/* Each allocation fails once: the event is handled, or counted as dropped, and nothing is left. */
START_TEST(no_memory)
{
    bool failed = true;
    for (long n = 0; failed && n < 200; n++) {
        begin();
        claim("claim=c");
        failing_at(n, false);
        evbus_event *event = evbus_event_new("t.a");
        if (event && evbus_publish_event(bus, event, 0) > 0)
            run_for(base, 10);
        failed = failing_off();
        evbus_event_unref(event);
        for (int i = 0; i < 1000 && evbus_sub_stat(sub, "queued"); i++)
            run_for(base, 2);
        ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
        story[0] = '\0';
        finish();
    }
    ck_assert(!failed);
}
END_TEST

/* Freed with events in each state. */
START_TEST(freed)
{
    begin();
    claim("claim=c");
    ck_assert(run_until(base, is_live, NULL, suite_patience(10000)));
    set_key("evbus:claim:c:t.a", "other");
    send_id("t.a");
    run_for(base, 10);
    answer_with("", 0);
    send_id("t.b");
    if (_i)
        run_for(base, 10);
    publish_id("t.c");
    finish();
    ck_assert_str_eq(story, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claim_sub");
    TCase *tests = tcase_create("answers"), *workers = tcase_create("workers");
    TCase *alone = tcase_create("alone");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin_live, finish);
    tcase_add_test(tests, wins);
    tcase_add_test(tests, done_elsewhere);
    tcase_add_test(tests, in_progress);
    tcase_add_test(tests, fails);
    tcase_add_test(tests, answer_is_lost);
    tcase_add_test(tests, done_is_lost);
    tcase_add_test(tests, busy);
    suite_add_tcase(suite, workers);
    tcase_set_timeout(workers, suite_patience(60));
    tcase_add_checked_fixture(workers, begin_working, end_working);
    tcase_add_test(workers, renewed);
    tcase_add_test(workers, lapsed);
    tcase_add_test(workers, begun_while_away);
    tcase_add_test(workers, claimed_when_calm);
    tcase_add_test(workers, ends);
    suite_add_tcase(suite, alone);
    tcase_set_timeout(alone, suite_patience(60));
    tcase_add_loop_test(alone, away, 0, (int)EVB_COUNT(aways));
    tcase_add_loop_test(alone, refused, 0, (int)EVB_COUNT(aways));
    tcase_add_test(alone, doors);
    tcase_add_test(alone, no_memory);
    tcase_add_loop_test(alone, freed, 0, 2);
    return run(suite);
}
