/* test_queue_hand.c - what was pulled and is not handled yet: when it counts as handled, for whom,
 * and what becomes of it at the end. */
#include "queue_fixture.h"
#include "tally.h"

enum { DURABLE, OF_GROUP };

static uint64_t told[40];
static atomic_int told_count, answered_wrong, begun, gone;
static bool refused; /* no delivery begins: it was given back */

static void tell(uint64_t number)
{
    int at = atomic_fetch_add(&told_count, 1);
    if (at < (int)EVB_COUNT(told))
        told[at] = number;
}

static void on_handled(evbus_sub *one, struct evb_position at)
{
    atomic_fetch_add(&answered_wrong, one != sub);
    tell(at.n);
}

static bool on_begin(struct evb_delivery *delivery)
{
    (void)delivery;
    atomic_fetch_add(&begun, 1);
    return !refused;
}

static int on_answer(evbus_event *event, enum evb_answer answer, int64_t delay_ms)
{
    atomic_fetch_add(&answered_wrong, answer != EVB_ANSWER_HANDLED || delay_ms != 0);
    tell(event->seq);
    return 0;
}

static void on_gone(struct evb_delivery *delivery)
{
    atomic_fetch_add(&gone, 1);
    free(delivery);
}

static const struct evb_delivery_door door = {on_begin, on_answer, on_gone};

static void begin(void)
{
    setup();
    queue->handled = on_handled;
    atomic_store(&told_count, 0);
    atomic_store(&answered_wrong, 0);
    atomic_store(&begun, 0);
    atomic_store(&gone, 0);
    refused = false;
}

/* Nothing of the events is left, and nobody was told anything else. */
static void end(void)
{
    evb_queue_clear(queue);
    ck_assert_ptr_null(queue->in_hand);
    ck_assert_int_eq(atomic_load(&answered_wrong), 0);
    teardown();
}

/* An event of its kind, with a number that is its position, too. */
static evbus_event *numbered(int kind, uint64_t number)
{
    evbus_event *event = event_of("t", 0);
    event->seq = number;
    event->position = (struct evb_position){1000, number};
    if (kind == OF_GROUP) {
        event->delivery = calloc(1, sizeof *event->delivery);
        ck_assert_ptr_nonnull(event->delivery);
        event->delivery->door = &door;
    }
    return event;
}

static void deliver(evbus_event *event)
{
    if (!evb_sub_deliver(sub, event, EVB_FROM_REDIS | EVB_GIVEN, evb_thread_self()))
        evbus_event_unref(event);
}

static void deliver_all(int kind, uint64_t count)
{
    if (kind == DURABLE)
        sub->tally = evb_tally_new();
    for (uint64_t number = 1; number <= count; number++)
        deliver(numbered(kind, number));
}

static void expect_told(uint64_t first, int count)
{
    ck_assert_int_eq(atomic_load(&told_count), count);
    for (int i = 0; i < count; i++)
        ck_assert_uint_eq(told[i], first + (uint64_t)i);
}

START_TEST(handled_at_the_next_pull)
{
    deliver_all(_i, 3);
    for (int pulled = 1; pulled <= 3; pulled++) {
        ck_assert_int_eq(next(queue, 0), pulled);
        expect_told(1, pulled - 1); /* this one is still in hand */
    }
    ck_assert_int_eq(next(queue, 0), -1); /* a pull that brings nothing is one, too */
    expect_told(1, 3);
    ck_assert_int_eq(next(queue, 0), -1);
    expect_told(1, 3); /* once */
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert_int_eq(atomic_load(&gone), _i == OF_GROUP ? 3 : 0);
}
END_TEST

START_TEST(many_in_their_order)
{
    evbus_event *events[8];
    deliver_all(_i, 8);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, events, NULL, 8), 8);
    ck_assert_int_eq(atomic_load(&sub->refs), 1 + 8); /* kept for what is in hand */
    for (int i = 0; i < 8; i++)
        evbus_event_unref(events[i]);
    ck_assert_int_eq(atomic_load(&gone), 0);
    ck_assert_int_eq(next(queue, 0), -1);
    expect_told(1, 8);
}
END_TEST

static void *pull_one(void *unused)
{
    (void)unused;
    return (void *)(intptr_t)next(queue, 0);
}

static int pull_elsewhere(void)
{
    void *number;
    pthread_t thread = thread_start(pull_one, NULL);
    ck_assert_int_eq(pthread_join(thread, &number), 0);
    return (int)(intptr_t)number;
}

/* A place is one for all of the queue's threads: whichever pulls next. */
START_TEST(a_place_is_everybodys)
{
    deliver_all(DURABLE, 2);
    ck_assert_int_eq(next(queue, 0), 1);
    ck_assert_int_eq(pull_elsewhere(), 2);
    expect_told(1, 1);
    ck_assert_int_eq(next(queue, 0), -1);
    expect_told(1, 2);
}
END_TEST

static atomic_int asked, answered;
static int64_t elsewhere; /* what the other thread pulled last */

static void *pull_when_asked(void *times)
{
    for (int n = 1; n <= *(int *)times; n++) {
        await_count(&asked, n);
        elsewhere = next(queue, 0);
        atomic_fetch_add(&answered, 1);
    }
    return NULL;
}

static int64_t ask_other(void)
{
    await_count(&answered, atomic_fetch_add(&asked, 1) + 1);
    return elsewhere;
}

/* A delivery is its puller's: another one's pull says nothing of it. */
START_TEST(a_delivery_is_its_pullers)
{
    int times = 2;
    pthread_t other = thread_start(pull_when_asked, &times);
    deliver_all(OF_GROUP, 5);
    ck_assert_int_eq(next(queue, 0), 1);
    ck_assert_int_eq(ask_other(), 2);
    expect_told(1, 0);
    ck_assert_int_eq(next(queue, 0), 3);
    expect_told(1, 1);
    ck_assert_int_eq(ask_other(), 4);
    expect_told(1, 2);
    ck_assert_int_eq(next(queue, 0), 5);
    expect_told(1, 3);
    thread_join(other);
    evb_queue_clear(queue); /* the last of each is not handled */
    expect_told(1, 3);
    ck_assert_int_eq(atomic_load(&gone), 5);
}
END_TEST

/* Who has pulled it ends: nobody says that it is handled, least of all a thread that got the record
 * of the first. It comes again when the next one pulls, whoever that is. */
START_TEST(its_puller_has_ended)
{
    deliver_all(OF_GROUP, 1);
    ck_assert_int_eq(pull_elsewhere(), 1);
    ck_assert_int_eq(atomic_load(&gone), 0);
    ck_assert_int_eq(_i ? pull_elsewhere() : next(queue, 0), -1);
    expect_told(1, 0);
    ck_assert_int_eq(atomic_load(&gone), 1);
}
END_TEST

/* What no pull says anything of is not remembered. */
START_TEST(not_remembered)
{
    evbus_event *plain = numbered(DURABLE, 1), *by_hand = numbered(OF_GROUP, 2);
    by_hand->delivery->by_hand = true;
    deliver(plain);
    deliver(by_hand);
    ck_assert(next(queue, 0) == 1 && next(queue, 0) == 2);
    ck_assert_ptr_null(queue->in_hand);
    ck_assert_int_eq(atomic_load(&gone), 1);
    refused = true; /* given back while it waited: it is nobody's */
    deliver(numbered(OF_GROUP, 3));
    ck_assert_int_eq(next(queue, 0), -1);
    ck_assert_int_eq(atomic_load(&begun), 2);
    ck_assert_ptr_null(queue->in_hand);
    expect_told(1, 0);
}
END_TEST

/* What is in hand when the queue is dropped is not handled: it comes again. */
START_TEST(cleared)
{
    evbus_event *events[3];
    deliver_all(_i, 5);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, events, NULL, 3), 3);
    for (int i = 0; i < 2; i++)
        evbus_event_unref(events[i]);
    evb_queue_clear(queue);
    expect_told(1, 0);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert_int_eq(atomic_load(&events[2]->refs), 1);
    ck_assert_int_eq(atomic_load(&gone), _i == OF_GROUP ? 4 : 0);
    evbus_event_unref(events[2]);
}
END_TEST

/* Without memory to remember it, it counts as not handled; the others do. */
START_TEST(no_memory)
{
    evbus_event *events[3];
    deliver_all(_i, 3);
    evb_thread_self();
    atomic_store(&memory_left, 1);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, events, NULL, 3), 3);
    ck_assert(memory_failed());
    atomic_store(&memory_left, -1);
    ck_assert_int_eq(atomic_load(&sub->refs), 1 + 2);
    ck_assert_int_eq(atomic_load(&events[1]->refs), 1);
    for (int i = 0; i < 3; i++)
        evbus_event_unref(events[i]);
    ck_assert_int_eq(next(queue, 0), -1);
    ck_assert_int_eq(atomic_load(&told_count), 2);
    ck_assert(told[0] == 1 && told[1] == 3);
}
END_TEST

enum { PULLERS = 4, EVENTS = 4000 };

static atomic_int pulled;

static void *pull_all(void *unused)
{
    evbus_event *events[5];
    int n;
    (void)unused;
    while ((n = evbus_queue_next_many(queue, -1, events, NULL, 5)) > 0)
        for (int i = 0; i < n; i++) {
            evbus_event_unref(events[i]);
            atomic_fetch_add(&pulled, 1);
        }
    return (void *)(intptr_t)n;
}

/* Each is told once, whoever pulls what meanwhile. */
START_TEST(many_threads)
{
    pthread_t pullers[PULLERS];
    int events = scaled(EVENTS);
    void *answer;
    queue->fifo.max_events = EVENTS;
    atomic_store(&pulled, 0);
    for (int i = 0; i < PULLERS; i++)
        pullers[i] = thread_start(pull_all, NULL);
    deliver_all(_i, (uint64_t)events);
    await_count(&pulled, events);
    evb_queue_close(queue);
    for (int i = 0; i < PULLERS; i++) {
        ck_assert_int_eq(pthread_join(pullers[i], &answer), 0);
        ck_assert_int_eq((int)(intptr_t)answer, EVBUS_ECLOSED);
    }
    /* Who is told that the queue is closed has pulled. */
    ck_assert_int_eq(atomic_load(&told_count), events);
    ck_assert_int_eq(atomic_load(&gone), _i == OF_GROUP ? events : 0);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue hand");
    TCase *tests = unit_case(suite, "queue hand");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, handled_at_the_next_pull, 0, 2);
    tcase_add_loop_test(tests, many_in_their_order, 0, 2);
    tcase_add_test(tests, a_place_is_everybodys);
    tcase_add_test(tests, a_delivery_is_its_pullers);
    tcase_add_loop_test(tests, its_puller_has_ended, 0, 2);
    tcase_add_test(tests, not_remembered);
    tcase_add_loop_test(tests, cleared, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    tcase_add_loop_test(tests, many_threads, 0, 2);
    return unit_run(suite);
}
