/* test_redis_login.c - the password's file, and where a password may go. */
#include "redis_login.h"
#include "unit.h"
#include <evbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CANARY "CANARY-7f3a"

static char path[64], lines[1000];
static struct evb_log logger;

static void on_log(int level, const char *line, void *user)
{
    size_t at = strlen(lines);
    (void)user;
    snprintf(lines + at, sizeof lines - at, "%d %s\n", level, line);
}

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/evbus-login-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    lines[0] = '\0';
    evb_log_init(&logger, "test", EVBUS_LOG_DEBUG);
    evb_log_set(&logger, EVBUS_LOG_DEBUG, on_log, NULL);
}

static void teardown(void)
{
    remove(path);
}

static void write_file(const char *bytes, size_t length)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

static struct evb_login login_of(const char *password, const char *file)
{
    return (struct evb_login){.username = "",
                              .password = password,
                              .password_file = file,
                              .client_name = "",
                              .plaintext = true};
}

START_TEST(file_holds_it)
{
    static const char *const forms[] = {CANARY, CANARY "\n", CANARY "\r\n"};
    struct evb_login login = login_of("other", path);
    ck_assert_str_eq(evb_login_password(&login), "");
    for (size_t i = 0; i < EVB_COUNT(forms); i++) {
        write_file(forms[i], strlen(forms[i]));
        ck_assert_int_eq(evb_login_load(&login), 0);
        ck_assert_str_eq(evb_login_password(&login), CANARY);
    }
    write_file("two words \n\n", 12); /* one line's end is the file's, all else the password's */
    ck_assert_int_eq(evb_login_load(&login), 0);
    ck_assert_str_eq(evb_login_password(&login), "two words \n");
    evb_login_fini(&login);
    login = login_of("direct", "");
    ck_assert_int_eq(evb_login_load(&login), 0);
    ck_assert_str_eq(evb_login_password(&login), "direct");
}
END_TEST

/* The one from before stays: a file that is just being written is no reason to forget it. */
START_TEST(file_is_no_good)
{
    char *large = calloc(1, 65537);
    struct evb_login login = login_of("", path);
    write_file("good", 4);
    ck_assert_int_eq(evb_login_load(&login), 0);
    memset(large, 'x', 65537);
    const struct {
        const char *bytes;
        size_t length;
        const char *says;
    } bad[] = {{"", 0, "empty"},
               {"\n", 1, "empty"},
               {CANARY "\0x", sizeof CANARY + 1, "NUL byte"},
               {large, 65537, "larger than 64 KiB"}};
    for (size_t i = 0; i < EVB_COUNT(bad); i++) {
        write_file(bad[i].bytes, bad[i].length);
        ck_assert_int_eq(evb_login_load(&login), EVBUS_ESYS);
        ck_assert_msg(strstr(evbus_last_error(), bad[i].says), "%s", evbus_last_error());
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "redis.password.file: "));
        ck_assert_ptr_null(strstr(evbus_last_error(), "CANARY"));
        ck_assert_str_eq(evb_login_password(&login), "good");
    }
    write_file(large, 65536);
    ck_assert_int_eq(evb_login_load(&login), 0);
    remove(path);
    ck_assert_int_eq(evb_login_load(&login), EVBUS_ESYS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "No such file"));
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* without a writer it must not hang */
    ck_assert_int_eq(evb_login_load(&login), EVBUS_ESYS);
    evb_login_fini(&login);
    free(large);
}
END_TEST

static const struct {
    const char *host, *path, *password;
    bool tls, exposed;
} ways[] = {
    {"10.0.0.7", NULL, CANARY, false, true},
    {"10.0.0.7", NULL, CANARY, true, false},
    {"10.0.0.7", NULL, "", false, false},
    {"127.0.0.1", NULL, CANARY, false, false},
    {"127.9.9.9", NULL, CANARY, false, false},
    {"::1", NULL, CANARY, false, false},
    {"::ffff:127.0.0.1", NULL, CANARY, false, false},
    {"::ffff:10.0.0.7", NULL, CANARY, false, true},
    {"2001:db8::1", NULL, CANARY, false, true},
    {"", "/run/redis.sock", CANARY, false, false},
};

START_TEST(where_it_may_go)
{
    struct evb_address address = {.path = ways[_i].path};
    struct evb_login login = login_of(ways[_i].password, "");
    snprintf(address.host, sizeof address.host, "%s", ways[_i].host);
    ck_assert_int_eq(evb_login_check(&login, &address, ways[_i].tls, &logger), 0);
    ck_assert_int_eq(strstr(lines, "unencrypted") != NULL, ways[_i].exposed);
    lines[0] = '\0';
    ck_assert_int_eq(evb_login_check(&login, &address, ways[_i].tls, &logger), 0);
    ck_assert_str_eq(lines, ""); /* once is enough */
    login.plaintext = false;
    ck_assert_int_eq(evb_login_check(&login, &address, ways[_i].tls, &logger),
                     ways[_i].exposed ? EVBUS_EAUTH : 0);
    if (ways[_i].exposed)
        ck_assert_msg(strstr(evbus_last_error(), "auth.plaintext=no") != NULL &&
                          strstr(evbus_last_error(), ways[_i].host) != NULL &&
                          !strstr(evbus_last_error(), "CANARY"),
                      "%s", evbus_last_error());
}
END_TEST

static void load_once(bool fails)
{
    struct evb_login login = login_of("", path);
    int rc = evb_login_load(&login);
    ck_assert_int_eq(rc, fails && memory_failed() ? EVBUS_ENOMEM : 0);
    evb_login_fini(&login);
}

START_TEST(memory_runs_out)
{
    write_file("good", 4);
    ck_assert_int_ge(memory_fail_each(load_once), 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_login");
    TCase *tests = unit_case(suite, "redis_login");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, file_holds_it);
    tcase_add_test(tests, file_is_no_good);
    tcase_add_loop_test(tests, where_it_may_go, 0, (int)EVB_COUNT(ways));
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
