/* test_buf.c - a buffer grows, keeps its NUL, and remembers that memory ran out. */
#include "alloc.h"
#include "buf.h"
#include "unit.h"
#include <evbus.h>

START_TEST(all_ways_to_add)
{
    struct evb_buf buf;
    evb_buf_init(&buf);
    ck_assert_ptr_null(buf.data);
    evb_buf_text(&buf, "text ");
    evb_buf_char(&buf, 'c');
    evb_buf_add(&buf, "\0b", 2);
    evb_buf_add(&buf, NULL, 0);
    evb_buf_text(&buf, "");
    evb_buf_printf(&buf, " %s=%d%%", "n", -7);
    ck_assert_uint_eq(buf.length, 14);
    ck_assert_mem_eq(buf.data, "text c\0b n=-7%", 15);
    ck_assert(!buf.failed);
    evb_buf_fini(&buf);
    ck_assert_ptr_null(buf.data);
    ck_assert_uint_eq(buf.length + buf.room, 0);
}
END_TEST

START_TEST(grows_and_keeps)
{
    enum { SIZE = 300000 };
    long before = atomic_load(&memory_bytes);
    struct evb_buf buf;
    evb_buf_init(&buf);
    for (int i = 0; i < SIZE; i++) {
        evb_buf_char(&buf, (char)(i % 251));
        if (i % 1000 == 0)
            ck_assert_int_eq(buf.data[buf.length], 0);
    }
    ck_assert_uint_eq(buf.length, SIZE);
    for (int i = 0; i < SIZE; i++)
        ck_assert_int_eq(buf.data[i], (char)(i % 251));
    ck_assert_int_lt(atomic_load(&memory_bytes) - before, 8 * SIZE); /* not a copy a byte */
    evb_buf_fini(&buf);
}
END_TEST

START_TEST(prints_beyond_its_room)
{
    char word[4001];
    struct evb_buf buf;
    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    for (int length = 0; length < 4000; length += 61) {
        evb_buf_init(&buf);
        evb_buf_text(&buf, "<");
        evb_buf_printf(&buf, "%.*s>", length, word);
        ck_assert_uint_eq(buf.length, (size_t)length + 2);
        ck_assert_uint_eq(strlen(buf.data), (size_t)length + 2);
        ck_assert_int_eq(buf.data[buf.length - 1], '>');
        evb_buf_fini(&buf);
    }
}
END_TEST

START_TEST(reserved_room_is_there)
{
    struct evb_buf buf;
    evb_buf_init(&buf);
    evb_buf_text(&buf, "abc");
    for (size_t more = 0; more < 3000; more += 17) {
        ck_assert(evb_buf_reserve(&buf, more));
        long asked = atomic_load(&memory_bytes);
        char *data = buf.data;
        for (size_t i = 0; i < more; i++)
            evb_buf_char(&buf, 'x');
        ck_assert_ptr_eq(buf.data, data);
        ck_assert_int_eq(atomic_load(&memory_bytes), asked);
    }
    evb_buf_fini(&buf);
}
END_TEST

START_TEST(take_is_never_null_but_for_failure)
{
    struct evb_buf buf;
    evb_buf_init(&buf);
    char *nothing = evb_buf_take(&buf);
    ck_assert_str_eq(nothing, "");
    evb_buf_text(&buf, "again");
    char *again = evb_buf_take(&buf);
    ck_assert_str_eq(again, "again");
    ck_assert_ptr_null(buf.data);
    evb_free(nothing);
    evb_free(again);
}
END_TEST

static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 3, SIZE_MAX - 4, SIZE_MAX - 5};

START_TEST(sizes_beyond_memory)
{
    struct evb_buf buf;
    evb_buf_init(&buf);
    evb_buf_text(&buf, "abc");
    atomic_store(&memory_left, 0); /* what is no overflow fails here, not in malloc */
    ck_assert(!evb_buf_reserve(&buf, huge[_i]));
    ck_assert(buf.failed);
    atomic_store(&memory_left, -1);
    ck_assert_ptr_null(evb_buf_take(&buf));
}
END_TEST

static void build(bool fails)
{
    struct evb_buf buf;
    char *taken;
    evb_buf_init(&buf);
    evb_buf_text(&buf, "first");
    for (int i = 0; i < 300; i++) {
        evb_buf_printf(&buf, "%d,", i);
        if (fails && buf.failed) {
            size_t length = buf.length;
            evb_buf_text(&buf, "more"); /* it sticks, though there is memory again */
            ck_assert_uint_eq(buf.length, length);
            ck_assert(!evb_buf_reserve(&buf, 0));
        }
    }
    bool failed = buf.failed;
    taken = evb_buf_take(&buf);
    ck_assert(!failed || !taken);
    ck_assert_int_eq(!taken, fails && memory_failed());
    evb_buf_char(&buf, 'z'); /* and a taken buffer is a new one */
    ck_assert_uint_eq(buf.length + buf.failed, 1);
    evb_buf_fini(&buf);
    evb_free(taken);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(build), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tests = unit_case(suite, "buf");
    tcase_add_test(tests, all_ways_to_add);
    tcase_add_test(tests, grows_and_keeps);
    tcase_add_test(tests, prints_beyond_its_room);
    tcase_add_test(tests, reserved_room_is_there);
    tcase_add_test(tests, take_is_never_null_but_for_failure);
    tcase_add_loop_test(tests, sizes_beyond_memory, 0, (int)EVB_COUNT(huge));
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
