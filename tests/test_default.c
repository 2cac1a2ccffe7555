/* test_default.c - the process's bus: one, from the environment, forgotten when freed, fresh in a child. */
#include "unit.h"
#include <evbus.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void setup(void)
{
    clearenv();
}

START_TEST(one_until_it_is_freed)
{
    evbus *bus = evbus_default();
    ck_assert_ptr_nonnull(bus);
    ck_assert_ptr_eq(evbus_default(), bus);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_LOCAL_ONLY);
    char node[32];
    strcpy(node, evbus_node(bus));
    evbus *other = evbus_open(NULL);
    evbus_free(other); /* another bus's end is not its business */
    ck_assert_ptr_eq(evbus_default(), bus);
    ck_assert_int_eq(evbus_close(bus, 1000), 0);
    ck_assert_ptr_eq(evbus_default(), bus); /* closed, and still the one */
    evbus_free(bus);
    bus = evbus_default();
    ck_assert_str_ne(evbus_node(bus), node);
    ck_assert_int_eq(evbus_publish(bus, "t", NULL), EVBUS_SENT_LOCAL);
    evbus_free(bus);
    evbus_free(NULL);
}
END_TEST

START_TEST(from_the_environment)
{
    setenv("EVBUS_REDIS_PATH", "/nowhere/redis.sock", 1);
    evbus *bus = evbus_default();
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    evbus_free(bus);
    setenv("EVBUS_QUEUE_SIZE", "no number", 1);
    ck_assert_ptr_null(evbus_default());
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "EVBUS_QUEUE_SIZE"));
}
END_TEST

START_TEST(fresh_in_a_child)
{
    evbus *bus = evbus_default();
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool good = evbus_publish(bus, "t", NULL) == EVBUS_EFORK;
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
        fprintf(stderr, "skipped: no thread starts after a fork under the thread sanitizer\n");
        _exit(good ? 0 : 1);
#endif
#endif
        evbus *mine = evbus_default();
        good = good && mine && mine != bus && evbus_publish(mine, "t", NULL) == EVBUS_SENT_LOCAL;
        evbus_free(bus); /* gives the parent's back, and forgets nothing of its own */
        good = good && evbus_default() == mine;
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    ck_assert_ptr_eq(evbus_default(), bus);
    evbus_free(bus);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("default");
    TCase *tests = unit_case(suite, "default");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, one_until_it_is_freed);
    tcase_add_test(tests, from_the_environment);
    tcase_add_test(tests, fresh_in_a_child);
    return unit_run(suite);
}
