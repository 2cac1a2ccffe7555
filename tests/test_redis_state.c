/* test_redis_state.c - the states of a shard, and which ways there are between them. */
#include "redis_state.h"
#include "unit.h"

static const struct {
    const char *name, *next; /* in the order of their numbers */
} ways[EVB_REDIS_STATES] = {
    [EVB_REDIS_OFF] = {"off", "resolving dialing closing "},
    [EVB_REDIS_RESOLVING] = {"resolving", "dialing backoff closing "},
    [EVB_REDIS_DIALING] = {"dialing", "dialing handshake backoff closing "},
    [EVB_REDIS_HANDSHAKE] = {"handshake", "ready backoff closing "},
    [EVB_REDIS_READY] = {"ready", "backoff closing "},
    [EVB_REDIS_BACKOFF] = {"backoff", "off resolving dialing closing "},
    [EVB_REDIS_CLOSING] = {"closing", "off "},
};

START_TEST(name)
{
    ck_assert_str_eq(evb_redis_state_name((enum evb_redis_state)_i), ways[_i].name);
}
END_TEST

START_TEST(next)
{
    char found[100] = "";
    for (int to = 0; to < EVB_REDIS_STATES; to++) {
        if (!evb_redis_state_may((enum evb_redis_state)_i, (enum evb_redis_state)to))
            continue;
        strcat(found, ways[to].name);
        strcat(found, " ");
    }
    ck_assert_str_eq(found, ways[_i].next);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_state");
    TCase *tests = unit_case(suite, "redis_state");
    tcase_add_loop_test(tests, name, 0, EVB_REDIS_STATES);
    tcase_add_loop_test(tests, next, 0, EVB_REDIS_STATES);
    return unit_run(suite);
}
