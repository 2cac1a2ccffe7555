/* test_claim_key.c - evbus_claim() and evbus_release(): answers, refusals, what this bus holds. */
#include "claim_fixture.h"
#include "claim.h"
#include <pthread.h>

static char why[400]; /* of the last error */

static void on_done(int result, void *user)
{
    snprintf(why, sizeof why, "%s", result < 0 ? evbus_last_error() : "");
    tell("%s%d ", (const char *)user, result);
    if (result < 0)
        ck_assert_int_eq(evbus_last_code(), result);
}

static void claim(const char *key, int64_t ttl_ms)
{
    ck_assert_msg(evbus_claim_async(bus, key, ttl_ms, on_done, (void *)key) == 0, "%s",
                  evbus_last_error());
}

static bool is_free(void *key)
{
    return !*value_of(key);
}

START_TEST(one_at_a_time)
{
    char owner[60], last[] = "b0 ";
    claim("a", 0);
    expect(""); /* never from inside the call */
    set_key("evbus:claim:b", "other");
    claim("b", 5000);
    await(last);
    expect("a1 b0 ");
    snprintf(owner, sizeof owner, "take evbus:claim:a %s 300000", evbus_node(bus));
    ck_assert_ptr_nonnull(strstr(all_calls, owner));
    ck_assert_str_eq(value_of("evbus:claim:a"), evbus_node(bus));
    ck_assert_int_eq(evbus_release(bus, "b"), EVBUS_ENOENT);
    ck_assert_str_eq(evbus_last_error(), "this bus does not hold b");
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
    ck_assert_int_eq(evbus_release(bus, "a"), EVBUS_ENOENT);
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:a"), "");
    ck_assert_int_eq(evbus_stat(bus, "claims_won"), 1);
    ck_assert_int_eq(evbus_stat(bus, "claims_lost"), 1);
}
END_TEST

/* What it held ends by itself: then there is nothing to give back. */
START_TEST(runs_out)
{
    char won[] = "a1 ";
    claim("a", 20);
    await(won);
    run_for(base, 30);
    ck_assert_int_eq(evbus_release(bus, "a"), EVBUS_ENOENT);
}
END_TEST

static const struct {
    const char *reply, *story, *says;
} refusals[] = {
    {"-NOPERM this user has no permissions to run the 'eval' command\r\n", "a-12 ", "+eval"},
    {"-NOPERM x\r\n", "a-12 ", "~evbus:claim:*"},
    {"-WRONGTYPE Operation against a key\r\n", "a-17 ", "WRONGTYPE"},
    {"-OOM command not allowed\r\n", "a-4 ", "right now: OOM"},
    {"+OK\r\n", "a-17 ", "not the answer"},
};

START_TEST(refused)
{
    char told[] = "a";
    answer_with(refusals[_i].reply, 1);
    claim("a", 0);
    await(told);
    expect(refusals[_i].story);
    ck_assert_msg(strstr(why, refusals[_i].says), "%s", why);
    ck_assert_int_eq(evbus_release(bus, "a"), EVBUS_ENOENT);
}
END_TEST

/* The answer that it is won is lost with the connection: it is asked for again, and won. */
START_TEST(answer_is_lost)
{
    char asked[] = "take evbus:claim:a", won[] = "a1 ";
    answer_with("", 1);
    claim("a", 0);
    await_call(asked);
    set_key("evbus:claim:a", evbus_node(bus));
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await(won);
    expect("a1 ");
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
}
END_TEST

/* It does not come back in time: nobody is told that it is lost. */
START_TEST(does_not_come_back)
{
    char asked[] = "take evbus:claim:a", away[] = "a-4 ";
    answer_with("", 1);
    claim("a", 30);
    await_call(asked);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await(away);
    ck_assert_ptr_nonnull(strstr(why, "may hold"));
    story[0] = '\0';
    claim("b", 0); /* and now it is away */
    char told[] = "b-4 ";
    await(told);
}
END_TEST

/* A release that finds Redis away goes when it is back. */
START_TEST(released_later)
{
    char won[] = "a1 ", released[] = "release evbus:claim:a";
    claim("a", 0);
    await(won);
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
    scripted_listen(server, true);
    await_call(released);
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:a"), "");
}
END_TEST

/* One that Redis will not take right now is said again. */
START_TEST(released_when_calm)
{
    char won[] = "a1 ", released[] = "release evbus:claim:a";
    claim("a", 0);
    await(won);
    answer_with("-BUSY Redis is busy running a script\r\n", 2);
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
    await_call(released);
    ck_assert_str_eq(value_of("evbus:claim:a"), evbus_node(bus));
    ck_assert(run_until(base, is_free, "evbus:claim:a", suite_patience(10000)));
    run_for(base, 5);
    ck_assert(evb_list_empty(&bus->claims->calls));
}
END_TEST

/* It is claimed anew before that: then it stays. */
START_TEST(claimed_before_calm)
{
    char won[] = "a1 ", released[] = "release evbus:claim:a";
    claim("a", 0);
    await(won);
    story[0] = '\0';
    answer_with("-BUSY Redis is busy running a script\r\n", 1);
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
    await_call(released);
    claim("a", 0);
    await(won);
    while (!evb_list_empty(&bus->claims->calls))
        run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:a"), evbus_node(bus));
    ck_assert_int_eq(evbus_release(bus, "a"), 0);
    ck_assert(run_until(base, is_free, "evbus:claim:a", suite_patience(10000)));
}
END_TEST

START_TEST(bus_is_closed)
{
    char asked[] = "take evbus:claim:a", told[] = "a-7 ";
    answer_with("", 1);
    claim("a", 0);
    await_call(asked);
    evbus_free(bus);
    bus = NULL;
    await(told);
}
END_TEST

/* So many and no more; the old ones make room. */
START_TEST(bounded)
{
    char key[20], last[] = "last1 ";
    static const char free_reply[] = "*3\r\n:1\r\n$0\r\n\r\n:0\r\n";
    answer_with(free_reply, 0);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ck_assert_int_eq(evbus_claim_async(bus, key, i < 10 ? 300 : 600000, on_done, ""), 0);
        if (i % 100 == 99) {
            turn();
            story[0] = '\0';
        }
    }
    while (evbus_stat(bus, "claims_won") < 10000)
        run_for(base, 1);
    if (evbus_claim_async(bus, "more", 0, on_done, "more") != 0)
        ck_assert_int_eq(evbus_last_code(), EVBUS_EFULL);
    run_for(base, 310); /* ten of them have run out */
    story[0] = '\0';
    ck_assert_int_eq(evbus_claim_async(bus, "last", 0, on_done, "last"), 0);
    await(last);
}
END_TEST

/* ---- waiting ---- */

static void *claim_waiting(void *result)
{
    *(_Atomic int *)result = evbus_claim(bus, "w", 0, 50);
    return NULL;
}

static void *make_record(void *unused)
{
    ck_assert_ptr_nonnull(evb_thread_self());
    return unused;
}

/* Threads' records are the process's: there is one for another thread before anybody counts. */
static void begin_with_thread(void)
{
    pthread_t thread;
    make_record(NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_record, NULL), 0);
    pthread_join(thread, NULL);
    begin();
}

static bool is_set(void *result)
{
    return *(_Atomic int *)result != 99;
}

/* Won after nobody waits any more: it is given back. */
START_TEST(too_late)
{
    static _Atomic int result = 99;
    char asked[] = "take evbus:claim:w", released[] = "release evbus:claim:w";
    pthread_t thread;
    ck_assert_int_eq(evbus_claim(bus, "w", 0, -1), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_claim(bus, "w", 0, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(pthread_create(&thread, NULL, claim_waiting, (void *)&result), 0);
    answer_with("", 1);
    await_call(asked);
    ck_assert(run_until(base, is_set, (void *)&result, suite_patience(10000)));
    pthread_join(thread, NULL);
    ck_assert_int_eq(result, EVBUS_ETIMEDOUT);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_call(released);
    run_for(base, 5);
    ck_assert_str_eq(value_of("evbus:claim:w"), "");
}
END_TEST

START_TEST(no_memory)
{
    bool failed = true;
    for (long n = 0; failed && n < 50; n++) {
        failing_at(n, false);
        if (evbus_claim_async(bus, "a", 0, on_done, "a") == 0)
            run_for(base, 3);
        if (evbus_release(bus, "a") == 0)
            run_for(base, 3);
        failed = failing_off();
        run_for(base, 3);
        await_mode(EVBUS_MODE_HYBRID);
        story[0] = '\0';
    }
    ck_assert(!failed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claim_key");
    TCase *tests = tcase_create("claim_key");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin_with_thread, end);
    tcase_add_test(tests, one_at_a_time);
    tcase_add_test(tests, runs_out);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(tests, answer_is_lost);
    tcase_add_test(tests, does_not_come_back);
    tcase_add_test(tests, released_later);
    tcase_add_test(tests, released_when_calm);
    tcase_add_test(tests, claimed_before_calm);
    tcase_add_test(tests, bus_is_closed);
    tcase_add_test(tests, bounded);
    tcase_add_test(tests, too_late);
    tcase_add_test(tests, no_memory);
    return run(suite);
}
