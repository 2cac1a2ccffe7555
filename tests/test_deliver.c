/* test_deliver.c - an event to its subscribers, one at a time on a thread; references given and
 * given back; what a handler publishes waits, up to a bound. */
#include "bus_fixture.h"
#include "bus.h"
#include "deliver.h"
#include "harness/until.h"

static struct evb_thread *self;
static evbus_sub *subs[8];
static size_t sub_count;

static evbus_sub *add(const char *pattern, const char *options, evbus_event_fn fn, void *user)
{
    evbus_sub *sub = evbus_subscribe(bus, pattern, options, fn, user);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return subs[sub_count++] = sub;
}

static evbus_sub *note(const char *pattern, const char *options, const char *text)
{
    return add(pattern, options, on_event, (void *)text);
}

static void begin(void)
{
    setup();
    self = evb_thread_self();
    bus = open_on(0, NULL);
}

static void end(void)
{
    while (sub_count)
        evbus_unsubscribe(subs[--sub_count]);
    teardown();
}

static evbus_event *make(const char *type)
{
    evbus_event *event = evb_event_make(type, strlen(type), NULL, 0, false);
    ck_assert_ptr_nonnull(event);
    return event;
}

static int refs_of(evbus_event *event)
{
    return atomic_load(&event->refs);
}

START_TEST(gives_back)
{
    evbus_event *event = evbus_event_ref(make("t"));
    evb_deliver_give_back(event, EVB_FROM_LOCAL);
    ck_assert_int_eq(refs_of(event), 2);
    evb_deliver_give_back(event, EVB_FROM_LOCAL | EVB_GIVEN);
    ck_assert_int_eq(refs_of(event), 1);
    evbus_event_unref(event);
}
END_TEST

/* The reference that is given is gone, whoever wants the event: nobody, handlers, queues. */
START_TEST(gone_for_each)
{
    static const char *const deliveries[] = {NULL, "deliver=inline", "deliver=loop"};
    evbus_event *event = evbus_event_ref(make("t"));
    if (deliveries[_i]) {
        note("t", deliveries[_i], "1");
        note("t", deliveries[_i], "2");
    }
    ck_assert_int_eq(evb_deliver(bus, self, event, EVB_FROM_LOCAL | EVB_GIVEN, NULL), 0);
    turn();
    ck_assert_int_eq(refs_of(event), 1);
    ck_assert_int_eq(evb_deliver(bus, self, event, EVB_FROM_LOCAL, NULL), 0);
    turn();
    ck_assert_int_eq(refs_of(event), 1);
    expect(_i ? "1t 2t 1t 2t " : "");
    evbus_event_unref(event);
}
END_TEST

/* ---- what a handler publishes ---- */

static int publish_next(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    ck_assert_int_eq(evb_deliver(bus, self, make(user), EVB_FROM_LOCAL | EVB_GIVEN, NULL), 0);
    tell("-> ");
    return 0;
}

static void follow(const char *type, const char *next)
{
    add(type, "deliver=inline", publish_next, (void *)next);
}

/* Every subscriber has seen the cause before anybody sees the effect. */
START_TEST(causes_before_effects)
{
    follow("a", "b");
    follow("b", "c");
    note("a", "deliver=inline", NULL);
    note("b", "deliver=inline", NULL);
    note("c", "deliver=inline", NULL);
    evb_deliver(bus, self, make("a"), EVB_FROM_LOCAL | EVB_GIVEN, NULL);
    expect("-> a -> b c ");
    ck_assert(!self->delivering && !self->deferred);
    ck_assert_uint_eq(self->deferred_count, 0);
    ck_assert_uint_eq(self->deferred_bytes, 0);
}
END_TEST

START_TEST(bounds)
{
    evbus_event *event = make("t");
    ck_assert(evb_deliver_may_defer(self, event));
    self->deferred_count = EVB_DEFERRED_EVENTS - 1;
    ck_assert(evb_deliver_may_defer(self, event));
    self->deferred_count = EVB_DEFERRED_EVENTS;
    ck_assert(!evb_deliver_may_defer(self, event));
    self->deferred_count = 0;
    self->deferred_bytes = ((size_t)64 << 20) - event->size;
    ck_assert(evb_deliver_may_defer(self, event));
    self->deferred_bytes++;
    ck_assert(!evb_deliver_may_defer(self, event));
    self->deferred_bytes = 0;
    evbus_event_unref(event);
}
END_TEST

static int too_many(evbus_sub *sub, evbus_event *event, void *user)
{
    int n = 0, rc;
    (void)sub;
    (void)event;
    (void)user;
    while ((rc = evbus_publish(bus, "b", NULL)) > 0)
        ck_assert_int_le(++n, EVB_DEFERRED_EVENTS);
    ck_assert_int_eq(n, EVB_DEFERRED_EVENTS);
    tell("E%d ", rc);
    return 0;
}

static int count_events(evbus_sub *sub, evbus_event *event, void *count)
{
    (void)sub;
    (void)event;
    ++*(int *)count;
    return 0;
}

/* A handler that publishes without end is told so; what was accepted comes. */
START_TEST(too_many_deferred)
{
    char want[20];
    int count = 0;
    add("a", "deliver=inline", too_many, NULL);
    add("b", "deliver=inline", count_events, &count);
    evbus_publish(bus, "a", NULL);
    snprintf(want, sizeof want, "E%d ", EVBUS_EFULL);
    expect(want);
    ck_assert_int_eq(count, EVB_DEFERRED_EVENTS);
    ck_assert_uint_eq(self->deferred_bytes, 0);
}
END_TEST

static int without_memory(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    failing_at(0, false);
    ck_assert_int_eq(evb_deliver(bus, self, user, EVB_FROM_LOCAL | EVB_GIVEN, NULL), EVBUS_ENOMEM);
    ck_assert(failing_off());
    return 0;
}

START_TEST(no_memory)
{
    evbus_event *event = evbus_event_ref(make("b"));
    add("a", "deliver=inline", without_memory, event);
    note("b", "deliver=inline", NULL);
    evbus_publish(bus, "a", NULL);
    expect("");
    ck_assert_int_eq(refs_of(event), 1); /* the given one is gone all the same */
    evbus_event_unref(event);
}
END_TEST

static int publish_there(evbus_sub *sub, evbus_event *event, void *other)
{
    (void)sub;
    (void)event;
    ck_assert_int_gt(evbus_publish(other, "b", NULL), 0);
    return 0;
}

/* And waits for the end of its thread, which must not come before the event is with all others. */
static int free_and_wait(evbus_sub *sub, evbus_event *event, void *user)
{
    evbus *other = user;
    struct wait wait = wait_for(50);
    (void)sub;
    (void)event;
    evbus_free(other);
    while (other->loop.wake_fd >= 0 && wait_more(&wait))
        continue;
    ck_assert_int_ge(other->loop.wake_fd, 0);
    return 0;
}

static bool is_all_free(void *before)
{
    return failing_live() == *(long *)before;
}

/* What waited for a handler's return keeps its bus's loop, too. */
START_TEST(freed_by_what_waited)
{
    evbus_free(bus);
    evbus_free(evbus_open(NULL)); /* the record of its thread stays */
    live = failing_live();
    bus = open_on(0, NULL);
    evbus *other = evbus_open(NULL);
    ck_assert(bus && other);
    evbus_sub *cause = evbus_subscribe(bus, "c", "deliver=inline", publish_there, other),
              *first = evbus_subscribe(other, "b", "deliver=inline", free_and_wait, other),
              *second = evbus_subscribe(other, "b", NULL, on_event, NULL);
    ck_assert(cause && first && second);
    evbus_publish(bus, "c", NULL);
    evbus_unsubscribe(first);
    evbus_unsubscribe(second);
    evbus_unsubscribe(cause);
    evbus_free(bus); /* and what it keeps of types */
    bus = NULL;
    ck_assert(until(is_all_free, &live, 10000));
    expect("");
}
END_TEST

/* ---- to one ---- */

/* One that has room takes it; one that has none does not, and nothing happens. */
START_TEST(offers)
{
    unsigned how = EVB_FROM_LOCAL;
    evbus_sub *sub = note("t", "size=2", NULL), *other = note("t", NULL, "other ");
    evbus_event *event = make("t");
    ck_assert(evb_deliver_offer(bus, sub, event, how));
    ck_assert(evb_deliver_offer(bus, sub, event, how));
    ck_assert(!evb_deliver_offer(bus, sub, event, how));
    ck_assert_int_eq(refs_of(event), 3);
    turn();
    expect("t t ");
    ck_assert(evb_deliver_offer(bus, sub, event, how));
    turn();
    expect("t ");
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped") + evbus_sub_stat(other, "delivered"), 0);
    ck_assert_int_eq(refs_of(event), 1);
    evbus_event_unref(event);
}
END_TEST

/* What its handler publishes is delivered when it has returned. */
START_TEST(offers_and_what_follows)
{
    evbus_event *event = make("a");
    evbus_sub *sub = add("a", "deliver=inline", publish_next, (void *)"b");
    note("b", "deliver=inline", NULL);
    ck_assert(evb_deliver_offer(bus, sub, event, EVB_FROM_LOCAL));
    expect("-> b ");
    ck_assert(!self->delivering && !self->deferred);
    self->delivering = true; /* inside a handler: later */
    ck_assert(evb_deliver_offer(bus, sub, event, EVB_FROM_LOCAL));
    expect("-> ");
    ck_assert(self->delivering);
    self->delivering = false;
    evb_deliver(bus, self, make("x"), EVB_FROM_LOCAL | EVB_GIVEN, NULL);
    expect("b ");
    evbus_event_unref(event);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deliver");
    TCase *tests = tcase_create("deliver");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, gives_back);
    tcase_add_loop_test(tests, gone_for_each, 0, 3);
    tcase_add_test(tests, causes_before_effects);
    tcase_add_test(tests, bounds);
    tcase_add_test(tests, too_many_deferred);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, freed_by_what_waited);
    tcase_add_test(tests, offers);
    tcase_add_test(tests, offers_and_what_follows);
    return run(suite);
}
