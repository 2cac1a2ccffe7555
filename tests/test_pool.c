/* test_pool.c - blocks come back to the thread that made them, bounded, and count what they take.
 */
#include "alloc.h"
#include "pool.h"
#include "unit.h"
#include <malloc.h>

enum { SIZE = 300, MANY = 20000 };

static void *blocks[MANY];

static size_t live_bytes(void)
{
    return mallinfo2().uordblks;
}

START_TEST(a_block_is_used_again)
{
    void *first = evb_pool_take(SIZE, NULL);
    ck_assert_ptr_nonnull(first);
    memset(first, 0x5a, SIZE);
    evb_pool_give(first);
    ck_assert_ptr_eq(evb_pool_take(SIZE, NULL), first);
    evb_pool_give(first);
    ck_assert_ptr_ne(evb_pool_take(SIZE * 4, NULL), first);
}
END_TEST

START_TEST(sizes_are_kept_apart)
{
    static const size_t sizes[] = {0, 1, 240, 241, 368, 369, 2032, 3057, 100000};
    size_t room;
    evb_pool_give(evb_pool_take(3056, NULL)); /* this thread's record */
    for (size_t i = 0; i < EVB_COUNT(sizes); i++) {
        size_t before = live_bytes();
        char *block = evb_pool_take(sizes[i], &room);
        ck_assert_uint_eq(room, evb_pool_room(sizes[i]));
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % 16, 0);
        memset(block, 1, sizes[i]);
        ck_assert_uint_ge(room, sizes[i] + 16);
        ck_assert_uint_le(live_bytes() - before, room + 24); /* malloc's own */
        evb_pool_give(block);
    }
    evb_pool_give(NULL);
    ck_assert_ptr_null(evb_pool_take(SIZE_MAX - 4, NULL));
}
END_TEST

static void *give_all(void *arg)
{
    (void)arg;
    for (int i = 0; i < MANY; i++)
        evb_pool_give(blocks[i]);
    return NULL;
}

START_TEST(what_another_thread_gives_returns)
{
    for (int i = 0; i < 64; i++)
        blocks[i] = evb_pool_take(SIZE, NULL);
    for (int i = 64; i < MANY; i++)
        blocks[i] = NULL;
    thread_join(thread_start(give_all, NULL)); /* its end returns what it still held */
    int again = 0;
    for (int i = 0; i < 64; i++) {
        void *block = evb_pool_take(SIZE, NULL);
        for (int j = 0; j < 64; j++)
            again += blocks[j] == block;
    }
    ck_assert_int_eq(again, 64);
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
    size_t before = live_bytes();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            ck_assert_ptr_nonnull(blocks[i] = evb_pool_take(SIZE, NULL));
        if (round == 0)
            give_all(NULL);
        else
            thread_join(thread_start(give_all, NULL));
    }
    /* 2 MiB here, 2 MiB on their way back, and the records. */
    ck_assert_uint_le(live_bytes() - before, (4 << 20) + (1 << 16));
}
END_TEST

static _Atomic(void *) passed[256];

static void *take_and_pass(void *arg)
{
    uint32_t dice = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < scaled(400000); i++) {
        unsigned char *mine = evb_pool_take(200 + roll(&dice) % 3000, NULL);
        unsigned mark = roll(&dice) & 0xff;
        memset(mine, (int)mark, 200);
        for (int j = 0; j < 200; j += 40)
            ck_assert_uint_eq(mine[j], mark);
        evb_pool_give(atomic_exchange(&passed[roll(&dice) % 256], mine));
    }
    return NULL;
}

START_TEST(threads_pass_blocks_around)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(take_and_pass, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    for (int i = 0; i < 256; i++)
        evb_pool_give(atomic_exchange(&passed[i], NULL));
}
END_TEST

START_TEST(a_callers_allocator_sees_every_block)
{
    evbus_set_allocator(memory_alloc, memory_resize, memory_release);
    ck_assert_uint_eq(evb_pool_room(SIZE), SIZE + 16);
    for (int i = 0; i < 3; i++) {
        void *block = evb_pool_take(SIZE, NULL);
        ck_assert_int_eq(atomic_load(&memory_live), 1);
        evb_pool_give(block);
        ck_assert_int_eq(atomic_load(&memory_live), 0);
    }
    atomic_store(&memory_left, 0);
    ck_assert_ptr_null(evb_pool_take(SIZE, NULL));
    atomic_store(&memory_left, -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tests = unit_case(suite, "hooked");
    tcase_add_test(tests, a_callers_allocator_sees_every_block);
    tests = unit_case(suite, "pool");
    evbus_set_allocator(NULL, NULL, NULL);
    tcase_add_test(tests, sizes_are_kept_apart);
    tcase_add_test(tests, threads_pass_blocks_around);
    if (!evb_alloc_is_hooked()) { /* under a memory sanitizer nothing is kept */
        tcase_add_test(tests, a_block_is_used_again);
        tcase_add_test(tests, what_another_thread_gives_returns);
        tcase_add_test(tests, what_is_kept_is_bounded);
    }
    return unit_run(suite);
}
