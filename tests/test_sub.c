/* test_sub.c - to whom a subscription delivers, on which thread, in which order, and what it
 * counts. */
#include "sub_keep_fixture.h"
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    int scope;
    bool echo;
    unsigned how;
    bool comes;
} filters[] = {
    {BOTH, true, LOCAL, true},    {BOTH, true, LOCAL | SELF, true},
    {BOTH, true, REDIS, true},    {BOTH, true, REDIS | SELF, true},
    {BOTH, false, LOCAL, true},   {BOTH, false, LOCAL | SELF, false},
    {BOTH, false, REDIS, true},   {BOTH, false, REDIS | SELF, false},
    {LOCAL, true, LOCAL, true},   {LOCAL, true, LOCAL | SELF, true},
    {LOCAL, true, REDIS, false},  {LOCAL, true, REDIS | SELF, false},
    {LOCAL, false, LOCAL, true},  {LOCAL, false, LOCAL | SELF, false},
    {LOCAL, false, REDIS, false}, {LOCAL, false, REDIS | SELF, false},
    {REDIS, true, LOCAL, false},  {REDIS, true, LOCAL | SELF, false},
    {REDIS, true, REDIS, true},   {REDIS, true, REDIS | SELF, true},
    {REDIS, false, LOCAL, false}, {REDIS, false, LOCAL | SELF, false},
    {REDIS, false, REDIS, true},  {REDIS, false, REDIS | SELF, false},
};

static bool count_enqueued(evbus_queue *queue, struct evb_fifo_item item, unsigned how)
{
    (void)queue;
    (void)how;
    got[atomic_load(&got_count)] = item.event->seq;
    atomic_fetch_add(&got_count, 1);
    evbus_event_unref(item.event);
    evb_sub_unref(item.sub);
    return true;
}

static const struct evb_sub_queue count_door = {count_enqueued, NULL, NULL, NULL};

/* All ways to deliver filter alike, whether the event comes with a reference or not. */
START_TEST(filter)
{
    open_base();
    for (int way = 0; way < 2 * (EVB_DELIVER_QUEUE + 1); way++) {
        int deliver = way / 2;
        evbus_sub *sub = sub_of(deliver, keep, NULL);
        sub->door = &count_door;
        sub->scope = filters[_i].scope;
        sub->echo = filters[_i].echo;
        setup();
        deliver_number(sub, 1, filters[_i].how | (way % 2 ? EVB_GIVEN : 0));
        turn();
        ck_assert_int_eq(atomic_load(&got_count), filters[_i].comes);
        ck_assert_int_eq(atomic_load(&sub->refs), 1);
        end(sub);
    }
    close_base();
}
END_TEST

/* What is kept needs no reference of the giver's; who only looked leaves it. */
START_TEST(a_reference_that_is_given)
{
    open_base();
    for (int deliver = EVB_DELIVER_LOOP; deliver <= EVB_DELIVER_QUEUE; deliver++) {
        evbus_sub *sub = sub_of(deliver, keep, NULL);
        sub->door = &count_door;
        setup();
        evbus_event *event = evbus_event_ref(event_of("t", 0));
        bool kept = evb_sub_deliver(sub, event, LOCAL | EVB_GIVEN, evb_thread_self());
        ck_assert_int_eq(kept, deliver != EVB_DELIVER_INLINE);
        turn();
        ck_assert_int_eq(atomic_load(&got_count), 1);
        ck_assert_int_eq(atomic_load(&event->refs), kept ? 1 : 2);
        evbus_event_unref(event);
        if (!kept)
            evbus_event_unref(event);
        end(sub);
    }
    close_base();
}
END_TEST

START_TEST(inline_on_the_publishers_thread)
{
    open_thread();
    start_thread();
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, keep, NULL);
    for (uint64_t i = 0; i < 10; i++) {
        answer = i % 3 == 0 ? -5 : 0;
        deliver_local(sub, i);
        ck_assert_uint_eq(got[i], i); /* by now */
    }
    ck_assert_int_eq(atomic_load(&on_loop), 0);
    ck_assert_int_eq(atomic_load(&in_callback), 10);
    ck_assert(!evb_thread_in_callback());
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 6);
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 4);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_handled), 0);
    evb_sub_flush_count(&sub_metrics, evb_thread_self());
    evb_sub_flush_count(&sub_metrics, evb_thread_self());
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_handled), 6);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_failed), 4);
    end(sub);
    close_thread();
    ck_assert_int_eq(atomic_load(&sub_released), 1);
}
END_TEST

/* From the socket straight to the handler, but never past what waits. */
START_TEST(redis_waits_behind_local)
{
    open_base();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    deliver_number(sub, 1, REDIS);
    ck_assert_int_eq(atomic_load(&got_count), 1);
    deliver_local(sub, 2);
    deliver_number(sub, 3, REDIS);
    deliver_local(sub, 4);
    ck_assert_int_eq(atomic_load(&got_count), 1);
    turn();
    deliver_number(sub, 5, REDIS);
    ck_assert_int_eq(atomic_load(&got_count), 5);
    evb_thread_self()->callbacks = 1; /* as in a handler: no handler inside another's */
    deliver_number(sub, 6, REDIS);
    ck_assert_int_eq(atomic_load(&got_count), 5);
    evb_thread_self()->callbacks = 0;
    turn();
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_uint_eq(got[i], i + 1);
    end(sub);
    close_base();
}
END_TEST

START_TEST(queue_gets_references)
{
    open_base();
    evbus_sub *sub = sub_of(EVB_DELIVER_QUEUE, NULL, NULL);
    sub->door = &count_door;
    deliver_local(sub, 9);
    ck_assert_int_eq(atomic_load(&got_count), 1);
    ck_assert_uint_eq(got[0], 9);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    end(sub);
    close_base();
}
END_TEST

START_TEST(names_of_stats)
{
    static const char *const names[] = {"delivered", "failed", "dropped", "queued", "peak"};
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    for (size_t i = 0; i < EVB_COUNT(names); i++)
        ck_assert_int_eq(evbus_sub_stat(sub, names[i]), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "Queued"), -1);
    ck_assert_int_eq(evbus_sub_stat(sub, ""), -1);
    ck_assert_int_eq(evbus_sub_stat(sub, NULL), -1);
    ck_assert_int_eq(evbus_sub_stat(NULL, "queued"), -1);
    end(sub);
}
END_TEST

static void never(void *user)
{
    (void)user;
    _exit(9);
}

/* A lock that another thread held when the child began is never given back there. */
START_TEST(a_child_is_told_at_once)
{
    int status;
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    pthread_mutex_lock(&sub->lock);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        bool told = evbus_sub_stat(sub, "queued") == EVBUS_EFORK &&
                    evbus_last_code() == EVBUS_EFORK &&
                    evbus_sub_stat(sub, "delivered") == EVBUS_EFORK &&
                    evbus_sub_on_free(sub, never) == EVBUS_EFORK;
        _exit(told ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    pthread_mutex_unlock(&sub->lock);
    end(sub);
}
END_TEST

static void use(bool fails)
{
    setup();
    evbus_sub *sub = evb_sub_new();
    if (!sub) {
        ck_assert(fails && evbus_last_code() == EVBUS_ENOMEM);
        return;
    }
    evb_sub_unref(sub);
    long left = atomic_exchange(&memory_left, -1);
    sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    evbus_event *event = event_of("t", 0);
    atomic_store(&memory_left, left);
    for (int i = 0; i < 40; i++)
        evb_sub_deliver(sub, event, LOCAL, evb_thread_self());
    turn();
    int lost = fails && left >= 0 && memory_failed();
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), lost);
    ck_assert_int_eq(atomic_load(&got_count), 40 - lost);
    ck_assert_int_eq(atomic_load(&event->refs), 1);
    evbus_event_unref(event);
    end(sub);
}

START_TEST(memory_runs_out)
{
    open_base();
    evb_thread_self();
    ck_assert_int_ge(memory_fail_each(use), 3);
    close_base();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub");
    TCase *tests = unit_case(suite, "sub");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, filter, 0, (int)EVB_COUNT(filters));
    tcase_add_test(tests, a_reference_that_is_given);
    tcase_add_test(tests, inline_on_the_publishers_thread);
    tcase_add_test(tests, redis_waits_behind_local);
    tcase_add_test(tests, queue_gets_references);
    tcase_add_test(tests, names_of_stats);
    tcase_add_test(tests, a_child_is_told_at_once);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
