/* test_url.c - every form of a Redis URL, and that nothing of a bad one is told. */
#include "list.h"
#include "url.h"
#include "harness/check.h"
#include <evbus.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    const char *host, *path, *username, *password; /* NULL: not in the URL */
    int port, db;
    const char *shown; /* NULL: as the text */
} good[] = {
    {"redis://", NULL, NULL, NULL, NULL, -1, -1, NULL},
    {"redis:///", NULL, NULL, NULL, NULL, -1, -1, NULL},
    {"redis:///3", NULL, NULL, NULL, NULL, -1, 3, NULL},
    {"redis://h", "h", NULL, NULL, NULL, -1, -1, NULL},
    {"REDIS://h", "h", NULL, NULL, NULL, -1, -1, "redis://h"},
    {"redis://h/", "h", NULL, NULL, NULL, -1, -1, NULL},
    {"redis://h:7000", "h", NULL, NULL, NULL, 7000, -1, NULL},
    {"redis://h:", "h", NULL, NULL, NULL, -1, -1, NULL},
    {"redis://:7000", NULL, NULL, NULL, NULL, 7000, -1, NULL},
    {"redis://h:65535/15", "h", NULL, NULL, NULL, 65535, 15, NULL},
    {"redis://h?db=2", "h", NULL, NULL, NULL, -1, 2, NULL},
    {"redis://h/?db=2", "h", NULL, NULL, NULL, -1, 2, NULL},
    {"redis://h?", "h", NULL, NULL, NULL, -1, -1, NULL},
    {"redis://u:pw@h:1/2", "h", NULL, "u", "pw", 1, 2, "redis://****@h:1/2"},
    {"redis://:pw@h", "h", NULL, NULL, "pw", -1, -1, "redis://****@h"},
    {"redis://u@h", "h", NULL, "u", NULL, -1, -1, "redis://****@h"},
    {"redis://u:@h", "h", NULL, "u", NULL, -1, -1, "redis://****@h"},
    {"redis://@h", "h", NULL, NULL, NULL, -1, -1, "redis://****@h"},
    {"redis://u:a:b@h", "h", NULL, "u", "a:b", -1, -1, "redis://****@h"},
    {"redis://u:a@b@h", "h", NULL, "u", "a@b", -1, -1, "redis://****@h"},
    {"redis://u%3A:%2Fp%40%25%c3%A9@h", "h", NULL, "u:", "/p@%\xc3\xa9", -1, -1, "redis://****@h"},
    {"redis://[::1]", "::1", NULL, NULL, NULL, -1, -1, NULL},
    {"redis://[::1]:7000/1", "::1", NULL, NULL, NULL, 7000, 1, NULL},
    {"redis://u:pw@[fe80::1%25eth0]:1", "fe80::1%eth0", NULL, "u", "pw", 1, -1,
     "redis://****@[fe80::1%25eth0]:1"},
    {"unix:///run/redis.sock", NULL, "/run/redis.sock", NULL, NULL, -1, -1, NULL},
    {"unix:///a%20b?db=7", NULL, "/a b", NULL, NULL, -1, 7, NULL},
    {"unix://u:pw@/run/r.sock?db=1", NULL, "/run/r.sock", "u", "pw", -1, 1,
     "unix://****@/run/r.sock?db=1"},
    {"unix://:pw@/r@1.sock", NULL, "/r@1.sock", NULL, "pw", -1, -1, "unix://****@/r@1.sock"},
};

static void same(const char *what, const char *text, const char *got, const char *want)
{
    ck_assert_msg(got == want || (got && want && strcmp(got, want) == 0), "%s: %s is %s", text,
                  what, got ? got : "NULL");
}

START_TEST(taken)
{
    struct evb_url url;
    const char *text = good[_i].text;

    ck_assert_msg(evb_url_parse("L", text, &url) == 0, "%s: %s", text, evbus_last_error());
    same("host", text, url.host, good[_i].host);
    same("path", text, url.path, good[_i].path);
    same("username", text, url.username, good[_i].username);
    same("password", text, url.password, good[_i].password);
    same("shown", text, url.shown, good[_i].shown ? good[_i].shown : text);
    ck_assert_int_eq(url.port, good[_i].port);
    ck_assert_int_eq(url.db, good[_i].db);
    ck_assert_int_eq(url.tls, strncasecmp(text, "rediss:", 7) == 0);
    evb_url_fini(&url);
    ck_assert_ptr_null(url.password);
}
END_TEST

/* CANARY stands wherever somebody may have put a secret. */
static const struct {
    const char *text;
    int error;
    const char *says;
} bad[] = {
    {"", EVBUS_EINVAL, "begins with redis://"},
    {"CANARY", EVBUS_EINVAL, "begins with redis://"},
    {"CANARY://CANARY", EVBUS_EINVAL, "begins with redis://"},
    {"http://u:CANARY@h", EVBUS_EINVAL, "begins with redis://"},
    {"redis:/u:CANARY@h", EVBUS_EINVAL, "begins with redis://"},
    {"u:CANARY@h:6379", EVBUS_EINVAL, "begins with redis://"},
    {"rediss:/u:CANARY@h", EVBUS_EINVAL, "begins with redis://"},
    {"RediSS://u:CANARY@h:x", EVBUS_EINVAL, "port must be"},
    {"redis-sentinel://u:CANARY@h1,h2/m", EVBUS_ENOTSUP, "Sentinel"},
    {"redis-cluster://u:CANARY@h1,h2", EVBUS_ENOTSUP, "Cluster"},
    {"redis://u:CANARY/CANARY@h", EVBUS_EINVAL, "port must be a whole number from 1 to 65535"},
    {"redis://u:CANARY?CANARY@h", EVBUS_EINVAL, "port must be"},
    {"redis://u:123/CANARY@h", EVBUS_EINVAL, "database must be"},
    {"redis://u:123?CANARY@h", EVBUS_EINVAL, "only db="},
    {"redis://u:12#CANARY@h", EVBUS_EINVAL, "'#'"},
    {"redis://u:CANARY%zz@h", EVBUS_EINVAL, "two hex digits"},
    {"redis://u:CANARY%@h", EVBUS_EINVAL, "two hex digits"},
    {"redis://u:CANARY%4@h", EVBUS_EINVAL, "two hex digits"},
    {"redis://u:CANARY%00@h", EVBUS_EINVAL, "not 00"},
    {"redis://u:CANARY@h:0", EVBUS_EINVAL, "port must be"},
    {"redis://u:CANARY@h:65536", EVBUS_EINVAL, "port must be"},
    {"redis://u:CANARY@h:-1", EVBUS_EINVAL, "port must be"},
    {"redis://u:CANARY@h:99999999999999999999", EVBUS_EINVAL, "port must be"},
    {"redis://u:CANARY@h:1x", EVBUS_EINVAL, "port must be"},
    {"redis://u:CANARY@h/x", EVBUS_EINVAL, "database must be"},
    {"redis://u:CANARY@h/-1", EVBUS_EINVAL, "database must be"},
    {"redis://u:CANARY@h/1/2", EVBUS_EINVAL, "database must be"},
    {"redis://u:CANARY@h/1?db=1", EVBUS_EINVAL, "twice"},
    {"redis://u:CANARY@h?db=", EVBUS_EINVAL, "database must be"},
    {"redis://u:CANARY@h?db=1&db=2", EVBUS_EINVAL, "twice"},
    {"redis://u:CANARY@h?password=CANARY", EVBUS_EINVAL, "only db="},
    {"redis://u:CANARY@::1:6379", EVBUS_EINVAL, "stands in [ ]"},
    {"redis://u:CANARY@[::1", EVBUS_EINVAL, "[ ]"},
    {"redis://u:CANARY@[::1]x", EVBUS_EINVAL, "[ ]"},
    {"unix://", EVBUS_EINVAL, "unix:///path"},
    {"unix:///", EVBUS_EINVAL, "unix:///path"},
    {"unix://CANARY/path", EVBUS_EINVAL, "unix:///path"},
    {"unix://u:CANARY/x@/path", EVBUS_EINVAL, "unix:///path"},
    {"unix://u:CANARY@", EVBUS_EINVAL, "unix:///path"},
    {"unix:///a%00b", EVBUS_EINVAL, "not 00"},
};

START_TEST(refused)
{
    struct evb_url url;
    int error = evb_url_parse("REDIS_URL", bad[_i].text, &url);
    const char *says = evbus_last_error();

    ck_assert_msg(error == bad[_i].error, "%s: %d", bad[_i].text, error);
    ck_assert_msg(strncmp(says, "REDIS_URL: ", 11) == 0, "%s: %s", bad[_i].text, says);
    ck_assert_msg(strstr(says, bad[_i].says) != NULL, "%s: %s", bad[_i].text, says);
    ck_assert_msg(!strstr(says, "CANARY"), "%s", says);
    ck_assert_ptr_null(url.password);
    ck_assert_ptr_null(url.shown);
}
END_TEST

START_TEST(hostile)
{
    static char text[200001];
    struct evb_url url;

    memset(text, ':', sizeof text - 1);
    memcpy(text, "redis://", 8);
    ck_assert_int_eq(evb_url_parse("L", text, &url), EVBUS_EINVAL);
    memset(text + 8, '@', sizeof text - 9);
    ck_assert_int_eq(evb_url_parse("L", text, &url), 0);
    evb_url_fini(&url);
    memset(text + 8, '%', sizeof text - 9);
    ck_assert_int_eq(evb_url_parse("L", text, &url), EVBUS_EINVAL);
    memset(text + 8, '?', sizeof text - 9);
    ck_assert_int_eq(evb_url_parse("L", text, &url), EVBUS_EINVAL);
    memset(text + 8, '&', sizeof text - 9);
    text[8] = '?';
    ck_assert_int_eq(evb_url_parse("L", text, &url), EVBUS_EINVAL);
    memset(text + 8, '[', sizeof text - 9);
    ck_assert_int_eq(evb_url_parse("L", text, &url), EVBUS_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("url");
    TCase *tests = tcase_create("url");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, taken, 0, (int)EVB_COUNT(good));
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(bad));
    tcase_add_test(tests, hostile);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
