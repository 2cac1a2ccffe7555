/* test_redis_target.c - a socket, a number, a name of several addresses, a name of none. */
#include "redis_target.h"
#include "unit.h"
#include <event2/event.h>
#include <evbus.h>
#include <string.h>

static struct evb_loop loop;
static struct event_base *base;
static struct evb_target target;
static int calls;
static char reason[200];

static void found(const char *why, void *user)
{
    ck_assert_ptr_eq(user, &target);
    snprintf(reason, sizeof reason, "%s", why ? why : "");
    calls++;
    event_base_loopbreak(base);
}

static void setup(void)
{
    calls = 0;
    base = event_base_new();
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
}

static void teardown(void)
{
    evb_target_stop(&target);
    event_base_loop(base, EVLOOP_NONBLOCK);
    evb_loop_fini(&loop);
    event_base_free(base);
}

static int find(const char *host, const char *path)
{
    evb_target_init(&target, &loop, host, path, 6380, found, &target);
    return evb_target_find(&target);
}

/* What stands in /etc/hosts is told at once. */
static void turn_until_found(void)
{
    if (!calls)
        event_base_dispatch(base);
}

START_TEST(at_once)
{
    static const struct {
        const char *host, *path, *shown;
    } cases[] = {
        {"127.0.0.1", "", "127.0.0.1"}, {"::1", "", "::1"}, {"some.name", "/tmp/redis.sock", ""}};
    for (size_t i = 0; i < EVB_COUNT(cases); i++) {
        ck_assert_int_eq(find(cases[i].host, cases[i].path), 1);
        const struct evb_address *address = evb_target_now(&target);
        ck_assert_str_eq(address->host, cases[i].shown);
        ck_assert_int_eq(address->port, 6380);
        ck_assert(cases[i].path[0] ? !strcmp(address->path, cases[i].path) : !address->path);
        ck_assert(!evb_target_next(&target));
    }
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(a_name_and_its_addresses)
{
    ck_assert_int_eq(find("localhost", ""), 0);
    turn_until_found();
    ck_assert_int_eq(calls, 1);
    ck_assert_str_eq(reason, "");
    int addresses = 1;
    ck_assert(evb_dns_is_numeric(evb_target_now(&target)->host));
    for (; evb_target_next(&target); addresses++)
        ck_assert(evb_dns_is_numeric(evb_target_now(&target)->host));
    ck_assert_int_eq(addresses, target.count);
    ck_assert_int_eq(evb_target_find(&target), 0); /* from the first one again */
    ck_assert_int_eq(target.index, 0);
}
END_TEST

START_TEST(a_name_of_nobody)
{
    ck_assert_int_eq(find("no such name", ""), 0);
    turn_until_found();
    ck_assert_int_eq(calls, 1);
    ck_assert_msg(strstr(reason, "cannot resolve no such name: ") == reason, "%s", reason);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_target");
    TCase *tests = unit_case(suite, "redis_target");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, at_once);
    tcase_add_test(tests, a_name_and_its_addresses);
    tcase_add_test(tests, a_name_of_nobody);
    return unit_run(suite);
}
