/*
 * unit.h - what the unit tests of the ground and of local delivery share: memory that is counted
 * and runs out, conditions with a deadline, threads, events.
 */
#ifndef UNIT_H
#define UNIT_H
#include "event.h"
#include "list.h"
#include "harness/check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define UNIT_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define UNIT_SLOW 1
#endif
#endif

/* ---- memory ---- */

static atomic_long memory_left = -1; /* good allocations until one fails; negative: none will */
static atomic_long memory_live;      /* blocks that the library holds */
static atomic_long memory_bytes;     /* ever asked for */

static inline bool memory_grants(size_t size)
{
    long left = atomic_load(&memory_left);
    atomic_fetch_add(&memory_bytes, (long)size);
    return left < 0 || atomic_fetch_sub(&memory_left, 1) != 0;
}

static inline void *memory_alloc(size_t size)
{
    if (!memory_grants(size))
        return NULL;
    atomic_fetch_add(&memory_live, 1);
    return malloc(size);
}

static inline void *memory_resize(void *old, size_t size)
{
    if (!memory_grants(size))
        return NULL;
    if (!old)
        atomic_fetch_add(&memory_live, 1);
    return realloc(old, size);
}

static inline void memory_release(void *memory)
{
    atomic_fetch_sub(&memory_live, 1);
    free(memory);
}

/* Runs `run` with its first allocation failing, then its second, ... until it comes through
 * untouched. Every run cleans up after itself: no block may be left. Answers how many failed. */
static inline int memory_fail_each(void (*run)(bool fails))
{
    long before = atomic_load(&memory_live);
    int failed = 0;
    run(false);
    ck_assert_int_eq(atomic_load(&memory_live), before);
    for (bool reached = true; reached; failed += reached) {
        ck_assert_int_lt(failed, 10000);
        atomic_store(&memory_left, failed);
        run(true);
        reached = atomic_exchange(&memory_left, -1) < 0;
        ck_assert_msg(atomic_load(&memory_live) == before, "allocation %d failed: %ld blocks left",
                      failed, atomic_load(&memory_live) - before);
    }
    return failed;
}

/* Did the one that was to fail fail by now? */
static inline bool memory_failed(void)
{
    return atomic_load(&memory_left) < 0;
}

/* ---- time ---- */

static inline int64_t unit_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Waits for the condition, ends the test when it does not come. */
static inline void await(bool (*condition)(void *), void *arg)
{
    const struct timespec pause = {0, 200000};
    for (int64_t end = unit_now_us() + 20000000; !condition(arg);) {
        ck_assert_msg(unit_now_us() < end, "waited 20 s in vain");
        nanosleep(&pause, NULL);
    }
}

struct unit_count {
    atomic_int *count;
    int at_least;
};

static inline bool unit_reached(void *arg)
{
    const struct unit_count *wanted = arg;
    return atomic_load(wanted->count) >= wanted->at_least;
}

static inline void await_count(atomic_int *count, int at_least)
{
    struct unit_count wanted = {count, at_least};
    await(unit_reached, &wanted);
}

static inline int scaled(int count)
{
#ifdef UNIT_SLOW
    return count / 10;
#else
    return count;
#endif
}

/* ---- threads, dice, events ---- */

static inline pthread_t thread_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run, arg), 0);
    return thread;
}

static inline void thread_join(pthread_t thread)
{
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static inline uint32_t roll(uint32_t *dice) /* George Marsaglia, "Xorshift RNGs", 2003 */
{
    *dice ^= *dice << 13;
    *dice ^= *dice >> 17;
    return *dice ^= *dice << 5;
}

static inline evbus_event *event_of(const char *type, size_t data_length)
{
    static const char blanks[4096];
    ck_assert_uint_le(data_length, sizeof blanks);
    evbus_event *event = evb_event_make(type, strlen(type), blanks, data_length, false);
    ck_assert_ptr_nonnull(event);
    return event;
}

/* ---- the program ---- */

static inline TCase *unit_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    evbus_set_allocator(memory_alloc, memory_resize, memory_release);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return tests;
}

static inline int unit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
