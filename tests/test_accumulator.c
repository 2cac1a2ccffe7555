/* test_accumulator.c - open batches: what closes one, in which order they are taken, who is told to
 * look. */
#include "accumulator.h"
#include "pool.h"
#include "unit.h"
#include <evbus.h>
#include <stdio.h>

static struct evb_accumulator acc;
static long live;

static void setup(void)
{
    live = atomic_load(&memory_live);
    acc = (struct evb_accumulator){.max_events = 3, .interval_ms = 100, .max_length = 1000};
    evb_accumulator_init(&acc);
}

static void teardown(void)
{
    evb_accumulator_fini(&acc);
    ck_assert_int_eq(atomic_load(&memory_live), live);
}

static struct evb_text text(const char *type)
{
    return (struct evb_text){type, (uint32_t)strlen(type)};
}

/* A member whose envelope is `length` times x, or the text itself. */
static struct evb_batched *member_of(const char *envelope, size_t length)
{
    struct evb_batched *member = evb_pool_take(sizeof *member + length, NULL);
    ck_assert_ptr_nonnull(member);
    memset(member, 0, sizeof *member);
    if (envelope)
        memcpy(member + 1, envelope, length);
    else
        memset(member + 1, 'x', length);
    member->envelope = (char *)(member + 1);
    member->length = length;
    member->size = 10;
    return member;
}

static bool add_at(const char *type, int flags, size_t length, int64_t now_ms)
{
    bool look = false;
    ck_assert_int_eq(
        evb_accumulator_add(&acc, text(type), flags, member_of(NULL, length), now_ms, &look), 0);
    return look;
}

static bool add(const char *type)
{
    return add_at(type, 0, 10, 0);
}

/* The next closed batch is this one. */
static void expect_batch(const char *type, int flags, int count, enum evb_batch_trigger trigger)
{
    struct evb_batch *batch = evb_accumulator_take(&acc);
    ck_assert_ptr_nonnull(batch);
    struct evb_text of = evb_batch_type(batch);
    ck_assert_uint_eq(of.length, strlen(type));
    ck_assert_int_eq(memcmp(of.ptr, type, of.length), 0);
    ck_assert_int_eq(batch->flags, flags);
    ck_assert_int_eq(batch->count, count);
    ck_assert_int_eq(batch->trigger, trigger);
    ck_assert_uint_eq(batch->size, (size_t)count * 10);
    evb_batch_free(batch);
}

static void expect_none(void)
{
    ck_assert_ptr_null(evb_accumulator_take(&acc));
}

START_TEST(by_number)
{
    for (int i = 0; i < 7; i++)
        add("a.b");
    expect_batch("a.b", 0, 3, EVB_BATCH_BY_SIZE);
    expect_batch("a.b", 0, 3, EVB_BATCH_BY_SIZE);
    expect_none();
    ck_assert_int_eq(atomic_load(&acc.waiting), 1);
}
END_TEST

/* What would not fit closes the batch; what fills it to the byte, too; the largest is alone. */
START_TEST(by_bytes)
{
    const size_t room = acc.max_length - EVB_BATCH_FRAME;
    add_at("t", 0, room - 10, 0);
    add_at("t", 0, 9, 0);
    expect_batch("t", 0, 1, EVB_BATCH_BY_BYTES);
    expect_none();
    add_at("t", 0, room - 1 - 10, 0);
    expect_batch("t", 0, 2, EVB_BATCH_BY_BYTES);
    add("t");
    add_at("t", 0, 5000, 0);
    expect_batch("t", 0, 1, EVB_BATCH_BY_BYTES);
    expect_batch("t", 0, 1, EVB_BATCH_BY_BYTES);
    expect_none();
}
END_TEST

START_TEST(by_interval)
{
    add_at("old", 0, 1, 1000);
    add_at("young", 0, 1, 1050);
    add_at("old", 0, 1, 1099); /* counted from the first */
    ck_assert_int_eq(evb_accumulator_due(&acc, 1099, true), 1100);
    expect_none();
    ck_assert_int_eq(evb_accumulator_due(&acc, 1100, false), 1150);
    expect_batch("old", 0, 2, EVB_BATCH_BY_INTERVAL);
    expect_none();
    ck_assert_int_eq(evb_accumulator_due(&acc, 2000, false), INT64_MAX);
    expect_batch("young", 0, 1, EVB_BATCH_BY_INTERVAL);
}
END_TEST

START_TEST(types_and_flags_are_apart)
{
    add_at("a", 0, 1, 0);
    add_at("b", 0, 1, 0);
    add_at("a", 1, 1, 0);
    add_at("a", 0, 1, 0);
    add_at("ab", 0, 1, 0);
    ck_assert_uint_eq(evb_accumulator_close(&acc, false), 4);
    expect_batch("a", 0, 2, EVB_BATCH_BY_FLUSH);
    expect_batch("b", 0, 1, EVB_BATCH_BY_FLUSH);
    expect_batch("a", 1, 1, EVB_BATCH_BY_FLUSH);
    expect_batch("ab", 0, 1, EVB_BATCH_BY_FLUSH);
    expect_none();
    ck_assert_int_eq(atomic_load(&acc.waiting), 0);
}
END_TEST

/* One look for all until it comes; none for what a timer will see anyway. */
START_TEST(who_looks)
{
    ck_assert(add("a"));
    ck_assert(!add("b"));
    ck_assert(!add("a"));
    ck_assert(!add("a")); /* full, and somebody comes already */
    ck_assert_int_eq(evb_accumulator_due(&acc, 0, false), 100); /* the timer's look, not that one */
    ck_assert(!add("c"));
    evb_accumulator_due(&acc, 0, true);
    ck_assert(evb_accumulator_is_left(&acc)); /* told now */
    ck_assert(!evb_accumulator_is_left(&acc));
    evb_accumulator_due(&acc, 0, true);
    expect_batch("a", 0, 3, EVB_BATCH_BY_SIZE);
    ck_assert(!evb_accumulator_is_left(&acc));
    ck_assert(!add("b")); /* timed */
    ck_assert(add("b"));  /* full */
    expect_batch("b", 0, 3, EVB_BATCH_BY_SIZE);
    evb_accumulator_close(&acc, false);
    expect_batch("c", 0, 1, EVB_BATCH_BY_FLUSH);
    evb_accumulator_due(&acc, 0, true);
    ck_assert(add("d"));
    ck_assert_int_eq(evb_accumulator_due(&acc, 0, true), 100);
    evb_accumulator_close(&acc, false); /* the timer may have failed */
    expect_batch("d", 0, 1, EVB_BATCH_BY_FLUSH);
    ck_assert(add("e"));
}
END_TEST

static int refused(const char *type)
{
    bool look;
    struct evb_batched *member = member_of(NULL, 1);
    int rc = evb_accumulator_add(&acc, text(type), 0, member, 0, &look);
    ck_assert_int_lt(rc, 0);
    evb_batched_free(member);
    return rc;
}

START_TEST(bounded)
{
    char type[16];
    for (int i = 0; i < EVB_BATCH_TYPES; i++) {
        snprintf(type, sizeof type, "t%d", i);
        add(type);
    }
    ck_assert_int_eq(refused("more"), EVBUS_EFULL);
    ck_assert_str_eq(evbus_last_error(),
                     "events of 1000 types wait in batches already: publish without EVBUS_BATCH, "
                     "or set a shorter batch.interval");
    add("t7");
    ck_assert_uint_eq(evb_accumulator_close(&acc, false), EVB_BATCH_TYPES);
    add("more");
    ck_assert_uint_eq(evb_accumulator_close(&acc, true), EVB_BATCH_TYPES + 1);
    ck_assert_int_eq(refused("more"), EVBUS_ECLOSED);
}
END_TEST

static void some_batches(bool fails)
{
    static const char *const types[] = {"a", "b", "a", "a", "a", "b"};
    setup();
    for (size_t i = 0; i < EVB_COUNT(types); i++) {
        bool look;
        struct evb_batched *member = evb_pool_take(sizeof *member, NULL);
        if (!member)
            continue;
        *member = (struct evb_batched){.envelope = "{}", .length = 2};
        int rc = evb_accumulator_add(&acc, text(types[i]), 0, member, 0, &look);
        ck_assert(rc == 0 || (fails && rc == EVBUS_ENOMEM));
        if (rc != 0)
            evb_batched_free(member);
    }
    evb_accumulator_fini(&acc);
}

START_TEST(memory)
{
    ck_assert_int_gt(memory_fail_each(some_batches), 4);
    setup();
}
END_TEST

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event, (void)outcome, (void)error, (void)receivers, (void)user;
}

START_TEST(data)
{
    static const char *const envelopes[] = {"{\"n\":1}", "{}", "{\"n\":3}"};
    bool look;
    for (int i = 0; i < 3; i++) {
        struct evb_batched *member = member_of(envelopes[i], strlen(envelopes[i]));
        member->report = i == 1 ? on_report : NULL;
        evb_accumulator_add(&acc, text("t"), 0, member, 0, &look);
    }
    struct evb_batch *batch = evb_accumulator_take(&acc);
    char out[128] = "";
    evb_batch_write(batch, out);
    ck_assert_str_eq(out, "{\"events\":[{\"n\":1},{},{\"n\":3}],\"count\":3}");
    ck_assert_uint_eq(evb_batch_length(batch), strlen(out));
    ck_assert_uint_le(strlen(out), batch->length);
    ck_assert_uint_eq(evb_batch_keep_asking(batch), 10);
    ck_assert_uint_eq(batch->first->length, 2);
    ck_assert_ptr_null(batch->first->next);
    evb_batch_free(batch);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, EACH = 20000 };
static atomic_int taken, out_of_order;

static void *adder(void *arg)
{
    const int id = *(int *)arg;
    for (int n = 1; n <= scaled(EACH); n++) {
        bool look;
        struct evb_batched *member = evb_pool_take(sizeof *member, NULL);
        *member = (struct evb_batched){.envelope = "", .size = (size_t)n, .user = (void *)(long)id};
        ck_assert_int_eq(
            evb_accumulator_add(&acc, text(n % 2 ? "odd" : "even"), 0, member, 0, &look), 0);
    }
    return NULL;
}

static void *taker(void *unused)
{
    size_t last[2][THREADS] = {{0}};
    while (atomic_load(&taken) < THREADS * scaled(EACH)) {
        struct evb_batch *batch = evb_accumulator_take(&acc);
        if (!batch) {
            evb_accumulator_close(&acc, false);
            continue;
        }
        for (struct evb_batched *member = batch->first; member; member = member->next) {
            size_t *before = &last[member->size % 2][(long)member->user];
            if (member->size != *before + (*before || member->size % 2 == 0 ? 2 : 1))
                atomic_fetch_add(&out_of_order, 1);
            *before = member->size;
        }
        atomic_fetch_add(&taken, (int)batch->count);
        evb_batch_free(batch);
    }
    return unused;
}

/* Each once, and those of one thread and type in order within and across batches. */
START_TEST(threads)
{
    pthread_t thread[THREADS + 1];
    int id[THREADS] = {0, 1, 2, 3};
    for (int i = 0; i < THREADS; i++)
        thread[i] = thread_start(adder, &id[i]);
    thread[THREADS] = thread_start(taker, NULL);
    for (int i = 0; i <= THREADS; i++)
        thread_join(thread[i]);
    ck_assert_int_eq(atomic_load(&taken), THREADS * scaled(EACH));
    ck_assert_int_eq(atomic_load(&out_of_order), 0);
    expect_none();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("accumulator");
    TCase *tests = unit_case(suite, "accumulator");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, by_number);
    tcase_add_test(tests, by_bytes);
    tcase_add_test(tests, by_interval);
    tcase_add_test(tests, types_and_flags_are_apart);
    tcase_add_test(tests, who_looks);
    tcase_add_test(tests, bounded);
    tcase_add_test(tests, memory);
    tcase_add_test(tests, data);
    tcase_add_test(tests, threads);
    return unit_run(suite);
}
