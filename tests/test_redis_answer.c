/* test_redis_answer.c - what the replies to calls of the history's script mean for their events. */
#include "outbox_fixture.h"
#include "list.h"
#include "reply_fixture.h"

/* Events that are to be kept. */
static void keep(int from, int to)
{
    for (int id = from; id <= to; id++) {
        struct evb_item *made = item(id, 10);
        made->history = true;
        ck_assert_int_eq(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
        evb_outbox_take(&outbox, made);
    }
}

/* Writes commands until there are none: "[1:1 2:2] 3:3 ", calls in brackets. */
static const char *commands(size_t most)
{
    static char text[2048];
    struct evb_item *items[EVB_CALL_EVENTS];
    size_t count;
    text[0] = '\0';
    while ((count = evb_outbox_next(&outbox, items, most))) {
        size_t at = strlen(text);
        ck_assert_uint_eq(items[0]->call, count);
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(items[i]->scripted, items[0]->scripted);
            ck_assert_uint_eq(strtoul(items[i]->seq_slot, NULL, 10), items[i]->seq);
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%d:%lu%s",
                                   i == 0 && items[0]->scripted ? "[" : "",
                                   (int)(intptr_t)items[i]->user, (unsigned long)items[i]->seq,
                                   i + 1 < count        ? " "
                                   : items[0]->scripted ? "] "
                                                        : " ");
        }
    }
    return text;
}

static bool answer(const char *spec, const char **why)
{
    const char *keeps = "untouched";
    bool known = evb_answer_call(&outbox, array_of(spec), &keeps);
    if (why)
        *why = keeps;
    else
        ck_assert_ptr_null(keeps);
    return known;
}

static void start(void)
{
    setup();
    outbox.history = true;
}

START_TEST(a_result_each)
{
    keep(1, 4);
    ck_assert_str_eq(commands(EVB_CALL_EVENTS), "[1:1 2:2 3:3 4:4] ");
    ck_assert(evb_answer_is_call(&outbox));
    ck_assert(!evb_outbox_settled(&outbox));
    ck_assert(answer("s1000;i41;i2;i0;i-1;i7", NULL));
    expect("a1 a2 a3 a4 ");
    ck_assert_int_eq(last_receivers, 7);
    ck_assert(evb_outbox_settled(&outbox));
    ck_assert(!evb_answer_is_call(&outbox));
    ck_assert(!answer("s1000;i45", NULL)); /* nobody waits for it */
    end("");
}
END_TEST

/* Those that were done before took no new place; nor did those that were refused. */
START_TEST(positions)
{
    evbus_event *events[5];
    const char *why;
    for (int i = 0; i < 5; i++) {
        struct evb_item *made = item(i + 1, 10);
        events[i] = evbus_event_new("a");
        made->event = evbus_event_ref(events[i]);
        made->history = true;
        ck_assert_int_eq(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
        evb_outbox_take(&outbox, made);
    }
    commands(EVB_CALL_EVENTS);
    ck_assert(answer("s1763712345678;i41;i-1;i3;sERR x;sKEEP OOM x;i0", &why));
    ck_assert_str_eq(why, "OOM x");
    expect("a1 a2 f3 a4 a5 ");
    static const char *const want[] = {NULL, "1763712345678-42", NULL, NULL, "1763712345678-43"};
    for (int i = 0; i < 5; i++) {
        const char *got = evbus_event_position(events[i]);
        ck_assert_msg(want[i] ? got && !strcmp(got, want[i]) : !got || !*got, "%d: %s", i, got);
        evbus_event_unref(events[i]);
    }
    end("");
}
END_TEST

static const struct {
    const char *result, *ends; /* of the second of three */
    int error;
    const char *refusal, *keep; /* "" untouched; NULL none */
} results[] = {
    {"i5", "a1 a2 a3 ", 0, "", NULL},
    {"i-1", "a1 a2 a3 ", 0, "", NULL},
    {"sKEEP WRONGTYPE x", "a1 a2 a3 ", 0, "", "WRONGTYPE x"},
    {"sKEEP ", "a1 a2 a3 ", 0, "", ""},
    {"sERR The user executing the script can't publish to the channel mentioned in the command",
     "a1 f2 a3 ", EVBUS_EDENIED, "PUBLISH refused: the user needs &c (ERR The user", NULL},
    {"sERR The user executing the script can't run this command or subcommand", "a1 f2 a3 ",
     EVBUS_EDENIED, "PUBLISH refused: the user needs +publish (ERR The user", NULL},
    {"sNOPERM ACL failure in script: No permissions to access a channel", "a1 f2 a3 ",
     EVBUS_EDENIED, "PUBLISH refused: the user needs &c (NOPERM", NULL},
    {"sERR x", "a1 f2 a3 ", EVBUS_EREMOTE, "PUBLISH refused: ERR x", NULL},
    {"s", "a1 f2 a3 ", EVBUS_EREMOTE, "PUBLISH refused: ", NULL},
    /* what passes elsewhere does not here: the call was executed, and its mark has moved on */
    {"sOOM x", "a1 f2 a3 ", EVBUS_EREMOTE, "PUBLISH refused: OOM x", NULL},
};

static int second_error;

static void on_second(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    second_error = error;
    on_report(event, outcome, error, receivers, user);
    if (outcome == EVBUS_FAILED)
        ck_assert_int_eq(evbus_last_code(), error);
}

START_TEST(one_is_refused)
{
    char spec[300];
    const char *why;
    keep(1, 3);
    struct evb_item *items[3];
    ck_assert_uint_eq(evb_outbox_next(&outbox, items, 3), 3);
    items[1]->report = on_second;
    snprintf(spec, sizeof spec, "s1000;i41;i1;%s;i1", results[_i].result);
    ck_assert(answer(spec, &why));
    expect(results[_i].ends);
    ck_assert_int_eq(second_error, results[_i].error);
    ck_assert_int_eq(strncmp(outbox.refusal, results[_i].refusal, strlen(results[_i].refusal)), 0);
    if (results[_i].keep)
        ck_assert_str_eq(why, results[_i].keep);
    else
        ck_assert_ptr_null(why);
    ck_assert(evb_outbox_settled(&outbox));
    keep(4, 4);
    ck_assert_str_eq(commands(1), "[4:4] ");
    end("u4 ");
}
END_TEST

static const char *const malformed[] = {
    "",
    "s1000",
    "s1000;i41",
    "s1000;i41;i1",
    "s1000;i41;i1;i1;i1",
    "i1000;i41;i1;i1",
    "n;i41;i1;i1",
    "s;i41;i1;i1",
    "sx;i41;i1;i1",
    "s1000;s41;i1;i1",
    "s1000;n;i1;i1",
    "s1000;i41;n;i1",
    "s1000;i41;i1;a",
    "s1000;i41;i1;eERR x",
    "s1000;i41;tOK;i1",
};

START_TEST(no_reply_to_a_call)
{
    struct evb_reply scalar = {.kind = EVB_REPLY_INTEGER, .integer = 2};
    const char *why;
    keep(1, 2);
    ck_assert_str_eq(commands(2), "[1:1 2:2] ");
    ck_assert_msg(!answer(malformed[_i], NULL), "%s", malformed[_i]);
    ck_assert(!evb_answer_call(&outbox, &scalar, &why));
    expect("");
    ck_assert(!evb_outbox_settled(&outbox)); /* the connection goes, and they go again */
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(commands(2), "[1:1 2:2] ");
    end("u1 u2 ");
}
END_TEST

/* Nothing was done: they go again as they were, before what comes after them. */
START_TEST(a_call_is_refused)
{
    keep(1, 5);
    ck_assert_str_eq(commands(2), "[1:1 2:2] [3:3 4:4] [5:5] ");
    keep(6, 6);
    evb_answer_refused(&outbox, "BUSY x");
    ck_assert_str_eq(outbox.refusal, "history refused: BUSY x");
    ck_assert_str_eq(commands(2), "");
    evb_answer_refused(&outbox, "ORDER x");
    ck_assert(!evb_outbox_settled(&outbox));
    evb_answer_refused(&outbox, "ORDER x");
    ck_assert(evb_outbox_settled(&outbox));
    expect("");
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(commands(EVB_CALL_EVENTS), "[1:1 2:2 3:3 4:4 5:5 6:6] ");
    ck_assert(answer("s1;i0;i1;i1;i1;i1;i1;i1", NULL));
    expect("a1 a2 a3 a4 a5 a6 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_resent), 0); /* none was executed */
    end("");
}
END_TEST

START_TEST(nothing_was_asked)
{
    ck_assert(!evb_answer_is_call(&outbox));
    evb_answer_refused(&outbox, "ERR x");
    expect("");
    end("");
}
END_TEST

/* PUBLISH takes a new number, a call keeps its own: receivers have a mark for each of the two. */
START_TEST(refused_among_others)
{
    keep(1, 1);
    take(2, 2);
    keep(3, 3);
    take(4, 4);
    ck_assert_str_eq(commands(9), "[1:1] 2:2 [3:3] 4:4 ");
    evb_answer_refused(&outbox, "OOM x");
    ck_assert(!evb_answer_is_call(&outbox));
    ck_assert(evb_answer_error(&outbox, "OOM x"));
    ck_assert(evb_answer_is_call(&outbox));
    evb_answer_refused(&outbox, "OOM x");
    ck_assert(evb_answer_ok(&outbox, 1));
    expect("a4 ");
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(commands(9), "[1:1] [3:3] 2:5 "); /* 1 and 3 do not join: 2 stood between */
    end("u1 u3 u2 ");
}
END_TEST

/* Flushes wait for what was refused, wherever it goes. */
START_TEST(marks_in_between)
{
    mark(10);
    expect("m10 ");
    keep(1, 1);
    mark(11);
    keep(2, 2);
    mark(12);
    take(3, 3);
    mark(13);
    ck_assert_str_eq(commands(9), "[1:1 2:2] 3:3 "); /* a call goes round a flush */
    evb_answer_refused(&outbox, "BUSY x");
    mark(14);
    ck_assert(evb_answer_ok(&outbox, 1));
    expect("a3 ");
    ck_assert(!evb_answer_is_call(&outbox));
    if (_i)
        evb_outbox_link_lost(&outbox);
    else
        evb_outbox_retry(&outbox);
    expect("");
    ck_assert_str_eq(commands(9), "[1:1 2:2] ");
    ck_assert(answer("s1;i0;i1;i1", NULL));
    ck_assert_msg(!strncmp(story, "a1 a2 m1", 8) && strlen(story) == 22, "%s", story);
    story[0] = '\0';
    end("");
}
END_TEST

/* Cut off, then without history: PUBLISH would know nothing of what the script has done. */
START_TEST(in_doubt_without_history)
{
    keep(1, 2);
    take(3, 3);
    keep(4, 4);
    ck_assert_str_eq(commands(9), "[1:1 2:2] 3:3 [4:4] ");
    keep(5, 5);
    mark(6);
    ck_assert(answer("s1;i0;i1;i1", NULL));
    expect("a1 a2 ");
    evb_outbox_link_lost(&outbox);
    outbox.history = false;
    ck_assert_str_eq(commands(9), "3:3 5:5 ");
    expect("u4 ");
    ck_assert_int_eq(last_error, EVBUS_EDENIED);
    ck_assert(!evb_answer_is_call(&outbox));
    ck_assert(evb_answer_ok(&outbox, 1));
    ck_assert(evb_answer_ok(&outbox, 1));
    expect("a3 a5 m6 ");
    end("");
}
END_TEST

/* Cut off, and refused by the next connection: it stays in doubt. */
START_TEST(in_doubt_and_refused)
{
    keep(1, 1);
    commands(9);
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(commands(9), "[1:1] ");
    evb_answer_refused(&outbox, "NOPERM x");
    outbox.history = false;
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(commands(9), "");
    expect("u1 ");
    end("");
}
END_TEST

/* A plain one in doubt goes the plain way again, though there is history now. */
START_TEST(plain_in_doubt_with_history)
{
    outbox.history = false;
    keep(1, 2);
    ck_assert_str_eq(commands(9), "1:1 2:2 ");
    evb_outbox_link_lost(&outbox);
    outbox.history = true;
    keep(3, 3);
    ck_assert_str_eq(commands(9), "1:1 2:2 [3:3] ");
    end("u1 u2 u3 ");
}
END_TEST

/* Refused, so not executed: as a new one, by PUBLISH. */
START_TEST(refused_then_without_history)
{
    keep(1, 2);
    take(3, 3);
    ck_assert_str_eq(commands(9), "[1:1 2:2] 3:3 ");
    evb_answer_refused(&outbox, "NOPERM x");
    outbox.history = false;
    if (_i) { /* with the link, and 3 in doubt: receivers must hear its lower number first */
        evb_outbox_link_lost(&outbox);
        ck_assert_str_eq(commands(9), "3:3 1:4 2:5 ");
        end("u3 u1 u2 ");
        return;
    }
    ck_assert(evb_answer_ok(&outbox, 1));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(commands(9), "1:4 2:5 ");
    end("a3 u1 u2 ");
}
END_TEST

/* The next connection refuses the history, the one after it does not: what the script knows is in
 * doubt, with a higher number than what was refused had. */
START_TEST(history_comes_back)
{
    keep(1, 1);
    ck_assert_str_eq(commands(1), "[1:1] ");
    evb_answer_refused(&outbox, "BUSY x");
    evb_outbox_link_lost(&outbox);
    outbox.history = false;
    outbox.hold = true;
    take(2, 2);
    ck_assert_str_eq(commands(1), "1:2 2:3 ");
    ck_assert(evb_answer_error(&outbox, "BUSY x"));
    outbox.hold = false;
    outbox.history = true;
    ck_assert(evb_answer_ok(&outbox, 1));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(commands(1), "[1:4] ");
    end("a2 u1 ");
}
END_TEST

/* Refused is not written: it may be too old when its turn comes, also while Redis is away. */
START_TEST(refused_and_too_old)
{
    begin(EVB_FULL_DROP_OLDEST, 100, 100000, 1000);
    outbox.history = true;
    keep(1, 2);
    ck_assert_str_eq(commands(1), "[1:1] [2:2] ");
    evb_answer_refused(&outbox, "BUSY x");
    now_ms += 500;
    keep(3, 3);
    evb_outbox_link_lost(&outbox); /* 2 is in doubt */
    evb_outbox_expire(&outbox);
    expect("");
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), now_ms + 500);
    now_ms += 500;
    evb_outbox_expire(&outbox);
    expect("x1 ");
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), now_ms + 500);
    now_ms += 500;
    ck_assert_str_eq(commands(9), "[2:2] ");
    expect("x3 ");
    end("u2 ");
}
END_TEST

/* Whichever way it went: by its number, until that is one of long ago. */
START_TEST(remembers_what_was_to_be_kept)
{
    outbox.history = _i;
    outbox.seq = _i ? 3 * EVB_NUMBERS_KNOWN - 2 : 0;
    uint64_t first = outbox.seq + 1;
    keep(1, 1);
    take(2, 2);
    keep(3, 3);
    commands(9);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(evb_outbox_was_to_keep(&outbox, first + i), i == 0 || i == 2);
    outbox.seq += EVB_NUMBERS_KNOWN - 3;
    take(4, 6);
    commands(9);
    ck_assert(!evb_outbox_was_to_keep(&outbox, first) &&
              !evb_outbox_was_to_keep(&outbox, first + 2));
    story[0] = '\0';
    end("u1 u2 u3 u4 u5 u6 ");
}
END_TEST

START_TEST(calls_are_bounded)
{
    struct evb_item *items[EVB_CALL_EVENTS];
    keep(1, 70);
    ck_assert_uint_eq(evb_outbox_next(&outbox, items, EVB_CALL_EVENTS), EVB_CALL_EVENTS);
    ck_assert_uint_eq(evb_outbox_next(&outbox, items, EVB_CALL_EVENTS), 6);
    evb_outbox_abandon(&outbox, EVBUS_ECLOSED);
    story[0] = '\0';
    keep(1, 4);
    size_t length = (size_t)EVB_CALL_BYTES / 2;
    int i = 0;
    EVB_LIST_EACH(&outbox.waiting, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        item->length = i++ == 2 ? 3 * length : length; /* one alone may be larger */
    }
    ck_assert_str_eq(commands(EVB_CALL_EVENTS), "[1:71 2:72] [3:73] [4:74] ");
    end("u1 u2 u3 u4 ");
}
END_TEST

/* The first call of a connection is not followed by another before its answer; PUBLISH may. */
START_TEST(held)
{
    outbox.hold = true;
    take(1, 2);
    keep(3, 3);
    take(4, 4);
    ck_assert_str_eq(commands(9), "1:1 2:2 ");
    outbox.hold = false;
    ck_assert_str_eq(commands(9), "[3:3] 4:4 ");
    end("u1 u2 u3 u4 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis answer");
    TCase *tests = tcase_create("redis answer");

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, start, NULL);
    tcase_add_test(tests, a_result_each);
    tcase_add_test(tests, positions);
    tcase_add_loop_test(tests, one_is_refused, 0, (int)EVB_COUNT(results));
    tcase_add_loop_test(tests, no_reply_to_a_call, 0, (int)EVB_COUNT(malformed));
    tcase_add_test(tests, a_call_is_refused);
    tcase_add_test(tests, nothing_was_asked);
    tcase_add_test(tests, refused_among_others);
    tcase_add_loop_test(tests, marks_in_between, 0, 2);
    tcase_add_test(tests, in_doubt_without_history);
    tcase_add_test(tests, in_doubt_and_refused);
    tcase_add_test(tests, plain_in_doubt_with_history);
    tcase_add_loop_test(tests, refused_then_without_history, 0, 2);
    tcase_add_test(tests, history_comes_back);
    tcase_add_test(tests, refused_and_too_old);
    tcase_add_loop_test(tests, remembers_what_was_to_be_kept, 0, 2);
    tcase_add_test(tests, calls_are_bounded);
    tcase_add_test(tests, held);
    return run(suite);
}
