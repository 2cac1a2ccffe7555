/* test_snapshot.c - the table of snapshots: versions, growth, what is let go, readers beside a
 * writer. */
#include "map.h"
#include "registry.h"
#include "snapshot.h"
#include "unit.h"
#include <stdio.h>

enum { TYPES = 3000, READERS = 3 };

static struct evb_snapshots all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *type_of(int i, char name[32])
{
    snprintf(name, 32, "kind.%d", i);
    return name;
}

static bool put(const char *type, uint64_t version)
{
    struct evb_snapshot *snapshot = evb_snapshot_new(0);
    if (!snapshot)
        return false;
    snapshot->version = version;
    return evb_snapshots_put(&all, type, strlen(type), evb_hash(type, strlen(type)), snapshot);
}

static const struct evb_snapshot *find(const char *type, uint64_t version)
{
    return evb_snapshots_find(&all, evb_thread_self(), type, strlen(type),
                              evb_hash(type, strlen(type)), version);
}

static void setup(void)
{
    ck_assert_int_eq(evb_snapshots_init(&all), 0);
    evb_thread_self();
}

static void teardown(void)
{
    ck_assert_uint_eq(evb_thread_self()->hazards, 0);
    evb_snapshots_fini(&all);
}

START_TEST(only_the_asked_version_is_found)
{
    ck_assert_ptr_null(find("a", 1));
    ck_assert(put("a", 1));
    const struct evb_snapshot *found = find("a", 1);
    ck_assert_ptr_nonnull(found);
    ck_assert(evb_hazard_held(found));
    evb_hazard_release(evb_thread_self());
    ck_assert(!evb_hazard_held(found));
    ck_assert_ptr_null(find("a", 2));
    ck_assert_ptr_null(find("b", 1));
    ck_assert_ptr_eq(evb_snapshots_peek(&all, "a", 1, evb_hash("a", 1), 1), found);
}
END_TEST

START_TEST(what_is_held_outlives_its_end)
{
    long before = atomic_load(&memory_live);
    ck_assert(put("a", 7));
    const struct evb_snapshot *held = find("a", 7);
    evb_snapshots_purge(&all);
    ck_assert_ptr_null(find("a", 7));
    ck_assert_uint_eq(held->version, 7); /* a freed one would be reported by a sanitizer */
    ck_assert_ptr_eq(all.retired, held);
    evb_hazard_release(evb_thread_self());
    evb_snapshots_reclaim(&all);
    ck_assert_ptr_null(all.retired);
    ck_assert_int_eq(atomic_load(&memory_live), before + 1); /* the bucket */
}
END_TEST

/* It grows by beginning anew; however many types come, the memory is that of the largest table. */
START_TEST(many_types_stay_bounded)
{
    char name[32];
    for (int i = 0; i < 40 * TYPES; i++) {
        ck_assert(put(type_of(i, name), 1));
        ck_assert_ptr_nonnull(find(name, 1));
        evb_hazard_release(evb_thread_self());
        evb_snapshots_reclaim(&all);
    }
    ck_assert_int_le(atomic_load(&memory_live), 2 * 8192 + 16);
}
END_TEST

START_TEST(ended_subscriptions_are_let_go_now_and_then)
{
    ck_assert(put("a", 1));
    int n = 0;
    for (; evb_snapshots_peek(&all, "a", 1, evb_hash("a", 1), 1); n++)
        evb_snapshots_one_ended(&all);
    ck_assert_int_gt(n, 10);
    ck_assert_int_lt(n, 200);
}
END_TEST

static atomic_int stop, seen;

static void *read_all(void *arg)
{
    struct evb_thread *thread = evb_thread_self();
    uint32_t dice = (uint32_t)(uintptr_t)arg;
    char name[32];
    while (!atomic_load(&stop)) {
        uint64_t version = 1 + roll(&dice) % 4;
        type_of((int)(roll(&dice) % TYPES), name);
        const struct evb_snapshot *found = evb_snapshots_find(
            &all, thread, name, strlen(name), evb_hash(name, strlen(name)), version);
        if (!found)
            continue;
        ck_assert_uint_eq(found->version, version);
        ck_assert_uint_eq(found->count, 0);
        atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed);
        evb_hazard_release(thread);
    }
    return NULL;
}

START_TEST(readers_beside_a_writer)
{
    pthread_t readers[READERS];
    uint32_t dice = 99;
    char name[32];
    for (int i = 0; i < READERS; i++)
        readers[i] = thread_start(read_all, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < scaled(100000) || !atomic_load(&seen); i++) {
        pthread_mutex_lock(&lock);
        ck_assert(put(type_of((int)(roll(&dice) % TYPES), name), 1 + roll(&dice) % 4));
        if (i % 1000 == 0)
            evb_snapshots_purge(&all);
        evb_snapshots_reclaim(&all);
        pthread_mutex_unlock(&lock);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++)
        thread_join(readers[i]);
    ck_assert_int_gt(atomic_load(&seen), 0);
}
END_TEST

static void grow(bool fails)
{
    char name[32];
    if (evb_snapshots_init(&all) != 0) {
        ck_assert(fails);
        return;
    }
    for (int i = 0; i < 100; i++)
        ck_assert(put(type_of(i, name), 1) || fails);
    evb_snapshots_fini(&all);
}

START_TEST(without_memory)
{
    evb_thread_self();
    evb_hash("", 0);
    ck_assert_int_gt(memory_fail_each(grow), 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *tests = unit_case(suite, "snapshot");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, only_the_asked_version_is_found);
    tcase_add_test(tests, what_is_held_outlives_its_end);
    tcase_add_test(tests, many_types_stay_bounded);
    tcase_add_test(tests, ended_subscriptions_are_let_go_now_and_then);
    tcase_add_test(tests, readers_beside_a_writer);
    tests = unit_case(suite, "memory");
    tcase_add_test(tests, without_memory);
    return unit_run(suite);
}
