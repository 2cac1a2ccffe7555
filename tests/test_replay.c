/* test_replay.c - one subscription reads the history by itself: what it is refused at the door, what
 * comes to it and when, what is told where some of it is gone. A history in memory answers. */
#include "bus_fixture.h"
#include "clock.h"
#include "harness/keeper.h"
#include "list.h"

static struct keeper *keeper;
static evbus_sub *sub, *gaps;
static char last_gap[1000];

static void put(int count, bool heard)
{
    static int seq;
    char text[200];
    while (count--) {
        snprintf(text, sizeof text,
                 "{\"node\":\"fedcba9876543210\",\"local\":true,\"seq\":%17d,\"eventId\":\"x%d\","
                 "\"type\":\"t\",\"version\":\"1.0\",\"data\":1}",
                 seq + 1, seq + 1);
        seq++;
        heard ? keeper_add(keeper, "evbus:events:t", text)
              : keeper_put(keeper, "evbus:events:t", text);
    }
}

static int on_t(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s%s ", evbus_event_origin(event) == EVBUS_ORIGIN_REPLAY ? "r" : "t",
         strchr(evbus_event_position(event), '-') + 1);
    return 0;
}

/* "gap:<cause>:<at most>:<pattern> " */
static int on_gap(evbus_sub *one, evbus_event *event, void *user)
{
    char cause[20];
    int count;
    const char *text = evbus_event_data(event, NULL);
    (void)one;
    (void)user;
    ck_assert_int_eq(
        sscanf(strstr(text, "\"count\""), "\"count\":%d,\"cause\":\"%19[a-z-]", &count, cause), 2);
    tell("gap:%s:%d%s ", cause, count, strstr(text, "\"pattern\":\"t\"") ? ":t" : "");
    snprintf(last_gap, sizeof last_gap, "%s", text);
    return 0;
}

static void begin(void)
{
    setup();
    keeper = keeper_start(server);
    bus = open_on(1, "reconnect.backoff", "1ms", "reconnect.backoff.max", "5ms", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    gaps = evbus_subscribe(bus, "evbus.gap", "deliver=inline", on_gap, NULL);
}

static void end(void)
{
    evbus_unsubscribe(sub);
    evbus_unsubscribe(gaps);
    sub = NULL;
    evbus_free(bus);
    bus = NULL;
    turn();
    keeper_free(keeper);
    teardown();
}

static void hold(const char *options)
{
    sub = evbus_subscribe(bus, "t", options, on_t, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
}

/* ---- the door ---- */

static const struct {
    const char *key, *value, *options;
    int error;
    const char *says;
} refusals[] = {
    {NULL, NULL, "from=yesterday", EVBUS_EINVAL, "subscription option from"},
    {NULL, NULL, "from=all scope=local", EVBUS_EINVAL, "from with scope=local"},
    {NULL, NULL, "durable=d scope=local", EVBUS_EINVAL, "durable with scope=local"},
    {"bus.mode", "local-only", "from=all", EVBUS_ENOTSUP, "from: this bus has no history"},
    {"bus.mode", "local-only", "durable=d", EVBUS_ENOTSUP, "durable: this bus has no history"},
    {"history.enabled", "no", "from=10m", EVBUS_ENOTSUP, "history.enabled"},
};

START_TEST(refused)
{
    evbus *other = refusals[_i].key ? open_on(1, refusals[_i].key, refusals[_i].value, NULL) : bus;
    ck_assert_ptr_null(evbus_subscribe(other, "t", refusals[_i].options, on_t, NULL));
    ck_assert_int_eq(evbus_last_code(), refusals[_i].error);
    ck_assert_msg(strstr(evbus_last_error(), refusals[_i].says) != NULL, "%s", evbus_last_error());
    if (other != bus)
        evbus_free(other);
}
END_TEST

/* ---- reading ---- */

static const struct {
    const char *from, *story;
} places[] = {
    {"from=all", "r1 r2 r3 t4 "}, {"from=1000002-2", "r3 t4 "},
    {"from=1000003-3", "t4 "},    {"from=1970-01-01T00:16:40.003Z", "r3 t4 "},
    {"from=now", "t4 "},
};

START_TEST(then_live)
{
    int live_state = 0;
    char fourth[] = "4 ";
    put(3, false);
    hold(places[_i].from);
    while (evbus_sub_wait(sub, 0) != live_state || (_i < 4 && !keeper_count(keeper, KEEPER_READ)))
        event_base_loop(base, EVLOOP_ONCE);
    run_for(base, 5);
    put(1, true);
    await(fourth);
    expect(places[_i].story);
}
END_TEST

static void put_two(void *unused)
{
    (void)unused;
    put(2, true);
}

/* They come with the page, as live events or within it: each once, in order. */
START_TEST(live_meanwhile)
{
    char fifth[] = "5 ";
    put(3, false);
    keeper_after(keeper, KEEPER_READ, put_two, NULL);
    hold("from=all");
    await(fifth);
    run_for(base, 5);
    int n = 0;
    for (char *rest, *word = strtok_r(story, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        ck_assert_int_eq(atoi(word + 1), ++n);
    ck_assert_int_eq(n, 5);
}
END_TEST

static bool is_full(void *queue)
{
    return evbus_queue_stat(queue, "queued") == 3;
}

static void pull_until(evbus_queue *queue, const char *word)
{
    evbus_event *event;
    for (int64_t end_ms = evb_clock_mono_ms() + suite_patience(10000); !is_told((void *)word);) {
        ck_assert_int_lt(evb_clock_mono_ms(), end_ms);
        turn();
        if (evbus_queue_next(queue, 0, &event, NULL) != 1)
            continue;
        on_t(sub, event, NULL);
        evbus_event_unref(event);
    }
}

/* Into a small queue it reads as there is room, and nothing is dropped. */
START_TEST(no_more_than_has_room)
{
    char three_asked[] = " 1 + 3 ";
    put(10, false);
    evbus_queue *queue = evbus_queue_open(bus, "size=3");
    sub = evbus_queue_subscribe(queue, "t", "from=all", 0);
    ck_assert(run_until(base, is_full, queue, suite_patience(10000)));
    ck_assert_ptr_nonnull(strstr(keeper_last(keeper, KEEPER_READ), three_asked));
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 1);
    pull_until(queue, "r10 ");
    expect("r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 ");
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 0);
    evbus_queue_free(queue);
}
END_TEST

static void lose(int way)
{
    put(5, false);
    if (way == 0)
        keeper_trim(keeper, 2);
    else if (way == 1)
        keeper_delete(keeper);
    else if (way == 2)
        keeper_roll_back(keeper, 4);
    put(way == 1, false);
}

/* Gaps of one subscription bear its pattern. */
START_TEST(gaps_are_told)
{
    static const char *const want[] = {"gap:trimmed:1:t r4 r5 ", "gap:evicted:3:t r6 ",
                                       "gap:rolled-back:-1:t r1 ", "gap:refused:-1:t "};
    char last[20];
    snprintf(last, sizeof last, "%s", strrchr(want[_i], _i < 3 ? 'r' : 'g'));
    lose(_i);
    if (_i == 3)
        keeper_answer(keeper, KEEPER_READ, "-NOPERM no\r\n", 0);
    hold("from=1000002-2");
    await(last);
    run_for(base, 5);
    expect(want[_i]);
    ck_assert_msg(strstr(last_gap, "\"to\":\"1970-"), "%s", last_gap); /* the server's time */
}
END_TEST

/* Where another server's clock was ahead, the window has at least this one moment. */
START_TEST(begins_in_the_future)
{
    char from[40], to[40], told[] = "gap:";
    put(1, true);
    hold("from=4102444800000-7");
    await(told);
    ck_assert_int_eq(sscanf(last_gap, "{\"from\":\"%39[^\"]\",\"to\":\"%39[^\"]\"", from, to), 2);
    ck_assert_str_eq(from, "2100-01-01T00:00:00.000Z");
    ck_assert_msg(strcmp(from, to) < 0, "%s", last_gap);
}
END_TEST

/* All keys are deleted, and again while it reads: of the first time it knows nothing, and needs not
 * to, for what it reads tells which history it is. */
START_TEST(flushed_while_it_reads)
{
    char fifth[] = "t5 ";
    hold(NULL);
    while (evbus_sub_wait(sub, 0) != 0)
        event_base_loop(base, EVLOOP_ONCE);
    put(3, true);
    keeper_flush(keeper);
    put(5, true);
    await(fifth);
    expect("t1 t2 t3 t1 t2 t3 t4 t5 ");
    evbus_queue *queue = evbus_queue_open(bus, "size=3");
    evbus_sub *reads = evbus_queue_subscribe(queue, "t", "from=all", 0);
    ck_assert(run_until(base, is_full, queue, suite_patience(10000)));
    keeper_flush(keeper);
    put(2, false);
    pull_until(queue, "gap:");
    ck_assert_msg(strstr(story, "gap:flushed:-1:t"), "%s", story);
    story[0] = '\0';
    evbus_unsubscribe(reads);
    evbus_queue_free(queue);
}
END_TEST

/* An end while it reads: nothing more comes, nothing is left. */
START_TEST(ends_while_it_reads)
{
    put(3, false);
    keeper_answer(keeper, KEEPER_READ, "", 0); /* silence */
    hold("from=all");
    while (!keeper_count(keeper, KEEPER_READ))
        event_base_loop(base, EVLOOP_ONCE);
    if (_i) {
        evbus_unsubscribe(sub);
        sub = NULL;
        turn();
    }
    expect("");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay");
    TCase *tests = tcase_create("replay");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, then_live, 0, (int)EVB_COUNT(places));
    tcase_add_test(tests, live_meanwhile);
    tcase_add_test(tests, no_more_than_has_room);
    tcase_add_loop_test(tests, gaps_are_told, 0, 4);
    tcase_add_test(tests, begins_in_the_future);
    tcase_add_test(tests, flushed_while_it_reads);
    tcase_add_loop_test(tests, ends_while_it_reads, 0, 2);
    return run(suite);
}
