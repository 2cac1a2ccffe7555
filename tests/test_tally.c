/* test_tally.c - the place up to which all is handled, whatever the order. */
#include "tally.h"
#include "unit.h"

static struct evb_tally *tally;

static struct evb_position at(uint64_t n)
{
    return (struct evb_position){1000 + n, n};
}

static void setup(void)
{
    tally = evb_tally_new();
    ck_assert_ptr_nonnull(tally);
    evb_tally_start(tally, at(0));
    struct evb_position handled;
    ck_assert(evb_tally_read(tally, &handled)); /* where it starts is to be kept */
    ck_assert_uint_eq(handled.n, 0);
}

static void teardown(void)
{
    evb_tally_free(tally);
    ck_assert_int_eq(atomic_load(&memory_live), 0);
}

static void give(uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++)
        ck_assert(evb_tally_give(tally, at(n)));
}

static void expect(bool moved, uint64_t n)
{
    struct evb_position handled;
    ck_assert_int_eq(evb_tally_read(tally, &handled), moved);
    ck_assert_int_eq(evb_position_compare(handled, at(n)), 0);
    ck_assert(!evb_tally_read(tally, &handled)); /* told once */
}

START_TEST(in_order)
{
    give(1, 3);
    expect(false, 0);
    ck_assert(evb_tally_done(tally, at(1)));
    ck_assert(!evb_tally_done(tally, at(2))); /* nobody has read it since */
    expect(true, 2);
    ck_assert(evb_tally_done(tally, at(3)));
    expect(true, 3);
}
END_TEST

START_TEST(out_of_order)
{
    give(1, 4);
    ck_assert(!evb_tally_done(tally, at(3)));
    ck_assert(!evb_tally_done(tally, at(2)));
    expect(false, 0);
    ck_assert(evb_tally_done(tally, at(1)));
    expect(true, 3);
    ck_assert(!evb_tally_done(tally, at(1))); /* nobody waits for these any more */
    ck_assert(!evb_tally_done(tally, at(9)));
    ck_assert(!evb_tally_done(tally, (struct evb_position){5, 4}));
    expect(false, 3);
    ck_assert(evb_tally_done(tally, at(4)));
    expect(true, 4);
}
END_TEST

START_TEST(with_holes)
{
    give(2, 2);
    give(7, 7);
    ck_assert(evb_tally_done(tally, at(2)));
    expect(true, 2);
    ck_assert(evb_tally_done(tally, at(7)));
    expect(true, 7);
}
END_TEST

START_TEST(passes_others)
{
    ck_assert(evb_tally_pass(tally, at(5)));
    ck_assert(!evb_tally_pass(tally, at(6)));
    expect(true, 6);
    ck_assert(!evb_tally_pass(tally, at(6)));
    ck_assert(!evb_tally_pass(tally, at(3))); /* never back */
    expect(false, 6);
    give(8, 8);
    ck_assert(!evb_tally_pass(tally, at(9))); /* 8 is not handled yet */
    expect(false, 6);
    ck_assert(evb_tally_done(tally, at(8)));
    ck_assert(!evb_tally_pass(tally, at(9)));
    expect(true, 9);
}
END_TEST

/* What was given before is given again, unless its handler was called. */
START_TEST(given_again)
{
    give(1, 4);
    ck_assert(evb_tally_begin(tally, at(2)));
    ck_assert(!evb_tally_begin(tally, at(2)));
    ck_assert(!evb_tally_begin(tally, at(9)));
    ck_assert(evb_tally_begin(tally, at(3)));
    evb_tally_unbegin(tally, at(3));
    ck_assert(!evb_tally_done(tally, at(4)));
    ck_assert_int_eq(evb_tally_give(tally, at(1)), EVB_TALLY_GIVEN);
    ck_assert_int_eq(evb_tally_give(tally, at(2)), EVB_TALLY_BEGUN);
    ck_assert_int_eq(evb_tally_give(tally, at(3)), EVB_TALLY_GIVEN);
    ck_assert_int_eq(evb_tally_give(tally, at(4)), EVB_TALLY_BEGUN);
    ck_assert(!evb_tally_begin(tally, at(4)));
    evb_tally_take_back(tally, at(3)); /* not the last: it stays, and will be given again */
    ck_assert(!evb_tally_done(tally, at(2)));
    ck_assert(evb_tally_done(tally, at(1)));
    expect(true, 2);
    ck_assert(evb_tally_done(tally, at(3)));
    expect(true, 4);
    ck_assert(!evb_tally_begin(tally, at(4)));
}
END_TEST

/* One that comes late has its place among the others. */
START_TEST(comes_late)
{
    give(1, 1);
    give(5, 5);
    give(3, 3);
    ck_assert(!evb_tally_done(tally, at(5)));
    ck_assert(evb_tally_done(tally, at(1)));
    expect(true, 1);
    ck_assert(evb_tally_done(tally, at(3)));
    expect(true, 5);
}
END_TEST

START_TEST(takes_back)
{
    give(1, 2);
    evb_tally_take_back(tally, at(2));
    ck_assert(!evb_tally_done(tally, at(2)));
    ck_assert(evb_tally_done(tally, at(1)));
    expect(true, 1);
    give(2, 2); /* it came again */
    ck_assert(evb_tally_done(tally, at(2)));
    expect(true, 2);
}
END_TEST

START_TEST(starts_anew)
{
    give(1, 3);
    evb_tally_done(tally, at(1));
    evb_tally_start(tally, at(10));
    expect(true, 10);
    ck_assert(!evb_tally_done(tally, at(2))); /* of before */
    expect(false, 10);
    give(11, 11);
    ck_assert(evb_tally_done(tally, at(11)));
    expect(true, 11);
}
END_TEST

/* It grows while its beginning stands in the midst of the ring. */
START_TEST(grows)
{
    give(1, 40);
    for (uint64_t n = 1; n <= 40; n++)
        evb_tally_done(tally, at(n));
    expect(true, 40);
    give(41, 1000);
    for (uint64_t n = 1000; n > 41; n--)
        ck_assert(!evb_tally_done(tally, at(n)));
    expect(false, 40);
    ck_assert(evb_tally_done(tally, at(41)));
    expect(true, 1000);
}
END_TEST

START_TEST(no_memory)
{
    give(1, 64);
    atomic_store(&memory_left, 0);
    ck_assert(!evb_tally_give(tally, at(65)));
    ck_assert(memory_failed());
    for (uint64_t n = 1; n <= 64; n++)
        evb_tally_done(tally, at(n));
    expect(true, 64); /* what was not given is not waited for */
    give(65, 65);
    ck_assert(evb_tally_done(tally, at(65)));
    atomic_store(&memory_left, 0);
    ck_assert_ptr_null(evb_tally_new());
    atomic_store(&memory_left, -1);
}
END_TEST

/* ---- threads ---- */

enum { EVENTS = 100000 };
static _Atomic uint64_t given;

static void *handle_every_other(void *odd)
{
    for (uint64_t n = 1 + (odd != NULL); n <= (uint64_t)scaled(EVENTS); n += 2) {
        while (atomic_load(&given) < n)
            sched_yield();
        evb_tally_done(tally, at(n));
    }
    return NULL;
}

/* Two handle what a third one gives: the place only rises, and in the end it is the last. */
START_TEST(handled_by_two)
{
    pthread_t one = thread_start(handle_every_other, NULL),
              two = thread_start(handle_every_other, tally);
    struct evb_position handled, before = at(0);
    for (uint64_t n = 1; n <= (uint64_t)scaled(EVENTS); n++) {
        give(n, n);
        atomic_store(&given, n);
        evb_tally_read(tally, &handled);
        ck_assert_int_ge(evb_position_compare(handled, before), 0);
        ck_assert_uint_le(handled.n, n);
        before = handled;
    }
    thread_join(one);
    thread_join(two);
    evb_tally_read(tally, &handled);
    ck_assert_uint_eq(handled.n, (uint64_t)scaled(EVENTS));
    expect(false, (uint64_t)scaled(EVENTS));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tally");
    TCase *tests = unit_case(suite, "tally");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, in_order);
    tcase_add_test(tests, out_of_order);
    tcase_add_test(tests, with_holes);
    tcase_add_test(tests, passes_others);
    tcase_add_test(tests, given_again);
    tcase_add_test(tests, comes_late);
    tcase_add_test(tests, takes_back);
    tcase_add_test(tests, starts_anew);
    tcase_add_test(tests, grows);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, handled_by_two);
    return unit_run(suite);
}
