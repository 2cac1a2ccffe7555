/* test_redis_outbox_admit.c - room in the outbox: who gets it, who does not, what is given back. */
#include "outbox_fixture.h"
#include <pthread.h>

/* What is reserved in all, and by reports among it. */
static void expect_room(int64_t events, int64_t bytes, int64_t reports, int64_t report_bytes)
{
    ck_assert_int_eq(evb_outbox_events(&outbox), events);
    ck_assert_int_eq(evb_outbox_bytes(&outbox), bytes);
    ck_assert_int_eq(atomic_load(&outbox.reports.events), reports);
    ck_assert_int_eq(atomic_load(&outbox.reports.bytes), report_bytes);
    ck_assert_int_eq(atomic_load(&outbox.owed.events), events - reports);
}

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
    {EVB_FULL_OFF, 0, 100, 1000, 10, "ww"},
    {EVB_FULL_OFF, 1, 2, 1000, 10, "aad"},
};

START_TEST(admission)
{
    const char *answers = admissions[_i].answers;
    size_t admitted = 0;
    begin(admissions[_i].full, admissions[_i].events, admissions[_i].bytes, 0);
    atomic_store(&outbox.up, admissions[_i].up);
    for (size_t i = 0; answers[i]; i++) {
        ck_assert_int_eq("adrw"[evb_outbox_admit(&outbox, admissions[_i].size)], answers[i]);
        admitted += answers[i] == 'a';
        ck_assert_int_eq(atomic_load(&outbox.owed.events), (int64_t)admitted);
        ck_assert_int_eq(evb_outbox_bytes(&outbox), (int64_t)(admitted * admissions[_i].size));
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
        for (; evb_outbox_admit_report(&outbox, 10); n++) {
            ck_assert_int_lt(n, 8 + 1024);
            ck_assert_int_eq(atomic_load(&outbox.owed.events), 0);
        }
        ck_assert_int_eq(n, 8 + 1024);
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

static const struct {
    int64_t events, bytes;           /* the limits */
    int64_t most_events, most_bytes; /* that reports may fill */
} eighths[] = {
    {8191, 100, 8191 + 1024, 100 + (1 << 20)},
    {8192, 8 << 20, 8192 + 1024, 9 << 20},
    {8199, (8 << 20) + 7, 8199 + 1024, (9 << 20) + 7},
    {8200, (8 << 20) + 8, 8200 + 1025, (9 << 20) + 9},
    {80000, 80 << 20, 90000, 90 << 20},
};

/* An eighth of a large limit is more than what reports have at least. What finds no room takes
 * none. */
START_TEST(an_eighth_for_reports)
{
    size_t most_bytes = (size_t)eighths[_i].most_bytes;
    begin(EVB_FULL_REJECT, eighths[_i].events, eighths[_i].bytes, 0);
    ck_assert(!evb_outbox_admit_report(&outbox, most_bytes + 1));
    expect_room(0, 0, 0, 0);
    ck_assert(evb_outbox_admit_report(&outbox, most_bytes));
    expect_room(1, eighths[_i].most_bytes, 1, eighths[_i].most_bytes);
    for (int64_t n = 1; n < eighths[_i].most_events; n++)
        ck_assert(evb_outbox_admit_report(&outbox, 0));
    ck_assert(!evb_outbox_admit_report(&outbox, 0));
    evb_outbox_release_reports(&outbox, eighths[_i].most_events - 1, 0);
    expect_room(1, eighths[_i].most_bytes, 1, eighths[_i].most_bytes);
    evb_outbox_release_report(&outbox, most_bytes);
    expect_room(0, 0, 0, 0);
}
END_TEST

/* Events and reports fill the same room, of which reports have more. */
START_TEST(events_and_reports)
{
    begin(EVB_FULL_REJECT, 3, 1000, 0);
    ck_assert(evb_outbox_admit_report(&outbox, 10));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(evb_outbox_admit(&outbox, 100), EVB_ADMIT);
    ck_assert_int_eq(evb_outbox_admit(&outbox, 100), EVB_ADMIT_REFUSE);
    expect_room(3, 210, 1, 10);
    ck_assert(evb_outbox_admit_report(&outbox, 20));
    expect_room(4, 230, 2, 30);
    evb_outbox_release(&outbox, 100);
    evb_outbox_release_report(&outbox, 20);
    ck_assert_int_eq(evb_outbox_admit(&outbox, 1), EVB_ADMIT);
    expect_room(3, 111, 1, 10);
    evb_outbox_release(&outbox, 1);
    evb_outbox_release(&outbox, 100);
    evb_outbox_release_report(&outbox, 10);
    expect_room(0, 0, 0, 0);
}
END_TEST

/* Whatever the policy, and however full it is, that is granted; others find less room then. */
START_TEST(promised)
{
    begin(_i, 3, 100, 0);
    for (int n = 1; n <= 5; n++) {
        evb_outbox_admit_promised(&outbox, 60, true);
        expect_room(n, n * 60, 0, 0);
    }
    for (int n = 1; n <= 5; n++) {
        evb_outbox_admit_promised(&outbox, 7, false);
        expect_room(5 + n, 300 + n * 7, n, n * 7);
    }
    ck_assert_int_ne(evb_outbox_admit(&outbox, 0), EVB_ADMIT);
    expect_room(10, 335, 5, 35);
    evb_outbox_release_reports(&outbox, 4, 28);
    expect_room(6, 307, 1, 7);
    for (int n = 0; n < 5; n++)
        evb_outbox_release(&outbox, 60);
    expect_room(1, 7, 1, 7);
    evb_outbox_release_report(&outbox, 7);
    expect_room(0, 0, 0, 0);
}
END_TEST

enum { PUBLISHERS = 4, ROUNDS = 50000, LIMIT = 5 };

static atomic_int granted, wrong;

/* Takes room for two before it gives any back. */
static void *publisher(void *arg)
{
    (void)arg;
    for (int i = 0, held = 0; i < ROUNDS; i++) {
        for (; held < 2 && evb_outbox_admit(&outbox, 10) == EVB_ADMIT; held++)
            atomic_fetch_add(&wrong, atomic_fetch_add(&granted, 1) >= LIMIT);
        for (; held; held--) {
            atomic_fetch_sub(&granted, 1);
            evb_outbox_release(&outbox, 10);
        }
    }
    return NULL;
}

static void *reporter(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&wrong, !evb_outbox_admit_report(&outbox, 10));
        evb_outbox_admit_promised(&outbox, 7, false);
        evb_outbox_release_reports(&outbox, 2, 17);
    }
    return NULL;
}

/* Never more than the limit at a time; and all that was taken is given back. */
START_TEST(many_threads)
{
    pthread_t threads[PUBLISHERS + 1];
    begin(_i ? EVB_FULL_REJECT : EVB_FULL_DROP_NEWEST, LIMIT, 1000, 0);
    for (int i = 0; i <= PUBLISHERS; i++)
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, i == PUBLISHERS ? reporter : publisher, NULL), 0);
    for (int i = 0; i <= PUBLISHERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    expect_room(0, 0, 0, 0);
}
END_TEST

static atomic_bool enough;

static void *too_large(void *arg)
{
    (void)arg;
    while (!atomic_load(&enough))
        atomic_fetch_add(&wrong, evb_outbox_admit(&outbox, 1000000) == EVB_ADMIT);
    return NULL;
}

/* What finds no room itself costs nobody else his. */
START_TEST(beside_one_that_is_too_large)
{
    pthread_t threads[PUBLISHERS];
    begin(_i, 100, 100000, 0);
    for (int i = 0; i < PUBLISHERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, too_large, NULL), 0);
    for (int i = 0; i < ROUNDS / 50; i++) {
        for (int n = 1; n <= 50; n++) {
            struct evb_item *made = item(n, 10);
            made->report = NULL;
            ck_assert_int_eq(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
            evb_outbox_take(&outbox, made);
        }
        evb_outbox_abandon(&outbox, EVBUS_ECLOSED);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < PUBLISHERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_evicted), 0);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    end("");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis outbox admit");
    TCase *tests = tcase_create("redis outbox admit");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, admission, 0, (int)EVB_COUNT(admissions));
    tcase_add_test(tests, reports);
    tcase_add_loop_test(tests, an_eighth_for_reports, 0, (int)EVB_COUNT(eighths));
    tcase_add_test(tests, events_and_reports);
    tcase_add_loop_test(tests, promised, EVB_FULL_DROP_OLDEST, EVB_FULL_OFF + 1);
    tcase_add_loop_test(tests, many_threads, 0, 2);
    tcase_add_loop_test(tests, beside_one_that_is_too_large, EVB_FULL_DROP_OLDEST,
                        EVB_FULL_REJECT + 1);
    return run(suite);
}
