/* test_redis_pair_dial.c - a name becomes two connections: what is looked up, read, checked. */
#include "pair_fixture.h"
#include <unistd.h>

/* ---- where it is ---- */

/* The addresses of a name are tried in turn, and tried from the first one again. */
START_TEST(addresses)
{
    static const char *const ends[] = {"handshake ready ", "dialing handshake ready ",
                                       "dialing dialing handshake ready ",
                                       "dialing dialing backoff "};
    char want[100];
    set.path = "";
    set.backoff_ms = set.backoff_max_ms = 1000000;
    ck_assert_int_eq(open_redis(), 0);
    for (int i = 0; i < 3; i++)
        redis.target.addresses[i].path = i == _i ? scripted_path(server) : "/nowhere";
    redis.target.count = 3;
    be_found(NULL);
    await(_i < 3 ? EVB_REDIS_READY : EVB_REDIS_BACKOFF);
    snprintf(want, sizeof want, "resolving dialing %s", ends[_i]);
    ck_assert_str_eq(story, want);
    ck_assert_int_eq(evb_metrics_read(&metrics, EVB_COUNT_connect_errors), _i);
    ck_assert_int_eq(redis.backoff.attempts, _i == 3);
    if (_i == 3)
        expect_fault(EVBUS_ESYS, "No such file");
    story[0] = '\0';
    lose(EVBUS_ESYS, "x"); /* what was connected is not tried elsewhere before its time */
    ck_assert_str_eq(story, _i < 3 ? "backoff " : "");
}
END_TEST

START_TEST(found_nowhere)
{
    open_at_rest();
    be_found("nobody knows it");
    ck_assert_str_eq(story, "resolving backoff ");
    ck_assert_str_eq(last_why, "nobody knows it");
    expect_fault(EVBUS_ENOENT, "nobody knows it");
}
END_TEST

/* By the resolver. Port 1 has nobody who listens. */
static const struct {
    const char *host, *story;
    int error;
} names[] = {
    {"localhost", "resolving dialing ", EVBUS_ESYS},
    {"no such name", "resolving backoff ", EVBUS_ENOENT},
    {"127.0.0.1", "dialing backoff ", EVBUS_ESYS}, /* no name */
};

START_TEST(a_name)
{
    set.path = "";
    set.host = names[_i].host;
    set.backoff_ms = set.backoff_max_ms = 1000000;
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_msg(strstr(story, names[_i].story) == story, "%s", story);
    expect_fault(names[_i].error, "");
}
END_TEST

START_TEST(no_memory_for_a_lookup)
{
    set.path = "";
    set.host = "localhost";
    open_at_rest();
    failing_at(0, false);
    start();
    ck_assert(failing_off());
    ck_assert_str_eq(story, "resolving backoff ");
    expect_fault(EVBUS_ENOMEM, "");
}
END_TEST

START_TEST(starts_from_rest_alone)
{
    bool rests = _i == EVB_REDIS_OFF || _i == EVB_REDIS_BACKOFF;
    open_at_rest();
    atomic_store(&redis.state, _i);
    atomic_store(&redis.retry_at_ms, 1);
    start();
    ck_assert_str_eq(story, rests ? "dialing " : "");
    ck_assert_int_eq(atomic_load(&redis.retry_at_ms), !rests);
    ck_assert_int_eq(is_pending(redis.timer), rests);
    if (!rests)
        atomic_store(&redis.state, EVB_REDIS_OFF);
}
END_TEST

/* ---- what is read, and checked, before ---- */

static const struct {
    const char *host, *path; /* path NULL: the server's */
    const char *password, *password_file;
    const char *ca_file; /* NULL: no TLS */
    int error;
    const char *why;
    bool load; /* evb_redis_load() finds it, too */
} obstacles[] = {
    {"x", NULL, "", "/nowhere/password", NULL, EVBUS_ESYS, "redis.password.file", true},
    {"x", NULL, "", "", "/nowhere/ca.crt", EVBUS_ETLS, "/nowhere/ca.crt", true},
    {"192.0.2.1", "", "secret", "", NULL, EVBUS_EAUTH, "auth.plaintext=no", false},
    {"0.0.0.0", "", "secret", "", "", EVBUS_ESYS, "refused", false}, /* by who does not listen */
    {"x", "/nowhere/socket", "", "", NULL, EVBUS_ESYS, "No such file", false},
};

START_TEST(dials_in_vain)
{
    const char *ca_file = obstacles[_i].ca_file;
    set.host = obstacles[_i].host;
    set.path = obstacles[_i].path ? obstacles[_i].path : set.path;
    set.login.password = obstacles[_i].password;
    set.login.password_file = obstacles[_i].password_file;
    set.login.plaintext = false;
    set.tls = (struct evb_tls_settings){
        ca_file != NULL, EVB_TLS_FULL, EVB_TLS_1_2, ca_file ? ca_file : "", "", "", "", "x"};
    set.backoff_ms = set.backoff_max_ms = 1000000;
    open_at_rest();
    ck_assert_int_eq(evb_redis_load(&redis), obstacles[_i].load ? obstacles[_i].error : 0);
    start();
    await(EVB_REDIS_BACKOFF);
    ck_assert_str_eq(story, "dialing backoff ");
    expect_fault(obstacles[_i].error, obstacles[_i].why);
    ck_assert_msg(strstr(last_why, obstacles[_i].why) != NULL, "%s", last_why);
    ck_assert_ptr_null(redis.publisher.context);
    ck_assert_ptr_null(redis.subscriber.context);
}
END_TEST

static char password_path[] = "/tmp/evbus-pair-XXXXXX";

static void write_password(const char *password)
{
    FILE *file = fopen(password_path, "we");
    ck_assert_ptr_nonnull(file);
    fputs(password, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* Each attempt reads it again. */
START_TEST(the_password_changes)
{
    close(mkstemp(password_path));
    write_password("first");
    set.login.password_file = password_path;
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_READY);
    ck_assert_str_eq(scripted_last(server, "HELLO"), "HELLO 2 AUTH default first");
    write_password("second");
    story[0] = '\0';
    scripted_close(server, SCRIPTED_PUBLISHER);
    await_story("ready ");
    ck_assert_str_eq(scripted_last(server, "HELLO"), "HELLO 2 AUTH default second");
    remove(password_path);
}
END_TEST

/* Each allocation fails once: no connection is left half open. */
START_TEST(no_memory_to_dial)
{
    int failures = 0;
    set.max_retries = 0;
    ck_assert_int_eq(open_redis(), 0);
    for (bool failed = true; failed; failures += failed) {
        ck_assert_int_lt(failures, 100);
        story[0] = '\0';
        redis.backoff.attempts = 0;
        failing_at(failures, false);
        start();
        failed = failing_off();
        ck_assert_str_eq(story, failed ? "dialing backoff off " : "dialing ");
        ck_assert_int_eq(redis.publisher.context != NULL, !failed);
        ck_assert_int_eq(redis.subscriber.context != NULL, !failed);
        if (failed)
            expect_fault(EVBUS_ENOMEM, "");
    }
    ck_assert_int_ge(failures, 2); /* one of each connection */
    await(EVB_REDIS_READY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis pair dial");
    TCase *tests = tcase_create("redis pair dial");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, addresses, 0, 4);
    tcase_add_test(tests, found_nowhere);
    tcase_add_loop_test(tests, a_name, 0, (int)EVB_COUNT(names));
    tcase_add_test(tests, no_memory_for_a_lookup);
    tcase_add_loop_test(tests, starts_from_rest_alone, 0, EVB_REDIS_STATES);
    tcase_add_loop_test(tests, dials_in_vain, 0, (int)EVB_COUNT(obstacles));
    tcase_add_test(tests, the_password_changes);
    tcase_add_test(tests, no_memory_to_dial);
    return run_suite(suite);
}
