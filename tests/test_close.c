/* test_close.c - waiting for the connection, flushing, closing, freeing: in order, twice, inside
 * handlers, without memory, in a child, at exit. */
#include "bus_fixture.h"
#include "list.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_done(int result, void *user)
{
    tell("%s%d ", (const char *)user, result);
}

/* ---- on the test's own loop ---- */

START_TEST(flush_is_in_order)
{
    bus = open_on(_i, NULL);
    if (_i)
        await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_flush_async(bus, on_done, "F"), 0);
    for (int i = 0; i < 3; i++) {
        evbus_event *event = evbus_event_new("t");
        ck_assert_int_gt(evbus_publish_report(bus, event, 0, on_report, NULL), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush_async(bus, on_done, "f"), 0);
    expect("");
    await("f0 ");
    expect(_i ? "F0 a:t a:t a:t f0 " : "F0 l:t l:t l:t f0 ");
    ck_assert_int_eq(evbus_flush_async(bus, NULL, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_flush_async(NULL, on_done, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_flush(bus, 100), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_flush(bus, 0), 0);
}
END_TEST

START_TEST(closes_once_and_for_all)
{
    bus = open_on(_i, NULL);
    evbus_sub *sub = subscribe(">", NULL, ""), *system = subscribe("evbus.*", NULL, "");
    if (_i)
        await_mode(EVBUS_MODE_HYBRID);
    story[0] = '\0';
    evbus_publish(bus, "last", NULL);
    ck_assert_int_eq(evbus_close_async(bus, -1, on_done, "c"), 0);
    ck_assert_int_eq(evbus_publish(bus, "late", NULL), EVBUS_ECLOSED);
    ck_assert_ptr_null(evbus_subscribe(bus, "t", NULL, on_event, NULL));
    ck_assert_int_eq(evbus_close_async(bus, 5000, on_done, "C"), 0);
    await("C0 ");
    ck_assert_ptr_nonnull(strstr(story, "last "));
    ck_assert_ptr_nonnull(strstr(story, "evbus.stopping c0 C0 "));
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_CLOSED);
    ck_assert_int_eq(evbus_close(bus, -1), 0); /* on its own loop, too: nothing to wait for */
    ck_assert_int_eq(evbus_close_async(bus, 0, on_done, "again"), 0);
    await("again0 ");
    ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_wait_connected(bus, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_reconnect(bus), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_close_async(bus, 0, NULL, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    ck_assert_int_eq(evbus_unsubscribe(system), 0);
}
END_TEST

/* Redis is away: closing waits for its deadline, goes on, and freeing ends it. */
START_TEST(close_takes_too_long)
{
    scripted_listen(server, false);
    bus = open_on(true, NULL);
    evbus_event *event = evbus_event_new("t");
    evbus_publish_report(bus, event, 0, on_report, NULL);
    evbus_close_async(bus, 10, on_done, "c");
    evbus_flush_async(bus, on_done, "f");
    await("c");
    expect("c-3 ");
    ck_assert_int_eq(evbus_close(bus, 0), EVBUS_ETIMEDOUT);
    evbus_close_async(bus, 0, on_done, "C");
    await("C-3 ");
    evbus_close_async(bus, -1, on_done, "D");
    turn();
    story[0] = '\0';
    if (_i) { /* Redis comes back in time */
        scripted_listen(server, true);
        await("D0 ");
        expect("a:t D0 ");
    }
    evbus_free(bus);
    bus = NULL;
    expect(_i ? "" : "f:t D0 ");
    evbus_event_unref(event);
}
END_TEST

enum inside { CLOSE, CLOSE_ASYNC, FREE, CLOSE_AND_FREE };

static int end_it(evbus_sub *sub, evbus_event *event, void *user)
{
    enum inside what = *(enum inside *)user;
    (void)event;
    tell("[");
    if (what == CLOSE_ASYNC)
        ck_assert_int_eq(evbus_close_async(bus, -1, on_done, "c"), 0);
    else if (what != FREE)
        ck_assert_int_eq(evbus_close(bus, -1), 0); /* starts and returns */
    ck_assert_int_eq(evbus_publish(bus, "late", NULL) < 0, what != FREE);
    if (what >= FREE)
        evbus_free(bus);
    ck_assert_str_eq(evbus_sub_pattern(sub), "end");
    tell("] ");
    return 0;
}

static void on_free(void *user)
{
    (void)user;
    tell("freed ");
}

START_TEST(inside_a_handler)
{
    static const char *const options[] = {"deliver=loop", "deliver=inline"};
    enum inside what = (enum inside)(_i / 2);
    bus = open_on(false, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "end", options[_i % 2], end_it, &what);
    evbus_sub_on_free(sub, on_free);
    evbus_publish(bus, "end", NULL);
    await("freed ");
    ck_assert_ptr_nonnull(strstr(story, "[] "));
    turn();
    if (what >= FREE)
        bus = NULL;
    else
        ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_CLOSED);
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}
END_TEST

static void free_in_report(evbus_event *event, int outcome, int error, int64_t receivers,
                           void *user)
{
    on_report(event, outcome, error, receivers, user);
    evbus_free(bus);
    bus = NULL;
}

START_TEST(inside_a_report)
{
    bus = open_on(_i, NULL);
    if (_i)
        await_mode(EVBUS_MODE_HYBRID);
    evbus_event *event = evbus_event_new("t"), *more = evbus_event_new("u");
    evbus_publish_report(bus, event, 0, free_in_report, NULL);
    evbus_publish_report(bus, more, 0, on_report, NULL);
    await("u ");
    ck_assert(!strcmp(story, "l:t l:u ") || !strcmp(story, "a:t a:u ") ||
              !strcmp(story, "a:t u:u "));
    turn();
    evbus_event_unref(event);
    evbus_event_unref(more);
}
END_TEST

/* Every n-th allocation of a close fails: it says so, or the bus is closed; and nothing is left. */
START_TEST(no_memory)
{
    bool failed = true;
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 100);
        story[0] = '\0';
        bus = open_on(false, NULL);
        evbus_sub *sub = subscribe("t", NULL, ""), *more = subscribe("u.*", "deliver=inline", "");
        evbus_sub_on_free(sub, on_free);
        turn();
        evbus_publish(bus, "t", NULL);
        failing_at(n, _i);
        int rc = evbus_close_async(bus, -1, on_done, "c");
        turn();
        failed = failing_off();
        ck_assert(rc == 0 || (failed && rc == EVBUS_ENOMEM));
        if (rc == 0) {
            await("c0 ");
            ck_assert_ptr_nonnull(strstr(story, "freed "));
        }
        evbus_free(bus);
        bus = NULL;
        ck_assert_ptr_nonnull(strstr(story, "freed ")); /* no handler after it */
        evbus_unsubscribe(sub);
        evbus_unsubscribe(more);
        turn();
        ck_assert_int_eq(failing_live(), live);
    }
}
END_TEST

/* The same with freeing alone, which cannot fail. */
START_TEST(no_memory_to_free)
{
    for (long n = 0; n < 12; n++) {
        story[0] = '\0';
        bus = open_on(false, NULL);
        evbus_sub *sub = subscribe("t", NULL, "");
        evbus_sub_on_free(sub, on_free);
        evbus_publish(bus, "t", NULL);
        failing_at(n, _i);
        evbus_free(bus);
        failing_off();
        bus = NULL;
        ck_assert_ptr_nonnull(strstr(story, "freed "));
        evbus_unsubscribe(sub);
        turn();
        ck_assert_int_eq(failing_live(), live);
    }
}
END_TEST

/* ---- with threads ---- */

static bool libevent_fails;

static void *libevent_alloc(size_t size)
{
    return libevent_fails ? NULL : malloc(size);
}

static void *libevent_resize(void *block, size_t size)
{
    return libevent_fails ? NULL : realloc(block, size);
}

/* Freed inside a handler, on a base that has no memory for the rest: that comes later. */
START_TEST(no_memory_for_the_end)
{
    enum inside what = FREE;
    event_set_mem_functions(libevent_alloc, libevent_resize, free);
    bus = open_on(false, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "end", "deliver=inline", end_it, &what);
    turn();
    evbus_publish(bus, "end", NULL);
    libevent_fails = true;
    turn();
    libevent_fails = false;
    turn();
    bus = NULL; /* and at the end nothing is left of it */
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}
END_TEST

static void *waits(void *what)
{
    int what_for = (int)(intptr_t)what;
    int rc = what_for == 'c'   ? evbus_wait_connected(bus, -1)
             : what_for == 'f' ? evbus_flush(bus, -1)
                               : evbus_close(bus, -1);
    return (void *)(intptr_t)rc;
}

/* Redis is away for good: what waits for it ends when the event does. */
START_TEST(waiting_threads)
{
    pthread_t thread[3];
    const int want[] = {EVBUS_ECLOSED, 0, 0};
    void *result;
    evbus_config *config = evbus_config_new();
    evbus_config_set(config, "redis.path", "/nowhere/at/all");
    evbus_config_set(config, "outbox.age", "200ms");
    bus = evbus_open(config);
    evbus_config_free(config);
    ck_assert_int_eq(evbus_wait_connected(bus, 1), EVBUS_ETIMEDOUT);
    evbus_publish(bus, "t", NULL);
    ck_assert_int_eq(evbus_flush(bus, 1), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ETIMEDOUT);
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, waits, (void *)(intptr_t) "cf"[i]);
    run_for(base, 10); /* mostly they wait by now */
    ck_assert_int_eq(evbus_close(bus, 1), EVBUS_ETIMEDOUT);
    pthread_create(&thread[2], NULL, waits, (void *)(intptr_t)'C');
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], &result);
        ck_assert((intptr_t)result == want[i] || (intptr_t)result == EVBUS_ECLOSED);
    }
    evbus_free(bus);
    bus = NULL;
    live = failing_live(); /* the records of those threads are kept for the next */
}
END_TEST

static void child(void)
{
    ck_assert_int_eq(evbus_publish(bus, "t", NULL), EVBUS_EFORK);
    ck_assert_int_eq(evbus_close(bus, -1), EVBUS_EFORK);
    ck_assert_int_eq(evbus_flush(bus, -1), EVBUS_EFORK);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_EFORK);
    evbus *fresh = evbus_default();
    ck_assert_ptr_nonnull(fresh);
    ck_assert_ptr_ne(fresh, bus);
    ck_assert_ptr_eq(fresh, evbus_default());
    evbus_sub *sub = evbus_subscribe(fresh, "t", "deliver=inline", on_event, "");
    ck_assert_int_eq(evbus_publish(fresh, "t", NULL), EVBUS_SENT_LOCAL);
    expect("t ");
    evbus_free(bus); /* gives the parent's back, lock-free */
    evbus_unsubscribe(sub);
}

/* The process's bus: one, forgotten when freed, fresh in a child, closed at exit. */
START_TEST(default_bus)
{
    int status;
    clearenv();
    bus = evbus_default();
    ck_assert_ptr_nonnull(bus);
    ck_assert_ptr_eq(evbus_default(), bus);
    pid_t pid = fork();
    if (pid == 0) {
        child();
#ifdef __SANITIZE_ADDRESS__
        _exit(0); /* its search for leaks waits for the parent's threads, which are not here */
#endif
        exit(0); /* atexit closes the child's own; the parent's is not its business */
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    ck_assert_int_eq(evbus_publish(bus, "t", NULL), EVBUS_SENT_LOCAL);
    evbus_free(bus);
    bus = evbus_default();
    ck_assert_ptr_nonnull(bus);
    ck_assert_int_eq(evbus_close(bus, -1), 0);
    ck_assert_ptr_eq(evbus_default(), bus); /* closed, not freed: still the one */
    evbus_free(bus);
    setenv("EVBUS_QUEUE_SIZE", "no number", 1);
    ck_assert_ptr_null(evbus_default());
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    bus = NULL;
    live = failing_live();
}
END_TEST

static int slow_exit(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    return (int)write(*(int *)user, "x", 1) != 1;
}

/* What waits for a handler when the process ends is still handled. */
START_TEST(at_exit)
{
    int pipes[2], status;
    char got[64];
    ck_assert_int_eq(pipe(pipes), 0);
    clearenv();
    pid_t pid = fork();
    if (pid == 0) {
        static evbus_sub *volatile kept; /* by the process, to its end */
        kept = evbus_subscribe(evbus_default(), "t", NULL, slow_exit, &pipes[1]);
        ck_assert_ptr_nonnull(kept);
        for (int i = 0; i < 50; i++)
            evbus_publish(evbus_default(), "t", NULL);
        exit(0);
    }
    close(pipes[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ssize_t n = read(pipes[0], got, sizeof got);
    ck_assert_int_eq((int)n, 50);
    close(pipes[0]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("close");
    TCase *tests = tcase_create("close");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, flush_is_in_order, 0, 2);
    tcase_add_loop_test(tests, closes_once_and_for_all, 0, 2);
    tcase_add_loop_test(tests, close_takes_too_long, 0, 2);
    tcase_add_loop_test(tests, inside_a_handler, 0, 8);
    tcase_add_loop_test(tests, inside_a_report, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    tcase_add_loop_test(tests, no_memory_to_free, 0, 2);
    tcase_add_test(tests, no_memory_for_the_end);
    tcase_add_test(tests, waiting_threads);
    tcase_add_test(tests, default_bus);
    tcase_add_test(tests, at_exit);
    return run(suite);
}
