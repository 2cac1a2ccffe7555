/* test_recover.c - what an outage costs the subscribers of a bus, and what is said about it; with a
 * real redis-server. The bus runs on the test's loop, so it is away for as long as the test wants. */
#include "bus_fixture.h"
#include "clock.h"
#include "harness/server.h"
#include "harness/until.h"
#include "list.h"

static struct server *real;
static int64_t since_us; /* Unix time before what may be lost */
static int64_t hour_us;  /* that this process's clock is ahead by, now or at first */
static char last_gap[1000];

/* Unix time of "from" or "to". */
static int64_t time_in(const char *json, const char *key)
{
    char mark[16], text[40];
    int64_t us = 0;
    snprintf(mark, sizeof mark, "\"%s\":\"", key);
    const char *value = strstr(json, mark);
    ck_assert_msg(value != NULL, "%s", json);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(value + strlen(mark), "\""),
             value + strlen(mark));
    ck_assert_msg(evb_time_read(text, strlen(text), &us) == 0, "%s", text);
    return us;
}

/* "gap:<cause>:<at most> "; its window lies between what the test knows and now. */
static int on_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    char cause[20];
    int count;
    size_t length;
    (void)sub;
    (void)user;
    snprintf(last_gap, sizeof last_gap, "%s", (const char *)evbus_event_data(event, &length));
    ck_assert_int_eq(
        sscanf(strstr(last_gap, "\"count\""), "\"count\":%d,\"cause\":\"%19[a-z-]", &count, cause),
        2);
    int64_t from_us = time_in(last_gap, "from"), to_us = time_in(last_gap, "to");
    ck_assert_int_le(from_us, to_us);
    ck_assert_int_ge(from_us, since_us);
    ck_assert_int_le(to_us, now_wall_us() + hour_us + 50000); /* the server's, as far as is known */
    tell("gap:%s:%d ", cause, count);
    return 0;
}

static int on_remote(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    tell("%s%s ", evbus_event_origin(event) == EVBUS_ORIGIN_REPLAY ? "r:" : "",
         evbus_event_type(event));
    return 0;
}

/* Another process's events, all of them with Redis when it returns. */
static void others_publish(const char *type, int count, int flags)
{
    evbus_config *config = evbus_config_new();
    evbus_config_set(config, "redis.path", real->socket);
    evbus *other = evbus_open(config);
    evbus_config_free(config);
    expect_connected(other, 10000);
    while (count--) {
        evbus_event *event = evbus_event_new(type);
        ck_assert_int_gt(evbus_publish_event(other, event, flags), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush(other, suite_patience(10000)), 0);
    evbus_free(other);
}

static void start(void)
{
    setup();
    since_us = now_wall_us() - 1000;
    real = server_start(NULL);
    others_publish("x", 1, 0); /* this thread's memory is there now */
    live = failing_live();
}

static evbus_sub *subs[3];

static void end(void)
{
    for (size_t i = 0; i < EVB_COUNT(subs); i++)
        evbus_unsubscribe(subs[i]);
    teardown();
    server_free(real);
}

static void open_here(const char *key, const char *value)
{
    bus = open_on(0, "redis.path", real->socket, "reconnect.backoff", "1ms",
                  "reconnect.backoff.max", "5ms", key, value, NULL);
    ck_assert_msg(bus != NULL, "%s", evbus_last_error());
    static const char inline_now[] = "deliver=inline"; /* in the order in which it is told */
    subs[0] = evbus_subscribe(bus, "evbus.gap", inline_now, on_gap, NULL);
    subs[1] = evbus_subscribe(bus, "a", inline_now, on_remote, NULL);
    subs[2] = evbus_subscribe(bus, "end", inline_now, on_remote, NULL);
    ck_assert(subs[0] && subs[1] && subs[2]);
}

static void connect_here(const char *key, const char *value)
{
    open_here(key, value);
    await_mode(EVBUS_MODE_HYBRID);
    expect("");
}

/* Redis hangs up; the bus will hear of it when its loop runs. */
static void cut(void)
{
    server_command(real, "CLIENT KILL TYPE pubsub");
    server_command(real, "CLIENT KILL TYPE normal");
}

static bool is_back(void *connects)
{
    return evbus_stat(bus, "connects") > *(int64_t *)connects;
}

/* The loop runs until the bus has heard what it missed and one thing more. */
static void expect_back(const char *want)
{
    char last[] = "end ", all[300];
    int64_t connects = evbus_stat(bus, "connects");
    ck_assert(run_until(base, is_back, &connects, suite_patience(10000)));
    others_publish("end", 1, 0);
    await(last);
    snprintf(all, sizeof all, "%send ", want);
    for (char *replayed; (replayed = strstr(story, "r:end"));) /* it came before READY was */
        memmove(replayed, replayed + 2, strlen(replayed + 2) + 1);
    expect(all);
}

/* ---- with history ---- */

START_TEST(nothing_is_lost)
{
    connect_here("history.enabled", "yes");
    others_publish("a", 1, 0);
    char first[] = "a ";
    await(first);
    expect("a ");
    cut();
    others_publish("a", 3, 0);
    expect_back("r:a r:a r:a ");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
    ck_assert_int_ge(evbus_stat(bus, "replayed"), 3);
    cut();
    expect_back("");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 2);
}
END_TEST

static void flush(void)
{
    others_publish("a", 1, 0);
    server_command(real, "FLUSHALL");
    others_publish("a", 2, 0);
}

static void delete_stream(void)
{
    others_publish("a", 3, 0);
    server_command(real, "DEL evbus:history:{0}");
    others_publish("a", 1, 0);
}

static void trim_stream(void)
{
    others_publish("a", 4, 0);
    server_command(real, "XTRIM evbus:history:{0} MAXLEN 1");
}

static void three(void)
{
    others_publish("a", 3, 0);
}

static const struct {
    void (*meanwhile)(void);
    const char *key, *value, *story;
} losses[] = {
    {flush, "history.enabled", "yes", "gap:flushed:-1 r:a r:a "},
    {delete_stream, "history.enabled", "yes", "gap:evicted:3 r:a "},
    {trim_stream, "history.enabled", "yes", "gap:trimmed:3 r:a "},
    {three, "recovery.max.events", "2", "r:a r:a gap:limit:-1 "},
    {three, "recovery.max.events", "3", "r:a r:a r:a "},
    /* without history nobody can tell: the time is the gap, whatever it held */
    {three, "history.enabled", "no", "gap:outage:-1 "},
    {turn, "history.enabled", "no", "gap:outage:-1 "},
};

START_TEST(announced_once)
{
    connect_here(losses[_i].key, losses[_i].value);
    cut();
    int64_t cut_us = now_wall_us();
    if (losses[_i].meanwhile != turn)
        losses[_i].meanwhile();
    expect_back(losses[_i].story);
    bool gap = strstr(losses[_i].story, "gap");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), gap);
    if (gap)
        ck_assert_int_ge(time_in(last_gap, "to"), cut_us / 1000 * 1000);
    cut();
    bool kept = strcmp(losses[_i].value, "no") != 0;
    expect_back(kept ? "" : "gap:outage:-1 ");
}
END_TEST

/* Who has heard what nobody keeps must expect that it missed such, too; others need not. */
START_TEST(unkept)
{
    char first[] = "a ";
    connect_here("history.enabled", "yes");
    cut();
    others_publish("a", 1, EVBUS_NO_HISTORY);
    expect_back(""); /* never heard any */
    others_publish("a", 1, EVBUS_NO_HISTORY);
    await(first);
    expect("a ");
    for (int i = 0; i < 2; i++) {
        cut();
        others_publish("a", 1, EVBUS_NO_HISTORY);
        others_publish("a", 1, 0);
        expect_back("gap:unkept:-1 r:a ");
    }
}
END_TEST

/* Its own events that are not kept are no such sign. */
START_TEST(own_are_not_unkept)
{
    connect_here("history.exclude", "a");
    ck_assert_int_gt(evbus_publish(bus, "a", NULL), 0);
    ck_assert_int_eq(evbus_publish(bus, "end", NULL), EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS);
    char both[] = "a end ";
    await(both);
    story[0] = '\0';
    cut();
    expect_back("");
}
END_TEST

static int64_t slept_us;

static int64_t sleepy_clock(void)
{
    return now_us() - slept_us;
}

/* The monotonic clock stands still meanwhile. Nothing else tells this from a server whose clock is
 * set forward. */
START_TEST(sleeps_while_away)
{
    evb_clock_set(NULL, sleepy_clock);
    connect_here("history.enabled", "yes");
    for (int i = 0; i < 2; i++) {
        cut();
        others_publish("a", 3, 0);
        nap_us(1000000);
        slept_us += 1000000;
        expect_back("r:a r:a r:a ");
    }
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
}
END_TEST

static int64_t ahead_us;

static int64_t wall_clock(void)
{
    return now_wall_us() + ahead_us;
}

/* Forward or back, the window lies around what was missed by the clock before and after. */
START_TEST(the_clock_is_set)
{
    hour_us = INT64_C(3600000000);
    ahead_us = _i ? hour_us : 0;
    evb_clock_set(wall_clock, NULL);
    connect_here("history.enabled", "no");
    int64_t cut_us = now_wall_us();
    cut();
    nap_us(20000);
    ahead_us = hour_us - ahead_us;
    expect_back("gap:outage:-1 ");
    ck_assert_int_le(time_in(last_gap, "from"), cut_us);
    ck_assert_int_ge(time_in(last_gap, "to"), cut_us + hour_us);
}
END_TEST

/* ---- away from the start ---- */

START_TEST(opened_while_away)
{
    server_kill(real);
    open_here("history.enabled", _i ? "no" : "yes");
    int64_t opened_us = now_wall_us();
    while (evbus_stat(bus, "connect_errors") == 0)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    server_run(real);
    others_publish("a", 2, 0);
    expect_back(_i ? "gap:outage:-1 " : "r:a r:a ");
    if (_i) /* from its opening on */
        ck_assert_int_le(time_in(last_gap, "from"), opened_us);
    ck_assert_int_eq(evbus_stat(bus, "gaps"), _i);
}
END_TEST

START_TEST(connected_at_once)
{
    others_publish("a", 3, 0); /* before it was opened: no business of it */
    open_here("history.enabled", _i ? "no" : "yes");
    int64_t none = 0;
    ck_assert(run_until(base, is_back, &none, suite_patience(10000)));
    others_publish("end", 1, 0);
    char last[] = "end ";
    await(last);
    expect("end ");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
}
END_TEST

/* ---- the right to it comes and goes ---- */

START_TEST(history_comes_and_goes)
{
    connect_here("history.enabled", "yes");
    server_command(real, "ACL SETUSER default -eval -evalsha");
    cut();
    expect_back("gap:outage:-1 ");
    cut();
    server_command(real, "ACL SETUSER default +eval +evalsha");
    others_publish("a", 1, 0);
    expect_back("gap:outage:-1 "); /* it does not know from where to read */
    cut();
    others_publish("a", 2, 0);
    expect_back("gap:unkept:-1 r:a r:a "); /* "end" was not kept when the right was gone */
}
END_TEST

/* Until a heartbeat has proven that all before it has come. */
static void prove(void)
{
    int64_t proven_us = bus->redis.heart.fence.proven_us;
    while (bus->redis.heart.fence.proven_us == proven_us)
        event_base_loop(base, EVLOOP_ONCE);
}

/* What came while there was no history is not missed, though none of it is left. */
START_TEST(history_comes_late)
{
    server_command(real, "ACL SETUSER default -eval -evalsha");
    connect_here("redis.ping.interval", "50ms");
    server_command(real, "ACL SETUSER default +eval +evalsha");
    others_publish("a", 4, 0);
    char four[] = "a a a a ";
    await(four);
    expect("a a a a ");
    server_command(real, "XTRIM evbus:history:{0} MAXLEN 1");
    prove();
    cut();
    others_publish("a", 2, 0);
    expect_back("r:a r:a ");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("recover");
    TCase *tests = tcase_create("recover");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, start, end);
    tcase_add_test(tests, nothing_is_lost);
    tcase_add_loop_test(tests, announced_once, 0, (int)EVB_COUNT(losses));
    tcase_add_test(tests, unkept);
    tcase_add_test(tests, own_are_not_unkept);
    tcase_add_test(tests, sleeps_while_away);
    tcase_add_test(tests, history_comes_late);
    tcase_add_loop_test(tests, the_clock_is_set, 0, 2);
    tcase_add_loop_test(tests, opened_while_away, 0, 2);
    tcase_add_loop_test(tests, connected_at_once, 0, 2);
    tcase_add_test(tests, history_comes_and_goes);
    return suite_run(suite, argc, argv);
}
