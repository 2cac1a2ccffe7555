/* test_open.c - opening a bus, on its own thread and on the caller's loop, and what it says when
 * its link changes. */
#include "bus_fixture.h"
#include "list.h"
#include <dirent.h>
#include <jansson.h>

static char log_lines[4000];

static void on_log(int level, const char *line, void *user)
{
    size_t at = strlen(log_lines);
    (void)user;
    snprintf(log_lines + at, sizeof log_lines - at, "%d %s\n", level, line);
}

static int entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static json_t *last_data;

/* Data of system events is JSON, whatever stood in the reason. */
static int on_system(evbus_sub *sub, evbus_event *event, void *user)
{
    size_t length;
    const char *data = evbus_event_data(event, &length);
    (void)sub;
    (void)user;
    json_decref(last_data);
    last_data = data ? json_loadb(data, length, 0, NULL) : NULL;
    ck_assert_msg(last_data != NULL, "%s: %s", evbus_event_type(event), data ? data : "no data");
    tell("%s ", evbus_event_type(event));
    return 0;
}

static const char *member(const char *name)
{
    const char *text = json_string_value(json_object_get(last_data, name));
    return text ? text : "";
}

START_TEST(says_what_happens)
{
    bus = open_on(true, "reconnect.backoff", "1ms", "reconnect.backoff.max", "1ms", NULL);
    evbus_sub *sub = evbus_subscribe(bus, "evbus.*", NULL, on_system, NULL);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    await("evbus.mode ");
    ck_assert_str_eq(member("from"), "degraded");
    ck_assert_str_eq(member("to"), "hybrid");
    expect("evbus.started evbus.mode ");
    if (_i) {
        scripted_answer(server, "HELLO", "-ERR \xff\x01\" {\xc3\r\n", 1);
        scripted_send(server, SCRIPTED_PUBLISHER, "-ERR \xff\r\n", 8);
    } else {
        scripted_close(server, SCRIPTED_PUBLISHER);
    }
    await("evbus.mode ");
    ck_assert_str_eq(member("to"), "degraded");
    ck_assert_str_ne(member("reason"), "");
    await("evbus.gap ");
    ck_assert_str_ne(member("reason"), "");
    ck_assert_str_le(member("from"), member("to"));
    expect("evbus.mode evbus.mode evbus.gap ");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 1);
    evbus_unsubscribe(sub);
    json_decref(last_data);
    last_data = NULL;
}
END_TEST

START_TEST(tells_the_outbox)
{
    scripted_listen(server, false);
    bus = open_on(true, "outbox.events", "10", "reconnect.backoff", "1ms", "reconnect.backoff.max",
                  "1ms", NULL);
    evbus_sub *sub = evbus_subscribe(bus, "evbus.outbox", NULL, on_system, NULL);
    for (int i = 0; i < 9; i++)
        evbus_publish(bus, "t", NULL);
    await("evbus.outbox ");
    ck_assert_str_eq(member("level"), "high");
    scripted_listen(server, true);
    await("evbus.outbox evbus.outbox ");
    ck_assert_str_eq(member("level"), "low");
    evbus_unsubscribe(sub);
    json_decref(last_data);
}
END_TEST

START_TEST(gives_up_and_is_told_to_try)
{
    scripted_listen(server, false);
    bus = open_on(true, "reconnect.max.retries", "1", "reconnect.backoff", "1ms",
                  "reconnect.backoff.max", "1ms", NULL);
    while (evbus_stat(bus, "connect_errors") < 2)
        event_base_loop(base, EVLOOP_ONCE);
    run_for(base, 10);
    ck_assert_int_eq(evbus_stat(bus, "connect_errors"), 2);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(evbus_wait_connected(bus, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_wait_connected(bus, 10), EVBUS_EDEADLK);
    scripted_listen(server, true);
    ck_assert_int_eq(evbus_reconnect(bus), 0);
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_reconnect(bus), 0); /* it is there: nothing happens */
    turn();
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_stat(bus, "connects"), 1);
}
END_TEST

START_TEST(needs_no_redis)
{
    bus = open_on(false, NULL);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_LOCAL_ONLY);
    ck_assert_int_eq(evbus_wait_connected(bus, 0), EVBUS_ENOTSUP);
    ck_assert_int_eq(evbus_reconnect(bus), EVBUS_ENOTSUP);
    ck_assert_ptr_null(evbus_open_on(NULL, NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
}
END_TEST

/* Settings without effect are said in the log, not swallowed; levels hold. */
START_TEST(logs)
{
    evbus_set_log(NULL, _i, on_log, NULL);
    bus = open_on(true, "redis.pool.size", "10", "bus.name", "logger", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(strstr(log_lines, "redis.pool.size") != NULL, _i >= EVBUS_LOG_INFO);
    ck_assert_int_eq(strstr(log_lines, "-> ready") != NULL, _i == EVBUS_LOG_DEBUG);
    ck_assert(!log_lines[0] || strstr(log_lines, "logger: "));
    ck_assert_int_eq(evbus_set_log(bus, EVBUS_LOG_DEBUG + 1, on_log, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_set_log(bus, 0, NULL, NULL), 0);
    log_lines[0] = '\0';
    evbus_free(bus);
    bus = NULL;
    ck_assert_str_eq(log_lines, "");
    evbus_set_log(NULL, -1, NULL, NULL);
    live = failing_live();
}
END_TEST

/* ---- two buses on one loop, and the same one after the other ---- */

START_TEST(neighbours)
{
    bus = open_on(true, NULL);
    evbus *first = bus;
    evbus_sub *one = subscribe("t", NULL, "1");
    bus = open_on(true, NULL);
    evbus_sub *two = subscribe("t", NULL, "2");
    ck_assert_str_ne(evbus_node(first), evbus_node(bus));
    await_mode(EVBUS_MODE_HYBRID);
    while (evbus_mode(first) != EVBUS_MODE_HYBRID)
        turn();
    evbus_publish(first, "t", NULL);
    await("2t ");
    ck_assert_ptr_nonnull(strstr(story, "1t "));
    ck_assert_int_eq(strlen(story), 6);
    evbus_free(first);
    evbus_publish(bus, "t", NULL);
    turn();
    ck_assert_int_eq(evbus_sub_stat(two, "delivered"), 2);
    evbus_unsubscribe(one);
    evbus_unsubscribe(two);
}
END_TEST

/* Freed in every state on its way up: no thread, descriptor or byte stays. */
START_TEST(freed_on_the_way_up)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "no.such.host.example"};
    for (int turns = 0; turns < 12; turns++) {
        int fds = entries("/proc/self/fd");
        bus = _i < 3 ? open_on(false, "redis.host", hosts[_i], "redis.port", "1", NULL)
                     : open_on(true, NULL);
        ck_assert_ptr_nonnull(bus);
        evbus_sub *sub = subscribe("t", NULL, "");
        evbus_publish(bus, "t", NULL);
        for (int i = 0; i < turns; i++)
            event_base_loop(base, EVLOOP_NONBLOCK);
        evbus_free(bus);
        bus = NULL;
        evbus_unsubscribe(sub);
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        run_for(base, 1);
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        ck_assert_int_eq(failing_live(), live);
        ck_assert_int_eq(entries("/proc/self/fd"), fds);
    }
}
END_TEST

START_TEST(own_thread)
{
    int fds = entries("/proc/self/fd");
    for (int i = 0; i < 20; i++) {
        bus = evbus_open(NULL);
        ck_assert_ptr_nonnull(bus);
        evbus_publish(bus, "t", NULL);
        evbus_free(bus);
        bus = NULL;
        ck_assert_int_eq(entries("/proc/self/fd"), fds);
    }
    live = failing_live(); /* that thread's record is kept for the next */
}
END_TEST

/* ---- no memory ---- */

/* Every n-th allocation fails: NULL and nothing left, or a bus that works. */
START_TEST(no_memory)
{
    bool failed = true, own = _i >= 2;
    if (own) { /* the record of the loop's thread stays */
        evbus_free(evbus_open(NULL));
        live = failing_live();
    }
    evbus_config *config = evbus_config_new();
    evbus_config_set(config, "redis.path", scripted_path(server));
    long before = failing_live();
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 200);
        failing_at(n, _i % 2);
        bus = own ? evbus_open(config) : evbus_open_on(base, config);
        if (!own || !bus) /* a running loop allocates when it likes */
            failed = failing_off();
        ck_assert(bus || (failed && evbus_last_code() == EVBUS_ENOMEM));
        failed = failing_off() || !bus;
        if (bus && !own)
            await_mode(EVBUS_MODE_HYBRID);
        evbus_free(bus);
        bus = NULL;
        run_for(base, 1);
        ck_assert_int_eq(failing_live(), before);
    }
    evbus_config_free(config);
}
END_TEST

/* Every n-th allocation of the loop fails while the bus comes up: it comes up all the same. */
START_TEST(no_memory_on_the_way_up)
{
    bool failed = true;
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 300);
        bus = open_on(true, "reconnect.backoff", "1ms", "reconnect.backoff.max", "1ms", NULL);
        evbus_sub *sub = subscribe("t", NULL, "");
        failing_at(n, false);
        await_mode(EVBUS_MODE_HYBRID);
        evbus_publish(bus, "u", NULL);
        turn();
        failed = failing_off();
        await_mode(EVBUS_MODE_HYBRID);
        evbus_free(bus);
        bus = NULL;
        evbus_unsubscribe(sub);
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        run_for(base, 1);
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        ck_assert_int_eq(failing_live(), live);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("open");
    TCase *tests = tcase_create("open");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, says_what_happens, 0, 2);
    tcase_add_test(tests, tells_the_outbox);
    tcase_add_test(tests, gives_up_and_is_told_to_try);
    tcase_add_test(tests, needs_no_redis);
    tcase_add_loop_test(tests, logs, 0, EVBUS_LOG_DEBUG + 1);
    tcase_add_test(tests, neighbours);
    tcase_add_loop_test(tests, freed_on_the_way_up, 0, 4);
    tcase_add_test(tests, own_thread);
    tcase_add_loop_test(tests, no_memory, 0, 4);
    tcase_add_test(tests, no_memory_on_the_way_up);
    return run(suite);
}
