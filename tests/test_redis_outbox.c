/* test_redis_outbox.c - the accounts of what is owed: order, reports, limits, age. */
#include "outbox_fixture.h"

START_TEST(order_and_numbers)
{
    take(1, 3);
    ck_assert_str_eq(wire(2), "1:1 2:2 ");
    take(4, 4);
    ck_assert_str_eq(wire(-1), "3:3 4:4 ");
    ck_assert(!evb_outbox_settled(&outbox));
    for (int i = 1; i <= 4; i++) {
        ck_assert(evb_answer_ok(&outbox, i * 10));
        ck_assert_int_eq(last_receivers, i * 10);
        ck_assert_int_eq(last_error, 0);
    }
    expect("a1 a2 a3 a4 ");
    ck_assert(evb_outbox_settled(&outbox));
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_acked), 4);
    /* answers that nobody waits for */
    ck_assert(!evb_answer_ok(&outbox, 1));
    ck_assert(!evb_answer_error(&outbox, "ERR x"));
    end("");
}
END_TEST

START_TEST(reports)
{
    for (int id = 1; id <= 2; id++) {
        struct evb_item *made = item(id, 10);
        made->outcome = id % 2 ? EVBUS_LOCAL_DONE : EVBUS_EVICTED;
        ck_assert(evb_outbox_admit_report(&outbox, 10));
        evb_outbox_report(&outbox, made);
        ck_assert_int_eq(last_error, id % 2 ? 0 : EVBUS_EFULL);
        ck_assert_int_eq(last_receivers, -1);
    }
    end("l1 v2 ");
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
        ck_assert_ptr_nonnull(next_item());
    take(22, 22);
    expect("v21 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_evicted), 6);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_resent), 15);
    while (!evb_outbox_settled(&outbox))
        evb_answer_ok(&outbox, 1);
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

/* Reports that wait for the loop take no room from what is owed to Redis. */
START_TEST(reports_evict_nothing)
{
    begin(EVB_FULL_DROP_OLDEST, 16, 1000, 0);
    take(1, 10);
    for (int i = 0; i < 20; i++)
        ck_assert(evb_outbox_admit_report(&outbox, 100));
    evb_outbox_take(&outbox, (evb_outbox_admit_promised(&outbox, 0, true), item(11, 0)));
    mark(12);
    expect("");
    for (int i = 0; i < 20; i++)
        evb_outbox_release_report(&outbox, 100);
    end("f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 m12 ");
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
    ck_assert(evb_answer_ok(&outbox, 0));
    ck_assert(evb_answer_ok(&outbox, 0));
    expect("a1 a2 m4 ");
    end("");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis outbox");
    TCase *tests = tcase_create("redis outbox");

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, order_and_numbers);
    tcase_add_test(tests, reports);
    tcase_add_test(tests, evicts_the_oldest);
    tcase_add_test(tests, evicts_by_bytes);
    tcase_add_test(tests, reports_evict_nothing);
    tcase_add_test(tests, other_policies_keep);
    tcase_add_test(tests, expiry);
    tcase_add_test(tests, written_never_expires);
    return run(suite);
}
