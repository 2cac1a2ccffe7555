/* test_metrics.c - counters: their names, and that none is lost between threads. */
#include "metrics.h"
#include "unit.h"

static struct evb_metrics metrics;

static const char *const names[] = {
#define X(name, help) #name,
    EVB_COUNTERS(X)
#undef X
};

static const char *const helps[] = {
#define X(name, help) help,
    EVB_COUNTERS(X)
#undef X
};

START_TEST(names_and_helps)
{
    ck_assert_int_eq((int)EVB_COUNT(names), EVB_COUNTER_COUNT);
    for (int i = 0; i < EVB_COUNTER_COUNT; i++) {
        ck_assert_str_eq(evb_metrics_name((enum evb_counter)i), names[i]);
        ck_assert_uint_gt(strlen(helps[i]), 10);
        for (int j = 0; j < i; j++) {
            ck_assert_str_ne(names[i], names[j]);
            ck_assert_str_ne(helps[i], helps[j]);
        }
    }
}
END_TEST

START_TEST(begins_at_nothing)
{
    memset(&metrics, 0xff, sizeof metrics);
    evb_metrics_init(&metrics);
    for (int i = 0; i < EVB_COUNTER_COUNT; i++)
        ck_assert_int_eq(evb_metrics_read(&metrics, (enum evb_counter)i), 0);
}
END_TEST

START_TEST(each_counts_alone)
{
    evb_metrics_init(&metrics);
    for (int i = 0; i < EVB_COUNTER_COUNT; i++)
        evb_count(&metrics, (enum evb_counter)i, (int64_t)(i + 1) << 33);
    evb_count(&metrics, EVB_COUNT_gaps, -5);
    for (int i = 0; i < EVB_COUNTER_COUNT; i++)
        ck_assert_int_eq(evb_metrics_read(&metrics, (enum evb_counter)i),
                         ((int64_t)(i + 1) << 33) - (i == EVB_COUNT_gaps ? 5 : 0));
}
END_TEST

enum { THREADS = 8, ROUNDS = 20000 };

static void *count_all(void *shard)
{
    *(unsigned *)shard = evb_metrics_shard();
    for (int i = 0; i < ROUNDS; i++) {
        evb_count(&metrics, EVB_COUNT_handled, 1);
        evb_count(&metrics, EVB_COUNT_bytes_in, 3);
        ck_assert_uint_eq(evb_metrics_shard(), *(unsigned *)shard);
    }
    return NULL;
}

START_TEST(none_is_lost)
{
    pthread_t threads[THREADS];
    unsigned shard[THREADS], used = 0;
    evb_metrics_init(&metrics);
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(count_all, &shard[i]);
    for (int i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
        ck_assert_uint_lt(shard[i], EVB_METRIC_SHARDS);
        used |= 1u << shard[i];
    }
    ck_assert_uint_eq(used, (1u << EVB_METRIC_SHARDS) - 1);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_handled), THREADS * ROUNDS);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_bytes_in), 3 * THREADS * ROUNDS);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_failed), 0);
}
END_TEST

START_TEST(shards_share_no_cache_line)
{
    for (int i = 1; i < EVB_METRIC_SHARDS; i++) {
        const char *last = (char *)(&metrics.shard[i - 1].value[EVB_COUNTER_COUNT - 1] + 1);
        ck_assert_int_ge((char *)&metrics.shard[i].value[0] - last, 64);
    }
    ck_assert_uint_le(_Alignof(struct evb_metrics), 16); /* more than malloc() gives */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tests = unit_case(suite, "metrics");
    tcase_add_test(tests, names_and_helps);
    tcase_add_test(tests, begins_at_nothing);
    tcase_add_test(tests, each_counts_alone);
    tcase_add_test(tests, none_is_lost);
    tcase_add_test(tests, shards_share_no_cache_line);
    return unit_run(suite);
}
