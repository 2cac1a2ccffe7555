/* test_redis_pair.c - how the two connections come, go, and come back. */
#include "pair_fixture.h"

static char logged[1000]; /* "<level> <line>\n" of each */

static void note_log(int level, const char *line, void *user)
{
    size_t at = strlen(logged);
    (void)user;
    snprintf(logged + at, sizeof logged - at, "%d %s\n", level, line);
}

static void watch_log(int level)
{
    long before = failing_live();
    ck_assert_int_eq(evb_log_set(&evb_test_log, level, note_log, NULL), 0);
    live += failing_live() - before;
}

/* ---- the state ---- */

/* From each state: a legal way is gone, and told; another one is not, and stands in the log. */
START_TEST(enters)
{
    enum evb_redis_state from = (enum evb_redis_state)_i;
    ck_assert_int_eq(open_redis(), 0);
    watch_log(EVBUS_LOG_ERROR);
    for (int to = 0; to < EVB_REDIS_STATES; to++) {
        bool may = evb_redis_state_may(from, (enum evb_redis_state)to);
        char refused[100], told[20];
        snprintf(refused, sizeof refused, "no way from %s to %s", evb_redis_state_name(from),
                 evb_redis_state_name((enum evb_redis_state)to));
        snprintf(told, sizeof told, "%s ", evb_redis_state_name((enum evb_redis_state)to));
        atomic_store(&redis.state, (int)from);
        atomic_store(&redis.outbox.up, from == EVB_REDIS_READY);
        story[0] = logged[0] = last_why[0] = '\0';
        evb_pair_enter(&redis, (enum evb_redis_state)to, "because");
        ck_assert_str_eq(story, may ? told : "");
        ck_assert_str_eq(last_why, may ? "because" : "");
        ck_assert_int_eq(evb_pair_state(&redis), may ? to : (int)from);
        ck_assert_int_eq(atomic_load(&redis.outbox.up), evb_pair_state(&redis) == EVB_REDIS_READY);
        ck_assert_int_eq(strstr(logged, refused) != NULL, !may);
    }
    atomic_store(&redis.state, EVB_REDIS_OFF);
}
END_TEST

static struct timeval due[2];

static void arm_two(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    evb_pair_arm(redis.timer, 1999);
    evb_pair_arm(redis.pause, 250);
    event_pending(redis.timer, EV_TIMEOUT, &due[0]);
    event_pending(redis.pause, EV_TIMEOUT, &due[1]);
    *(bool *)arg = true;
}

static bool is_true(void *flag)
{
    return *(bool *)flag;
}

/* Inside a callback both count from the same time. */
START_TEST(arms)
{
    struct timeval between, now = {0, 0};
    bool done = false;
    ck_assert_int_eq(open_redis(), 0);
    event_base_once(base, -1, EV_TIMEOUT, arm_two, &done, &now);
    ck_assert(run_until(base, is_true, &done, 20000));
    timersub(&due[0], &due[1], &between);
    ck_assert_int_eq(between.tv_sec * 1000000 + between.tv_usec, 1749000);
}
END_TEST

/* ---- up ---- */

START_TEST(gives_up)
{
    char error[100];
    scripted_listen(server, false);
    set.max_retries = _i;
    ck_assert_int_eq(open_redis(), 0);
    for (int round = 0; round < 2; round++) {
        redis.backoff.attempts = 0; /* as evbus_reconnect() does */
        story[0] = '\0';
        start();
        await(EVB_REDIS_OFF);
        for (int i = 0; i <= _i; i++) {
            ck_assert_int_eq(strncmp(story, "dialing backoff ", 16), 0);
            memmove(story, story + 16, strlen(story + 16) + 1);
        }
        ck_assert_str_eq(story, "off ");
        ck_assert_int_eq(atomic_load(&redis.retry_at_ms), 0);
        ck_assert_int_eq(atomic_load(&redis.attempts), _i + 1);
    }
    evb_fault_read(&redis.fault, error, sizeof error);
    ck_assert_str_ne(error, "");
    scripted_listen(server, true);
    start();
    await(EVB_REDIS_READY);
}
END_TEST

START_TEST(comes_back)
{
    come_up();
    want("a", false);
    await_story("+a ");
    story[0] = '\0';
    scripted_close(server, _i);
    await_story("backoff ");
    ck_assert_ptr_nonnull(strstr(last_why, "closed by the server"));
    publish(1, 0);
    await(EVB_REDIS_READY);
    await_story("a1 ");
    ck_assert_str_eq(story, "backoff dialing handshake +a ready a1 ");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_disconnects), 1);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connects), 2);
}
END_TEST

START_TEST(stops_anywhere)
{
    static const int states[] = {EVB_REDIS_OFF, EVB_REDIS_DIALING, EVB_REDIS_HANDSHAKE,
                                 EVB_REDIS_BACKOFF, EVB_REDIS_RESOLVING};
    if (states[_i] == EVB_REDIS_BACKOFF)
        scripted_listen(server, false);
    if (states[_i] == EVB_REDIS_RESOLVING) {
        set.path = "";
        set.host = "no.such.host.example";
    }
    set.backoff_ms = set.backoff_max_ms = 1000000;
    ck_assert_int_eq(open_redis(), 0);
    if (_i)
        start();
    await(states[_i]);
    story[0] = '\0';
    stop();
    ck_assert_str_eq(story, "closing off ");
    run_for(base, 10);
    ck_assert_str_eq(story, "closing off ");
}
END_TEST

START_TEST(in_flight_at_a_drop)
{
    redis.outbox.may_resend = true;
    come_up();
    redis.outbox.may_resend = _i;
    scripted_answer(server, "PUBLISH", "", 2);
    publish(1, 0);
    publish(2, 0);
    run_for(base, 5);
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story("ready ");
    publish(3, 0);
    await_story("a3 ");
    ck_assert_str_eq(story, _i ? "backoff dialing handshake ready a1 a2 a3 "
                               : "u1 u2 backoff dialing handshake ready a3 ");
}
END_TEST

/* ---- a failure ---- */

static const struct {
    enum evb_redis_state from;
    int attempts, error;
    bool protocol;
    int level; /* of its line in the log */
} losses[] = {
    {EVB_REDIS_RESOLVING, 0, EVBUS_ENOENT, false, EVBUS_LOG_WARNING},
    {EVB_REDIS_DIALING, 0, EVBUS_ESYS, false, EVBUS_LOG_WARNING},
    {EVB_REDIS_DIALING, 1, EVBUS_ESYS, false, EVBUS_LOG_INFO}, /* the first one said it */
    {EVB_REDIS_HANDSHAKE, 2, EVBUS_EPARSE, true, EVBUS_LOG_INFO},
    {EVB_REDIS_HANDSHAKE, 0, EVBUS_EAUTH, false, EVBUS_LOG_WARNING},
    {EVB_REDIS_READY, 0, EVBUS_EPARSE, true, EVBUS_LOG_WARNING},
    {EVB_REDIS_READY, 3, EVBUS_ETIMEDOUT, false, EVBUS_LOG_WARNING},
};

/* It is counted, logged, kept as the fault; a wrong password is not sent again soon. */
START_TEST(loses)
{
    char line[100];
    int error = losses[_i].error, level = losses[_i].level;
    bool ready = losses[_i].from == EVB_REDIS_READY;
    open_at_rest();
    watch_log(EVBUS_LOG_INFO);
    atomic_store(&redis.state, (int)losses[_i].from);
    redis.backoff.attempts = losses[_i].attempts;
    lose(error, "it broke");
    ck_assert_str_eq(story, "backoff ");
    ck_assert_str_eq(last_why, "it broke");
    expect_fault(error, "it broke");
    snprintf(line, sizeof line, "redis: it broke (%s)\n", evbus_strerror(error));
    ck_assert_msg(strstr(logged, line) && atoi(logged) == level, "%s", logged);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_disconnects), ready);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connect_errors), !ready);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_protocol_errors), losses[_i].protocol);
    ck_assert_int_eq(atomic_load(&redis.attempts), losses[_i].attempts + 1);
    ck_assert(is_pending(redis.timer));
    int64_t wait_ms = atomic_load(&redis.retry_at_ms) - now_ms;
    ck_assert_int_ge(wait_ms, error == EVBUS_EAUTH ? 30000 : 0);
    ck_assert_int_le(wait_ms, error == EVBUS_EAUTH ? 30000 : set.backoff_max_ms);
}
END_TEST

START_TEST(nothing_to_lose)
{
    static const int states[] = {EVB_REDIS_OFF, EVB_REDIS_BACKOFF, EVB_REDIS_CLOSING};
    open_at_rest();
    atomic_store(&redis.state, states[_i]);
    lose(EVBUS_ESYS, "again");
    ck_assert_str_eq(story, "");
    ck_assert_int_eq(evb_pair_state(&redis), states[_i]);
    expect_fault(0, "");
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connect_errors), 0);
    atomic_store(&redis.state, EVB_REDIS_OFF);
}
END_TEST

/* It is gone with the replies that nobody will give any more. */
static void spoil(const struct evb_reply *reply, void *text)
{
    ck_assert_ptr_null(reply);
    tell("spoilt ");
    memset(text, 'x', 4);
}

START_TEST(the_reason_stands_in_a_reply)
{
    char text[] = "this";
    come_up();
    ck_assert(evb_asks_expect(&redis.asks, spoil, text));
    lose(EVBUS_ESYS, text);
    ck_assert_str_eq(story, "spoilt backoff ");
    ck_assert_str_eq(last_why, "this");
    expect_fault(EVBUS_ESYS, "this");
}
END_TEST

/* What belongs to two connections goes with them. What waits outlives a loss, and expires. */
START_TEST(nothing_is_left)
{
    set.backoff_ms = set.backoff_max_ms = 1000000;
    come_up();
    ck_assert_int_ge(atomic_load(&redis.rtt_us), 0);
    ck_assert_int_gt(redis.heart.fence.sent_us, 0);
    evb_pair_arm(redis.deadline, 1000000);
    evb_pair_arm(redis.pause, 1000000);
    redis.lacks.told = 1;
    redis.publisher_hello.left = redis.subscriber_hello.left = 1;
    if (_i) {
        lose(EVBUS_ESYS, "x");
        publish(1, 1000000);
        ck_assert(is_pending(redis.timer) && is_pending(redis.expiry));
    }
    ck_assert_int_eq(is_pending(redis.deadline) && is_pending(redis.pause), !_i);
    evb_loop_begin(&loop);
    evb_redis_stop(&redis);
    ck_assert(!is_pending(redis.timer) && !is_pending(redis.deadline));
    ck_assert(!is_pending(redis.pause) && !is_pending(redis.expiry));
    evb_loop_end(&loop);
    ck_assert_str_eq(story, _i ? "backoff closing off " : "closing off ");
    ck_assert_ptr_null(redis.publisher.context);
    ck_assert_ptr_null(redis.subscriber.context);
    ck_assert_ptr_null(redis.subs.link);
    ck_assert_int_eq(redis.publisher_hello.left + redis.subscriber_hello.left, 0);
    ck_assert_int_eq(redis.lacks.told, 0);
    ck_assert_int_eq(redis.heart.fence.sent_us, 0);
    ck_assert_int_eq(atomic_load(&redis.rtt_us), -1);
    ck_assert_int_eq(atomic_load(&redis.retry_at_ms), 0);
}
END_TEST

/* ---- down ---- */

static void stop_again(enum evb_redis_state from, enum evb_redis_state to, const char *why,
                       void *user)
{
    on_state(from, to, why, user);
    if (to == EVB_REDIS_CLOSING)
        evb_redis_stop(&redis);
}

START_TEST(stops_once)
{
    come_up();
    hooks.state = stop_again;
    stop();
    ck_assert_str_eq(story, "closing off ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis pair");
    TCase *tests = tcase_create("redis pair");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, enters, 0, EVB_REDIS_STATES);
    tcase_add_test(tests, arms);
    tcase_add_loop_test(tests, gives_up, 0, 3);
    tcase_add_loop_test(tests, comes_back, SCRIPTED_PUBLISHER, SCRIPTED_SUBSCRIBER + 2);
    tcase_add_loop_test(tests, stops_anywhere, 0, 5);
    tcase_add_loop_test(tests, in_flight_at_a_drop, 0, 2);
    tcase_add_loop_test(tests, loses, 0, (int)EVB_COUNT(losses));
    tcase_add_loop_test(tests, nothing_to_lose, 0, 3);
    tcase_add_test(tests, the_reason_stands_in_a_reply);
    tcase_add_loop_test(tests, nothing_is_left, 0, 2);
    tcase_add_test(tests, stops_once);
    return run_suite(suite);
}
