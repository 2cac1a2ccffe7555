/* test_ending.c - exit() waits for who is inside the gate, calls what comes first, and lets nobody
 * in any more. */
#include "ending.h"
#include "unit.h"
#include <sys/wait.h>
#include <unistd.h>

enum { GOOD = 7, BAD = 1 };

static atomic_int inside, late, calls;

static void *go_through(void *unused)
{
    for (;;) {
        if (!evb_ending_enter()) {
            atomic_store(&late, 1);
            continue;
        }
        atomic_fetch_add(&inside, 1);
        for (volatile int i = 0; i < 1000; i++)
            continue;
        atomic_fetch_sub(&inside, 1);
        evb_ending_leave();
    }
    return unused;
}

/* Registered before: runs after the gate was shut, like OpenSSL's. */
static void clear_away(void)
{
    for (int i = 0; i < 1000; i++)
        if (atomic_load(&inside))
            _exit(BAD);
    _exit(atomic_load(&calls) == 1 && !evb_ending_enter() ? GOOD : BAD);
}

static void call_first(void)
{
    atomic_fetch_add(&calls, 1);
    if (!evb_ending_enter()) /* open still */
        _exit(BAD);
    evb_ending_leave();
}

static void become_guest(void)
{
    pthread_t threads[3];
    alarm(30);
    atexit(clear_away);
    if (!evb_ending_register(call_first) || !evb_ending_register(NULL))
        _exit(BAD);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, go_through, NULL);
    while (!atomic_load(&inside))
        continue;
    exit(BAD);
}

static void expect_good(pid_t pid)
{
    int status;
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == GOOD, "status %x", (unsigned)status);
}

START_TEST(exit_shuts_it)
{
    for (int i = 0; i < 50; i++) {
        pid_t pid = fork();
        if (pid == 0)
            become_guest();
        expect_good(pid);
    }
}
END_TEST

START_TEST(a_child_begins_anew)
{
    ck_assert(evb_ending_enter());
    pid_t pid = fork();
    if (pid == 0) /* inside, as another thread of the parent may be */
        become_guest();
    evb_ending_leave();
    expect_good(pid);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ending");
    TCase *tests = unit_case(suite, "ending");
    tcase_add_test(tests, exit_shuts_it);
    tcase_add_test(tests, a_child_begins_anew);
    return unit_run(suite);
}
