/*
 * pair_fixture.h - redis_fixture.h for who enters the states by hand: nothing happens by itself
 * while the loop does not run. Included by one program's only file.
 */
#ifndef PAIR_FIXTURE_H
#define PAIR_FIXTURE_H
#include "redis_fixture.h"
#include "redis_pair.h"

static int64_t now_ms = 1000000;

static inline int64_t test_clock(void)
{
    return now_ms * 1000;
}

/* A shard that does nothing by itself: the test enters its states. */
static inline void open_at_rest(void)
{
    evb_clock_set(NULL, test_clock);
    ck_assert_int_eq(open_redis(), 0);
}

static inline void lose(int error, const char *why)
{
    evb_loop_begin(&loop);
    evb_pair_lose(&redis, error, why);
    evb_loop_end(&loop);
}

static inline void be_found(const char *why)
{
    evb_loop_begin(&loop);
    evb_pair_enter(&redis, EVB_REDIS_RESOLVING, "x");
    evb_pair_found(why, &redis);
    evb_loop_end(&loop);
}

static inline bool is_pending(const struct event *timer)
{
    return event_pending(timer, EV_TIMEOUT, NULL);
}

static inline void expect_fault(int error, const char *text)
{
    char found[EVB_FAULT_TEXT];
    ck_assert_int_eq(evb_fault_read(&redis.fault, found, sizeof found), error);
    ck_assert_msg(strstr(found, text) != NULL, "%s", found);
}

#endif
