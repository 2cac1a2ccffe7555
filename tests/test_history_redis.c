/* test_history_redis.c - queries of what Redis stores: which pages are asked for, what is taken from
 * them, and what is said when none comes. */
#include "bus_fixture.h"
#include "bus.h"
#include "clock.h"
#include "list.h"

#define P "evbus:events:"

static char page[8300];

/* A reply of the script: "more" or "end", then three texts for each entry; ends with NULL. */
static char *make_page(const char *more, ...)
{
    char words[8192] = "";
    const char *word;
    size_t at = 0;
    int count = 4;
    va_list args;
    va_start(args, more);
    while ((word = va_arg(args, const char *))) {
        at += (size_t)snprintf(words + at, sizeof words - at, "$%zu\r\n%s\r\n", strlen(word), word);
        count++;
    }
    va_end(args);
    snprintf(page, sizeof page, "*%d\r\n$%zu\r\n%s\r\n$1\r\nE\r\n$5\r\n900-9\r\n:0\r\n%s", count,
             strlen(more), more, words);
    return page;
}

/* {"eventId":id, ...} of that second; a few at a time. */
static const char *body(const char *id, int second)
{
    static char texts[8][200];
    static unsigned next;
    char *text = texts[next++ % EVB_COUNT(texts)];
    snprintf(text, sizeof texts[0],
             "{\"eventId\":\"%s\",\"type\":\"x\",\"version\":\"1\","
             "\"timestamp\":\"1970-01-01T00:%02d:%02dZ\",\"data\":1}",
             id, second / 60, second % 60);
    return text;
}

/* "2:c,b " or "E-4 "; the sentence is kept. */
static char sentence[400];
static evbus_event *first; /* ref: of the last answer */

static void on_list(evbus_list *list, int error, void *user)
{
    (void)user;
    evbus_event_unref(first);
    first = NULL;
    if (error != 0) {
        tell("E%d ", error);
        snprintf(sentence, sizeof sentence, "%s", evbus_last_error());
        return;
    }
    tell("%d:", evbus_list_count(list));
    for (int i = 0; i < evbus_list_count(list); i++)
        tell("%s%s", i ? "," : "", evbus_event_id(evbus_list_at(list, i)));
    tell(" ");
    if (evbus_list_count(list))
        first = evbus_event_ref(evbus_list_at(list, 0));
    evbus_list_free(list);
}

static void ask_for(const char *query)
{
    int rc = evbus_history_async(bus, query, on_list, NULL);
    ck_assert_msg(rc == 0, "%s: %s", query, evbus_last_error());
}

static void answers(const char *query, const char *want)
{
    ask_for(query);
    await(" ");
    expect(want);
}

static void begin(void)
{
    setup();
    bus = open_on(1, "reconnect.backoff", "1ms", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static void end(void)
{
    evbus_event_unref(first);
    first = NULL;
    teardown();
}

static bool is_asked(void *count)
{
    return scripted_count(server, "EVAL") + scripted_count(server, "EVALSHA") >= *(int *)count;
}

static int asked(void)
{
    return scripted_count(server, "EVAL") + scripted_count(server, "EVALSHA");
}

static void await_asked(int count)
{
    ck_assert(run_until(base, is_asked, &count, suite_patience(10000)));
}

/* ---- what is taken ---- */

START_TEST(page_after_page)
{
    scripted_answer(server, "EVAL",
                    make_page("more", "900-9", P "a", body("9", 9), /* of that name, elsewhere */
                              "800-8", "other:a", body("8", 8), "nonsense", P "a", body("7", 7),
                              "600-6", P "a", "{broken", "500-5", P, body("5", 5), "990-1", P "a",
                              body("newer than what was before it", 5), "400-4", P "b",
                              body("4", 4), NULL),
                    1);
    scripted_answer(server, "EVALSHA", "", 1);
    int before = asked();
    ask_for("source=redis");
    await_asked(before + 2);
    ck_assert_ptr_nonnull(
        strstr(scripted_last(server, "EVALSHA"),
               " 2 evbus:history:{0} evbus:history:{0}:state 400-3 -1 - 512 1048576"));
    expect("");
    char *last = make_page("end", "300-0", P "a", body("3", 3), NULL);
    scripted_send(server, SCRIPTED_PUBLISHER, last, strlen(last));
    await("3:");
    expect("3:9,4,3 ");
    ck_assert_str_eq(evbus_event_position(first), "900-9");
    ck_assert_int_eq(evbus_event_origin(first), EVBUS_ORIGIN_REPLAY);
    ck_assert_int_eq(evbus_stat(bus, "received"), 0);
    ck_assert_int_eq(evbus_stat(bus, "decode_errors"), 1);
}
END_TEST

static const struct {
    const char *query, *bounds;
} bounds[] = {
    {"", " + -1 - "},
    {"since=all until=now", " + -1 - "}, /* a time that many an event of the future is beyond */
    {"until=500-3", " 500-3 -1 - "},
    {"since=400-2 until=500-3", " 500-3 -1 400-2 "},
    {"since=2001-09-09T01:46:40Z", " + -1 999999940000-0 "}, /* clocks may differ by a minute */
    {"since=1970-01-01T00:00:30Z", " + -1 0-0 "},
    {"until=2001-09-09T01:46:40Z", " + -1 - "}, /* it may have waited in an outbox */
};

START_TEST(asks_for_what_may_match)
{
    char query[100];
    scripted_answer(server, "EVAL", make_page("end", NULL), 0);
    ask_for("source=redis");
    await("0: ");
    story[0] = '\0';
    scripted_answer(server, "EVALSHA", page, 0);
    snprintf(query, sizeof query, "source=redis %s", bounds[_i].query);
    ask_for(query);
    await("0: ");
    ck_assert_msg(strstr(scripted_last(server, "EVALSHA"), bounds[_i].bounds) != NULL, "%s: %s",
                  query, scripted_last(server, "EVALSHA"));
}
END_TEST

START_TEST(filters)
{
    scripted_answer(server, "EVAL",
                    make_page("end", "50-9", P "b.x", body("late", 1), "40-8", P "a.x",
                              body("4", 4), "30-7", P "a.x", body("3", 3), "20-6", P "a",
                              body("2", 2), NULL),
                    0);
    scripted_answer(server, "EVALSHA", page, 0);
    answers("source=redis type=a.*", "2:4,3 ");
    answers("source=redis type=a.* limit=1", "1:4 ");
    answers("source=redis since=1970-01-01T00:00:03Z", "2:4,3 ");
    answers("source=redis until=1970-01-01T00:00:02Z", "2:2,late ");
    answers("source=redis since=30-7 until=40-8", "2:4,3 ");
    answers("source=redis correlation=3", "1:3 ");
}
END_TEST

/* What waited in an outbox stands before what is newer: the newest are those by time, and it is
 * read on until nothing newer can come. */
START_TEST(the_newest_by_time)
{
    scripted_answer(server, "EVAL",
                    make_page("more", "100000-9", P "a", body("waited", 10), "99000-8", P "a",
                              body("too", 11), NULL),
                    1);
    scripted_answer(server, "EVALSHA", "", 1);
    ask_for("source=redis limit=2");
    int before = asked();
    await_asked(before + 2);
    scripted_answer(server, "EVALSHA", "", 1);
    before = asked();
    char *more =
        make_page("more", "98000-7", P "a", body("98", 98), "97000-6", P "a", body("97", 97), NULL);
    scripted_send(server, SCRIPTED_PUBLISHER, more, strlen(more));
    await_asked(before + 1); /* one clock may be ahead by a second */
    more = make_page("more", "90000-5", P "a", body("90", 90), NULL);
    scripted_send(server, SCRIPTED_PUBLISHER, more, strlen(more));
    await("2:98,97 ");
    run_for(base, 5);
    ck_assert_int_eq(asked(), before + 1);
}
END_TEST

START_TEST(both_sources)
{
    evbus_free(bus);
    bus = open_on(1, "history.local.events", "100", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_gt(evbus_publish(bus, "mine", "1"), 0);
    ck_assert_int_gt(evbus_publish(bus, "young", "1"), 0);
    ck_assert(run_until(base, is_asked, &(int){0}, 1000));
    evbus_list *local = evbus_history(bus, "source=local", 0);
    ck_assert_int_eq(evbus_list_count(local), 2);
    char *json = evbus_event_to_json(evbus_list_at(local, 1)), want[200];
    snprintf(want, sizeof want, "3:%s,%s,old ", evbus_event_id(evbus_list_at(local, 0)),
             evbus_event_id(evbus_list_at(local, 1)));
    ck_assert_ptr_null(evbus_event_position(evbus_list_at(local, 1)));
    char mine[600];
    snprintf(mine, sizeof mine, "{\"node\":\"%s\",\"local\":true,\"seq\":1,%s", evbus_node(bus),
             json + 1);
    scripted_answer(server, "EVAL",
                    make_page("end", "70-7", P "mine", mine, "60-6", P "a", body("old", 5), NULL),
                    0);
    ask_for(NULL);
    await("old ");
    expect(want);
    ck_assert_str_eq(evbus_event_position(evbus_list_at(local, 1)), "70-7");
    scripted_answer(server, "EVAL", NULL, 0); /* no right: what this process has */
    scripted_answer(server, "EVALSHA", "-NOPERM this user has no permissions\r\n", 0);
    ask_for("type=young");
    await("1:");
    evbus_string_free(json);
    evbus_list_free(local);
}
END_TEST

/* ---- what is said ---- */

#define HEAD "$1\r\nE\r\n$5\r\n900-9\r\n:0\r\n"
static const struct {
    const char *reply, *story, *says[2];
} replies[] = {
    {"-NOPERM this user has no permissions to run the 'eval' command\r\n",
     "E-12 ",
     {"the user needs +eval +evalsha +xrevrange and ~evbus:*", "to run the 'eval' command"}},
    {"-ERR The user executing the script can't run this command or subcommand\r\n",
     "E-12 ",
     {"the user needs +eval +evalsha +xrevrange and ~evbus:*", "can't run"}},
    {"-BUSY Redis is busy running a script\r\n", "E-17 ", {"Redis does not let", "BUSY"}},
    {"-NOSCRIPT No matching script\r\n", "E-17 ", {"Redis does not let", "NOSCRIPT"}},
    {":1\r\n", "E-17 ", {"no page of entries", ""}},
    {"*0\r\n", "E-17 ", {"no page of entries", ""}},
    {"*5\r\n$3\r\nend\r\n" HEAD "$3\r\n1-1\r\n", "E-17 ", {"no page of entries", ""}},
    {"*7\r\n$3\r\nend\r\n" HEAD "$3\r\n1-1\r\n:1\r\n$1\r\n1\r\n",
     "E-17 ",
     {"no page of entries", ""}},
    {"*4\r\n$4\r\nmore\r\n" HEAD, "0: ", {"", ""}}, /* more of nothing is the end */
    {"*7\r\n$4\r\nmore\r\n" HEAD "$3\r\n0-0\r\n$1\r\na\r\n$1\r\n1\r\n", "0: ", {"", ""}},
};

START_TEST(replies_of_all_kinds)
{
    scripted_answer(server, "EVAL", replies[_i].reply, 0);
    scripted_answer(server, "EVALSHA", replies[_i].reply, 0);
    ask_for("source=redis");
    await(" ");
    expect(replies[_i].story);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(strstr(sentence, replies[_i].says[i]) != NULL, "%s", sentence);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID);
}
END_TEST

START_TEST(forgotten_script)
{
    scripted_answer(server, "EVAL", make_page("end", "60-6", P "a", body("6", 5), NULL), 0);
    scripted_answer(server, "EVALSHA", "-NOSCRIPT No matching script\r\n", 0);
    for (int i = 0; i < 5; i++) {
        ask_for("source=redis");
        await("1:6 ");
        story[0] = '\0';
    }
}
END_TEST

static const struct {
    const char *settings[2], *query, *says[2];
} lacking[] = {
    {{"history.enabled", "no"}, "source=redis", {"history.enabled=no", "history.enabled=no"}},
    {{"history.enabled", "no"}, NULL, {"history.enabled=no", "history.local.events"}},
    {{"bus.mode", "local-only"}, "source=redis", {"redis.url, bus.mode", "in Redis"}},
    {{"bus.mode", "local-only"}, NULL, {"redis.url", "history.local.events"}},
};

START_TEST(none_by_the_settings)
{
    evbus_free(bus);
    bus = open_on(1, lacking[_i].settings[0], lacking[_i].settings[1], NULL);
    ck_assert_int_eq(evbus_history_async(bus, lacking[_i].query, on_list, NULL), EVBUS_ENOTSUP);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(strstr(evbus_last_error(), lacking[_i].says[i]) != NULL, "%s",
                      evbus_last_error());
}
END_TEST

/* ---- the end of the link, and of the bus ---- */

/* One page at a time; the others wait for their turn. */
static void ask_three(void)
{
    int before = asked();
    scripted_answer(server, "EVAL", "", 0);
    for (int i = 0; i < 3; i++)
        ask_for("source=redis");
    await_asked(before + 1);
    run_for(base, 5);
    ck_assert_int_eq(asked(), before + 1);
    expect("");
}

START_TEST(turns)
{
    ask_three();
    char *reply = make_page("end", "60-6", P "a", body("6", 5), NULL);
    scripted_answer(server, "EVALSHA", reply, 0);
    scripted_send(server, SCRIPTED_PUBLISHER, reply, strlen(reply));
    await("1:6 1:6 1:6 ");
}
END_TEST

START_TEST(the_link_is_cut)
{
    ask_three();
    scripted_close(server, SCRIPTED_PUBLISHER);
    await("E-4 E-4 E-4 ");
    ck_assert_msg(strstr(sentence, "while Redis is away (publisher connection: closed") != NULL,
                  "%s", sentence);
    scripted_answer(server, "EVAL", NULL, 0);
    story[0] = '\0';
    await_mode(EVBUS_MODE_HYBRID);
    scripted_answer(server, "EVAL", make_page("end", "60-6", P "a", body("6", 5), NULL), 1);
    ask_for("source=redis");
    await("1:6 ");
}
END_TEST

START_TEST(away_all_the_time)
{
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_mode(EVBUS_MODE_DEGRADED);
    ask_for("source=redis");
    turn();
    expect("E-4 ");
    ck_assert_msg(strstr(sentence, "while Redis is away (") != NULL, "%s", sentence);
}
END_TEST

START_TEST(freed_meanwhile)
{
    ask_three();
    evbus_free(bus);
    bus = NULL;
    expect("E-7 E-7 E-7 ");
}
END_TEST

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed%d ", result);
}

START_TEST(closed_meanwhile)
{
    ask_three();
    ck_assert_int_eq(evbus_close_async(bus, -1, on_closed, NULL), 0);
    await("closed");
    expect("E-7 E-7 E-7 closed0 ");
}
END_TEST

/* ---- without memory ---- */

/* Fences are answered by another reply than pages. */
static void come_back(void)
{
    scripted_answer(server, "EVAL", NULL, 0);
    scripted_answer(server, "EVALSHA", NULL, 0);
    await_mode(EVBUS_MODE_HYBRID);
    run_for(base, 1);
    scripted_answer(server, "EVAL", make_page("end", "60-6", P "a", body("6", 5), NULL), 0);
    scripted_answer(server, "EVALSHA", page, 0);
    story[0] = '\0';
}

START_TEST(memory)
{
    int failures = 0;
    for (int n = 0;; n++) {
        come_back();
        failing_at(n, false);
        int rc = evbus_history_async(bus, "source=redis type=a", on_list, NULL);
        if (rc == 0)
            await(" ");
        bool failed = failing_off();
        ck_assert(rc == 0 || rc == EVBUS_ENOMEM);
        failures += rc != 0 || story[0] == 'E';
        if (!failed)
            break;
    }
    expect("1:6 ");
    ck_assert_int_gt(failures, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("history in Redis");
    TCase *tests = tcase_create("history in Redis");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, page_after_page);
    tcase_add_loop_test(tests, asks_for_what_may_match, 0, (int)EVB_COUNT(bounds));
    tcase_add_test(tests, filters);
    tcase_add_test(tests, the_newest_by_time);
    tcase_add_test(tests, both_sources);
    tcase_add_loop_test(tests, replies_of_all_kinds, 0, (int)EVB_COUNT(replies));
    tcase_add_test(tests, forgotten_script);
    tcase_add_loop_test(tests, none_by_the_settings, 0, (int)EVB_COUNT(lacking));
    tcase_add_test(tests, turns);
    tcase_add_test(tests, the_link_is_cut);
    tcase_add_test(tests, away_all_the_time);
    tcase_add_test(tests, freed_meanwhile);
    tcase_add_test(tests, closed_meanwhile);
    tcase_add_test(tests, memory);
    suite_add_tcase(suite, tests);
    return run(suite);
}
