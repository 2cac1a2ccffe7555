/*
 * it_soak.c - the outside verifier (soak/run.h): a short run, and made-up books that show that its
 * checker sees each thing that it is there to see.
 */
#include "harness/suite.h"
#include "soak/checker.h"
#include "soak/member.h"
#include "soak/run.h"
#include <stdio.h>
#include <string.h>

enum { BOOKS = 3, EDITS = 2, NOTHING = -1 };

/*
 * A run in which all is well. The book's number stands first; "publish NUMBER TYPE AT", "report
 * NUMBER OUTCOME AT" and "receive STREAM NUMBER TYPE" are records, the rest are notes. Event 3
 * falls into a gap, 4 is dropped by the queue, 6 was evicted.
 */
static const char *const story[] = {
    "0 process 0 publisher0",
    "0 lane 0",
    "0 stream 0 3 10 local inline",
    "0 publish 1 0 100",
    "0 receive 0 1 0",
    "0 report 1 1 150",
    "0 publish 2 1 200",
    "0 receive 0 2 1",
    "0 report 2 1 250",
    "0 publish 3 0 300",
    "0 receive 0 3 0",
    "0 report 3 1 350",
    "0 publish 4 0 400",
    "0 receive 0 4 0",
    "0 report 4 1 450",
    "0 publish 5 1 500",
    "0 receive 0 5 1",
    "0 report 5 1 550",
    "0 publish 6 0 600",
    "0 receive 0 6 0",
    "0 report 6 4 650",
    "0 stat published_redis 6",
    "0 stat acked 5",
    "0 stat failed_redis 0",
    "0 stat unknown 0",
    "0 stat evicted 1",
    "0 stat expired 0",
    "0 stat outbox_events 0",
    "0 stat gaps 0",
    "0 stat disconnects 0",
    "0 mode 20 hybrid",
    "1 process 1 subscriber1",
    "1 stream 4 3 10 both pattern",
    "1 stream 5 3 10 both queue",
    "1 receive 4 1 0",
    "1 receive 5 1 0",
    "1 receive 4 2 1",
    "1 receive 5 2 1",
    "1 gap 290 360 closed by the server",
    "1 receive 4 4 0",
    "1 receive 4 5 1",
    "1 receive 5 5 1",
    "1 dropped 4 0",
    "1 dropped 5 1",
    "1 stat published_redis 0",
    "1 stat acked 0",
    "1 stat failed_redis 0",
    "1 stat unknown 0",
    "1 stat evicted 0",
    "1 stat expired 0",
    "1 stat outbox_events 0",
    "1 stat gaps 1",
    "1 stat disconnects 1",
    "1 mode 20 hybrid",
    "1 mode 300 degraded",
    "1 mode 360 hybrid",
    "2 fault kill-pubsub 292 320 2",
};

/* Lines of it, and what stands there instead: any number, with semicolons between them; those in
 * place of no line come at the end. */
static const struct {
    const char *what;
    int rule, count; /* the one that is broken, so many times; or NOTHING */
    bool history;
    struct {
        const char *line, *instead;
    } edits[EDITS];
} cases[] = {
    {"all is well", NOTHING, 0, false, {{0}}},
    {"types may overtake each other",
     NOTHING,
     0,
     false,
     {{"1 receive 4 1 0", "1 receive 4 2 1"}, {"1 receive 4 2 1", "1 receive 4 1 0"}}},
    {"a refused number is used again",
     NOTHING,
     0,
     false,
     {{"0 publish 4 0 400", "0 publish 4 1 390;0 refused 4 0 395;0 publish 4 0 400"}}},
    {"the gap ends before the loss",
     CHECK_LOST,
     2,
     false,
     {{"1 gap 290 360 closed by the server", "1 gap 290 299 closed by the server"}}},
    {"the gap begins after the loss",
     CHECK_LOST,
     2,
     false,
     {{"1 gap 290 360 closed by the server", "1 gap 351 360 closed by the server"},
      {"2 fault kill-pubsub 292 320 2", "2 fault kill-pubsub 292 355 2"}}},
    {"the server lost what it had sent",
     NOTHING,
     0,
     false,
     {{"1 gap 290 360 closed by the server", "1 gap 290 360 Redis lost the end of the history (.."},
      {"2 fault kill-pubsub 292 320 2", "2 fault restart 292 320 0;2 tail 280 292 320"}}},
    {"the server has what it is said to have lost",
     CHECK_GAP,
     1,
     false,
     {{"1 gap 290 360 closed by the server", "1 gap 290 360 Redis lost the end of the history (.."},
      {"2 fault kill-pubsub 292 320 2", "2 fault restart 292 320 0;2 tail 291 292 320"}}},
    {"the server lost what it had sent, and somebody says something else",
     CHECK_GAP,
     1,
     false,
     {{"2 fault kill-pubsub 292 320 2", "2 fault restart 292 320 0;2 tail 280 292 320"}}},
    {"nobody heard it", CHECK_LOST, 2, false, {{"1 receive 4 2 1", ""}, {"1 receive 5 2 1", ""}}},
    {"a local subscriber misses one", CHECK_LOCAL, 1, false, {{"0 receive 0 2 1", ""}}},
    {"and one that was evicted", CHECK_LOCAL, 1, false, {{"0 receive 0 6 0", ""}}},
    {"twice", CHECK_DOUBLED, 1, false, {{"1 receive 4 5 1", "1 receive 4 5 1;1 receive 4 5 1"}}},
    {"twice, much later", CHECK_DOUBLED, 1, false, {{NULL, "1 receive 4 1 0"}}},
    {"twice, locally", CHECK_DOUBLED, 1, false, {{NULL, "0 receive 0 6 0"}}},
    {"out of order",
     CHECK_REORDERED,
     1,
     false,
     {{"1 receive 4 1 0", "1 receive 4 4 0"}, {"1 receive 4 4 0", "1 receive 4 1 0"}}},
    {"a number never published", CHECK_STRANGE, 1, false, {{NULL, "1 receive 4 7 0"}}},
    {"another type", CHECK_STRANGE, 1, false, {{NULL, "1 receive 4 2 0"}}},
    {"evicted, and sent", CHECK_GHOST, 2, false, {{NULL, "1 receive 4 6 0;1 receive 5 6 0"}}},
    {"two reports", CHECK_REPORTS, 1, false, {{NULL, "0 report 2 1 260"}}},
    {"no report",
     CHECK_REPORTS,
     1,
     false,
     {{"0 report 2 1 250", ""}, {"0 stat acked 5", "0 stat acked 4"}}},
    {"a wrong sum", CHECK_ACCOUNTS, 1, false, {{"0 stat acked 5", "0 stat acked 4"}}},
    {"an event left over",
     CHECK_ACCOUNTS,
     1,
     false,
     {{"0 stat outbox_events 0", "0 stat outbox_events 1"}}},
    {"a counter not told", CHECK_ACCOUNTS, 1, false, {{"0 stat expired 0", ""}}},
    {"a drop not counted", CHECK_DROPPED, 1, false, {{"1 dropped 5 1", "1 dropped 5 0"}}},
    {"a drop counted twice", CHECK_DROPPED, 1, false, {{"1 dropped 5 1", "1 dropped 5 2"}}},
    {"one misses what the other got", CHECK_DROPPED, 1, false, {{"1 receive 4 2 1", ""}}},
    {"a gap without a fault", CHECK_GAP, 1, false, {{"2 fault kill-pubsub 292 320 2", ""}}},
    {"a gap, another's fault",
     CHECK_GAP,
     1,
     false,
     {{"2 fault kill-pubsub 292 320 2", "2 fault reset 292 320 1"}}},
    {"a gap before its fault",
     CHECK_GAP,
     1,
     false,
     {{"2 fault kill-pubsub 292 320 2", "2 fault kill-pubsub 361 400 2"}}},
    {"a break without a gap",
     CHECK_GAP,
     1,
     false,
     {{"1 stat disconnects 1", "1 stat disconnects 2"},
      {NULL, "1 mode 400 degraded;1 mode 410 hybrid"}}},
    {"not back in time", CHECK_STUCK, 1, false, {{NULL, "2 stuck 1 not connected"}}},
    {"degraded at the end", CHECK_STUCK, 1, false, {{"1 mode 360 hybrid", "1 mode 360 closed"}}},
    {"an unknown note", CHECK_BOOKS, 1, false, {{NULL, "1 what is this"}}},
    {"nobody's subscription", CHECK_BOOKS, 1, false, {{NULL, "1 receive 63 1 0"}}},
    {"history, all is well",
     NOTHING,
     0,
     true,
     {{"1 dropped 5 1", "1 dropped 5 0"}, {"1 receive 5 5 1", "1 receive 5 4 0;1 receive 5 5 1"}}},
    {"history, a queue that drops",
     CHECK_DROPPED,
     1,
     true,
     {{"1 receive 5 5 1", "1 receive 5 4 0;1 receive 5 5 1"}}},
    {"history, a queue that loses", CHECK_LOST, 1, true, {{"1 dropped 5 1", "1 dropped 5 0"}}},
};

enum { CASES = (int)(sizeof cases / sizeof cases[0]) };

/* False: it is a note. */
static bool read_record(const char *line, struct ledger_record *record)
{
    static const char *const words[] = {"publish", "refused", "report", "receive"};
    static const uint8_t kinds[] = {LEDGER_PUBLISH, LEDGER_REFUSED, LEDGER_REPORT, LEDGER_RECEIVED};
    char word[16];
    int a, b, c;
    for (int i = 0; i < 4 && sscanf(line, "%15s %d %d %d", word, &a, &b, &c) == 4; i++) {
        if (strcmp(word, words[i]) != 0)
            continue;
        bool received = kinds[i] == LEDGER_RECEIVED;
        *record = (struct ledger_record){.kind = kinds[i],
                                         .stream = (uint8_t)(received ? a : 0),
                                         .number = (uint32_t)(received ? b : a),
                                         .what = (uint8_t)(received ? c : b),
                                         .at_us = received ? 1 : c};
        return true;
    }
    return false;
}

static void write_lines(struct ledger *books, const char *lines)
{
    char all[200], *state = NULL;
    struct ledger_record record;
    snprintf(all, sizeof all, "%s", lines);
    for (char *line = strtok_r(all, ";", &state); line; line = strtok_r(NULL, ";", &state)) {
        struct ledger *book = &books[line[0] - '0'];
        if (read_record(line + 2, &record))
            ledger_put(book, &record);
        else
            ledger_note(book, "%s", line + 2);
    }
}

static const char *edited(int which, const char *line)
{
    for (int i = 0; i < EDITS; i++)
        if (cases[which].edits[i].line && !strcmp(cases[which].edits[i].line, line))
            return cases[which].edits[i].instead;
    return line;
}

static void write_story(int which, char paths[BOOKS][100])
{
    struct ledger books[BOOKS];
    for (int i = 0; i < BOOKS; i++) {
        snprintf(paths[i], 100, "%s/story%d.%d", suite_folder(), which, i);
        ck_assert(ledger_open(&books[i], paths[i]));
    }
    for (size_t i = 0; i < sizeof story / sizeof story[0]; i++)
        write_lines(books, edited(which, story[i]));
    for (int i = 0; i < EDITS; i++)
        if (!cases[which].edits[i].line && cases[which].edits[i].instead)
            write_lines(books, cases[which].edits[i].instead);
    for (int i = 0; i < BOOKS; i++)
        ck_assert(ledger_close(&books[i]));
}

START_TEST(the_checker_sees_it)
{
    char paths[BOOKS][100];
    const char *bases[BOOKS] = {paths[0], paths[1], paths[2]};
    write_story(_i, paths);
    struct check *check = check_new(cases[_i].history);
    check_read(check, bases, BOOKS);
    bool kept = check_judge(check);
    for (int rule = 0; rule < CHECK_RULE_COUNT; rule++) {
        int expected = rule == cases[_i].rule ? cases[_i].count : 0;
        if (check->broken[rule] != expected)
            check_print(check, stdout);
        ck_assert_msg(check->broken[rule] == expected, "%s: rule %d broken %lld times, not %d",
                      cases[_i].what, rule, check->broken[rule], expected);
    }
    ck_assert_msg(kept == (cases[_i].rule == NOTHING), "%s: its judgement", cases[_i].what);
    check_free(check);
}
END_TEST

START_TEST(every_rule_has_a_case)
{
    for (int rule = 0; rule < CHECK_RULE_COUNT; rule++) {
        int count = 0;
        for (int i = 0; i < CASES; i++)
            count += cases[i].rule == rule;
        ck_assert_msg(count > 0, "rule %d", rule);
    }
}
END_TEST

/* The runs: without history, as long as the library has none. */
static const bool histories[] = {false, true};

START_TEST(short_run)
{
    char command[80];
    struct soak_plan plan = {.events = suite_scaled(12000),
                             .faults = 11,
                             .seed = suite_seed("soak"),
                             .history = histories[_i],
                             .spacing_ms = 350,
                             .stop_ms = 1000,
                             .backoff_max_ms = 200,
                             .command = command};
    snprintf(command, sizeof command, "EVB_TEST_SCALE=%d EVB_TEST_SEED=%u build/it_soak",
             suite_scaled(100), plan.seed);
    soak_run(&plan);
}
END_TEST

int main(int argc, char **argv)
{
    int status = member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("soak");
    TCase *books = tcase_create("books"), *runs = tcase_create("runs");
    tcase_add_loop_test(books, the_checker_sees_it, 0, CASES);
    tcase_add_test(books, every_rule_has_a_case);
    tcase_set_timeout(runs, suite_patience(60));
    tcase_add_loop_test(runs, short_run, 0, (int)(sizeof histories / sizeof histories[0]));
    suite_add_tcase(suite, books);
    suite_add_tcase(suite, runs);
    return suite_run(suite, argc, argv);
}
