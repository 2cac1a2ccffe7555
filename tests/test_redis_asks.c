/* test_redis_asks.c - commands among the events: each reply goes to who asked. */
#include "redis_fixture.h"

static void on_answer(const struct evb_reply *reply, void *user)
{
    tell("%s%s ", (const char *)user, !reply ? "-" : reply->text);
}

static void ask(const char *word, char *name)
{
    const char *words[] = {"ECHO", word, NULL};
    evb_loop_begin(&loop);
    ck_assert(evb_asks_send(&redis.asks, words, on_answer, name));
    evb_loop_end(&loop);
}

START_TEST(between_events)
{
    come_up();
    scripted_answer(server, "ECHO", "+x\r\n", 0);
    publish(1, 0);
    ask("one", "A");
    ask("two", "B");
    publish(2, 0);
    publish(3, 0);
    ask("three", "C");
    await_story("Cx ");
    ck_assert_str_eq(story, "a1 Ax Bx a2 a3 Cx ");
    ck_assert_uint_eq(redis.asks.count, 0);
}
END_TEST

START_TEST(errors_are_answers)
{
    come_up();
    scripted_answer(server, "ECHO", "-ERR no\r\n", 0);
    ask("one", "A");
    await_story("AERR no ");
    publish(1, 0);
    await_story("a1 ");
}
END_TEST

START_TEST(link_goes)
{
    come_up();
    scripted_answer(server, "ECHO", "", 0);
    ask("one", "A");
    ask("two", "B");
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story("ready ");
    ck_assert_str_eq(story, "A- B- backoff dialing handshake ready ");
    scripted_answer(server, "ECHO", NULL, 0);
}
END_TEST

START_TEST(not_up)
{
    const char *words[] = {"ECHO", "x", NULL};
    ck_assert_int_eq(open_redis(), 0);
    ck_assert(!evb_asks_send(&redis.asks, words, on_answer, "A"));
    ck_assert_uint_eq(redis.asks.count, 0);
}
END_TEST

/* Whoever goes does not hear of it; the others keep their places. */
START_TEST(forgotten)
{
    char first[] = "A", second[] = "B";
    come_up();
    scripted_answer(server, "ECHO", "+x\r\n", 0);
    scripted_deafen(server, SCRIPTED_PUBLISHER, true);
    ask("one", first);
    ask("two", second);
    evb_asks_forget(&redis.asks, first);
    scripted_deafen(server, SCRIPTED_PUBLISHER, false);
    await_story("Bx ");
    ck_assert_str_eq(story, "Bx ");
}
END_TEST

/* Without memory for the question no reply could be told apart: the connection ends. */
START_TEST(no_memory)
{
    const char *words[] = {"ECHO", "x", NULL};
    come_up();
    failing_at(0, false);
    evb_loop_begin(&loop);
    ck_assert(!evb_asks_send(&redis.asks, words, on_answer, "A"));
    ck_assert(failing_off());
    evb_loop_end(&loop);
    publish(1, 0);
    await_story("ready ");
    ck_assert_ptr_nonnull(strstr(story, "backoff "));
    await_story("a1 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis asks");
    TCase *tests = tcase_create("redis asks");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, between_events);
    tcase_add_test(tests, errors_are_answers);
    tcase_add_test(tests, link_goes);
    tcase_add_test(tests, not_up);
    tcase_add_test(tests, forgotten);
    tcase_add_test(tests, no_memory);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
