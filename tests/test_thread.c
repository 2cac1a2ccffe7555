/* test_thread.c - hazard pointers: what one thread holds, no other frees; records come back. */
#include "alloc.h"
#include "thread.h"
#include "unit.h"
#include <evbus.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GOOD = 0x600d600d, GONE = 0x0badbad0 };

struct thing { /* a table with a thing of its own behind it */
    int magic;
    struct thing *_Atomic next_retired;
    const void *_Atomic inner;
};

static const void *_Atomic shared;
static atomic_int reads, readers, torn;
static atomic_bool over;

static struct thing *thing_new(const void *inner)
{
    struct thing *thing = malloc(sizeof *thing);
    thing->magic = GOOD;
    atomic_init(&thing->inner, inner);
    atomic_init(&thing->next_retired, NULL);
    return thing;
}

/* Frees those that nobody holds; answers the rest. */
static struct thing *sweep(struct thing *retired)
{
    struct thing *kept = NULL, *next;
    evb_hazard_barrier();
    for (; retired; retired = next) {
        next = atomic_load(&retired->next_retired);
        if (evb_hazard_held(retired)) {
            atomic_store(&retired->next_retired, kept);
            kept = retired;
            continue;
        }
        retired->magic = GONE;
        free(retired);
    }
    return kept;
}

static struct thing *retire(struct thing *retired, const void *old)
{
    struct thing *thing = (struct thing *)old;
    atomic_store(&thing->next_retired, retired);
    return thing;
}

static void check(const struct thing *thing)
{
    if (thing && thing->magic != GOOD)
        atomic_fetch_add(&torn, 1);
    atomic_fetch_add(&reads, 1);
}

/* As the registry does it: the table, then what is in it, then only that. */
static void *read_all(void *unused)
{
    struct evb_thread *self = evb_thread_self();
    (void)unused;
    for (int i = 0; !atomic_load(&over); i++) {
        struct thing *outer = (struct thing *)evb_hazard_acquire(self, &shared);
        check(outer);
        if (i % 2) {
            const struct thing *inner = evb_hazard_acquire(self, &outer->inner);
            evb_hazard_swap(self);
            check(inner);
        }
        evb_hazard_release(self);
        if (i == 0)
            atomic_fetch_add(&readers, 1);
    }
    return NULL;
}

static void setup(void)
{
    atomic_store(&over, false);
    atomic_store(&reads, 0);
    atomic_store(&readers, 0);
    atomic_store(&torn, 0);
}

START_TEST(nothing_is_freed_that_is_held)
{
    pthread_t threads[4];
    struct thing *retired = NULL;
    atomic_store(&shared, thing_new(thing_new(NULL)));
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(read_all, NULL);
    await_count(&readers, 4);
    for (int i = 0; i < scaled(20000); i++) {
        struct thing *now = (struct thing *)atomic_load(&shared);
        if (i % 4) { /* another inside */
            const void *old = atomic_exchange(&now->inner, i % 4 == 3 ? NULL : thing_new(NULL));
            retired = old ? retire(retired, old) : retired;
        } else {
            now = (struct thing *)atomic_exchange(&shared, thing_new(thing_new(NULL)));
            const void *old = atomic_exchange(&now->inner, NULL);
            retired = old ? retire(retired, old) : retired;
            retired = retire(retired, now);
        }
        retired = sweep(retired);
    }
    await_count(&reads, 10000);
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    ck_assert_ptr_null(sweep(retired));
    struct thing *last = (struct thing *)atomic_load(&shared);
    free((void *)atomic_load(&last->inner));
    free(last);
    ck_assert_int_eq(atomic_load(&torn), 0);
}
END_TEST

static atomic_int turn; /* odd: the thread holds `jewel` */
static int jewel, cover;

static void *move_down(void *unused)
{
    struct evb_thread *self = evb_thread_self();
    (void)unused;
    for (unsigned depth = 0; !atomic_load(&over); depth = (depth + 1) % (EVB_HAZARDS - 1)) {
        while (self->hazards <= depth)
            evb_hazard_hold(self, &cover);
        evb_hazard_hold(self, &jewel);
        atomic_fetch_add(&turn, 1);
        evb_hazard_swap(self); /* it lies in the slot below now */
        atomic_fetch_add(&turn, 1);
        while (self->hazards)
            evb_hazard_release(self);
    }
    return NULL;
}

START_TEST(swap_never_lets_go)
{
    atomic_store(&turn, 0);
    pthread_t thread = thread_start(move_down, NULL);
    await_count(&turn, 2);
    for (int seen = 0, tries = 0; seen < scaled(50000) && tries < 20000000; tries++) {
        int before = atomic_load(&turn);
        bool held = evb_hazard_held(&jewel);
        if (before % 2 == 0 || atomic_load(&turn) != before)
            continue;
        seen++;
        ck_assert(held);
    }
    atomic_store(&over, true);
    thread_join(thread);
    ck_assert(!evb_hazard_held(&jewel));
}
END_TEST

enum { THINGS = 20000 };

static const void *_Atomic changing;
static char gone[THINGS + 1], many[THINGS + 1];
static atomic_int swapped, ticks;

/* The other side as a signal handler: it may run between any two instructions. */
static void replace_one(int number)
{
    int old = atomic_load(&swapped);
    (void)number;
    atomic_fetch_add(&ticks, 1);
    if (old == THINGS)
        return;
    atomic_store(&changing, &many[old + 1]);
    if (!evb_hazard_held(&many[old])) /* would be freed */
        gone[old] = 1;
    atomic_store(&swapped, old + 1);
}

/* One signal after the other has been handled, until it is over. */
static void *tick(void *reader)
{
    for (int sent = 0; !atomic_load(&over); sent++) {
        pthread_kill(*(pthread_t *)reader, SIGUSR1);
        while (atomic_load(&ticks) <= sent && !atomic_load(&over))
            sched_yield();
    }
    return NULL;
}

START_TEST(acquire_at_every_instruction)
{
    pthread_t me = pthread_self();
    int64_t end = unit_now_us() + 2000000; /* a sanitizer may hold signals back */
    struct evb_thread *self = evb_thread_self();
    atomic_store(&changing, &many[0]);
    signal(SIGUSR1, replace_one);
    pthread_t ticker = thread_start(tick, &me);
    while (atomic_load(&swapped) < THINGS && unit_now_us() < end)
        for (int i = 0; i < 1000; i++) {
            const char *thing = evb_hazard_acquire(self, &changing);
            ck_assert_int_eq(gone[thing - many], 0);
            evb_hazard_release(self);
        }
    atomic_store(&over, true);
    thread_join(ticker);
}
END_TEST

START_TEST(slots_are_a_stack)
{
    static int things[EVB_HAZARDS];
    struct evb_thread *self = evb_thread_self();
    const void *_Atomic source = NULL;
    ck_assert_ptr_null(evb_hazard_acquire(self, &source));
    evb_hazard_release(self);
    for (int i = 0; i < EVB_HAZARDS; i++) {
        ck_assert(!evb_hazard_held(&things[i]));
        evb_hazard_hold(self, &things[i]);
        ck_assert(evb_hazard_held(&things[i]));
    }
    for (int i = EVB_HAZARDS - 1; i > 0; i--) {
        evb_hazard_swap(self); /* the last stays, the one before it goes */
        ck_assert(!evb_hazard_held(&things[i - 1]));
        ck_assert(evb_hazard_held(&things[EVB_HAZARDS - 1]));
    }
    evb_hazard_release(self);
    ck_assert(!evb_hazard_held(&things[EVB_HAZARDS - 1]));
    ck_assert_uint_eq(self->hazards, 0);
    evb_hazard_hold(self, &things[0]);
    evb_hazard_hold(self, &things[0]);
    evb_hazard_release(self);
    ck_assert(evb_hazard_held(&things[0]));
    evb_hazard_release(self);
}
END_TEST

START_TEST(knows_whether_it_is_in_a_callback)
{
    ck_assert(!evb_thread_in_callback());
    struct evb_thread *self = evb_thread_self();
    ck_assert(!evb_thread_in_callback());
    self->callbacks = 2;
    ck_assert(evb_thread_in_callback());
    self->callbacks = 0;
    ck_assert(!evb_thread_in_callback());
}
END_TEST

static void *own_record(void *twice)
{
    struct evb_thread *self = evb_thread_self();
    *(bool *)twice = self == evb_thread_self() && self->hazards == 0 && !self->deferred &&
                     self->deferred_end == &self->deferred;
    return self;
}

START_TEST(records_are_reused)
{
    void *record, *first = NULL;
    bool fine;
    long before;
    struct evb_thread *self = evb_thread_self();
    for (int i = 0; i < 300; i++) {
        ck_assert_int_eq(pthread_join(thread_start(own_record, &fine), &record), 0);
        ck_assert(fine);
        ck_assert_ptr_ne(record, self);
        if (i == 0) {
            first = record;
            before = atomic_load(&memory_live);
        }
        ck_assert_ptr_eq(record, first);
    }
    ck_assert_int_eq(atomic_load(&memory_live), before);
}
END_TEST

static pthread_key_t late;

static void speaks_at_the_end(void *left)
{
    intptr_t rounds = (intptr_t)left;
    if (!evb_thread_self() || evb_thread_in_callback())
        atomic_fetch_add(&torn, 1);
    if (rounds > 1) /* the record may have been given back before this one runs, and again */
        pthread_setspecific(late, (void *)(rounds - 1));
}

static void *ends_late(void *unused)
{
    (void)unused;
    pthread_setspecific(late, (void *)(intptr_t)2);
    return evb_thread_self();
}

START_TEST(used_while_a_thread_ends)
{
    void *record;
    ck_assert_int_eq(pthread_key_create(&late, speaks_at_the_end), 0);
    evb_thread_self();
    long before = 0;
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(pthread_join(thread_start(ends_late, NULL), &record), 0);
        before = i == 0 ? atomic_load(&memory_live) : before;
    }
    ck_assert_int_eq(atomic_load(&torn), 0);
    ck_assert_int_eq(atomic_load(&memory_live), before);
}
END_TEST

static atomic_int holding;

enum { HOLDERS = 16 };

static void *hold_until_over(void *thing)
{
    struct evb_thread *self = evb_thread_self();
    evb_hazard_hold(self, thing);
    self->callbacks++;
    self->delivering = true;
    atomic_fetch_add(&holding, 1);
    while (!atomic_load(&over))
        sched_yield();
    self->delivering = false;
    self->callbacks--;
    evb_hazard_release(self);
    return NULL;
}

/* In a child: only this thread is left, and holds what it held. 0 if that is so. */
static int look_in_child(const int *own, const int *others, const struct evb_thread *self)
{
    if (!evb_hazard_held(own) || evb_hazard_held(others))
        return 1;
    if (evb_thread_self() != self || self->hazards != 1)
        return 2;
    long before = atomic_load(&memory_live);
    bool fine = false;
    void *record;
    pthread_t thread;
    if (pthread_create(&thread, NULL, own_record, &fine) || pthread_join(thread, &record))
        return 3;
    struct evb_thread *reused = record;
    if (!fine || reused == self || reused->callbacks || reused->delivering)
        return 4;
    return atomic_load(&memory_live) == before ? 0 : 5;
}

START_TEST(a_child_is_alone)
{
    static int own, others;
    int status;
    struct evb_thread *self = evb_thread_self();
    atomic_store(&holding, 0);
    pthread_t thread = thread_start(hold_until_over, &others);
    await_count(&holding, 1);
    evb_hazard_hold(self, &own);
    pid_t child = fork();
    if (child == 0)
        _exit(look_in_child(&own, &others, self));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert(evb_hazard_held(&own) && evb_hazard_held(&others));
    evb_hazard_release(self);
    atomic_store(&over, true);
    thread_join(thread);
    ck_assert(!evb_hazard_held(&others));
}
END_TEST

static void *without_memory(void *unused)
{
    (void)unused;
    atomic_store(&memory_left, 0);
    bool none = !evb_thread_self() && evbus_last_code() == EVBUS_ENOMEM && memory_failed();
    return none && !evb_thread_in_callback() ? evb_thread_self() : NULL;
}

START_TEST(memory_runs_out)
{
    void *record;
    evb_thread_self();
    pthread_t holders[HOLDERS]; /* so that no record lies about */
    atomic_store(&holding, 0);
    for (int i = 0; i < HOLDERS; i++)
        holders[i] = thread_start(hold_until_over, &jewel);
    await_count(&holding, HOLDERS);
    ck_assert_int_eq(pthread_join(thread_start(without_memory, NULL), &record), 0);
    ck_assert_ptr_nonnull(record); /* with memory again */
    atomic_store(&over, true);
    for (int i = 0; i < HOLDERS; i++)
        thread_join(holders[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("thread");
    TCase *tests = unit_case(suite, "thread");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, nothing_is_freed_that_is_held);
    tcase_add_test(tests, swap_never_lets_go);
    tcase_add_test(tests, acquire_at_every_instruction);
    tcase_add_test(tests, slots_are_a_stack);
    tcase_add_test(tests, knows_whether_it_is_in_a_callback);
    tcase_add_test(tests, records_are_reused);
    tcase_add_test(tests, used_while_a_thread_ends);
    tcase_add_test(tests, a_child_is_alone);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
