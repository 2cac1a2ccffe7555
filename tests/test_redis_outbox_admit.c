/* test_redis_outbox_admit.c - room in the outbox: who gets it, who does not, what is given back. */
#include "outbox_fixture.h"

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
        for (; evb_outbox_admit_report(&outbox, 10); n++) {
            ck_assert_int_lt(n, 8 + 1024);
            ck_assert_int_eq(evb_outbox_owed(&outbox), 0);
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

int main(void)
{
    Suite *suite = suite_create("redis outbox admit");
    TCase *tests = tcase_create("redis outbox admit");

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, admission, 0, (int)EVB_COUNT(admissions));
    tcase_add_test(tests, reports);
    return run(suite);
}
