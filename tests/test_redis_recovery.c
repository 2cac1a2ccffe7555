/* test_redis_recovery.c - what a shard missed: read, held back, or told as a gap. */
#include "history_fixture.h"

static void await_live(const char *want)
{
    char live_again[] = "live ";
    await_story(live_again);
    run_for(base, 1);
    expect_story(want);
}

static void hear_2(void)
{
    char second[] = "m2 ";
    come_up_keeping();
    others_publish(2, true);
    await_story(second);
    expect_story("m1 m2 ");
    ck_assert(evb_recovery_knows(&redis.recovery));
}

/* However they came: all behind `heard` up to the last, each once and in order. */
static void expect_rising(int heard)
{
    for (char *rest, *word = strtok_r(story, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (strchr("ehm", *word) && atoi(word + 1))
            ck_assert_int_eq(atoi(word + 1), ++heard);
    ck_assert_int_eq(heard, published);
}

/* ---- gaps ---- */

/* Two were heard, this happened, it is read on. Then nothing more is lost. */
static const struct {
    const char *happened, *story;
    int from, to; /* of the gap, behind KEEPER_MS; 0: none */
} losses[] = {
    {"", "live ", 0, 0},
    {"p3", "e3 e4 e5 live ", 0, 0},
    {"p3 t3", "e3 e4 e5 live ", 0, 0},
    {"t0", "live ", 0, 0},
    {"p5 t2", "gap:trimmed:3 e6 e7 live ", 2, 6},
    {"p5 t0", "gap:trimmed:5 live ", 2, 7},
    {"p2 d p1", "gap:evicted:2 e5 live ", 2, 5},
    {"p3 d", "gap:evicted:3 live ", 2, 5},
    {"d p1", "e3 live ", 0, 0},
    {"p2 f p3", "gap:flushed:-1 e1 e2 e3 live ", 2, 7},
    {"f", "gap:flushed:-1 live ", 2, 3},
    {"r1", "gap:rolled-back:-1 e1 live ", 2, 3}, /* from a minute before on */
    {"r2 p4", "gap:rolled-back:-1 e1 e2 e3 e4 live ", 2, 6},
    {"r1 p1", "gap:rolled-back:-1 e1 e2 live ", 2, 3}, /* the same number, another entry */
    {"r1 p3", "gap:rolled-back:-1 e1 e2 e3 e4 live ", 2, 5},
    {"r1 p1 t0", "gap:rolled-back:-1 live ", 2, 3},
};

START_TEST(told_apart)
{
    hear_2();
    last_gap = (struct evb_gap){.count = 77};
    drop_and_come_back(losses[_i].happened);
    await_live(losses[_i].story);
    ck_assert_int_eq(last_gap.count != 77, losses[_i].from > 0);
    if (losses[_i].from) {
        ck_assert_int_eq(last_gap.from_ms, KEEPER_MS + losses[_i].from);
        ck_assert_int_ge(last_gap.to_ms, KEEPER_MS + losses[_i].to);
        ck_assert_ptr_null(last_gap.pattern);
    }
    drop_and_come_back("");
    await_live("live ");
    drop_and_come_back("p1");
    char last[20];
    snprintf(last, sizeof last, "e%d live ", published);
    await_live(last);
}
END_TEST

static void happen_now(void *words)
{
    happen(words);
}

/* Let go between the fence, whose facts were good, and the page. */
static const struct {
    char happened[8];
    const char *story;
} late[] = {
    {"t3", "e3 e4 e5 live "},      {"t2", "gap:trimmed:1 e4 e5 live "},
    {"t0", "gap:trimmed:3 live "}, /* an end with nothing where more should be */
    {"d", "gap:evicted:3 live "},  {"f", "gap:flushed:-1 live "},
};

START_TEST(let_go_in_between)
{
    char happened[8];
    snprintf(happened, sizeof happened, "%s", late[_i].happened);
    hear_2();
    keeper_after(keeper, KEEPER_FENCE, happen_now, happened);
    drop_and_come_back("p3");
    await_live(late[_i].story);
    drop_and_come_back(""); /* before a fence has proven anything */
    await_live("live ");
}
END_TEST

/* ---- limits ---- */

static const struct {
    int most;
    const char *missed, *story;
} limits[] = {
    {3, "p3", "e3 e4 e5 live "}, /* as many as may be read are no gap */
    {3, "p4", "e3 e4 e5 gap:limit:-1 live "},
    {1, "p2", "e3 gap:limit:-1 live "},
};

START_TEST(too_many)
{
    set.recovery.max_events = limits[_i].most;
    hear_2();
    drop_and_come_back(limits[_i].missed);
    await_live(limits[_i].story);
    if (strstr(limits[_i].story, "gap")) {
        char why[80];
        ck_assert_int_eq(last_gap.from_ms, KEEPER_MS + 2 + limits[_i].most);
        ck_assert_int_ge(last_gap.to_ms, KEEPER_MS + published);
        snprintf(why, sizeof why, "more than recovery.max.events (%d) were missed",
                 limits[_i].most);
        ck_assert_str_eq(last_reason, why);
    }
    char word[20];
    others_publish(1, true);
    snprintf(word, sizeof word, "m%d ", published);
    await_story(word);
    expect_story(word);
    drop_and_come_back(""); /* what was given up is not read later */
    await_live("live ");
}
END_TEST

static int64_t skew_us;

static int64_t skewed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000 + skew_us;
}

static void a_second_later(void *unused)
{
    (void)unused;
    skew_us += 1000000;
}

START_TEST(too_slow)
{
    set.recovery.max_ms = _i ? 500 : 500000;
    evb_clock_set(NULL, skewed);
    hear_2();
    keeper_after(keeper, KEEPER_READ, a_second_later, NULL);
    drop_and_come_back("p3");
    await_live(_i ? "gap:limit:-1 live " : "e3 e4 e5 live ");
    if (_i)
        ck_assert_str_eq(last_reason, "reading them took longer than recovery.max.time (500 ms)");
    evb_clock_set(NULL, NULL);
}
END_TEST

/* ---- refused, cut off again ---- */

static const struct {
    const char *reply, *says;
} refusals[] = {
    {"-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
     "the history cannot be read: NOPERM this user has no permissions to run the 'evalsha' command "
     "(evbus(7), ACCESS LISTS)"},
    {"-WRONGTYPE x\r\n", "the history cannot be read: WRONGTYPE x"},
    {":5\r\n", "the history cannot be read: no page of entries"},
};

START_TEST(refused)
{
    hear_2();
    keeper_answer(keeper, KEEPER_READ, refusals[_i].reply, 0);
    drop_and_come_back("p3");
    await_live("gap:refused:-1 live ");
    ck_assert_str_eq(last_reason, refusals[_i].says);
    ck_assert_int_eq(last_gap.from_ms, KEEPER_MS + 2);
    ck_assert_int_ge(last_gap.to_ms, KEEPER_MS + 5);
    keeper_answer(keeper, KEEPER_READ, NULL, 0);
    drop_and_come_back("");
    await_live("live ");
}
END_TEST

/* Nothing was missed, and nothing is asked for. */
START_TEST(refused_and_not_needed)
{
    hear_2();
    keeper_answer(keeper, KEEPER_READ, refusals[0].reply, 0);
    drop_and_come_back(_i ? "t0" : "");
    await_live("live ");
    drop_and_come_back("");
    await_live("live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 0);
    drop_and_come_back("f");
    await_live("gap:refused:-1 live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 1);
    ck_assert_int_eq(last_gap.from_ms, KEEPER_MS + 2);
}
END_TEST

static void cut(void *unused)
{
    (void)unused;
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
}

static void cut_next(void *unused)
{
    keeper_after(keeper, KEEPER_READ, cut, unused);
}

/* A page, but not the last, was handed out: on from there, and no gap twice. */
START_TEST(cut_off_in_mid_page)
{
    char live_again[] = "live ";
    hear_2();
    keeper_after(keeper, KEEPER_READ, cut_next, NULL);
    drop_and_come_back(_i ? "p400 t300" : "p400");
    await_story(live_again);
    const char *gap = strstr(story, "gap");
    ck_assert_int_eq(gap != NULL, _i);
    ck_assert(!gap || !strstr(gap + 1, "gap"));
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 3 + _i);
    expect_rising(_i ? 102 : 2);
}
END_TEST

/* ---- what comes live meanwhile ---- */

static void hear_two_more(void *unused)
{
    (void)unused;
    others_publish(2, true);
}

/* With the page or the fence: before or after its reply, each comes once, in order. */
START_TEST(live_meanwhile)
{
    char last[] = "7 ";
    hear_2();
    keeper_after(keeper, _i ? KEEPER_READ : KEEPER_FENCE, hear_two_more, NULL);
    drop_and_come_back("p3");
    await_story(last);
    run_for(base, 1);
    expect_rising(2);
    ck_assert_str_eq(redis.recovery.cursor.epoch, "1.5");
    ck_assert_uint_eq(evb_cursor_end(&redis.recovery.cursor).n, 7);
}
END_TEST

/* Subscribed, but not READY: what comes then is read, though the fence came before it. */
START_TEST(waits_for_ready)
{
    hear_2();
    evb_loop_begin(&loop);
    evb_recovery_lost(&redis.recovery);
    others_publish(1, false);
    evbus_event *event = evb_event_make("a", 1, NULL, 0, false);
    event->position = (struct evb_position){KEEPER_MS + 3, 3};
    ck_assert(evb_recovery_takes(&redis.recovery, event));
    evb_recovery_saw(&redis.recovery, event->position);
    ck_assert_uint_eq(evb_cursor_end(&redis.recovery.cursor).n, 2);
    evbus_event_unref(event);
    recover();
    evb_loop_end(&loop);
    await_live("e3 live ");
}
END_TEST

/* The same where the fence knows of nothing: it came behind it, and could not be delivered yet. */
START_TEST(came_before_ready)
{
    hear_2();
    evb_loop_begin(&loop);
    evb_recovery_lost(&redis.recovery);
    evbus_event *event = evb_event_make("a", 1, NULL, 0, false);
    event->position = (struct evb_position){KEEPER_MS + 3, 3};
    if (_i)
        ck_assert(evb_recovery_takes(&redis.recovery, event));
    evbus_event_unref(event);
    redis.stream.facts.last = (struct evb_position){KEEPER_MS + 2, 2};
    others_publish(1, false);
    recover();
    evb_loop_end(&loop);
    await_live(_i ? "e3 live " : "live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), _i);
}
END_TEST

/* ---- the beginning, and proofs ---- */

START_TEST(first_of_all)
{
    happen("p3");
    come_up_keeping(); /* what was before is no business of it */
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 0);
    drop_and_come_back("p3");
    await_live("e4 e5 e6 live ");
}
END_TEST

/* It was there before Redis was: from then on; what was let go by age meanwhile is a gap. */
START_TEST(away_at_first)
{
    char live_again[] = "live ";
    ck_assert_int_eq(open_redis(), 0);
    want("a", false);
    ck_assert(!evb_recovery_knows(&redis.recovery));
    ck_assert_int_eq(evb_recovery_server_ms(&redis.recovery, evb_clock_mono_ms()), 0);
    evb_recovery_away(&redis.recovery);
    ck_assert(redis.recovery.waiting);
    since_ms = evb_clock_mono_ms() - 1000;
    happen(_i ? "p4 t3" : "p3");
    start();
    await_story(live_again);
    const char *want = _i ? "ready gap:trimmed:-1 e2 e3 e4 live " : "ready e1 e2 e3 live ";
    ck_assert_msg(strstr(story, want) != NULL, "%s", story);
}
END_TEST

/* Nothing that is subscribed to comes, and all the same nothing is lost when all that went by is
 * let go. */
START_TEST(fences_move_the_cursor)
{
    set.ping_interval_ms = 10;
    hear_2();
    for (int i = 0; i < 50; i++)
        keeper_put(keeper, "other", "{}");
    while (redis.recovery.cursor.at.n < 52)
        event_base_loop(base, EVLOOP_ONCE);
    drop_and_come_back("t0");
    await_live("live ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis recovery");
    TCase *tests = tcase_create("redis recovery");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup_history, teardown_history);
    tcase_add_loop_test(tests, told_apart, 0, (int)EVB_COUNT(losses));
    tcase_add_loop_test(tests, let_go_in_between, 0, (int)EVB_COUNT(late));
    tcase_add_loop_test(tests, too_many, 0, (int)EVB_COUNT(limits));
    tcase_add_loop_test(tests, too_slow, 0, 2);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, refused_and_not_needed, 0, 2);
    tcase_add_loop_test(tests, cut_off_in_mid_page, 0, 2);
    tcase_add_loop_test(tests, live_meanwhile, 0, 2);
    tcase_add_test(tests, waits_for_ready);
    tcase_add_loop_test(tests, came_before_ready, 0, 2);
    tcase_add_test(tests, first_of_all);
    tcase_add_loop_test(tests, away_at_first, 0, 2);
    tcase_add_test(tests, fences_move_the_cursor);
    return run_suite(suite);
}
