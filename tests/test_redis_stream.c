/* test_redis_stream.c - a shard's history: its keys and states, what it asks, what it takes for an
 * answer. */
#include "history_fixture.h"
#include "reply_fixture.h"

static struct evb_stream stream;
static char logged[2000];

static void note_log(int level, const char *line, void *user)
{
    (void)user;
    ck_assert_int_eq(level, EVBUS_LOG_WARNING);
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static void begin(bool enabled)
{
    setup_history();
    evb_log_set(&evb_test_log, EVBUS_LOG_WARNING, note_log, NULL);
    live = failing_live();
    set.stream.enabled = enabled;
    ck_assert_int_eq(evb_stream_init(&stream, &set.stream, &evb_test_log), 0);
}

static void end(void)
{
    evb_stream_fini(&stream);
    ck_assert_int_eq(failing_live(), live);
    keeper_free(keeper);
    evb_log_fini(&evb_test_log);
    scripted_free(server);
    evb_loop_fini(&loop);
    event_base_free(base);
}

/* ---- alone ---- */

START_TEST(keys)
{
    begin(true);
    ck_assert_str_eq(stream.keys[EVB_KEY_STREAM], "evbus:history:{0}");
    ck_assert_str_eq(stream.keys[EVB_KEY_STATE], "evbus:history:{0}:state");
    ck_assert_str_eq(stream.keys[EVB_KEY_MARK], "evbus:history:{0}:mark:" NODE);
    ck_assert_str_eq(stream.keys[EVB_KEY_LATEST], "evbus:history:{0}:latest");
    ck_assert_int_eq(stream.idle_ms, 86400000); /* a day at least: nodes come back */
    evb_stream_fini(&stream);
    set.stream.ttl_ms = 86400000;
    ck_assert_int_eq(evb_stream_init(&stream, &set.stream, &evb_test_log), 0);
    ck_assert_int_eq(stream.idle_ms, 2 * 86400000);
    evb_stream_fini(&stream);
    evb_stream_fini(&stream); /* nothing is left */
    for (int n = 0; n < EVB_STREAM_KEYS; n++) {
        failing_at(n, false);
        ck_assert_int_eq(evb_stream_init(&stream, &set.stream, &evb_test_log), EVBUS_ENOMEM);
        ck_assert(failing_off());
        evb_stream_fini(&stream);
        ck_assert_int_eq(failing_live(), live);
    }
    end();
}
END_TEST

static void expect_state(int state)
{
    ck_assert_int_eq(atomic_load(&stream.state), state);
    ck_assert_int_eq(evb_stream_is_on(&stream), state == EVB_STREAM_ON);
    ck_assert_int_eq(evb_stream_may_be(&stream),
                     state == EVB_STREAM_ON || state == EVB_STREAM_ASKED);
}

#define GOOD "i1;s5.6;s1000-7;s990-3;i5;i1001;i2;s980-2"

static int fenced(const struct evb_reply *reply, int64_t *receivers, const char **refusal)
{
    const char *ignored;
    int64_t none;
    return evb_stream_fenced(&stream, reply, receivers ? receivers : &none,
                             refusal ? refusal : &ignored);
}

START_TEST(states)
{
    begin(true);
    expect_state(EVB_STREAM_ASKED);
    ck_assert_int_eq(fenced(array_of(GOOD), NULL, NULL), 0);
    expect_state(EVB_STREAM_ON);
    evb_stream_link_up(&stream); /* another server, another user, perhaps */
    expect_state(EVB_STREAM_ASKED);
    ck_assert_int_eq(fenced(error_of("NOPERM no"), NULL, NULL), EVBUS_ENOTSUP);
    expect_state(EVB_STREAM_LACKING);
    evb_stream_lacks(&stream, "NOPERM again");
    ck_assert_ptr_nonnull(strstr(logged, "no history: NOPERM no (the user needs what evbus(7) "
                                         "lists under ACCESS LISTS): what other"));
    ck_assert_msg(strchr(logged, '\n') == logged + strlen(logged) - 1, "%s", logged);
    /* an answer that was under way does not bring it back */
    ck_assert_int_eq(fenced(array_of(GOOD), NULL, NULL), 0);
    expect_state(EVB_STREAM_LACKING);
    logged[0] = '\0';
    evb_stream_link_up(&stream);
    evb_stream_lacks(&stream, "ERR unknown command");
    ck_assert_ptr_nonnull(strstr(logged, "no history: ERR unknown command: what other"));
    end();
}
END_TEST

START_TEST(not_wanted)
{
    begin(false);
    expect_state(EVB_STREAM_OFF);
    evb_stream_link_up(&stream);
    expect_state(EVB_STREAM_OFF);
    evb_stream_lacks(&stream, "NOPERM x"); /* nor is it missed */
    expect_state(EVB_STREAM_OFF);
    end();
}
END_TEST

START_TEST(facts)
{
    int64_t receivers;
    begin(true);
    ck_assert_int_eq(fenced(array_of(GOOD), &receivers, NULL), 0);
    ck_assert_int_eq(receivers, 1);
    ck_assert_str_eq(stream.facts.epoch, "5.6");
    ck_assert_uint_eq(stream.facts.last.ms, 1000);
    ck_assert_uint_eq(stream.facts.last.n, 7);
    ck_assert_uint_eq(stream.facts.first.ms, 990);
    ck_assert_uint_eq(stream.facts.first.n, 3);
    ck_assert_int_eq(stream.facts.length, 5);
    ck_assert_int_eq(stream.facts.server_ms, 1001);
    ck_assert_uint_eq(stream.facts.begun, 2);
    ck_assert_uint_eq(stream.facts.gone.ms, 980);
    ck_assert_uint_eq(stream.facts.gone.n, 2);
    ck_assert(stream.known[EVB_SCRIPT_FENCE]);
    ck_assert_int_eq(fenced(array_of("i0;s5.6;s0-0;s;i-1;i1001;i0;s0-0"), &receivers, NULL), 0);
    ck_assert_int_eq(receivers, 0);
    ck_assert(evb_position_is_none(stream.facts.first) && evb_position_is_none(stream.facts.last));
    ck_assert_int_eq(stream.facts.length, -1);
    end();
}
END_TEST

static const struct {
    const char *error; /* NULL: `array` */
    const char *array;
    int code, state;
} fences[] = {
    {"NOSCRIPT no", NULL, EVBUS_ENOENT, EVB_STREAM_ASKED},
    {"BUSY Redis is busy", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"LOADING x", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"OOM x", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"MISCONF x", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"READONLY x", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"NOREPLICAS x", NULL, EVBUS_EAWAY, EVB_STREAM_ASKED},
    {"NOPERM x", NULL, EVBUS_ENOTSUP, EVB_STREAM_LACKING},
    {"ERR unknown command 'EVAL'", NULL, EVBUS_ENOTSUP, EVB_STREAM_LACKING},
    {NULL, "sNOPERM channel;s5.6;s1-7;s1-3;i5;i1;i2;s1-2", EVBUS_EDENIED, EVB_STREAM_ON},
    {NULL, "", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;i1;i2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;i1;i2;s1-2;i3", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;i5;s1-7;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;n;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;a;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;s5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;s1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;i1;n;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;sx;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s012345678901234567890123456789012345678901234567;s1-7;s1-3;i5;i1;i2;s1-2",
     EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;i1;i2;i3", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "i1;s5.6;s1-7;s1-3;i5;i1;i2;s", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "n;s5.6;s1-7;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
    {NULL, "a;s5.6;s1-7;s1-3;i5;i1;i2;s1-2", EVBUS_EPARSE, EVB_STREAM_ASKED},
};

START_TEST(answers_to_a_fence)
{
    const char *refusal = NULL;
    int64_t receivers = 77;
    begin(true);
    stream.known[EVB_SCRIPT_FENCE] = true;
    int code = fenced(fences[_i].error ? error_of(fences[_i].error) : array_of(fences[_i].array),
                      &receivers, &refusal);
    ck_assert_int_eq(code, fences[_i].code);
    ck_assert_int_eq(receivers, -1);
    expect_state(fences[_i].state);
    ck_assert_int_eq(stream.known[EVB_SCRIPT_FENCE], code != EVBUS_ENOENT);
    if (code == EVBUS_EDENIED)
        ck_assert_str_eq(refusal, "NOPERM channel");
    end();
}
END_TEST

static const struct {
    const char *error;
    bool at_once, lacks;
} refusals[] = {
    {"NOSCRIPT x", true, false},    {"ORDER x", true, false},       {"BUSY x", false, false},
    {"LOADING x", false, false},    {"MASTERDOWN x", false, false}, {"CLUSTERDOWN x", false, false},
    {"OOM x", false, false},        {"MISCONF x", false, false},    {"TRYAGAIN x", false, false},
    {"NOREPLICAS x", false, false}, {"UNKILLABLE x", false, false}, {"READONLY x", false, false},
    {"NOPERM x", true, true},       {"ERR x", true, true},          {"", true, true},
};

START_TEST(refused)
{
    begin(true);
    fenced(array_of(GOOD), NULL, NULL);
    stream.alone = false;
    stream.awaited = true;
    ck_assert_int_eq(evb_stream_refused(&stream, refusals[_i].error), refusals[_i].at_once);
    ck_assert(stream.alone && !stream.awaited);
    expect_state(refusals[_i].lacks ? EVB_STREAM_LACKING : EVB_STREAM_ON);
    end();
}
END_TEST

/* ---- on a connection ---- */

static void keep(int from, int to)
{
    evb_loop_begin(&loop);
    for (int id = from; id <= to; id++)
        publish_as(id, 0, true);
    evb_loop_end(&loop);
}

static bool has_called(void *last)
{
    return strstr(keeper_last(keeper, KEEPER_APPEND), last) != NULL;
}

#define KEYS                                                                                       \
    "evbus:history:{0} evbus:history:{0}:state evbus:history:{0}:mark:" NODE                       \
    " evbus:history:{0}:latest evbus:group:{0}"

START_TEST(calls)
{
    come_up_keeping();
    ck_assert_int_eq(keeper_count(keeper, KEEPER_FENCE), 1);
    ck_assert_str_eq(
        keeper_last(keeper, KEEPER_FENCE),
        "EVAL 3 evbus:history:{0} evbus:history:{0}:state evbus:history:{0}:latest " INBOX
        " fence:1 3600000 86400000");
    keep(1, 3);
    char third[] = "a3 ";
    await_story(third);
    expect_story("a1 a2 a3 ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 1);
    char want[600];
    snprintf(want, sizeof want, "EVAL 5 " KEYS " 0 1 0 86400000 5000 70000 0 c %15s c %15s c %15s",
             "", "", "");
    ck_assert_str_eq(keeper_last(keeper, KEEPER_APPEND), want);
    keep(4, 4);
    publish(5, 0);
    keep(6, 6);
    char sixth[] = "a6 ";
    await_story(sixth);
    expect_story("a4 a5 a6 ");
    snprintf(want, sizeof want, "EVALSHA 5 " KEYS " 4 6 3 86400000 5000 70000 0 c %15s", "");
    ck_assert_str_eq(keeper_last(keeper, KEEPER_APPEND), want);
    ck_assert_int_eq(keeper_length(keeper), 5);
    ck_assert_int_eq(scripted_count(server, "PUBLISH"), 1);
}
END_TEST

/* Until the answer to the first call is there, no other goes; PUBLISH may. */
START_TEST(the_first_goes_alone)
{
    char third[] = "a3 ";
    come_up_keeping();
    scripted_deafen(server, SCRIPTED_PUBLISHER, true);
    keep(1, 1);
    publish(2, 0);
    keep(3, 3);
    ck_assert_uint_eq(redis.outbox.written_count, 2);
    ck_assert(!evb_list_empty(&redis.outbox.waiting));
    scripted_deafen(server, SCRIPTED_PUBLISHER, false);
    await_story(third);
    expect_story("a1 a2 a3 ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 2);
}
END_TEST

static const struct {
    const char *error;
    int calls; /* until all are acknowledged */
} again[] = {
    {"-NOSCRIPT x\r\n", 3},
    {"-ORDER x\r\n", 3},
    {"-BUSY x\r\n", 3},
    {"-OOM x\r\n", 3},
};

/* Refused in mid-stream: the same events with the same numbers, with the text, alone. */
START_TEST(refused_and_sent_again)
{
    char second[] = "a2 ", last[] = "a4 ", want[600];
    come_up_keeping();
    keep(1, 2);
    await_story(second);
    keeper_answer(keeper, KEEPER_APPEND, again[_i].error, 1);
    keep(3, 4);
    await_story(last);
    expect_story("a1 a2 a3 a4 ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), again[_i].calls);
    snprintf(want, sizeof want, "EVAL 5 " KEYS " 0 3 2 86400000 5000 70000 0 c %15s c %15s", "",
             "");
    ck_assert_str_eq(keeper_last(keeper, KEEPER_APPEND), want);
    ck_assert_int_eq(keeper_length(keeper), 4);
}
END_TEST

START_TEST(scripts_are_flushed)
{
    char first[] = "a1 ", second[] = "a2 ";
    come_up_keeping();
    keep(1, 1);
    await_story(first);
    keeper_forget(keeper);
    keep(2, 2);
    await_story(second);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 3);
    ck_assert_int_eq(keeper_length(keeper), 2);
}
END_TEST

/* The link goes with the reply: sent again, nothing is added. */
START_TEST(in_doubt)
{
    char first[] = "a1 ", third[] = "a3 ", call[] = "EVALSHA";
    come_up_keeping();
    keep(1, 1);
    await_story(first);
    keep(2, 3);
    scripted_deafen(server, SCRIPTED_SUBSCRIBER, true); /* its message does not matter */
    ck_assert(run_until(base, has_called, call, 20000));
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story(third);
    ck_assert_int_eq(keeper_length(keeper), 3);
    ck_assert_msg(strstr(keeper_last(keeper, KEEPER_APPEND), "group:{0} 0 2 1 ") != NULL, "%s",
                  keeper_last(keeper, KEEPER_APPEND));
}
END_TEST

/* No right to run the script: by PUBLISH, from now on, and the link lives on. */
START_TEST(lacks_the_script)
{
    char second[] = "a2 ", third[] = "a3 ";
    come_up_keeping();
    keeper_answer(keeper, KEEPER_APPEND, "-NOPERM x\r\n", 0);
    keep(1, 2);
    await_story(second);
    keep(3, 3);
    await_story(third);
    expect_story("a1 a2 a3 ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 1);
    ck_assert_int_eq(scripted_count(server, "PUBLISH"), 3);
    ck_assert_int_eq(keeper_length(keeper), 0);
}
END_TEST

/* Never had it: the first fence tells, a plain one proves. */
START_TEST(lacks_it_from_the_start)
{
    char first[] = "a1 ";
    when_ready = NULL;
    keeper_answer(keeper, KEEPER_FENCE, "-NOPERM x\r\n", 0);
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_READY);
    ck_assert(!evb_stream_is_on(&redis.stream));
    keep(1, 1);
    await_story(first);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_FENCE), 1);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_APPEND), 0);
}
END_TEST

/* Every allocation of a call fails in turn: the event comes through for all that, once. */
START_TEST(no_memory)
{
    char first[] = "a1 ", again_up[] = "ready ", id[8];
    come_up_keeping();
    keep(1, 1);
    await_story(first);
    bool failed = true, dropped = false;
    for (int n = 0; failed && n < 50; n++) {
        story[0] = '\0';
        evb_loop_begin(&loop);
        publish_as(n + 2, 0, true);
        failing_at(n, false);
        evb_loop_end(&loop);
        failed = failing_off();
        snprintf(id, sizeof id, "a%d ", n + 2);
        await_story(id);
        if (strstr(story, "backoff"))
            await_story(again_up);
        dropped = dropped || strstr(story, "backoff");
        ck_assert_int_eq(keeper_length(keeper), n + 2);
    }
    ck_assert(!failed && dropped);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis stream");
    TCase *alone = tcase_create("alone"), *tests = tcase_create("on a connection");

    suite_add_tcase(suite, alone);
    tcase_add_test(alone, keys);
    tcase_add_test(alone, states);
    tcase_add_test(alone, not_wanted);
    tcase_add_test(alone, facts);
    tcase_add_loop_test(alone, answers_to_a_fence, 0, (int)EVB_COUNT(fences));
    tcase_add_loop_test(alone, refused, 0, (int)EVB_COUNT(refusals));
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup_history, teardown_history);
    tcase_add_test(tests, calls);
    tcase_add_test(tests, the_first_goes_alone);
    tcase_add_loop_test(tests, refused_and_sent_again, 0, (int)EVB_COUNT(again));
    tcase_add_test(tests, scripts_are_flushed);
    tcase_add_test(tests, in_doubt);
    tcase_add_test(tests, lacks_the_script);
    tcase_add_test(tests, lacks_it_from_the_start);
    tcase_add_test(tests, no_memory);
    return run_suite(suite);
}
