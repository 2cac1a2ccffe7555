/* test_redis_outbox.c - the accounts of what is owed, on a clock of the test's own. */
#include "clock.h"
#include "config.h"
#include "harness/failing.h"
#include "pool.h"
#include "redis_outbox.h"
#include "thread.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What happened, a word each: "a1" id 1 acked, f failed, u unknown, v evicted, x expired, l local,
 * m mark, W and w high and low water. */
static char story[4096];
static struct evb_metrics metrics;
static struct evb_outbox outbox;
static int64_t now_ms;
static int last_error;
static int64_t last_receivers;
static long live; /* blocks that belong to the thread */

static int64_t test_clock(void)
{
    return now_ms * 1000;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static void on_water(bool high, void *user)
{
    ck_assert_ptr_eq(user, &outbox);
    tell("%c ", high ? 'W' : 'w');
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    last_error = error;
    last_receivers = receivers;
    tell("%c%d ", "?alxvfu"[outcome], (int)(intptr_t)user);
}

static void on_mark(int result, void *user)
{
    last_error = result;
    tell("m%d ", (int)(intptr_t)user);
}

static void begin(int full, int64_t events, int64_t bytes, int64_t age_ms)
{
    memset(&outbox, 0, sizeof outbox);
    evb_metrics_init(&metrics);
    evb_outbox_init(&outbox, &metrics, on_water, &outbox);
    outbox.full = full;
    outbox.max_events = events;
    outbox.max_bytes = bytes;
    outbox.max_age_ms = age_ms;
    outbox.may_resend = true;
    story[0] = '\0';
}

static void setup(void)
{
    failing_install();
    ck_assert_ptr_nonnull(evb_thread_self());
    live = failing_live();
    now_ms = 1000000;
    evb_clock_set(NULL, test_clock);
    begin(EVB_FULL_DROP_OLDEST, 100, 100000, 0);
}

static struct evb_item *item(int id, size_t size)
{
    struct evb_item *made = evb_pool_take(sizeof *made + 32);
    ck_assert_ptr_nonnull(made);
    evb_item_init(made);
    made->bytes = made->seq_slot = (char *)(made + 1);
    made->length = 16;
    memset(made->bytes, ' ', 16);
    made->size = size;
    made->user = (void *)(intptr_t)id;
    made->accepted_ms = now_ms;
    made->report = on_report;
    return made;
}

static void take_ttl(int id, int64_t ttl_ms)
{
    struct evb_item *made = item(id, 10);
    ck_assert_int_eq(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
    if (ttl_ms)
        made->expires_ms = now_ms + ttl_ms;
    evb_outbox_take(&outbox, made);
}

static void take(int from, int to)
{
    for (int id = from; id <= to; id++)
        take_ttl(id, 0);
}

static void mark(int id)
{
    struct evb_item *made = item(id, 0);
    made->report = NULL;
    made->mark = on_mark;
    evb_outbox_take(&outbox, made);
}

/* Writes `count` (-1: all) and answers "id:seq " of each. */
static const char *wire(int count)
{
    static char text[1024];
    struct evb_item *next;
    text[0] = '\0';
    while (count-- && (next = evb_outbox_next(&outbox)))
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d:%lu ",
                 (int)(intptr_t)next->user, strtoul(next->seq_slot, NULL, 10));
    return text;
}

static void expect(const char *want)
{
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

/* Ends what is left; nothing is owed after, nothing leaked. */
static void end(const char *want)
{
    evb_outbox_abandon(&outbox, EVBUS_ECLOSED);
    expect(want);
    ck_assert_int_eq(atomic_load(&outbox.events), 0);
    ck_assert_int_eq(atomic_load(&outbox.bytes), 0);
    ck_assert_int_eq(evb_outbox_owed(&outbox), 0);
    ck_assert_int_eq(failing_live(), live);
}

START_TEST(order_and_numbers)
{
    take(1, 3);
    ck_assert_str_eq(wire(2), "1:1 2:2 ");
    take(4, 4);
    ck_assert_str_eq(wire(-1), "3:3 4:4 ");
    ck_assert(!evb_outbox_settled(&outbox));
    for (int i = 1; i <= 4; i++) {
        ck_assert(evb_outbox_answer(&outbox, i * 10));
        ck_assert_int_eq(last_receivers, i * 10);
        ck_assert_int_eq(last_error, 0);
    }
    expect("a1 a2 a3 a4 ");
    ck_assert(evb_outbox_settled(&outbox));
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_acked), 4);
    /* answers that nobody waits for */
    ck_assert(!evb_outbox_answer(&outbox, 1));
    ck_assert(!evb_outbox_answer_error(&outbox, "ERR x"));
    end("");
}
END_TEST

static const struct {
    int full, up;
    int64_t events, bytes;
    size_t size;
    const char *answers; /* one after the other: a admit, d drop, r refuse */
} admissions[] = {
    {EVB_FULL_REJECT, 0, 3, 1000, 10, "aaarr"},
    {EVB_FULL_REJECT, 1, 100, 35, 10, "aaarr"},
    {EVB_FULL_REJECT, 0, 100, 30, 10, "aaar"},
    {EVB_FULL_REJECT, 0, 1, 1, 10, "r"},
    {EVB_FULL_DROP_NEWEST, 0, 2, 1000, 10, "aadd"},
    {EVB_FULL_DROP_NEWEST, 1, 1000, 20, 10, "aadd"},
    {EVB_FULL_DROP_OLDEST, 0, 16, 100000, 10, "aaaaaaaaaaaaaaaaaadd"}, /* an eighth more */
    {EVB_FULL_DROP_OLDEST, 0, 7, 100000, 10, "aaaaaaad"},
    {EVB_FULL_DROP_OLDEST, 0, 100, 16, 9, "aad"},
    {EVB_FULL_DROP_OLDEST, 0, 100, 16, 1000, "d"},
    {EVB_FULL_OFF, 0, 100, 1000, 10, "dd"},
    {EVB_FULL_OFF, 1, 2, 1000, 10, "aad"},
};

START_TEST(admission)
{
    const char *answers = admissions[_i].answers;
    size_t admitted = 0;
    begin(admissions[_i].full, admissions[_i].events, admissions[_i].bytes, 0);
    atomic_store(&outbox.up, admissions[_i].up);
    for (size_t i = 0; answers[i]; i++) {
        ck_assert_int_eq("adr"[evb_outbox_admit(&outbox, admissions[_i].size)], answers[i]);
        admitted += answers[i] == 'a';
        ck_assert_int_eq(evb_outbox_owed(&outbox), (int64_t)admitted);
        ck_assert_int_eq(atomic_load(&outbox.bytes), (int64_t)(admitted * admissions[_i].size));
    }
    while (admitted--)
        evb_outbox_release(&outbox, admissions[_i].size);
    end("");
}
END_TEST

/* Room for reports alone: whatever the policy, a thousand beyond the limit, not without end. */
START_TEST(reports)
{
    for (int full = EVB_FULL_DROP_OLDEST; full <= EVB_FULL_OFF; full++) {
        int n = 0;
        begin(full, 8, 100000, 0);
        while (evb_outbox_admit_report(&outbox, 10)) {
            struct evb_item *made = item(++n, 10);
            made->outcome = n % 2 ? EVBUS_LOCAL_DONE : EVBUS_EVICTED;
            ck_assert_int_le(n, 8 + 1024);
            ck_assert_int_eq(evb_outbox_owed(&outbox), 0);
            if (n > 2) {
                evb_item_free(made);
                continue;
            }
            evb_outbox_report(&outbox, made);
            ck_assert_int_eq(last_error, n % 2 ? 0 : EVBUS_EFULL);
            ck_assert_int_eq(last_receivers, -1);
            ck_assert(evb_outbox_admit_report(&outbox, 10));
        }
        ck_assert_int_eq(n, 8 + 1024);
        expect("l1 v2 ");
        while (n--)
            evb_outbox_release_report(&outbox, 10);
        end("");
    }
    begin(EVB_FULL_REJECT, 1000, 80, 0);
    ck_assert(!evb_outbox_admit_report(&outbox, 81 + (1 << 20)));
    ck_assert(evb_outbox_admit_report(&outbox, 80 + (1 << 20)));
    evb_outbox_release_report(&outbox, 80 + (1 << 20));
    end("");
}
END_TEST

START_TEST(evicts_the_oldest)
{
    begin(EVB_FULL_DROP_OLDEST, 16, 100000, 0);
    take(1, 16);
    expect("W ");
    take(17, 18);
    expect("v1 v2 ");
    ck_assert_int_eq(last_error, EVBUS_EFULL);
    ck_assert_str_eq(wire(15), "3:1 4:2 5:3 6:4 7:5 8:6 9:7 10:8 11:9 12:10 13:11 14:12 15:13 "
                               "16:14 17:15 ");
    take(19, 20); /* the written ones stay, whatever comes */
    expect("v18 v19 ");
    evb_outbox_link_lost(&outbox);
    take(21, 21); /* written once, in front again: still never evicted */
    expect("v20 ");
    for (int i = 0; i < 15; i++)
        ck_assert_ptr_nonnull(evb_outbox_next(&outbox));
    take(22, 22);
    expect("v21 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_evicted), 6);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_resent), 15);
    while (!evb_outbox_settled(&outbox))
        evb_outbox_answer(&outbox, 1);
    expect("a3 a4 a5 a6 a7 a8 a9 a10 w a11 a12 a13 a14 a15 a16 a17 ");
    end("f22 ");
}
END_TEST

START_TEST(evicts_by_bytes)
{
    begin(EVB_FULL_DROP_OLDEST, 1000, 40, 0);
    take(1, 4);
    expect("W ");
    ck_assert_int_eq(evb_outbox_admit(&outbox, 5), EVB_ADMIT);
    evb_outbox_take(&outbox, item(5, 5));
    expect("v1 ");
    mark(6); /* a mark weighs nothing and is no event to evict */
    take(7, 7);
    expect("v2 ");
    end("f3 f4 w f5 m6 f7 ");
}
END_TEST

/* Only drop-oldest evicts; the others keep what they admitted. */
START_TEST(other_policies_keep)
{
    static const int policies[] = {EVB_FULL_DROP_NEWEST, EVB_FULL_REJECT, EVB_FULL_OFF};
    for (size_t i = 0; i < 3; i++) {
        begin(policies[i], 3, 100000, 0);
        atomic_store(&outbox.up, 1);
        take(1, 3);
        ck_assert_int_ne(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
        ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 ");
        expect("W ");
        end("u1 u2 w u3 ");
    }
}
END_TEST

START_TEST(expiry)
{
    begin(EVB_FULL_REJECT, 100, 100000, 1000);
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), INT64_MAX);
    take(1, 2);
    now_ms += 400;
    take_ttl(3, 100);
    take(4, 4);
    take_ttl(5, 5000); /* longer than the age: the age ends it */
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), now_ms + 100); /* behind the first */
    now_ms += 99;
    evb_outbox_expire(&outbox);
    expect("");
    now_ms += 1;
    evb_outbox_expire(&outbox);
    expect("x3 ");
    ck_assert_int_eq(last_error, EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), now_ms + 500);
    now_ms += 500;
    evb_outbox_expire(&outbox);
    expect("x1 x2 ");
    now_ms += 400;
    ck_assert_str_eq(wire(-1), ""); /* what is too old is not written either */
    expect("x4 x5 ");
    evb_outbox_expire(&outbox);
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), INT64_MAX);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_expired), 5);
    end("");
}
END_TEST

/* What was written may have been executed: it waits without an end, and plans none. */
START_TEST(written_never_expires)
{
    begin(EVB_FULL_REJECT, 100, 100000, 1000);
    take(1, 1);
    take_ttl(2, 10);
    ck_assert_str_eq(wire(-1), "1:1 2:2 ");
    take(3, 3);
    evb_outbox_link_lost(&outbox);
    now_ms += 5000;
    evb_outbox_expire(&outbox);
    expect("x3 ");
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), INT64_MAX);
    mark(4);
    ck_assert_int_eq(evb_outbox_next_expiry_ms(&outbox), INT64_MAX);
    ck_assert_str_eq(wire(-1), "1:1 2:2 ");
    ck_assert(evb_outbox_answer(&outbox, 0));
    ck_assert(evb_outbox_answer(&outbox, 0));
    expect("a1 a2 m4 ");
    end("");
}
END_TEST

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
    ck_assert(evb_outbox_answer(&outbox, 1));
    ck_assert(evb_outbox_answer_error(&outbox, answers[_i].error));
    expect(answers[_i].again ? "a1 " : "a1 f2 ");
    if (!answers[_i].again)
        ck_assert_int_eq(last_error, answers[_i].code);
    take(4, 4);
    ck_assert_str_eq(wire(-1), answers[_i].again ? "" : "4:4 ");
    ck_assert(evb_outbox_answer(&outbox, 1));
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

START_TEST(retry_keeps_the_order)
{
    take(1, 4);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 4:4 ");
    take(5, 5);
    evb_outbox_answer_error(&outbox, "BUSY");
    evb_outbox_answer_error(&outbox, "BUSY");
    evb_outbox_answer(&outbox, 1);
    evb_outbox_answer_error(&outbox, "BUSY");
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
    evb_outbox_answer(&outbox, 1);
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

/* A receiver lets go what is not above the highest number it saw: on one connection they rise,
 * whatever was refused before the link dropped. */
START_TEST(numbers_rise_after_a_refusal_and_a_drop)
{
    take(1, 3);
    ck_assert_str_eq(wire(-1), "1:1 2:2 3:3 ");
    evb_outbox_answer_error(&outbox, "BUSY");
    mark(4);
    evb_outbox_link_lost(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 3:3 1:4 ");
    for (int i = 0; i < 3; i++)
        evb_outbox_answer(&outbox, 1);
    expect("a2 a3 a1 m4 ");
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
    evb_outbox_answer_error(&outbox, "BUSY");
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "2:2 3:3 1:4 5:5 ");
    for (int i = 0; i < 4; i++)
        evb_outbox_answer(&outbox, 1);
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
    evb_outbox_answer_error(&outbox, "LOADING");
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
    evb_outbox_answer(&outbox, 1);
    expect("a1 m2 m3 ");
    ck_assert_int_eq(last_error, 0);
    evb_outbox_link_lost(&outbox);
    expect("");
    wire(-1);
    evb_outbox_answer_error(&outbox, "ERR x");
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
    evb_outbox_answer_error(&outbox, "BUSY");
    ck_assert(evb_outbox_answer(&outbox, 1)); /* that is the answer to 3 */
    expect("a3 ");
    ck_assert(evb_outbox_settled(&outbox));
    evb_outbox_retry(&outbox);
    ck_assert_str_eq(wire(-1), "1:3 ");
    ck_assert(evb_outbox_answer(&outbox, 1));
    expect("a1 m2 ");
    end("");
}
END_TEST

/* A flush while something was refused, and the link drops before the pause is over. */
START_TEST(marks_and_refusals_and_drops)
{
    take(1, 2);
    ck_assert_str_eq(wire(-1), "1:1 2:2 ");
    evb_outbox_answer_error(&outbox, "BUSY");
    mark(3);
    take(4, 4);
    evb_outbox_answer(&outbox, 1);
    expect("a2 ");
    if (_i)
        evb_outbox_link_lost(&outbox);
    else
        evb_outbox_retry(&outbox);
    expect("");
    ck_assert_str_eq(wire(-1), "1:3 4:4 ");
    evb_outbox_answer(&outbox, 1);
    expect("a1 m3 ");
    end("u4 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis outbox");
    TCase *tests = tcase_create("redis outbox");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, order_and_numbers);
    tcase_add_loop_test(tests, admission, 0, (int)EVB_COUNT(admissions));
    tcase_add_test(tests, reports);
    tcase_add_test(tests, evicts_the_oldest);
    tcase_add_test(tests, evicts_by_bytes);
    tcase_add_test(tests, other_policies_keep);
    tcase_add_test(tests, expiry);
    tcase_add_test(tests, written_never_expires);
    tcase_add_loop_test(tests, refusal, 0, (int)EVB_COUNT(answers));
    tcase_add_test(tests, retry_keeps_the_order);
    tcase_add_loop_test(tests, link_lost, 0, 2);
    tcase_add_test(tests, numbers_rise_after_a_refusal_and_a_drop);
    tcase_add_test(tests, numbers_rise_after_a_drop_and_a_refusal);
    tcase_add_test(tests, marks);
    tcase_add_test(tests, marks_and_refusals);
    tcase_add_loop_test(tests, marks_and_refusals_and_drops, 0, 2);
    tcase_add_test(tests, in_doubt_stays_in_doubt);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
