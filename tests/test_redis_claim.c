/* test_redis_claim.c - leases: what is sent, what each answer means, what follows a broken one. */
#include "claim_fixture.h"
#include "bus.h"
#include "redis_claim.h"

static struct evb_key_leases leases;
static struct evb_key_lease lease;

static void on_lease(struct evb_key_lease *one, const struct evb_key_lease_answer *answer)
{
    ck_assert_ptr_eq(one, &lease);
    tell("%d:%d", answer->verb, answer->result);
    if (answer->result == EVB_KEY_LEASE_OK)
        tell("%s", answer->was_free ? "free" : "");
    if (answer->result == EVB_KEY_LEASE_OTHERS || answer->result == EVB_KEY_LEASE_OVER)
        tell("%s,%lld", answer->holder, (long long)answer->left_ms);
    tell(" ");
}

static void begin_lease(void)
{
    begin();
    evb_key_leases_init(&leases, &bus->redis.asks);
    lease = (struct evb_key_lease){.key = "k", .owner = "me", .ttl_ms = 1000, .fn = on_lease};
}

static bool is_over(void *unused)
{
    (void)unused;
    return lease.verb == EVB_KEY_LEASE_NONE;
}

/* As on the loop: what is asked goes when its round ends. */
static void put(enum evb_key_lease_verb verb)
{
    evb_loop_begin(&bus->loop);
    ck_assert(evb_key_lease_ask(&leases, &lease, verb));
    evb_loop_end(&bus->loop);
}

static void ask(enum evb_key_lease_verb verb)
{
    put(verb);
    ck_assert_int_eq(lease.verb, verb);
    ck_assert(run_until(base, is_over, NULL, suite_patience(10000)));
}

START_TEST(life)
{
    int64_t before_ms = evb_clock_boot_ms();
    ask(EVB_KEY_LEASE_TAKE);
    ck_assert_int_ge(lease.until_ms, before_ms + 1000);
    ck_assert_int_le(lease.until_ms, evb_clock_boot_ms() + 1000);
    ck_assert_str_eq(last_call, "take k me 1000");
    ck_assert_str_eq(value_of("k"), "me");
    ask(EVB_KEY_LEASE_TAKE);
    ask(EVB_KEY_LEASE_RELEASE);
    ck_assert_str_eq(value_of("k"), "");
    ask(EVB_KEY_LEASE_RELEASE);
    ask(EVB_KEY_LEASE_DONE);
    ask(EVB_KEY_LEASE_TAKE);
    expect("1:0free 1:0 3:0 3:0free 2:0free 1:2done,500 ");
    set_key("k", "you");
    ask(EVB_KEY_LEASE_TAKE);
    ask(EVB_KEY_LEASE_DONE);
    ask(EVB_KEY_LEASE_RELEASE);
    expect("1:1you,500 2:1you,500 3:1you,500 ");
    ck_assert_str_eq(value_of("k"), "you");
}
END_TEST

static const struct {
    const char *reply, *story;
} replies[] = {
    {"-BUSY Redis is busy\r\n", "1:3 "},
    {"-ERR user_script:8: -OOM command not allowed\r\n", "1:3 "},
    {"-NOPERM this user has no permissions\r\n", "1:4 "},
    {"-WRONGTYPE Operation against a key\r\n", "1:4 "},
    {"+OK\r\n", "1:4 "},
    {"*2\r\n:1\r\n$0\r\n\r\n", "1:4 "},
    {"*3\r\n:1\r\n:0\r\n:0\r\n", "1:4 "},
    {"*3\r\n:0\r\n$3\r\nyou\r\n:-1\r\n", "1:1you,-1 "},
};

START_TEST(answers_mean)
{
    answer_with(replies[_i].reply, 1);
    ask(EVB_KEY_LEASE_TAKE);
    expect(replies[_i].story);
}
END_TEST

/* It is sent again, whole. */
START_TEST(script_is_flushed)
{
    ask(EVB_KEY_LEASE_TAKE);
    ck_assert(leases.known);
    script_known = false;
    ask(EVB_KEY_LEASE_TAKE);
    expect("1:0free 1:0 ");
    ck_assert_int_eq(script_calls, 3);
}
END_TEST

/* Of what is asked meanwhile the last counts. */
START_TEST(one_at_a_time)
{
    put(EVB_KEY_LEASE_TAKE);
    put(EVB_KEY_LEASE_RELEASE);
    put(EVB_KEY_LEASE_DONE);
    ck_assert(run_until(base, is_over, NULL, suite_patience(10000)));
    expect("1:0free 2:0 ");
    ck_assert_str_eq(value_of("k"), "done");
}
END_TEST

START_TEST(link_is_lost)
{
    answer_with("", 0);
    put(EVB_KEY_LEASE_TAKE);
    put(EVB_KEY_LEASE_DONE);
    run_for(base, 5);
    expect("");
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
    expect("1:5 ");
    ck_assert_int_eq(lease.verb, EVB_KEY_LEASE_NONE);
    ck_assert(!evb_key_lease_ask(&leases, &lease, EVB_KEY_LEASE_TAKE));
    ck_assert_int_eq(lease.verb, EVB_KEY_LEASE_NONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_claim");
    TCase *tests = tcase_create("redis_claim");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin_lease, end);
    tcase_add_test(tests, life);
    tcase_add_loop_test(tests, answers_mean, 0, (int)EVB_COUNT(replies));
    tcase_add_test(tests, script_is_flushed);
    tcase_add_test(tests, one_at_a_time);
    tcase_add_test(tests, link_is_lost);
    return run(suite);
}
