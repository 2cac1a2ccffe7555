/* test_alloc.c - the allocator hook and what stands on it. */
#include "alloc.h"
#include "unit.h"
#include <evbus.h>

static int allocs, resizes, releases;
static char seen[64]; /* the last block given back, as it was */

static void *count_alloc(size_t size)
{
    allocs++;
    return calloc(1, size < sizeof seen ? sizeof seen : size);
}

static void *count_resize(void *old, size_t size)
{
    resizes++;
    return realloc(old, size);
}

static void count_release(void *memory)
{
    releases++;
    memcpy(seen, memory, sizeof seen);
    free(memory);
}

static void setup(void)
{
    allocs = resizes = releases = 0;
    ck_assert_int_eq(evbus_set_allocator(count_alloc, count_resize, count_release), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(evbus_set_allocator(NULL, NULL, NULL), 0);
}

START_TEST(goes_through_the_hook)
{
    char *p = evb_alloc(3);
    ck_assert_int_eq(allocs, 1);
    p = evb_resize(p, 70);
    ck_assert_int_eq(resizes, 1);
    evb_free(p);
    ck_assert_int_eq(releases, 1);
    evb_free(NULL);
    evbus_string_free(NULL);
    evb_wipe_free(NULL);
    ck_assert_int_eq(releases, 1);
    evbus_string_free(evb_strdup("x"));
    ck_assert_int_eq(releases, 2);
}
END_TEST

START_TEST(nothing_is_still_a_block)
{
    void *blocks[] = {evb_alloc(0), evb_calloc(0, 8), evb_calloc(8, 0), evb_resize(NULL, 0)};
    for (size_t i = 0; i < EVB_COUNT(blocks); i++) {
        ck_assert_ptr_nonnull(blocks[i]);
        for (size_t j = 0; j < i; j++)
            ck_assert_ptr_ne(blocks[i], blocks[j]);
    }
    evbus_set_allocator(NULL, NULL, NULL);
    for (size_t i = 0; i < EVB_COUNT(blocks); i++)
        evb_free(blocks[i]);
}
END_TEST

static const size_t overflows[][2] = {
    {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 32, (size_t)1 << 32}};

START_TEST(calloc_overflow)
{
    ck_assert_ptr_null(evb_calloc(overflows[_i][0], overflows[_i][1]));
    ck_assert_int_eq(allocs, 0);
}
END_TEST

START_TEST(calloc_zeroes)
{
    evbus_set_allocator(NULL, NULL, NULL);
    for (int i = 0; i < 100; i++) {
        unsigned char *p = evb_alloc(1000);
        memset(p, 0xa5, 1000);
        evb_free(p);
        p = evb_calloc(250, 4);
        for (int j = 0; j < 1000; j++)
            ck_assert_uint_eq(p[j], 0);
        evb_free(p);
    }
}
END_TEST

START_TEST(copies_of_text)
{
    char *whole = evb_strdup("bus"), *part = evb_strndup("evbus", 2), *none = evb_strndup("x", 0);
    char *zero = evb_strndup("a\0b", 3);
    ck_assert_str_eq(whole, "bus");
    ck_assert_str_eq(part, "ev");
    ck_assert_str_eq(none, "");
    ck_assert_mem_eq(zero, "a\0b", 4);
    evb_free(whole);
    evb_free(part);
    evb_free(none);
    evb_free(zero);
    ck_assert_ptr_null(evb_strndup("x", SIZE_MAX));
}
END_TEST

START_TEST(secrets_are_overwritten)
{
    char *secret = evb_strdup("correct horse");
    evb_wipe_free(secret);
    ck_assert_int_eq(releases, 1);
    for (size_t i = 0; i < sizeof "correct horse"; i++)
        ck_assert_int_eq(seen[i], 0);
}
END_TEST

START_TEST(all_three_or_none)
{
    for (int given = 1; given < 7; given++) {
        ck_assert_int_eq(evbus_set_allocator(given & 1 ? malloc : NULL, given & 2 ? realloc : NULL,
                                             given & 4 ? free : NULL),
                         EVBUS_EINVAL);
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
        allocs = 0;
        evb_free(evb_alloc(1)); /* as it was */
        ck_assert_int_eq(allocs, 1);
    }
    ck_assert_int_eq(evbus_set_allocator(NULL, NULL, NULL), 0);
    evb_free(evb_alloc(1));
    ck_assert_int_eq(allocs, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alloc");
    TCase *tests = unit_case(suite, "alloc");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, goes_through_the_hook);
    tcase_add_test(tests, nothing_is_still_a_block);
    tcase_add_loop_test(tests, calloc_overflow, 0, (int)EVB_COUNT(overflows));
    tcase_add_test(tests, calloc_zeroes);
    tcase_add_test(tests, copies_of_text);
    tcase_add_test(tests, secrets_are_overwritten);
    tcase_add_test(tests, all_three_or_none);
    return unit_run(suite);
}
