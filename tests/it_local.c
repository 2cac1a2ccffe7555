/* it_local.c - a bus without Redis, from outside: who gets what, where, in which order. */
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/bus.h"
#include "harness/until.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 5000 };

START_TEST(patterns)
{
    static const struct {
        const char *pattern, *matching, *other; /* types between spaces */
    } rows[] = {
        {"task.created", "task.created", "task.creat task.created.x task"},
        {"task.*", "task.created task.failed", "task task.a.b tasks.a"},
        {"task.>", "task.created task.a.b task.a.b.c", "task tasks.a"},
        {">", "task task.created a.b.c task_updates", ""},
        {"*.created", "task.created user.created", "task.x.created created"},
        {"glob:task*", "task tasks.a task.created task_updates", "a.task"},
        {"glob:task.[cf]*", "task.created task.failed", "task.done"},
        {"a:b/c-d_e.F0", "a:b/c-d_e.F0", "a:b/c-d_e.F1"},
    };
    evbus *bus = evbus_open(NULL);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_LOCAL_ONLY);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        atomic_int seen = 0;
        int wanted = 0;
        char types[256], *state = NULL;
        evbus_sub *sub = bus_subscribe(bus, rows[i].pattern, "deliver=inline", handle_count, &seen);
        ck_assert_str_eq(evbus_sub_pattern(sub), rows[i].pattern);
        snprintf(types, sizeof types, "%s", rows[i].matching);
        for (char *t = strtok_r(types, " ", &state); t; t = strtok_r(NULL, " ", &state)) {
            bus_publish(bus, t, NULL);
            ck_assert_msg(atomic_load(&seen) == ++wanted, "%s does not get %s", rows[i].pattern, t);
        }
        snprintf(types, sizeof types, "%s", rows[i].other);
        for (char *t = strtok_r(types, " ", &state); t; t = strtok_r(NULL, " ", &state)) {
            bus_publish(bus, t, NULL);
            ck_assert_msg(atomic_load(&seen) == wanted, "%s gets %s", rows[i].pattern, t);
        }
        ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), wanted);
        bus_unsubscribe(sub);
    }
    bus_end(bus);
}
END_TEST

struct thread_note {
    pthread_t thread;
    atomic_int calls;
};

static int note_thread(evbus_sub *sub, evbus_event *event, void *user)
{
    struct thread_note *note = user;
    (void)sub;
    (void)event;
    note->thread = pthread_self();
    atomic_fetch_add(&note->calls, 1);
    return 0;
}

START_TEST(inline_and_loop)
{
    evbus *bus = evbus_open(NULL);
    struct thread_note here = {.calls = 0}, loop = {.calls = 0};
    bus_subscribe(bus, "t", "deliver=inline", note_thread, &here);
    bus_subscribe(bus, "t", "deliver=loop", note_thread, &loop);
    ck_assert_int_eq(evbus_publish(bus, "t", "{}"), EVBUS_SENT_LOCAL);
    ck_assert_int_eq(atomic_load(&here.calls), 1); /* inline: before publish returned */
    ck_assert(pthread_equal(here.thread, pthread_self()));
    expect_count(&loop.calls, 1, SOON);
    ck_assert(!pthread_equal(loop.thread, pthread_self()));
    bus_end(bus);
}
END_TEST

START_TEST(scope_and_echo)
{
    evbus *bus = evbus_open(NULL);
    atomic_int both = 0, local = 0, redis = 0, silent = 0;
    evbus_sub *subs[] = {
        bus_subscribe(bus, "t", "deliver=inline scope=both", handle_count, &both),
        bus_subscribe(bus, "t", "deliver=inline scope=local", handle_count, &local),
        bus_subscribe(bus, "t", "deliver=inline scope=redis", handle_count, &redis),
        bus_subscribe(bus, "t", "deliver=inline echo=no", handle_count, &silent),
    };
    bus_publish(bus, "t", NULL);
    ck_assert_int_eq(atomic_load(&both), 1);
    ck_assert_int_eq(atomic_load(&local), 1);
    ck_assert_int_eq(atomic_load(&redis), 0);
    ck_assert_int_eq(atomic_load(&silent), 0);
    for (size_t i = 0; i < sizeof subs / sizeof subs[0]; i++)
        ck_assert_int_eq(evbus_sub_wait(subs[i], 0), 0); /* local only: live at once */
    bus_end(bus);
}
END_TEST

static int check_event(evbus_sub *sub, evbus_event *event, void *user)
{
    size_t length;
    (void)sub;
    ck_assert_str_eq(evbus_event_type(event), "order.paid");
    ck_assert_str_eq(evbus_event_data(event, &length), "{\"n\":1}");
    ck_assert_uint_eq(length, 7);
    ck_assert_int_eq(evbus_event_is_json(event), 1);
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_LOCAL);
    ck_assert_str_eq(evbus_event_attr(event, "userId"), "u1");
    ck_assert_ptr_null(evbus_event_attr(event, "nobody"));
    ck_assert_str_eq(evbus_event_source(event), "shop");
    ck_assert_str_eq(evbus_event_version(event), "2.0");
    ck_assert_uint_eq(strlen(evbus_event_id(event)), 36);
    ck_assert_uint_eq(strlen(evbus_event_timestamp(event)), 24);
    ck_assert_ptr_nonnull(evbus_event_node(event));
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

START_TEST(event_as_published)
{
    atomic_int seen = 0;
    evbus *bus = bus_with("bus.name", "shop", NULL);
    evbus_event *event = evbus_event_new("order.paid"), *copy;
    bus_subscribe(bus, "order.paid", "deliver=inline", check_event, &seen);
    ck_assert_int_eq(evbus_event_set_json(event, "{\"n\":1}", 7), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, "userId", "u1"), 0);
    ck_assert_int_eq(evbus_event_set_version(event, "2.0"), 0);
    ck_assert_str_eq(evbus_event_id(event), "");
    ck_assert_int_eq(evbus_publish_event(bus, event, 0), EVBUS_SENT_LOCAL);
    ck_assert_int_eq(evbus_publish_event(bus, event, 0), EVBUS_EINVAL); /* once per event */
    ck_assert_int_eq(evbus_event_set_attr(event, "late", "x"), EVBUS_EINVAL);
    copy = evbus_event_copy(event);
    ck_assert_int_eq(evbus_publish_event(bus, copy, EVBUS_LOCAL_ONLY), EVBUS_SENT_LOCAL);
    ck_assert_str_ne(evbus_event_id(copy), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_correlation(event), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_correlation(copy), evbus_event_id(event));
    ck_assert_int_eq(atomic_load(&seen), 2);
    evbus_event_unref(event);
    evbus_event_unref(copy);
    bus_end(bus);
}
END_TEST

START_TEST(two_buses)
{
    evbus *one = evbus_open(NULL), *two = evbus_open(NULL);
    atomic_int first = 0, second = 0;
    ck_assert_str_ne(evbus_node(one), evbus_node(two));
    bus_subscribe(one, ">", "deliver=inline", handle_count, &first);
    bus_subscribe(two, ">", "deliver=inline", handle_count, &second);
    bus_publish(one, "t", NULL);
    bus_publish(two, "t", NULL);
    bus_publish(two, "t", NULL);
    ck_assert_int_eq(atomic_load(&first), 1);
    ck_assert_int_eq(atomic_load(&second), 2);
    bus_end(one);
    bus_publish(two, "t", NULL);
    ck_assert_int_eq(atomic_load(&second), 3);
    bus_end(two);
}
END_TEST

/* ---- queues ---- */

static bool readable(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, ms) == 1;
}

START_TEST(queue_and_descriptor)
{
    evbus *bus = evbus_open(NULL);
    evbus_queue *queue = evbus_queue_open(bus, "size=4 full=drop-oldest");
    evbus_sub *a = evbus_queue_subscribe(queue, "a.*", NULL, 11);
    evbus_sub *b = evbus_queue_subscribe(queue, "b", "scope=local", 22);
    evbus_event *event = NULL, *many[8];
    int64_t tag = 0, tags[8];
    int fd = evbus_queue_fd(queue);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_ge(fd, 0);
    ck_assert(!readable(fd, 0));
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, &tag), 0);
    bus_publish(bus, "a.x", "1");
    ck_assert(readable(fd, suite_patience(SOON)));
    bus_publish(bus, "b", "2");
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, &tag), 1);
    ck_assert_int_eq(tag, 11);
    evbus_event_unref(event);
    ck_assert(readable(fd, 0));
    ck_assert_int_eq(evbus_queue_next(queue, -1, &event, &tag), 1);
    ck_assert_int_eq(tag, 22);
    evbus_event_unref(event);
    ck_assert(!readable(fd, 0));
    for (int n = 1; n <= 10; n++)
        publish_numbered(bus, "a.y", 0, n);
    ck_assert_int_eq(evbus_queue_stat(queue, "queued"), 4);
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 6);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, many, tags, 8), 4);
    for (int i = 0; i < 4; i++) { /* the newest four, in order */
        ck_assert_int_eq(event_number(many[i]), 7 + i);
        ck_assert_int_eq(tags[i], 11);
        evbus_event_unref(many[i]);
    }
    ck_assert(!readable(fd, 0));
    evbus_unsubscribe(a);
    evbus_unsubscribe(b);
    evbus_queue_free(queue);
    bus_end(bus);
}
END_TEST

START_TEST(queue_outlives_its_bus)
{
    evbus *bus = evbus_open(NULL);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 1);
    evbus_event *event = NULL;
    bus_publish(bus, "t", "1");
    bus_end(bus);
    ck_assert(readable(evbus_queue_fd(queue), suite_patience(SOON)));
    int rc = evbus_queue_next(queue, 0, &event, NULL);
    if (rc == 1) { /* what waited may still be pulled, then it is over */
        evbus_event_unref(event);
        rc = evbus_queue_next(queue, 0, &event, NULL);
    }
    ck_assert_int_eq(rc, EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    evbus_queue_free(queue);
}
END_TEST

struct puller {
    pthread_t thread;
    evbus_queue *queue;
    struct recorder *recorder;
};

static void *pull(void *user)
{
    struct puller *puller = user;
    evbus_event *event;
    while (evbus_queue_next(puller->queue, -1, &event, NULL) == 1) {
        recorder_note(puller->recorder, evbus_event_data(event, NULL));
        evbus_event_unref(event);
    }
    return NULL;
}

START_TEST(queue_pulled_by_four_threads)
{
    struct recorder recorder;
    struct puller pullers[4];
    int n, last = suite_scaled(100000);
    evbus *bus = evbus_open(NULL);
    evbus_queue *queue = evbus_queue_open(bus, "size=1000000 bytes=1GiB");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 0);
    recorder_init(&recorder);
    for (int i = 0; i < 4; i++) {
        pullers[i] = (struct puller){.queue = queue, .recorder = &recorder};
        ck_assert_int_eq(pthread_create(&pullers[i].thread, NULL, pull, &pullers[i]), 0);
    }
    for (n = 1; n <= last; n++)
        publish_numbered(bus, "t", 0, n);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(pullers[i].thread, NULL);
    ck_assert_int_eq(recorder_lost(&recorder, 0, last), 0);
    ck_assert_int_eq(recorder.doubled, 0);
    evbus_unsubscribe(sub);
    evbus_queue_free(queue);
    bus_end(bus);
    recorder_fini(&recorder);
}
END_TEST

/* ---- order ---- */

struct publisher {
    pthread_t thread;
    evbus *bus;
    int id, last;
};

static void *publish_many(void *user)
{
    struct publisher *p = user;
    for (int n = 1; n <= p->last; n++)
        if (publish_numbered(p->bus, "order.t", p->id, n) != EVBUS_SENT_LOCAL)
            return p;
    return NULL;
}

START_TEST(order_under_four_threads)
{
    struct publisher publishers[4];
    struct recorder here, loop, pattern;
    int last[4];
    evbus *bus = evbus_open(NULL);
    recorder_init(&here);
    recorder_init(&loop);
    recorder_init(&pattern);
    bus_subscribe(bus, "order.t", "deliver=inline", recorder_handle, &here);
    bus_subscribe(bus, "order.t", "size=10000000 bytes=4GiB", recorder_handle, &loop);
    bus_subscribe(bus, "order.>", "size=10000000 bytes=4GiB", recorder_handle, &pattern);
    int64_t start = now_us();
    for (int i = 0; i < 4; i++) {
        last[i] = suite_scaled(150000);
        publishers[i] = (struct publisher){.bus = bus, .id = i, .last = last[i]};
        ck_assert_int_eq(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(publishers[i].thread, &failed);
        ck_assert_ptr_null(failed);
    }
    printf("figure: 4 threads, 3 subscribers: %.0f publishes/s\n",
           4.0 * last[0] * 1e6 / (double)(now_us() - start));
    ck_assert_int_eq(evbus_close(bus, suite_patience(30000)), 0);
    recorder_expect_perfect(&here, "inline", 4, last);
    recorder_expect_perfect(&loop, "loop", 4, last);
    recorder_expect_perfect(&pattern, "pattern", 4, last);
    bus_end(bus);
    recorder_fini(&here);
    recorder_fini(&loop);
    recorder_fini(&pattern);
}
END_TEST

/* ---- limits, reports ---- */

static int hold(evbus_sub *sub, evbus_event *event, void *user)
{
    atomic_int *gate = user; /* 0: not entered, 1: inside, 2: may go */
    int entered = 0;
    (void)sub;
    (void)event;
    atomic_compare_exchange_strong(gate, &entered, 1);
    struct wait wait = wait_for(30000);
    while (atomic_load(gate) != 2 && wait_more(&wait))
        ;
    return 0;
}

START_TEST(slow_subscriber_hurts_itself)
{
    atomic_int gate = 0, fast = 0;
    evbus *bus = evbus_open(NULL);
    evbus_sub *slow = bus_subscribe(bus, "t", "size=10 full=drop-newest", hold, &gate);
    bus_subscribe(bus, "t", "deliver=inline", handle_count, &fast);
    bus_publish(bus, "t", NULL);
    expect_count(&gate, 1, SOON);
    for (int n = 0; n < 100; n++)
        bus_publish(bus, "t", NULL);
    ck_assert_int_eq(atomic_load(&fast), 101);
    int64_t dropped = evbus_sub_stat(slow, "dropped"), queued = evbus_sub_stat(slow, "queued");
    ck_assert_int_le(queued, 10);
    ck_assert_int_ge(dropped, 90);
    ck_assert_int_eq(evbus_stat(bus, "dropped"), dropped);
    atomic_store(&gate, 2);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_sub_stat(slow, "delivered") + evbus_sub_stat(slow, "dropped"), 101);
    bus_end(bus);
}
END_TEST

static int refuse_odd(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    return event_number(event) % 2;
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    if (outcome == EVBUS_LOCAL_DONE && error == 0 && receivers == -1)
        atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(failures_and_reports_are_counted)
{
    atomic_int reports = 0;
    evbus *bus = evbus_open(NULL);
    evbus_sub *sub = bus_subscribe(bus, "t", "deliver=inline", refuse_odd, NULL);
    for (int n = 1; n <= 100; n++) {
        evbus_event *event = event_numbered("t", 0, n, 0);
        ck_assert_int_eq(evbus_publish_report(bus, event, 0, on_report, &reports),
                         EVBUS_SENT_LOCAL);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports), 100);
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 50);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 50);
    ck_assert_int_eq(evbus_stat(bus, "failed"), 50);
    ck_assert_int_eq(evbus_stat(bus, "handled"), 50);
    ck_assert_int_eq(evbus_stat(bus, "published_local"), 100);
    bus_end(bus);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("local");
    suite_add(suite, "patterns", patterns, 10);
    suite_add(suite, "inline_and_loop", inline_and_loop, 10);
    suite_add(suite, "scope_and_echo", scope_and_echo, 10);
    suite_add(suite, "event_as_published", event_as_published, 10);
    suite_add(suite, "two_buses", two_buses, 10);
    suite_add(suite, "queue_and_descriptor", queue_and_descriptor, 10);
    suite_add(suite, "queue_outlives_its_bus", queue_outlives_its_bus, 10);
    suite_add(suite, "queue_pulled_by_four_threads", queue_pulled_by_four_threads, 30);
    suite_add(suite, "order_under_four_threads", order_under_four_threads, 60);
    suite_add(suite, "slow_subscriber_hurts_itself", slow_subscriber_hurts_itself, 40);
    suite_add(suite, "failures_and_reports_are_counted", failures_and_reports_are_counted, 20);
    return suite_run(suite, argc, argv);
}
