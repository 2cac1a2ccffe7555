/* test_redis_reader.c - from a position to what is live: pages, holes, what comes meanwhile, what
 * stops it. "jump:<from>-<to>:<epoch>:<begun>" and "failed:<why>" stand in the story, too. */
#include "history_fixture.h"

static struct evb_reader reader;
static int64_t room;
static const char *stops_at; /* the word in the story at which a hook stops the reader */
static bool starts_again;    /* and starts it from the beginning */

__attribute__((format(printf, 1, 2))) static void did(const char *format, ...)
{
    char word[200];
    va_list args;
    va_start(args, format);
    vsnprintf(word, sizeof word, format, args);
    va_end(args);
    tell("%s ", word);
    if (!stops_at || strcmp(word, stops_at) != 0)
        return;
    stops_at = NULL;
    if (starts_again)
        evb_reader_start(&reader, (struct evb_position){0, 0}, false, "");
    else
        evb_reader_stop(&reader);
}

static void reader_entry(struct evb_position at, const struct evb_reply *channel,
                         const struct evb_reply *text, void *user)
{
    ck_assert_ptr_eq(user, &room);
    ck_assert_str_eq(channel->text, "a");
    ck_assert_int_eq(strncmp(text->text, "{\"node\":\"fedcba9876543210\"", 26), 0);
    did("e%d", (int)at.n);
}

static void reader_held(evbus_event *event, void *user)
{
    ck_assert_ptr_eq(user, &room);
    did("h%d", (int)event->position.n);
}

static int64_t reader_room(void *user)
{
    ck_assert_ptr_eq(user, &room);
    return room;
}

static void reader_jump(const struct evb_jump *jump, void *user)
{
    ck_assert_ptr_eq(user, &room);
    ck_assert_int_eq(evb_position_compare(jump->from, reader.at), 0);
    ck_assert_ptr_eq(jump->was, reader.epoch);
    did("jump:%d-%d:%s:%d", (int)jump->from.n, (int)jump->to.n, jump->epoch, (int)jump->begun);
}

static void reader_live(void *user)
{
    ck_assert_ptr_eq(user, &room);
    ck_assert(!reader.running);
    did("live");
}

static void reader_failed(const char *error, void *user)
{
    ck_assert_ptr_eq(user, &room);
    did("failed:%s", error);
    evb_reader_skip(&reader);
}

static const struct evb_reader_hooks reader_hooks = {reader_entry, reader_held, reader_room,
                                                     reader_jump,  reader_live, reader_failed};

static void begin(void)
{
    setup_history();
    come_up_keeping();
    when_ready = NULL;
    room = 1000;
    evb_reader_init(&reader, &redis.stream, &redis.asks, &reader_hooks, &room);
}

static void end(void)
{
    evb_reader_stop(&reader);
    teardown_history();
}

static void read_from(int n, bool exact)
{
    struct evb_position at = {n ? (uint64_t)KEEPER_MS + (uint64_t)n : 0, (uint64_t)n};
    evb_loop_begin(&loop);
    evb_reader_start(&reader, at, exact, "");
    evb_loop_end(&loop);
}

static void go(void)
{
    evb_loop_begin(&loop);
    evb_reader_go(&reader);
    evb_loop_end(&loop);
}

static bool is_quiet(void *unused)
{
    (void)unused;
    return !reader.asked;
}

static void expect_quiet(const char *want)
{
    ck_assert_msg(run_until(base, is_quiet, NULL, 20000), "%s", story);
    expect_story(want);
}

/* Fallen behind at entry 3 with the epoch of a history before, for no fence has told of this one:
 * nothing was lost, and what came before it is not read again. Who was at entry 2 of another history
 * has lost. */
START_TEST(an_epoch_behind)
{
    struct evb_position heard = {(uint64_t)KEEPER_MS + (_i ? 2 : 3), 2};
    happen("p5");
    evb_loop_begin(&loop);
    evb_reader_start(&reader, heard, true, "another");
    evb_loop_end(&loop);
    expect_quiet(_i ? "jump:2-3:1.5:0 e3 e4 e5 live " : "e3 e4 e5 live ");
}
END_TEST

START_TEST(to_the_end)
{
    read_from(0, false);
    expect_quiet("live ");
    happen("p5");
    room = 2; /* the last page is not full */
    read_from(0, true);
    expect_quiet("e1 e2 e3 e4 e5 live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 4);
    read_from(3, true);
    expect_quiet("e4 e5 live "); /* there may be more */
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 6);
    ck_assert_str_eq(keeper_last(keeper, KEEPER_READ),
                     "EVALSHA 2 evbus:history:{0} evbus:history:{0}:state (1000005-5 1 + 2 "
                     "1048576");
}
END_TEST

/* Five were published when this happened; then it is read from there. */
static const struct {
    const char *happened;
    int from;
    bool exact;
    const char *story;
} jumps[] = {
    {"", 2, true, "e3 e4 e5 live "},
    {"", 5, true, "live "},
    {"t2", 3, true, "e4 e5 live "},
    {"t2", 2, true, "jump:2-4:1.5:0 e4 e5 live "},
    {"t2", 0, true, "jump:0-4:1.5:0 e4 e5 live "},
    {"t2", 2, false, "e4 e5 live "}, /* only a time: nobody knows how many came before */
    {"t0", 2, true, "jump:2-6:1.5:0 live "},
    {"t0", 2, false, "live "},
    {"t0", 5, true, "live "},
    {"d", 2, true, "jump:2-6:1.5:5 live "},
    {"d", 5, true, "live "},
    {"d p1", 2, true, "jump:2-6:1.5:5 e6 live "},
    {"d p1", 5, true, "e6 live "},
    {"f", 5, true, "jump:5-1:2.5:0 live "},
    {"f p6", 5, true, "jump:5-1:2.5:0 e1 e2 e3 e4 e5 e6 live "},
    {"r4", 2, true, "jump:2-2:1.5:0 live "},
    {"r1 p1", 5, true, "jump:5-5:1.5:0 e5 live "}, /* the same number, another entry */
    {"r1 p1 t0", 5, true, "jump:5-5:1.5:0 live "},
    {"r1 p1", 4, true, "e5 live "},
};

START_TEST(jumps_are_told)
{
    happen("p5");
    happen(jumps[_i].happened);
    read_from(jumps[_i].from, jumps[_i].exact);
    expect_quiet(jumps[_i].story);
    ck_assert(reader.exact); /* from now on each is counted */
}
END_TEST

static void happen_now(void *words)
{
    happen(words);
}

/* The first page has its head and tail; then this happens. */
START_TEST(jumps_between_pages)
{
    char one_left[] = "t1", none_left[] = "t0";
    happen("p5");
    room = 2;
    keeper_after(keeper, KEEPER_READ, happen_now, _i ? one_left : none_left);
    read_from(0, false);
    expect_quiet(_i ? "e1 e2 jump:2-5:1.5:0 e5 live " : "e1 e2 jump:2-6:1.5:0 live ");
}
END_TEST

/* ---- what comes live meanwhile ---- */

/* Event n arrives: not yet published ones are kept now. */
static void arrive(int n, uint32_t size)
{
    evbus_event *event = evb_event_make("a", 1, NULL, 0, false);
    while (published < n)
        others_publish(1, false);
    event->position = (struct evb_position){(uint64_t)KEEPER_MS + (uint64_t)n, (uint64_t)n};
    event->size = size;
    evb_reader_hold(&reader, event);
    evbus_event_unref(event);
}

static void some_arrive(void *unused)
{
    (void)unused;
    for (int n = 2; n <= 4; n++) /* 2 stands in the page */
        arrive(n, 100);
    arrive(3, 100); /* SUBSCRIBE and PSUBSCRIBE send it twice */
}

/* Nothing is missing within a stream whose count went back, nor at its end. */
START_TEST(counted_back)
{
    happen("p4 b2");
    room = _i ? 3 : 1000;
    read_from(0, false);
    expect_quiet("e1 e2 e3 e4 live ");
    happen("p2");
    read_from(0, true);
    expect_quiet("e1 e2 e3 e4 e3 e4 live ");
    read_from(4, true); /* nobody knows whether that is the same stream */
    expect_quiet("jump:4-3:1.5:0 e3 e4 live ");
}
END_TEST

START_TEST(held_back)
{
    happen("p2");
    keeper_after(keeper, KEEPER_READ, some_arrive, NULL);
    room = _i ? 2 : 3;
    read_from(0, false); /* the page was not the last: the next has them */
    expect_quiet(_i ? "e1 e2 e3 e4 live " : "e1 e2 h3 h4 live ");
    ck_assert_uint_eq(reader.held_count, 0);
}
END_TEST

static void too_large(void *unused)
{
    (void)unused;
    for (int n = 3; n <= 7; n++)
        arrive(n, 1 << 20);
}

static void too_many(void *unused)
{
    (void)unused;
    for (int i = 0; i < 65537; i++)
        arrive(i < 65536 ? 3 : 4, 0);
}

static void no_memory(void *unused)
{
    (void)unused;
    others_publish(1, false);
    evbus_event *event = evb_event_make("a", 1, NULL, 0, false);
    event->position = (struct evb_position){KEEPER_MS + 3, 3};
    failing_at(0, false);
    evb_reader_hold(&reader, event);
    ck_assert(failing_off());
    evbus_event_unref(event);
    arrive(4, 100); /* there is memory again, but 3 comes first */
}

/* What cannot be held back is read: nothing is lost, nothing comes twice. */
START_TEST(overflow)
{
    static void (*const ways[])(void *) = {too_large, too_many, no_memory};
    happen("p2");
    keeper_after(keeper, KEEPER_READ, ways[_i], NULL);
    read_from(0, false);
    expect_quiet(_i ? "e1 e2 e3 e4 live " : "e1 e2 e3 e4 e5 e6 e7 live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 2);
}
END_TEST

START_TEST(no_room)
{
    happen("p3");
    room = 0;
    read_from(0, false);
    ck_assert(!reader.asked && reader.running);
    arrive(4, 100); /* will be read */
    expect_quiet("");
    room = 2;
    go();
    go(); /* one page at a time */
    ck_assert_uint_eq(redis.asks.count, 1);
    room = 0;
    expect_quiet("e1 e2 ");
    room = 9;
    go();
    expect_quiet("e3 e4 live ");
    go();
    ck_assert(!reader.asked);
}
END_TEST

/* ---- what stops it ---- */

static const struct {
    const char *at;
    bool again;
    const char *story;
} stops[] = {
    {"jump:0-2:1.5:0", false, "jump:0-2:1.5:0 "},
    {"e2", false, "jump:0-2:1.5:0 e2 "},
    {"h4", false, "jump:0-2:1.5:0 e2 e3 h4 "},
    {"live", false, "jump:0-2:1.5:0 e2 e3 h4 h5 live "},
    {"jump:0-2:1.5:0", true, "jump:0-2:1.5:0 e2 e3 e4 e5 live "},
    {"e3", true, "jump:0-2:1.5:0 e2 e3 e2 e3 e4 e5 live "},
    {"h4", true, "jump:0-2:1.5:0 e2 e3 h4 e2 e3 e4 e5 live "},
    {"live", true, "jump:0-2:1.5:0 e2 e3 h4 h5 live e2 e3 e4 e5 live "},
};

static void two_arrive(void *unused)
{
    (void)unused;
    arrive(4, 100);
    arrive(5, 100);
}

START_TEST(stopped_by_a_hook)
{
    happen("p3 t2");
    keeper_after(keeper, KEEPER_READ, two_arrive, NULL);
    stops_at = stops[_i].at;
    starts_again = stops[_i].again;
    read_from(0, true);
    expect_quiet(stops[_i].story);
    ck_assert(!reader.running);
}
END_TEST

START_TEST(stopped_while_asked)
{
    happen("p3");
    read_from(0, false);
    evb_reader_stop(&reader);
    ck_assert(!reader.running && !reader.asked);
    read_from(2, false); /* the first page's reply is nobody's */
    expect_quiet("e3 live ");
}
END_TEST

/* What was held back is dropped; it goes on where it was when there is a link again. */
START_TEST(link_is_lost)
{
    char ready[] = "ready ", backoff[] = "backoff ";
    happen("p4");
    room = 2;
    scripted_listen(server, false);
    read_from(0, false);
    while (!strstr(story, "e2"))
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert(reader.asked);
    arrive(5, 100);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_story(backoff);
    ck_assert(reader.running && !reader.asked && reader.held_count == 0);
    scripted_listen(server, true);
    await_story(ready);
    story[0] = '\0';
    go();
    expect_quiet("e3 e4 e5 live ");
}
END_TEST

START_TEST(script_is_forgotten)
{
    happen("p2");
    read_from(1, true);
    expect_quiet("e2 live ");
    keeper_forget(keeper);
    read_from(0, true);
    run_for(base, 1);
    expect_quiet("e1 e2 live ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_READ), 3);
}
END_TEST

#define HEAD "$3\r\nend\r\n$1\r\nE\r\n$9\r\n1000001-1\r\n"
static const struct {
    const char *reply, *story;
} replies[] = {
    {"-NOPERM this user\r\n", "failed:NOPERM this user h3 live "},
    {"+OK\r\n", "failed:no page of entries h3 live "},
    {"*1\r\n:1\r\n", "failed:no page of entries h3 live "},
    {"*4\r\n" HEAD "$1\r\n0\r\n", "failed:no page of entries h3 live "},
    {"*5\r\n" HEAD ":0\r\n$1\r\na\r\n", "failed:no page of entries h3 live "},
    {"*7\r\n" HEAD ":0\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n", "failed:no page of entries h3 live "},
    /* an entry of somebody else's has no place among ours */
    {"*7\r\n" HEAD ":0\r\n$1\r\nx\r\n$1\r\na\r\n$1\r\nb\r\n", "h3 live "},
};

/* Skipped, what was held back comes for all that. */
START_TEST(fails)
{
    happen("p2");
    keeper_answer(keeper, KEEPER_READ, replies[_i].reply, 1);
    read_from(0, false);
    arrive(3, 100);
    expect_quiet(replies[_i].story);
    ck_assert(!reader.running);
    go();
    ck_assert(!reader.asked);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis reader");
    TCase *tests = tcase_create("redis reader");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, to_the_end);
    tcase_add_loop_test(tests, an_epoch_behind, 0, 2);
    tcase_add_loop_test(tests, jumps_are_told, 0, (int)EVB_COUNT(jumps));
    tcase_add_loop_test(tests, jumps_between_pages, 0, 2);
    tcase_add_loop_test(tests, counted_back, 0, 2);
    tcase_add_loop_test(tests, held_back, 0, 2);
    tcase_add_loop_test(tests, overflow, 0, 3);
    tcase_add_test(tests, no_room);
    tcase_add_loop_test(tests, stopped_by_a_hook, 0, (int)EVB_COUNT(stops));
    tcase_add_test(tests, stopped_while_asked);
    tcase_add_test(tests, link_is_lost);
    tcase_add_test(tests, script_is_forgotten);
    tcase_add_loop_test(tests, fails, 0, (int)EVB_COUNT(replies));
    return run_suite(suite);
}
