/* test_redis_grouped.c - what publishers know of groups: read before READY, and again when somebody
 * tells; and what becomes of an event whose type has some. */
#include "harness/keeper.h"
#include "redis_fixture.h"

#define CONTROL "evbus:inbox:groups"
#define NONE    "*2\r\n$1\r\n0\r\n*0\r\n"
#define OF_C    "*2\r\n$1\r\n0\r\n*4\r\n$0\r\n\r\n$1\r\n1\r\n$1\r\nc\r\n$15\r\nw=9999999999999\r\n"
#define OF_D    "*2\r\n$1\r\n5\r\n*2\r\n$1\r\nd\r\n$15\r\nw=9999999999999\r\n"

static struct keeper *keeper;

static void setup_groups(void)
{
    setup();
    set.stream = (struct evb_stream_settings){.key_prefix = "evbus:",
                                              .node = "0123456789abcdef",
                                              .ttl_ms = 3600000,
                                              .max_events = 5000,
                                              .max_bytes = 70000};
    keeper = keeper_start(server);
}

static void teardown_groups(void)
{
    keeper_free(keeper);
    teardown();
}

static bool has_read(void *times)
{
    return scripted_count(server, "HSCAN") >= *(int *)times && !redis.grouped.reading;
}

static void await_read(int times)
{
    ck_assert(run_until(base, has_read, &times, 20000));
}

static bool has(const char *channel)
{
    return evb_map_get(&redis.grouped.channels, channel, strlen(channel)) != NULL;
}

START_TEST(read_before_ready)
{
    scripted_answer(server, "HSCAN", "", 0);
    set.connect_timeout_ms = 50;
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_str_eq(story, "dialing handshake backoff ");
    scripted_answer(server, "HSCAN", NONE, 0);
    await(EVB_REDIS_READY);
    ck_assert_str_eq(scripted_last(server, "HSCAN"), "HSCAN evbus:group:{0} 0 COUNT 500");
    ck_assert(!has("c") && !has(""));
}
END_TEST

/* Of two pages; and once more when somebody tells. */
START_TEST(told_of_new_ones)
{
    scripted_answer(server, "HSCAN", OF_D, 1);
    come_up();
    ck_assert(has("d"));
    scripted_answer(server, "HSCAN", OF_C, 0);
    ck_assert_int_eq(scripted_publish(server, CONTROL, "c", 1), 1);
    await_read(3);
    ck_assert(has("c") && !has("d") && !has(""));
    ck_assert_str_eq(story, ""); /* it is no message to anybody */
}
END_TEST

/* A group that comes to stand here while the registry is read is not forgotten with its last page,
 * which may be too old to have it. */
START_TEST(comes_while_it_reads)
{
    come_up();
    scripted_answer(server, "HSCAN", OF_D, 1);
    evb_grouped_read(&redis.grouped);
    evb_grouped_add(&redis.grouped, "c");
    ck_assert(has("c"));
    await_read(3);
    ck_assert(has("c") && has("d"));
}
END_TEST

static const struct {
    const char *answer, *why;
} bad[] = {
    {"+OK\r\n", "not the answer to HSCAN"},
    {"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n", "not the answer to HSCAN"},
    {"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nc\r\n:1\r\n", "not the answer to HSCAN"},
    {"-LOADING x\r\n", "who has groups cannot be read: LOADING x"},
};

START_TEST(no_answer)
{
    scripted_answer(server, "HSCAN", bad[_i].answer, 1);
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_msg(strstr(last_why, bad[_i].why), "%s", last_why);
    await(EVB_REDIS_READY);
}
END_TEST

START_TEST(no_right)
{
    scripted_answer(server, "HSCAN", "-NOPERM x\r\n", 0);
    come_up();
    ck_assert_uint_ne(redis.lacks.told & 1U << EVB_LACK_GROUPS, 0);
    publish(1, 0);
    char first[] = "a1 ";
    await_story(first);
    ck_assert_int_eq(scripted_count(server, "EVAL"), 0);
}
END_TEST

/* By the script alone, whatever the history's settings; others by PUBLISH. */
START_TEST(goes_by_the_script)
{
    char first[] = "a1 ", second[] = "a2 ";
    come_up();
    publish(1, 0);
    await_story(first);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 0);
    scripted_answer(server, "HSCAN", OF_C, 0);
    scripted_publish(server, CONTROL, "c", 1);
    await_read(2);
    keeper_answer(keeper, KEEPER_APPEND, "*3\r\n$4\r\n1000\r\n:7\r\n:2\r\n", 0);
    publish(2, 0);
    await_story(second);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 1);
    ck_assert_msg(strstr(keeper_last(keeper, KEEPER_APPEND), " 70000 1 1 no   c "), "%s",
                  keeper_last(keeper, KEEPER_APPEND));
    ck_assert_int_eq(scripted_count(server, "PUBLISH"), 2); /* the fence, the first */
    ck_assert_int_eq((int)evb_metrics_read(&metrics, EVB_COUNT_kept), 0);
}
END_TEST

/* Never past the group. */
START_TEST(fails_without_the_script)
{
    char first[] = "f1 ", second[] = "f2 ";
    scripted_answer(server, "HSCAN", OF_C, 0);
    keeper_answer(keeper, KEEPER_APPEND, "-NOPERM x\r\n", 0);
    come_up();
    publish(1, 0);
    await_story(first);
    ck_assert_msg(strstr(evbus_last_error(), "has groups"), "%s", evbus_last_error());
    ck_assert_int_eq(evbus_last_code(), EVBUS_EDENIED);
    publish(2, 0);
    await_story(second);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 1);
    ck_assert_int_eq(scripted_count(server, "PUBLISH"), 1);
}
END_TEST

START_TEST(did_not_reach_a_group)
{
    char first[] = "f1 ";
    scripted_answer(server, "HSCAN", OF_C, 0);
    keeper_answer(keeper, KEEPER_APPEND, "*3\r\n$4\r\n1000\r\n:7\r\n$11\r\nGROUP OOM x\r\n", 0);
    come_up();
    publish(1, 0);
    await_story(first);
    ck_assert_msg(strstr(evbus_last_error(), "did not get it: OOM x"), "%s", evbus_last_error());
}
END_TEST

static void on_gone(const struct evb_lost_group *group, void *user)
{
    ck_assert_ptr_eq(user, &redis);
    tell("%s/%s:%d ", group->channel, group->name, (int)group->entries);
}

static char *forget(char **word, int count, void *user)
{
    (void)user;
    tell("%s %s %s %s ", word[2], word[3], word[count - 2], word[count - 1]);
    return strdup("*3\r\n$1\r\nc\r\n$1\r\nw\r\n:5\r\n");
}

/* Whoever finds it first says so. */
START_TEST(nobody_is_left)
{
    char gone[] = "c/w:5 ";
    hooks.gone = on_gone;
    set.ping_interval_ms = 5;
    scripted_answer(server, "HSCAN", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nc\r\n$6\r\nw=1000\r\n", 1);
    scripted_eval(server, forget, NULL);
    come_up();
    await_story(gone);
    ck_assert_msg(strstr(story, "1 evbus:group:{0} " CONTROL " 60000 c/w:5 "), "%s", story);
    await_read(2);
    ck_assert(!has("c"));
}
END_TEST

START_TEST(too_many_to_know)
{
    come_up();
    redis.grouped.all = true;
    keeper_answer(keeper, KEEPER_APPEND, "*3\r\n$4\r\n1000\r\n:7\r\n:2\r\n", 0);
    char first[] = "a1 ";
    publish(1, 0);
    await_story(first);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis grouped");
    TCase *all = tcase_create("grouped");
    tcase_add_checked_fixture(all, setup_groups, teardown_groups);
    tcase_set_timeout(all, 30);
    tcase_add_test(all, read_before_ready);
    tcase_add_test(all, told_of_new_ones);
    tcase_add_test(all, comes_while_it_reads);
    tcase_add_loop_test(all, no_answer, 0, (int)EVB_COUNT(bad));
    tcase_add_test(all, no_right);
    tcase_add_test(all, goes_by_the_script);
    tcase_add_test(all, fails_without_the_script);
    tcase_add_test(all, did_not_reach_a_group);
    tcase_add_test(all, nobody_is_left);
    tcase_add_test(all, too_many_to_know);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
