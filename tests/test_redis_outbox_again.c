/* test_redis_outbox_again.c - refused for now, in flight at a drop, and the flushes in between. */
#include "outbox_fixture.h"
#include "seen.h"

static const struct {
    const char *error;
    bool again;
    int code;
} answers[] = {
    {"NOPERM User has no permissions", false, EVBUS_EDENIED},
    {"ERR unknown", false, EVBUS_EREMOTE},
    {"", false, EVBUS_EREMOTE},
    {"WRONGPASS x", false, EVBUS_EREMOTE},
    {"LOADING Redis is loading", true, 0},
    {"BUSY Redis is busy", true, 0},
    {"OOM command not allowed", true, 0},
    {"MISCONF Redis is configured", true, 0},
    {"MASTERDOWN Link", true, 0},
    {"CLUSTERDOWN x", true, 0},
    {"TRYAGAIN x", true, 0},
    {"NOREPLICAS x", true, 0},
    {"READONLY x", true, 0},
};

START_TEST(refusal)
{
    take(1, 3);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 ");
    ck_assert(evb_answer_ok(&outbox, 1));
    ck_assert(evb_answer_error(&outbox, answers[_i].error));
    expect(answers[_i].again ? "a1 " : "a1 f2 ");
    if (!answers[_i].again)
        ck_assert_int_eq(last_error, answers[_i].code);
    take(4, 4);
    ck_assert_str_eq(wire(-1), answers[_i].again ? "" : "4:4 ");
    ck_assert(evb_answer_ok(&outbox, 1));
    expect("a3 ");
    if (!answers[_i].again) {
        end("u4 ");
        return;
    }
    ck_assert(evb_outbox_settled(&outbox));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "2:4 4:5 "); /* a new number: later ones were executed */
    end("u2 u4 ");
}
END_TEST

static const struct {
    const char *error, *says;
} refusals[] = {
    {"NOPERM User x has no permissions to run the 'publish' command",
     "PUBLISH refused: the user needs +publish (NOPERM"},
    {"NOPERM No permissions to access a channel", "PUBLISH refused: the user needs &c (NOPERM"},
    {"NOPERM x", "PUBLISH refused: the user needs +publish and &c (NOPERM x)"},
    {"ERR x", "PUBLISH refused: ERR x"},
};

static char logged[4000], during[300];

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    ck_assert_int_eq(level, EVBUS_LOG_WARNING);
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static void note_error(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    (void)receivers;
    (void)user;
    ck_assert_int_eq(outcome, EVBUS_FAILED);
    ck_assert_int_eq(evbus_last_code(), error);
    snprintf(during, sizeof during, "%s", evbus_last_error());
}

/* What is missing stands in the log, a line a second, and is the error while the report runs. */
START_TEST(refusal_names_the_right)
{
    struct evb_log log;
    evb_log_init(&log, "test", EVBUS_LOG_WARNING);
    evb_log_set(&log, EVBUS_LOG_WARNING, on_log, NULL);
    outbox.log = &log;
    for (int id = 1; id <= 4; id++) {
        take(id, id);
        struct evb_item *made = next_item();
        made->report = note_error;
        now_ms += id == 4 ? 1000 : 100;
        ck_assert(evb_answer_error(&outbox, refusals[_i].error));
        ck_assert_int_eq(strncmp(during, refusals[_i].says, strlen(refusals[_i].says)), 0);
    }
    const char *line = strstr(logged, "1 x "), *next = strchr(logged, '\n');
    ck_assert(line && strstr(line, refusals[_i].says) && strstr(next, "3 x PUBLISH refused"));
    ck_assert_msg(!strchr(strchr(next + 1, '\n') + 1, '\n'), "%s", logged);
    evb_log_fini(&log);
    end("");
}
END_TEST

START_TEST(retry_keeps_the_order)
{
    take(1, 4);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 4:4 ");
    take(5, 5);
    evb_answer_error(&outbox, "BUSY");
    evb_answer_error(&outbox, "BUSY");
    evb_answer_ok(&outbox, 1);
    evb_answer_error(&outbox, "BUSY");
    ck_assert(evb_outbox_settled(&outbox));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "1:5 2:6 4:7 5:8 ");
    end("a3 u1 u2 u4 u5 ");
}
END_TEST

START_TEST(link_lost)
{
    take(1, 4);
    outbox.may_resend = _i;
    ck_assert_str_eq(wire(3), "1:1 2:2 3:3 ");
    evb_answer_ok(&outbox, 1);
    evb_outbox_link_lost(&outbox);
    ck_assert(evb_outbox_settled(&outbox));
    expect(_i ? "a1 " : "a1 u2 u3 ");
    ck_assert_str_eq(wire(-1), _i ? "2:2 3:3 4:4 " : "4:4 ");
    evb_outbox_link_lost(&outbox);
    expect(_i ? "" : "u4 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_unknown), _i ? 0 : 3);
    end(_i ? "u2 u3 u4 " : "");
}
END_TEST

/* On one connection they rise, whatever was refused before the link dropped. */
START_TEST(numbers_rise_after_a_refusal_and_a_drop)
{
    take(1, 3);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 ");
    evb_answer_error(&outbox, "BUSY");
    mark(4);
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 3:3 1:4 ");
    for (int i = 0; i < 3; i++)
        evb_answer_ok(&outbox, 1);
    expect("a2 a3 a1 m4 "); /* 2 may have been refused, too, and comes late to who heard 3 */
    end("");
}
END_TEST

/* What may have been executed keeps its number, so that receivers know it again, as long as they can. */
START_TEST(in_doubt_keeps_its_number)
{
    take(1, 3);
    wire(-1);
    evb_answer_error(&outbox, "BUSY");
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 3:3 1:4 ");
    evb_answer_error(&outbox, "BUSY");
    evb_answer_ok(&outbox, 1);
    evb_answer_ok(&outbox, 1);
    expect("a3 a1 ");
    outbox.seq = 2 + EVB_SEEN_LATE - (_i == 0);
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 ");
    evb_answer_ok(&outbox, 1);
    expect(_i ? "u2 " : "a2 ");
    end("");
}
END_TEST

/* The same when the next connection refuses the first of those in flight. */
START_TEST(numbers_rise_after_a_drop_and_a_refusal)
{
    take(1, 3);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 ");
    mark(4);
    take(5, 5);
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(wire(1), "1:1 ");
    evb_answer_error(&outbox, "BUSY");
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 3:3 1:1 5:4 ");
    for (int i = 0; i < 4; i++)
        evb_answer_ok(&outbox, 1);
    expect("a2 a3 a1 m4 a5 ");
    end("");
}
END_TEST

/* In flight when the link dropped, then refused for now: it may have been executed the first time.
 */
START_TEST(in_doubt_stays_in_doubt)
{
    begin(EVB_FULL_DROP_OLDEST, 8, 100000, 1000);
    take(1, 1);
    wire(-1);
    evb_outbox_link_lost(&outbox);
    wire(-1);
    evb_answer_error(&outbox, "LOADING");
    evb_outbox_retry(&outbox);
    now_ms += 5000;
    evb_outbox_expire(&outbox);
    expect("");
    end("u1 ");
}
END_TEST

START_TEST(marks)
{
    mark(1); /* nothing is owed */
    expect("m1 ");
    take(1, 1);
    mark(2);
    mark(3);
    take(4, 4);
    mark(5);
    expect("");
    ck_assert_str_eq(wire(-1), "1:1 4:2 ");
    mark(6);
    evb_answer_ok(&outbox, 1);
    expect("a1 m2 m3 ");
    ck_assert_int_eq(last_error, 0);
    evb_outbox_link_lost(&outbox);
    expect("");
    wire(-1);
    evb_answer_error(&outbox, "ERR x");
    expect("f4 m5 m6 ");
    take(7, 7);
    mark(8);
    end("f7 m8 ");
    ck_assert_int_eq(last_error, EVBUS_ECLOSED);
    begin(EVB_FULL_DROP_OLDEST, 8, 100000, 1000);
    take(1, 1);
    mark(2);
    now_ms += 1000;
    evb_outbox_expire(&outbox);
    expect("x1 m2 ");
    take(1, 1);
    mark(2);
    take(3, 10);
    expect("W v1 m2 ");
    end("f3 f4 f5 f6 w f7 f8 f9 f10 ");
}
END_TEST

/* A flush between a refused event and one that is still in flight. */
START_TEST(marks_and_refusals)
{
    take(1, 1);
    mark(2);
    take(3, 3);
    ck_assert_str_eq(wire(-1), "1:1 3:2 ");
    evb_answer_error(&outbox, "BUSY");
    ck_assert(evb_answer_ok(&outbox, 1)); /* that is the answer to 3 */
    expect("a3 ");
    ck_assert(evb_outbox_settled(&outbox));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "1:3 ");
    ck_assert(evb_answer_ok(&outbox, 1));
    expect("a1 m2 ");
    end("");
}
END_TEST

/* A flush while something was refused, and the link drops before the pause is over. */
START_TEST(marks_and_refusals_and_drops)
{
    take(1, 2);
    ck_assert_str_eq(wire(-1), "1:1 2:2 ");
    evb_answer_error(&outbox, "BUSY");
    mark(3);
    take(4, 4);
    evb_answer_ok(&outbox, 1);
    expect("a2 ");
    if (_i)
        evb_outbox_link_lost(&outbox);
    else
        evb_outbox_retry(&outbox);
    expect("");
    ck_assert_str_eq(wire(-1), "1:3 4:4 ");
    evb_answer_ok(&outbox, 1);
    expect("a1 m3 ");
    end("u4 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis outbox again");
    TCase *tests = tcase_create("redis outbox again");

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, refusal, 0, (int)EVB_COUNT(answers));
    tcase_add_loop_test(tests, refusal_names_the_right, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(tests, retry_keeps_the_order);
    tcase_add_loop_test(tests, link_lost, 0, 2);
    tcase_add_test(tests, numbers_rise_after_a_refusal_and_a_drop);
    tcase_add_loop_test(tests, in_doubt_keeps_its_number, 0, 2);
    tcase_add_test(tests, numbers_rise_after_a_drop_and_a_refusal);
    tcase_add_test(tests, marks);
    tcase_add_test(tests, marks_and_refusals);
    tcase_add_loop_test(tests, marks_and_refusals_and_drops, 0, 2);
    tcase_add_test(tests, in_doubt_stays_in_doubt);
    return run(suite);
}
