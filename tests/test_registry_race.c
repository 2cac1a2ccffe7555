/* test_registry_race.c - snapshots while subscriptions come and go in other threads, and memory
 * that runs out in the middle. */
#include "alloc.h"
#include "registry.h"
#include "sub_fixture.h"
#include <evbus.h>
#include <stdio.h>

enum { THREADS = 4, WRITERS = 2, CHANGES = 2000, ENDS = 1000 }; /* a writer */

static struct evb_registry registry;
static atomic_bool over;
static atomic_int wrong, looked, started, freed;

static const char *const patterns[] = {"a.b", "a.c", "a.*",     "a.>",
                                       "*.b", ">",   "glob:a*", "glob:?.b"};
static const char *const types[] = {"a.b", "a.c", "b.b", "a.b.c", "x"};

static void no_interest(struct evb_entry *entry, void *user)
{
    (void)user;
    evb_entry_unref(entry); /* it stays posted: once an entry */
}

static void release_entry(evbus_sub *sub)
{
    if (sub->entry)
        evb_entry_unref(sub->entry);
    sub->tag = -1;
    sub_release(sub);
}

static evbus_sub *sub_new(evbus_event_fn fn, void *user)
{
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, fn, user);
    sub->release = release_entry;
    return sub;
}

static void setup(void)
{
    atomic_store(&over, false);
    atomic_store(&wrong, 0);
    atomic_store(&looked, 0);
    atomic_store(&started, 0);
    atomic_store(&freed, 0);
    atomic_store(&sub_released, 0);
    evb_metrics_init(&sub_metrics);
    evb_thread_self();
    ck_assert_int_eq(evb_registry_init(&registry, true, no_interest, NULL), 0);
}

static void teardown(void)
{
    evb_registry_fini(&registry);
}

static void expect(bool fine)
{
    if (!fine)
        atomic_fetch_add(&wrong, 1);
}

/* What every snapshot must be, whatever goes on: the permanent ones once each, in every one. */
static void check(const struct evb_snapshot *snapshot, const char *type)
{
    int permanent = 0, wanted = 0;
    for (size_t i = 0; i < EVB_COUNT(patterns); i++)
        wanted += evb_pattern_matches(patterns[i], strlen(patterns[i]), type, strlen(type));
    for (size_t i = 0; i < snapshot->count; i++) {
        const evbus_sub *sub = snapshot->subs[i];
        const struct evb_entry *entry = sub->entry;
        permanent += sub->tag == 1;
        expect(sub->tag >= 0 &&
               evb_pattern_matches(entry->pattern, entry->length, type, strlen(type)));
    }
    expect(permanent == wanted);
}

static void *look_on(void *unused)
{
    struct evb_thread *self = evb_thread_self();
    uint32_t dice = 1 + (uint32_t)atomic_fetch_add(&started, 1);
    char own[32];
    (void)unused;
    for (int i = 0; !atomic_load(&over); i++) {
        const char *type = types[roll(&dice) % EVB_COUNT(types)];
        if (i % 50 == 0) { /* new types, so that the table grows and is replaced */
            snprintf(own, sizeof own, "a.n%u", roll(&dice) % 100000);
            type = own;
        }
        const struct evb_snapshot *snapshot =
            evb_registry_snapshot(&registry, self, type, strlen(type));
        check(snapshot, type);
        evb_hazard_release(self);
        atomic_fetch_add(&looked, 1);
    }
    expect(self->hazards == 0);
    return NULL;
}

static void *come_and_go(void *unused)
{
    uint32_t dice = 77 + (uint32_t)atomic_fetch_add(&started, 1);
    evbus_sub *held[16] = {NULL};
    (void)unused;
    for (int i = 0; i < scaled(CHANGES); i++) {
        evbus_sub **one = &held[roll(&dice) % EVB_COUNT(held)];
        if (*one) {
            evb_registry_remove(&registry, *one);
            evb_sub_unref(*one);
            *one = NULL;
        } else {
            *one = sub_new(NULL, NULL);
            expect(evb_registry_add(&registry, *one, patterns[roll(&dice) % EVB_COUNT(patterns)]) ==
                   0);
        }
        if (i % 100 == 0)
            evb_registry_purge(&registry);
    }
    for (size_t i = 0; i < EVB_COUNT(held); i++)
        if (held[i]) {
            evb_registry_remove(&registry, held[i]);
            evb_sub_unref(held[i]);
        }
    return NULL;
}

START_TEST(looking_while_others_change)
{
    pthread_t lookers[THREADS], writers[WRITERS];
    evbus_sub *permanent[EVB_COUNT(patterns)];
    for (size_t i = 0; i < EVB_COUNT(patterns); i++) {
        permanent[i] = sub_new(NULL, NULL);
        permanent[i]->tag = 1;
        ck_assert_int_eq(evb_registry_add(&registry, permanent[i], patterns[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        lookers[i] = thread_start(look_on, NULL);
    await_count(&started, THREADS);
    for (int i = 0; i < WRITERS; i++)
        writers[i] = thread_start(come_and_go, NULL);
    for (int i = 0; i < WRITERS; i++)
        thread_join(writers[i]);
    await_count(&looked, scaled(20000));
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        thread_join(lookers[i]);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    evb_registry_purge(&registry);
    ck_assert_ptr_null(registry.snapshots.retired);
    ck_assert_ptr_null(registry.snapshots.retired_tables);
    for (size_t i = 0; i < EVB_COUNT(patterns); i++) {
        ck_assert_int_eq(atomic_load(&permanent[i]->refs), 2); /* handle and entry */
        evb_registry_remove(&registry, permanent[i]);
        evb_sub_unref(permanent[i]);
    }
    ck_assert_uint_eq(registry.entries.count, 0);
}
END_TEST

/* ---- the whole way: publishing while subscriptions end ---- */

struct owner {
    atomic_bool gone;
    atomic_int frees;
};

static int handle(evbus_sub *sub, evbus_event *event, void *user)
{
    struct owner *owner = user;
    (void)event;
    expect(!atomic_load(&owner->gone) && atomic_load(&sub->state) != EVB_SUB_ENDED);
    return 0;
}

static void owner_free(void *user)
{
    struct owner *owner = user;
    expect(!atomic_load(&owner->gone) && atomic_fetch_add(&owner->frees, 1) == 0);
    atomic_fetch_add(&freed, 1);
}

static void *publish(void *unused)
{
    struct evb_thread *self = evb_thread_self();
    uint32_t dice = 3 + (uint32_t)atomic_fetch_add(&started, 1);
    (void)unused;
    while (!atomic_load(&over)) {
        const char *type = types[roll(&dice) % EVB_COUNT(types)];
        evbus_event *event = event_of(type, 0);
        const struct evb_snapshot *snapshot =
            evb_registry_snapshot(&registry, self, type, strlen(type));
        for (size_t i = 0; i < snapshot->count; i++)
            evb_sub_deliver(snapshot->subs[i], event, EVB_FROM_LOCAL, self);
        evb_hazard_release(self);
        evbus_event_unref(event);
        atomic_fetch_add(&looked, 1);
    }
    return NULL;
}

/* As evbus_unsubscribe() does it. Afterwards the owner's memory goes: ASan sees who comes late. */
static void *subscribe_and_leave(void *unused)
{
    uint32_t dice = 11 + (uint32_t)atomic_fetch_add(&started, 1);
    (void)unused;
    for (int i = 0; i < scaled(ENDS); i++) {
        struct owner *owner = calloc(1, sizeof *owner);
        evbus_sub *sub = sub_new(handle, owner);
        evbus_sub_on_free(sub, owner_free);
        expect(evb_registry_add(&registry, sub, patterns[roll(&dice) % EVB_COUNT(patterns)]) == 0);
        if (i % 2)
            sched_yield();
        evb_registry_remove(&registry, sub);
        evb_sub_end(sub);
        expect(evb_sub_wait_ended(sub, -1) == 0);
        expect(atomic_load(&owner->frees) == 1);
        atomic_store(&owner->gone, true);
        free(owner);
        evb_sub_unref(sub);
    }
    return NULL;
}

START_TEST(publishing_while_others_end)
{
    pthread_t publishers[THREADS], writers[WRITERS];
    for (int i = 0; i < THREADS; i++)
        publishers[i] = thread_start(publish, NULL);
    await_count(&started, THREADS);
    for (int i = 0; i < WRITERS; i++)
        writers[i] = thread_start(subscribe_and_leave, NULL);
    for (int i = 0; i < WRITERS; i++)
        thread_join(writers[i]);
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        thread_join(publishers[i]);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    ck_assert_int_eq(atomic_load(&freed), WRITERS * scaled(ENDS));
    ck_assert_int_gt(atomic_load(&looked), 0);
    evb_registry_purge(&registry);
    ck_assert_int_eq(atomic_load(&sub_released), WRITERS * scaled(ENDS));
    ck_assert_uint_eq(registry.entries.count, 0);
}
END_TEST

/* ---- memory ---- */

enum { PATTERNS = EVB_COUNT(patterns), LOOKS = 150 /* the table grows on the way */ };

static int add_all(struct evb_registry *own, evbus_sub *subs[PATTERNS])
{
    int refused = 0;
    for (size_t i = 0; i < PATTERNS; i++) {
        size_t entries = own->entries.count;
        if (evb_registry_add(own, subs[i], patterns[i]) == 0)
            continue;
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
        ck_assert_int_eq(atomic_load(&subs[i]->refs), 1);
        ck_assert_ptr_null(subs[i]->entry);
        ck_assert_uint_eq(own->entries.count, entries);
        refused++;
    }
    return refused;
}

static int look_at_many(struct evb_registry *own)
{
    struct evb_thread *self = evb_thread_self();
    int blind = 0;
    char type[16];
    for (int i = 0; i < LOOKS; i++) {
        snprintf(type, sizeof type, "a.%d", i);
        if (evb_registry_snapshot(own, self, type, strlen(type)))
            evb_hazard_release(self);
        else
            blind++;
        ck_assert_uint_eq(self->hazards, 0);
    }
    ck_assert(!blind || evbus_last_code() == EVBUS_ENOMEM);
    return blind;
}

static bool list_all(struct evb_registry *own, size_t want)
{
    size_t count;
    evbus_sub **list = evb_registry_list(own, &count);
    for (size_t i = 0; i < count; i++)
        evb_sub_unref(list[i]);
    ck_assert_uint_eq(count, list ? want : 0);
    evb_free(list);
    return list != NULL;
}

static void use(bool fails)
{
    struct evb_registry own;
    evbus_sub *subs[PATTERNS];
    long left = atomic_exchange(&memory_left, -1);
    for (size_t i = 0; i < PATTERNS; i++)
        subs[i] = sub_new(NULL, NULL);
    atomic_store(&memory_left, left);
    if (evb_registry_init(&own, true, no_interest, NULL) == 0) {
        int refused = add_all(&own, subs), blind = look_at_many(&own);
        bool listed = list_all(&own, (size_t)(PATTERNS - refused));
        ck_assert_int_eq(refused + blind + !listed, fails && left >= 0 && memory_failed());
        for (size_t i = 0; i < PATTERNS; i++)
            evb_registry_remove(&own, subs[i]);
    } else {
        ck_assert(fails && evbus_last_code() == EVBUS_ENOMEM);
    }
    evb_registry_fini(&own); /* after a failed init nothing to end, and no harm */
    for (size_t i = 0; i < PATTERNS; i++)
        evb_sub_unref(subs[i]);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(use), 200);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry race");
    TCase *tests = unit_case(suite, "registry race");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, looking_while_others_change);
    tcase_add_test(tests, publishing_while_others_end);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
