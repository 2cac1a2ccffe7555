/* test_registry.c - who gets an event, how snapshots grow stale and go, and what the wire is told.
 */
#include "alloc.h"
#include "registry.h"
#include "sub_fixture.h"
#include <evbus.h>
#include <stdio.h>

static struct evb_registry registry;
static struct evb_thread *self;
static int interests;
static bool locked_then; /* interest was called with the lock held */
static struct evb_entry *told;

/* As the loop's job does it, only at once. */
static void interest(struct evb_entry *entry, void *user)
{
    ck_assert_ptr_eq(user, &interests);
    interests++;
    told = entry;
    if (pthread_mutex_trylock(&registry.lock) != 0) {
        locked_then = true;
        return;
    }
    entry->posted = false;
    pthread_mutex_unlock(&registry.lock);
    evb_entry_unref(entry);
}

static void release_entry(evbus_sub *sub)
{
    if (sub->entry)
        evb_entry_unref(sub->entry);
    sub_release(sub);
}

static evbus_sub *sub_new(int scope)
{
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, NULL, NULL);
    sub->release = release_entry;
    sub->scope = scope;
    return sub;
}

static evbus_sub *add(const char *pattern)
{
    evbus_sub *sub = sub_new(EVB_FROM_LOCAL | EVB_FROM_REDIS);
    ck_assert_int_eq(evb_registry_add(&registry, sub, pattern), 0);
    return sub;
}

static void drop(evbus_sub *sub)
{
    evb_registry_remove(&registry, sub);
    evb_sub_unref(sub);
}

static const struct evb_snapshot *look(const char *type)
{
    const struct evb_snapshot *snapshot =
        evb_registry_snapshot(&registry, self, type, strlen(type));
    ck_assert_ptr_nonnull(snapshot);
    ck_assert_uint_eq(self->hazards, 1);
    ck_assert(evb_hazard_held(snapshot));
    return snapshot;
}

static size_t count_for(const char *type)
{
    size_t count = look(type)->count;
    evb_hazard_release(self);
    return count;
}

static long before;

static void setup(void)
{
    interests = 0;
    locked_then = false;
    self = evb_thread_self();
    before = atomic_load(&memory_live);
    ck_assert_int_eq(evb_registry_init(&registry, true, interest, &interests), 0);
}

static void teardown(void)
{
    ck_assert_uint_eq(self->hazards, 0);
    ck_assert(!locked_then);
    evb_registry_fini(&registry);
    ck_assert_int_eq(atomic_load(&memory_live), before);
}

/* ---- who gets what ---- */

enum { SUBS = 120 };

static void compose(uint32_t *dice, char *out, bool pattern)
{
    static const char *const words[] = {"a", "b", "glob:a", "evbus", "ab"};
    static const char *const globs[] = {"glob:a*",     "glob:*.b",    "glob:evbus.*", "glob:*",
                                        "glob:a.[ab]", "glob:a",      "glob:glob:a",  "glob:?.?",
                                        "glob:ev*",    "glob:evbus.a"};
    int count = 1 + (int)(roll(dice) % 3);
    out[0] = '\0';
    if (pattern && roll(dice) % 3 == 0) {
        strcpy(out, globs[roll(dice) % EVB_COUNT(globs)]);
        return;
    }
    for (int i = 0; i < count; i++) {
        uint32_t kind = pattern ? roll(dice) % 8 : 0;
        const char *word = words[roll(dice) % EVB_COUNT(words)];
        if (kind >= 6)
            word = kind == 7 && i + 1 == count ? ">" : "*";
        strcat(strcat(out, i ? "." : ""), word);
    }
}

static void compare(evbus_sub *const subs[SUBS], const char *type)
{
    const struct evb_snapshot *snapshot = look(type);
    size_t want = 0;
    for (int i = 0; i < SUBS; i++) {
        size_t found = 0;
        if (!subs[i])
            continue;
        const char *pattern = subs[i]->entry->pattern;
        for (size_t j = 0; j < snapshot->count; j++)
            found += snapshot->subs[j] == subs[i];
        bool matches = evb_pattern_matches(pattern, strlen(pattern), type, strlen(type));
        ck_assert_msg(found == matches, "%s: %s %zu times", type, pattern, found);
        want += matches;
    }
    ck_assert_uint_eq(snapshot->count, want);
    evb_hazard_release(self);
}

START_TEST(as_the_matcher_says)
{
    evbus_sub *subs[SUBS] = {NULL};
    uint32_t dice = 99 + (uint32_t)_i;
    char text[64];
    for (int round = 0; round < 800; round++) {
        for (int i = 0; i < 3; i++) {
            evbus_sub **one = &subs[roll(&dice) % SUBS];
            compose(&dice, text, true);
            if (*one) {
                drop(*one);
                *one = NULL;
            } else if (evb_pattern_check(text, strlen(text)) >= 0) {
                *one = add(text);
            }
        }
        for (int i = 0; i < 5; i++) {
            compose(&dice, text, false);
            compare(subs, text);
        }
    }
    for (int i = 0; i < SUBS; i++)
        if (subs[i])
            drop(subs[i]);
    ck_assert_uint_eq(registry.entries.count, 0);
}
END_TEST

/* "glob:a" is a type too, and none that the pattern glob:a means. */
START_TEST(a_type_that_looks_like_a_glob)
{
    evbus_sub *glob = add("glob:a"), *both = add("glob:*a");
    ck_assert_uint_eq(count_for("a"), 2);
    ck_assert_uint_eq(count_for("glob:a"), 1);
    drop(glob);
    drop(both);
}
END_TEST

/* ---- snapshots ---- */

START_TEST(snapshots_do_not_change)
{
    evbus_sub *a = add("t"), *b = add("t");
    const struct evb_snapshot *old = look("t");
    ck_assert_uint_eq(old->count, 2);
    evbus_sub *c = add(">");
    drop(b);
    evb_registry_purge(&registry);
    ck_assert_int_eq(atomic_load(&b->refs), 1); /* by the snapshot that is held */
    ck_assert_uint_eq(old->count, 2);
    ck_assert(old->subs[0] == a && old->subs[1] == b);
    const struct evb_snapshot *fresh = evb_registry_snapshot(&registry, self, "t", 1);
    ck_assert_ptr_ne(fresh, old);
    ck_assert_uint_eq(fresh->count, 2);
    ck_assert(fresh->subs[0] == a && fresh->subs[1] == c);
    evb_hazard_release(self);
    atomic_store(&sub_released, 0);
    evb_hazard_release(self);
    evb_registry_purge(&registry);
    ck_assert_int_eq(atomic_load(&sub_released), 1);
    drop(a);
    drop(c);
}
END_TEST

START_TEST(the_same_while_nothing_changes)
{
    evbus_sub *a = add("t.*");
    const struct evb_snapshot *first = look("t.x");
    evb_hazard_release(self);
    long blocks = atomic_load(&memory_live), bytes = atomic_load(&memory_bytes);
    for (int i = 0; i < 1000; i++) {
        ck_assert_ptr_eq(look("t.x"), first);
        evb_hazard_release(self);
    }
    ck_assert_int_eq(atomic_load(&memory_live), blocks);
    ck_assert_int_eq(atomic_load(&memory_bytes), bytes);
    ck_assert_int_eq(atomic_load(&a->refs), 3); /* handle, entry, the one snapshot */
    evb_registry_purge(&registry);
    ck_assert_int_eq(atomic_load(&a->refs), 2);
    drop(a);
}
END_TEST

/* What nobody asks for again does not keep ended subscriptions for ever. */
START_TEST(stale_ones_go)
{
    char type[32];
    atomic_store(&sub_released, 0);
    for (int i = 0; i < 40; i++) {
        snprintf(type, sizeof type, "type.%d", i);
        evbus_sub *sub = add(type);
        ck_assert_uint_eq(count_for(type), 1);
        drop(sub);
    }
    ck_assert_int_lt(atomic_load(&sub_released), 40); /* the last one's snapshot is still there */
    for (int i = 0; i < 200; i++)
        drop(add("other"));
    ck_assert_int_eq(atomic_load(&sub_released), 240);
}
END_TEST

/* A reader that found the table before it was replaced goes on reading it. */
START_TEST(tables_do_not_go_under_a_reader)
{
    char type[32];
    const void *table = evb_hazard_acquire(self, &registry.snapshots.table);
    evbus_sub *all = add(">");
    for (int i = 0; i < 1000; i++) {
        snprintf(type, sizeof type, "type.%d", i);
        ck_assert_ptr_nonnull(evb_registry_snapshot(&registry, self, type, strlen(type)));
        evb_hazard_release(self);
    }
    ck_assert_ptr_ne(atomic_load(&registry.snapshots.table), table);
    evb_registry_purge(&registry);
    ck_assert_ptr_eq(registry.snapshots.retired_tables, table);
    evb_hazard_release(self);
    evb_registry_purge(&registry);
    ck_assert_ptr_null(registry.snapshots.retired_tables);
    drop(all);
}
END_TEST

START_TEST(types_without_end)
{
    char type[32];
    evbus_sub *all = add(">"), *one = add("type.777.x");
    long most = 0;
    for (int i = 0; i < scaled(60000); i++) {
        snprintf(type, sizeof type, "type.%d.x", i);
        ck_assert_uint_eq(count_for(type), i == 777 ? 2 : 1);
        long blocks = atomic_load(&memory_live);
        most = blocks > most ? blocks : most;
    }
    ck_assert_int_lt(most - before, 20000);
    ck_assert_uint_eq(count_for("type.777.x"), 2);
    drop(all);
    drop(one);
}
END_TEST

/* ---- cost ---- */

static const struct form {
    const char *front, *back;
    bool own; /* a number between them */
} forms[] = {
    {"same", "", false}, {"own.", "", true}, {"own.", ".*", true}, {"glob:own.", "*", true}};

/* Bytes asked for by n subscriptions and their end. */
static long cost_of(int n, const struct form *form)
{
    evbus_sub **subs = malloc((size_t)n * sizeof *subs);
    char pattern[32];
    long bytes = atomic_load(&memory_bytes);
    for (int i = 0; i < n; i++) {
        if (form->own)
            snprintf(pattern, sizeof pattern, "%s%d%s", form->front, i, form->back);
        else
            strcpy(pattern, form->front);
        subs[i] = add(pattern);
    }
    for (int i = 0; i < n; i++)
        drop(subs[i]);
    free(subs);
    return atomic_load(&memory_bytes) - bytes;
}

START_TEST(many_subscriptions_cost_what_they_are)
{
    cost_of(10, &forms[_i]);
    long few = cost_of(2500, &forms[_i]), many = cost_of(10000, &forms[_i]);
    ck_assert_msg(many < few * 5, "%s: %ld and %ld bytes", forms[_i].front, few, many);
}
END_TEST

static int64_t cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

/* Of the processor: what else runs on the machine has no part in it. */
static int64_t time_of(int n, const struct form *form)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t from = cpu_us();
        cost_of(n, form);
        int64_t us = cpu_us() - from;
        best = us < best ? us : best;
    }
    return best;
}

/* 10 times as many: 100 times the time would be their square. The few are beyond the caches, too. */
START_TEST(many_subscriptions_take_what_they_are)
{
    int64_t few = time_of(scaled(10000), &forms[_i]), many = time_of(scaled(100000), &forms[_i]);
    ck_assert_msg(many < few * 40, "%s: %lld and %lld us", forms[_i].front, (long long)few,
                  (long long)many);
}
END_TEST

/* ---- entries ---- */

START_TEST(interest_comes_and_goes)
{
    evbus_sub *local = sub_new(EVB_FROM_LOCAL), *a = sub_new(EVB_FROM_REDIS);
    ck_assert_int_eq(evb_registry_add(&registry, local, "t"), 0);
    ck_assert_int_eq(interests, 0);
    ck_assert_int_eq(local->entry->wire, EVB_WIRE_NONE);
    ck_assert_int_eq(evb_entry_wait(local->entry, -1), EVB_WIRE_NONE);
    ck_assert_int_eq(evb_registry_add(&registry, a, "t"), 0);
    ck_assert_int_eq(interests, 1);
    ck_assert_ptr_eq(told, a->entry);
    ck_assert_ptr_eq(local->entry, a->entry);
    ck_assert_int_eq(a->entry->wire, EVB_WIRE_PENDING);
    evbus_sub *b = add("t");
    ck_assert_int_eq(interests, 1);
    drop(a);
    ck_assert_int_eq(interests, 1);
    drop(b);
    ck_assert_int_eq(interests, 2);
    ck_assert_int_eq(told->remote, 0);
    drop(local);
    ck_assert_int_eq(interests, 2);
    ck_assert_uint_eq(registry.entries.count, 0);
    registry.wants_redis = false;
    drop(add("t"));
    ck_assert_int_eq(interests, 2);
}
END_TEST

START_TEST(removed_once)
{
    evbus_sub *sub = add("t.>");
    evb_registry_remove(&registry, sub);
    evb_registry_remove(&registry, sub);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert_uint_eq(registry.sub_count, 0);
    ck_assert_str_eq(sub->entry->pattern, "t.>"); /* as long as the handle */
    evb_sub_unref(sub);
}
END_TEST

static void *wait_for_wire(void *entry)
{
    return (void *)(intptr_t)evb_entry_wait(entry, -1);
}

START_TEST(wire_is_waited_for)
{
    void *wire;
    evbus_sub *sub = add("t");
    ck_assert_int_eq(evb_entry_wait(sub->entry, 0), EVB_WIRE_PENDING);
    ck_assert_int_eq(evb_entry_wait(sub->entry, 5), EVB_WIRE_PENDING);
    pthread_t thread = thread_start(wait_for_wire, sub->entry);
    evb_entry_set_wire(sub->entry, EVB_WIRE_PENDING);
    evb_entry_set_wire(sub->entry, _i);
    ck_assert_int_eq(pthread_join(thread, &wire), 0);
    ck_assert_int_eq((int)(intptr_t)wire, _i);
    evb_entry_refuse(sub->entry, EVB_RIGHT_CHANNEL);
    ck_assert_int_eq(evb_entry_wait(sub->entry, 0), EVB_WIRE_REFUSED);
    ck_assert_int_eq(evb_entry_lacks(sub->entry), EVB_RIGHT_CHANNEL);
    drop(sub);
}
END_TEST

START_TEST(closing)
{
    void *wire;
    size_t count, listed;
    evbus_sub *a = add("a"), *b = add("b.*"), *late = sub_new(EVB_FROM_LOCAL);
    pthread_t thread = thread_start(wait_for_wire, a->entry);
    evbus_sub **list = evb_registry_list(&registry, &listed);
    evbus_sub **subs = evb_registry_close(&registry, &count);
    ck_assert(count == 2 && listed == 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(subs[i] == a || subs[i] == b);
        ck_assert(list[i] == a || list[i] == b);
        evb_sub_unref(list[i]);
    }
    evb_free(list);
    ck_assert_ptr_ne(subs[0], subs[1]);
    ck_assert_int_eq(pthread_join(thread, &wire), 0); /* waits no longer */
    ck_assert_int_eq((int)(intptr_t)wire, EVBUS_ECLOSED);
    ck_assert_int_eq(evb_registry_add(&registry, late, "c"), EVBUS_ECLOSED);
    ck_assert_int_eq(atomic_load(&late->refs), 1);
    evb_sub_unref(late);
    for (size_t i = 0; i < 2; i++) {
        evb_registry_remove(&registry, subs[i]);
        evb_sub_unref(subs[i]);
    }
    evb_free(subs);
    drop(a);
    drop(b);
    evb_free(evb_registry_list(&registry, &count));
    ck_assert_uint_eq(count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *tests = unit_case(suite, "registry");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, as_the_matcher_says, 0, 4);
    tcase_add_test(tests, a_type_that_looks_like_a_glob);
    tcase_add_test(tests, snapshots_do_not_change);
    tcase_add_test(tests, the_same_while_nothing_changes);
    tcase_add_test(tests, stale_ones_go);
    tcase_add_test(tests, tables_do_not_go_under_a_reader);
    tcase_add_test(tests, types_without_end);
    tcase_add_loop_test(tests, many_subscriptions_cost_what_they_are, 0, (int)EVB_COUNT(forms));
    tcase_add_loop_test(tests, many_subscriptions_take_what_they_are, 0, 3); /* no globs */
    tcase_add_test(tests, interest_comes_and_goes);
    tcase_add_test(tests, removed_once);
    tcase_add_loop_test(tests, wire_is_waited_for, EVB_WIRE_LIVE, EVB_WIRE_REFUSED + 1);
    tcase_add_test(tests, closing);
    return unit_run(suite);
}
