/* test_fork.c - the count of forks. */
#include "fork.h"
#include "unit.h"
#include <sys/wait.h>
#include <unistd.h>

/* What `look` answers in a child of this process. */
static int in_child(int (*look)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(look());
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static unsigned first;

static int steps(void)
{
    return (int)(evb_fork_generation() - first);
}

static int steps_of_grandchild(void)
{
    return in_child(steps);
}

static void *steps_of_thread(void *steps_there)
{
    *(int *)steps_there = steps();
    return NULL;
}

static int steps_of_threads_in_child(void)
{
    int there = -1;
    pthread_t thread;
    if (pthread_create(&thread, NULL, steps_of_thread, &there) != 0)
        return 99;
    pthread_join(thread, NULL);
    return there;
}

START_TEST(counts_forks)
{
    first = evb_fork_generation();
    ck_assert_int_eq(in_child(steps), 1);
    ck_assert_int_eq(in_child(steps), 1);
    ck_assert_int_eq(in_child(steps_of_grandchild), 2);
    ck_assert_int_eq(in_child(steps_of_threads_in_child), 1);
    ck_assert_int_eq(steps(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fork");
    TCase *tests = unit_case(suite, "fork");
    tcase_add_test(tests, counts_forks);
    return unit_run(suite);
}
