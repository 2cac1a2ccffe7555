/* test_pending.c - the table of what waits, against a plain array. */
#include "pending.h"
#include "clock.h"
#include "unit.h"
#include <evbus.h>
#include <stdio.h>

enum { MANY = 3000 };

struct one {
    struct evb_pending pending;
    bool in;
    char id[24];
};

static struct evb_pendings all;
static struct one *ones;

static void setup(void)
{
    ck_assert_int_eq(evb_pendings_init(&all), 0);
    ones = calloc(MANY, sizeof *ones);
    for (int i = 0; i < MANY; i++) {
        int length = snprintf(ones[i].id, sizeof ones[i].id, "id-%d", i);
        ones[i].pending.id = ones[i].id;
        ones[i].pending.length = (uint32_t)length;
    }
}

static void teardown(void)
{
    while (all.first)
        evb_pendings_remove(&all, all.first);
    evb_pendings_fini(&all);
    free(ones);
}

static void add(int i, int64_t deadline_ms)
{
    ones[i].pending.deadline_ms = deadline_ms;
    ck_assert(evb_pendings_add(&all, &ones[i].pending));
    ones[i].in = true;
}

static void drop(int i)
{
    evb_pendings_remove(&all, &ones[i].pending);
    ones[i].in = false;
}

static struct evb_pending *find(int i)
{
    return evb_pendings_find(&all, ones[i].id, strlen(ones[i].id));
}

START_TEST(by_id)
{
    struct evb_pending twin = {.id = "id-1", .length = 4, .deadline_ms = 1};
    ck_assert_ptr_null(find(1));
    ck_assert_ptr_null(all.first);
    add(1, 5);
    add(2, 3);
    ck_assert_ptr_eq(find(1), &ones[1].pending);
    ck_assert_ptr_eq(find(2), &ones[2].pending);
    ck_assert_ptr_null(find(0));
    ck_assert_ptr_null(evb_pendings_find(&all, "id-12", 5));
    ck_assert_ptr_null(evb_pendings_find(&all, "", 0));
    ck_assert(!evb_pendings_add(&all, &twin)); /* and nothing happened */
    ck_assert_uint_eq(all.count, 2);
    ck_assert_ptr_eq(all.first, &ones[2].pending);
    drop(1);
    ck_assert_ptr_null(find(1));
    ck_assert(evb_pendings_add(&all, &twin)); /* it may come again */
    ck_assert_ptr_eq(all.first, &twin);
    evb_pendings_remove(&all, &twin);
}
END_TEST

/* Steps of a seed: what comes first, and what is found, is as an array has it. */
START_TEST(as_an_array_has_it)
{
    unsigned seed = 17 + (unsigned)_i;
    for (int step = 0; step < 40000; step++) {
        int i = rand_r(&seed) % MANY;
        if (!ones[i].in)
            add(i, _i == 0 ? step : rand_r(&seed) % 50 ? rand_r(&seed) % 1000 : INT64_MAX);
        else if (rand_r(&seed) % 3 == 0 && all.first)
            drop((int)(evb_container(all.first, struct one, pending) - ones));
        else
            drop(i);
        if (step % 397)
            continue;
        int64_t least = INT64_MAX;
        size_t count = 0;
        for (int k = 0; k < MANY; k++) {
            ck_assert_ptr_eq(find(k), ones[k].in ? &ones[k].pending : NULL);
            count += ones[k].in;
            if (ones[k].in && ones[k].pending.deadline_ms < least)
                least = ones[k].pending.deadline_ms;
        }
        ck_assert_uint_eq(all.count, count);
        ck_assert_int_eq(count == 0, all.first == NULL);
        ck_assert(count == 0 || all.first->deadline_ms == least);
    }
}
END_TEST

START_TEST(in_order_of_deadlines)
{
    unsigned seed = 3;
    int64_t last = 0;
    for (int i = 0; i < MANY; i++)
        add(i, rand_r(&seed) % 100000);
    for (int n = 0; n < MANY; n++) {
        ck_assert_int_ge(all.first->deadline_ms, last);
        last = all.first->deadline_ms;
        drop((int)(evb_container(all.first, struct one, pending) - ones));
    }
    ck_assert_ptr_null(all.first);
}
END_TEST

/* Where memory ends, only the buckets get longer. */
START_TEST(without_memory)
{
    for (int i = 0; i < MANY; i++) {
        atomic_store(&memory_left, 0);
        add(i, i);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_ptr_eq(find(i), &ones[i].pending);
    atomic_store(&memory_left, 0);
    struct evb_pendings other;
    ck_assert_int_eq(evb_pendings_init(&other), EVBUS_ENOMEM);
    atomic_store(&memory_left, -1);
}
END_TEST

/* A hundred thousand that wait cost each one no more than a few do. */
START_TEST(many_cost_no_more)
{
    enum { LARGE = 100000 };
    struct one *large = calloc(LARGE, sizeof *large);
    int64_t start_us = evb_clock_mono_us();
    for (int i = 0; i < LARGE; i++) {
        int length = snprintf(large[i].id, sizeof large[i].id, "n-%d", i);
        large[i].pending.id = large[i].id;
        large[i].pending.length = (uint32_t)length;
        large[i].pending.deadline_ms = 5000 + i;
        ck_assert(evb_pendings_add(&all, &large[i].pending));
    }
    for (int i = 0; i < LARGE; i++) {
        struct evb_pending *found = evb_pendings_find(&all, large[i].id, strlen(large[i].id));
        ck_assert_ptr_eq(found, &large[i].pending);
        evb_pendings_remove(&all, found);
    }
    ck_assert_int_lt(evb_clock_mono_us() - start_us, 5000000); /* each by each: minutes */
    ck_assert_uint_eq(all.bucket_count, 16);
    free(large);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pending");
    TCase *tests = unit_case(suite, "pending");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, by_id);
    tcase_add_loop_test(tests, as_an_array_has_it, 0, 3);
    tcase_add_test(tests, in_order_of_deadlines);
    tcase_add_test(tests, without_memory);
    tcase_add_test(tests, many_cost_no_more);
    return unit_run(suite);
}
