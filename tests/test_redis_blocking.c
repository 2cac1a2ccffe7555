/* test_redis_blocking.c - the connection that waits: it comes up beside the pair, brings answers,
 * and comes back by itself. */
#include "redis_blocking.h"
#include "redis_fixture.h"

static struct evb_blocking blocking;

static void on_up(void *user)
{
    ck_assert_ptr_eq(user, &blocking);
    tell("up ");
}

static void on_answer(const struct evb_reply *reply, void *user)
{
    (void)user;
    tell("%s ", reply->kind == EVB_REPLY_NIL ? "nil" : reply->text);
}

static void on_down(int error, const char *why, void *user)
{
    (void)user;
    tell("down:%d ", error);
    snprintf(last_why, sizeof last_why, "%s", why);
}

static const struct evb_blocking_hooks blocking_hooks = {on_up, on_answer, on_down};

static void setup_blocking(void)
{
    setup();
    set.ping_timeout_ms = 100;
    come_up();
    ck_assert_int_eq(evb_blocking_init(&blocking, &redis, &blocking_hooks, &blocking), 0);
}

static void teardown_blocking(void)
{
    evb_blocking_fini(&blocking);
    teardown();
}

static void open_it(void)
{
    char up[] = "up ";
    evb_loop_begin(&loop);
    evb_blocking_open(&blocking);
    evb_loop_end(&loop);
    await_story(up);
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_IDLE);
    story[0] = '\0';
}

static void ask(int64_t block_ms)
{
    static const char ping[] = "*1\r\n$4\r\nWAIT\r\n";
    struct evb_buf command;
    evb_buf_init(&command);
    evb_buf_text(&command, ping);
    evb_loop_begin(&loop);
    evb_blocking_ask(&blocking, &command, block_ms);
    evb_loop_end(&loop);
    evb_buf_fini(&command);
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_READING);
}

START_TEST(brings_answers)
{
    char ok[] = "OK ", nil[] = "nil ";
    open_it();
    ck_assert_int_eq(scripted_count(server, "HELLO"), 3);
    ask(1000);
    await_story(ok);
    scripted_answer(server, "WAIT", "*-1\r\n", 0);
    ask(1000);
    await_story(nil);
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_IDLE);
    evb_blocking_open(&blocking); /* it is open */
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_IDLE);
    evb_blocking_close(&blocking);
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_CLOSED);
    ck_assert_int_eq(atomic_load(&redis.state), EVB_REDIS_READY);
}
END_TEST

/* Redis may take its time, and not more. */
START_TEST(no_answer)
{
    char down[] = "down:", up[] = "up ";
    scripted_answer(server, "WAIT", "", 0);
    open_it();
    int64_t from_ms = evb_clock_mono_ms();
    ask(150);
    await_story(down);
    ck_assert_int_ge(evb_clock_mono_ms() - from_ms, 249);
    ck_assert_msg(strstr(last_why, "group connection: no answer in time"), "%s", last_why);
    await_story(up); /* by itself */
    ck_assert_int_eq(atomic_load(&redis.state), EVB_REDIS_READY);
}
END_TEST

static const char *const wrong[] = {"+OK\r\n+OK\r\n", ">3\r\n"};

START_TEST(wrong_answers)
{
    char down[] = "down:", up[] = "up ";
    scripted_answer(server, "WAIT", wrong[_i], 0);
    open_it();
    ask(1000);
    await_story(down);
    ck_assert_msg(strstr(last_why, "protocol error"), "%s", last_why);
    await_story(up);
}
END_TEST

START_TEST(refused)
{
    char down[] = "down:-12 ";
    scripted_answer(server, "HELLO", "-NOPERM x\r\n", 1);
    evb_loop_begin(&loop);
    evb_blocking_open(&blocking);
    evb_loop_end(&loop);
    await_story(down);
    ck_assert_int_eq(blocking.state, EVB_BLOCKING_PAUSED);
    char up[] = "up ";
    await_story(up);
}
END_TEST

START_TEST(no_memory)
{
    for (long n = 0;; n++) {
        story[0] = '\0';
        failing_at(n, false);
        evb_loop_begin(&loop);
        evb_blocking_open(&blocking);
        evb_loop_end(&loop);
        bool failed = failing_off();
        char up[] = "up ";
        await_story(up);
        evb_blocking_close(&blocking);
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis blocking");
    TCase *all = tcase_create("blocking");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_blocking, teardown_blocking);
    tcase_add_test(all, brings_answers);
    tcase_add_test(all, no_answer);
    tcase_add_loop_test(all, wrong_answers, 0, (int)EVB_COUNT(wrong));
    tcase_add_test(all, refused);
    tcase_add_test(all, no_memory);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
