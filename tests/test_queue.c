/* test_queue.c - the pull queue: what is taken, by whom, and when its socket is readable. */
#include "alloc.h"
#include "queue_fixture.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

static bool readable(evbus_queue *of)
{
    struct pollfd fd = {.fd = evbus_queue_fd(of), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

START_TEST(first_in_first_out)
{
    evbus_sub *other = sub_into(queue, -7);
    evbus_event *event;
    int64_t tag;
    ck_assert_int_eq(next(queue, 0), -1);
    deliver_local(sub, 1);
    deliver_local(other, 2);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, &tag), 1);
    ck_assert(event->seq == 1 && tag == 42);
    evbus_event_unref(event);
    ck_assert_int_eq(evbus_queue_next(queue, -1, &event, &tag), 1);
    ck_assert(event->seq == 2 && tag == -7);
    evbus_event_unref(event);
    ck_assert_int_eq(next(queue, 0), -1);
    ck_assert_int_eq(next(queue, 5), -1);
    ck_assert_int_eq(evbus_sub_stat(other, "delivered"), 1);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_pulled), 2);
    evb_sub_unref(other);
}
END_TEST

START_TEST(many_at_once)
{
    evbus_event *events[600];
    int64_t tags[600];
    uint64_t want = 0;
    for (uint64_t i = 0; i < 600; i++)
        deliver_local(sub, i);
    while (want < 600) {
        int most = want < 10 ? 3 : 600;
        int n = evbus_queue_next_many(queue, -1, events, want % 2 ? tags : NULL, most);
        ck_assert(n > 0 && n <= most);
        ck_assert_int_eq(evbus_queue_stat(queue, "queued"), 600 - (int)want - n);
        for (int i = 0; i < n; i++, want++) {
            ck_assert_uint_eq(events[i]->seq, want);
            evbus_event_unref(events[i]);
        }
    }
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, events, tags, 600), 0);
    ck_assert_int_eq(evbus_queue_stat(queue, "peak"), 600);
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 0);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_pulled), 600);
}
END_TEST

START_TEST(bad_arguments)
{
    evbus_event *event;
    ck_assert_int_eq(evbus_queue_next(NULL, 0, &event, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_queue_next(queue, 0, NULL, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, &event, NULL, 0), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_queue_next_many(queue, 0, &event, NULL, -1), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_queue_fd(NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_queue_stat(NULL, "queued"), -1);
    ck_assert_int_eq(evbus_queue_stat(queue, NULL), -1);
    ck_assert_int_eq(evbus_queue_stat(queue, "delivered"), -1);
    atomic_store(&sub_loop.thread, pthread_self());
    ck_assert_int_eq(evbus_queue_next(queue, 1, &event, NULL), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_queue_next(queue, -1, &event, NULL), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), 0);
}
END_TEST

static const struct {
    int full;
    int64_t first;
} bounds[] = {{EVB_FULL_DROP_OLDEST, 6}, {EVB_FULL_DROP_NEWEST, 0}};

START_TEST(bounded_and_counted)
{
    evbus_queue *small = queue_of(4, bounds[_i].full);
    evbus_sub *other = sub_into(small, 0);
    for (uint64_t i = 0; i < 10; i++)
        deliver_local(other, i);
    ck_assert_int_eq(evbus_queue_stat(small, "queued"), 4);
    ck_assert_int_eq(evbus_queue_stat(small, "dropped"), 6);
    ck_assert_int_eq(evbus_queue_stat(small, "peak"), 4);
    ck_assert_int_eq(evbus_sub_stat(other, "dropped"), 6);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_dropped), 6);
    for (int64_t i = 0; i < 4; i++)
        ck_assert_int_eq(next(small, 0), bounds[_i].first + i);
    ck_assert_int_eq(next(small, 0), -1);
    ck_assert_int_eq(atomic_load(&other->refs), 1);
    evb_sub_unref(other);
    evb_queue_unref(small);
}
END_TEST

/* Readable exactly while something waits, whenever it was asked for. */
START_TEST(socket_tells_the_truth)
{
    evbus_queue *small = queue_of(5, _i % 2 ? EVB_FULL_DROP_OLDEST : EVB_FULL_DROP_NEWEST);
    evbus_sub *other = sub_into(small, 0);
    evbus_event *events[8];
    uint32_t dice = 5 + (uint32_t)_i;
    for (int step = 0; step < 3000; step++) {
        if (roll(&dice) % 2) {
            deliver_local(other, 1);
        } else {
            int n = evbus_queue_next_many(small, 0, events, NULL, 1 + (int)(roll(&dice) % 3));
            for (int i = 0; i < n; i++)
                evbus_event_unref(events[i]);
        }
        if (step > _i * 3)
            ck_assert_int_eq(readable(small), evbus_queue_stat(small, "queued") > 0);
    }
    ck_assert_int_eq(fcntl(evbus_queue_fd(small), F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(evbus_queue_fd(small), evbus_queue_fd(small));
    evb_queue_clear(small);
    evb_sub_unref(other);
    evb_queue_unref(small);
}
END_TEST

START_TEST(closed)
{
    deliver_local(sub, 1);
    deliver_local(sub, 2);
    ck_assert_int_eq(next(queue, 0), 1);
    evb_queue_close(queue);
    evb_queue_close(queue);
    evb_sub_end(sub); /* what a closed bus left in it is still somebody's */
    ck_assert(readable(queue));
    ck_assert_int_eq(next(queue, -1), 2);
    ck_assert(readable(queue)); /* to learn that it is closed */
    ck_assert_int_eq(next(queue, -1), EVBUS_ECLOSED);
    ck_assert_int_eq(next(queue, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ECLOSED);
    ck_assert(readable(queue));
}
END_TEST

START_TEST(closed_and_empty)
{
    ck_assert(!readable(queue));
    evb_queue_close(queue);
    ck_assert(readable(queue));
    evbus_queue *late = queue_of(5, EVB_FULL_DROP_OLDEST);
    evb_queue_close(late);
    ck_assert(readable(late)); /* asked for afterwards */
    ck_assert_int_eq(next(late, 1000), EVBUS_ECLOSED);
    evb_queue_unref(late);
}
END_TEST

START_TEST(cleared)
{
    for (uint64_t i = 0; i < 50; i++)
        deliver_local(sub, i);
    ck_assert_int_eq(atomic_load(&sub->refs), 51);
    evb_queue_close(queue);
    evb_queue_clear(queue);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    deliver_local(sub, 51); /* by a publisher that was half-way: must not keep its subscription */
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert_int_eq(next(queue, -1), EVBUS_ECLOSED);
}
END_TEST

START_TEST(events_of_the_ended_are_skipped)
{
    evbus_sub *other = sub_into(queue, 1);
    for (uint64_t i = 0; i < 30; i++)
        deliver_local(i % 3 ? other : sub, i);
    evb_sub_end(other);
    for (int64_t i = 0; i < 30; i += 3)
        ck_assert_int_eq(next(queue, 0), i);
    ck_assert_int_eq(next(queue, 0), -1);
    ck_assert(!readable(queue));
    ck_assert_int_eq(atomic_load(&other->refs), 1);
    ck_assert_int_eq(evbus_sub_stat(other, "delivered"), 0);
    ck_assert_int_eq(evbus_sub_stat(other, "dropped"), 20);
    evb_sub_unref(other);
}
END_TEST

static void *deliver_when_empty(void *to)
{
    while (evbus_queue_stat(queue, "queued") > 0)
        sched_yield();
    deliver_local(to, 77);
    return NULL;
}

/* A queue that held only such events is an empty queue: the wait goes on. */
START_TEST(waits_past_events_of_the_ended)
{
    static const int timeouts[] = {-1, 20000};
    evbus_sub *other = sub_into(queue, 1);
    deliver_local(other, 1);
    deliver_local(other, 2);
    evb_sub_end(other);
    pthread_t thread = thread_start(deliver_when_empty, sub);
    ck_assert_int_eq(next(queue, timeouts[_i]), 77);
    thread_join(thread);
    evb_sub_unref(other);
}
END_TEST

START_TEST(a_child_is_told_at_once)
{
    int status;
    pthread_mutex_lock(&queue->lock); /* as another thread may have it */
    pid_t child = fork();
    if (child == 0) {
        evbus_event *event;
        alarm(10);
        bool told = evbus_queue_next(queue, 0, &event, NULL) == EVBUS_EFORK &&
                    evbus_queue_fd(queue) == EVBUS_EFORK &&
                    evbus_queue_stat(queue, "queued") == EVBUS_EFORK;
        _exit(told ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    pthread_mutex_unlock(&queue->lock);
}
END_TEST

START_TEST(keeps_its_subscriptions)
{
    enum { MANY = 50 };
    evbus_sub *subs[MANY];
    int count;
    for (int i = 0; i < MANY; i++) {
        subs[i] = sub_into(queue, i);
        ck_assert_int_eq(evb_queue_add_sub(queue, subs[i]), 0);
        ck_assert_int_eq(atomic_load(&subs[i]->refs), 2);
    }
    for (int i = 0; i < MANY; i += 2)
        evb_sub_end(subs[i]);
    ck_assert_int_eq(evb_queue_add_sub(queue, sub), 0); /* lets those that ended go */
    evbus_sub **taken = evb_queue_take_subs(queue, &count);
    ck_assert_int_eq(count, MANY / 2 + 1);
    for (int i = 0; i < count; i++) {
        ck_assert_ptr_eq(taken[i], i < MANY / 2 ? subs[2 * i + 1] : sub);
        evb_sub_unref(taken[i]);
    }
    evb_free(taken);
    ck_assert_ptr_null(evb_queue_take_subs(queue, &count));
    ck_assert_int_eq(count, 0);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(atomic_load(&subs[i]->refs), 1);
        evb_sub_unref(subs[i]);
    }
}
END_TEST

enum { PUSHERS = 4, PULLERS = 4, EVENTS = 5000 };

static atomic_int pulled, disorder, waiting;

static void *push_all(void *tag)
{
    evbus_sub *own = sub_into(queue, *(int *)tag);
    for (uint64_t i = 1; i <= EVENTS; i++)
        deliver_local(own, i);
    evb_sub_unref(own);
    return NULL;
}

static void *pull_all(void *unused)
{
    uint64_t last[PUSHERS] = {0};
    evbus_event *events[7];
    int64_t tags[7];
    int n;
    (void)unused;
    atomic_fetch_add(&waiting, 1);
    while ((n = evbus_queue_next_many(queue, -1, events, tags, 7)) > 0)
        for (int i = 0; i < n; i++) {
            if (events[i]->seq <= last[tags[i]])
                atomic_fetch_add(&disorder, 1);
            last[tags[i]] = events[i]->seq;
            evbus_event_unref(events[i]);
            atomic_fetch_add(&pulled, 1);
        }
    return (void *)(intptr_t)n;
}

START_TEST(many_push_many_pull)
{
    pthread_t pushers[PUSHERS], pullers[PULLERS];
    int tags[PUSHERS];
    void *answer;
    queue->fifo.max_events = PUSHERS * EVENTS;
    evbus_queue_fd(queue);
    for (int i = 0; i < PULLERS; i++)
        pullers[i] = thread_start(pull_all, NULL);
    await_count(&waiting, PULLERS);
    for (int i = 0; i < PUSHERS; i++) {
        tags[i] = i;
        pushers[i] = thread_start(push_all, &tags[i]);
    }
    for (int i = 0; i < PUSHERS; i++)
        thread_join(pushers[i]);
    await_count(&pulled, PUSHERS * EVENTS);
    ck_assert(!readable(queue));
    evb_queue_close(queue); /* wakes all who wait */
    for (int i = 0; i < PULLERS; i++) {
        ck_assert_int_eq(pthread_join(pullers[i], &answer), 0);
        ck_assert_int_eq((int)(intptr_t)answer, EVBUS_ECLOSED);
    }
    ck_assert_int_eq(atomic_load(&pulled), PUSHERS * EVENTS);
    ck_assert_int_eq(atomic_load(&disorder), 0);
}
END_TEST

static void use(bool fails)
{
    evbus_queue *made = evb_queue_new(1000, INT64_C(1) << 40, EVB_FULL_DROP_OLDEST);
    if (!made) {
        ck_assert(fails && evbus_last_code() == EVBUS_ENOMEM);
        return;
    }
    made->metrics = &sub_metrics;
    made->loop = &sub_loop;
    long left = atomic_exchange(&memory_left, -1);
    evbus_event *event = event_of("t", 0);
    evbus_sub *own = sub_into(made, 0);
    atomic_store(&memory_left, left);
    int refused = 0, got = 0;
    for (int i = 0; i < 6; i++)
        refused += evb_queue_add_sub(made, own) != 0;
    for (int i = 0; i < 40; i++)
        evb_sub_deliver(own, event, EVB_FROM_LOCAL, evb_thread_self());
    while (next(made, 0) >= 0 || evbus_queue_stat(made, "queued") > 0)
        got++;
    int lost = (int)evbus_queue_stat(made, "dropped");
    ck_assert_int_eq(got + lost, 40);
    ck_assert_int_eq(refused + lost, fails && left >= 0 && memory_failed());
    ck_assert_int_eq(atomic_load(&own->refs), 1 + made->sub_count);
    evb_sub_end(own);
    for (int i = 0, count = made->sub_count; i < count; i++)
        evb_sub_unref(own);
    evb_sub_unref(own);
    evb_queue_unref(made);
    ck_assert_int_eq(atomic_load(&event->refs), 1);
    evbus_event_unref(event);
}

START_TEST(memory_runs_out)
{
    evb_thread_self();
    ck_assert_int_ge(memory_fail_each(use), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tests = unit_case(suite, "queue");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, first_in_first_out);
    tcase_add_test(tests, many_at_once);
    tcase_add_test(tests, bad_arguments);
    tcase_add_loop_test(tests, bounded_and_counted, 0, (int)EVB_COUNT(bounds));
    tcase_add_loop_test(tests, socket_tells_the_truth, 0, 6);
    tcase_add_test(tests, closed);
    tcase_add_test(tests, closed_and_empty);
    tcase_add_test(tests, cleared);
    tcase_add_test(tests, events_of_the_ended_are_skipped);
    tcase_add_loop_test(tests, waits_past_events_of_the_ended, 0, 2);
    tcase_add_test(tests, a_child_is_told_at_once);
    tcase_add_test(tests, keeps_its_subscriptions);
    tcase_add_test(tests, many_push_many_pull);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
