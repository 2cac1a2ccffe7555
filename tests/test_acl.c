/* test_acl.c - rights by name: from Redis's refusals, for channels of every kind. */
#include "acl.h"
#include "list.h"
#include "harness/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *error;
    bool refuses;
    enum evb_right right;
} refusals[] = {
    /* 6.0, 6.2, 7.0, 7.2 */
    {"NOPERM this user has no permissions to run the 'publish' command or its subcommand", true,
     EVB_RIGHT_COMMAND},
    {"NOPERM this user has no permissions to access one of the channels used as arguments", true,
     EVB_RIGHT_CHANNEL},
    {"NOPERM User channel has no permissions to run the 'client|setname' command", true,
     EVB_RIGHT_COMMAND},
    {"NOPERM No permissions to access a channel", true, EVB_RIGHT_CHANNEL},
    {"NOPERM", true, EVB_RIGHT_BOTH},
    {"NOPERM something new", true, EVB_RIGHT_BOTH},
    /* of commands in a script: 6.2, 7.0, 7.2 */
    {"@user_script: 18: The user executing the script can't run this command or subcommand", true,
     EVB_RIGHT_COMMAND},
    {"ERR The user executing the script can't run this command or subcommand", true,
     EVB_RIGHT_COMMAND},
    {"ERR The user executing the script can't run this command or subcommand script: f_01, on "
     "@user_script:18.",
     true, EVB_RIGHT_COMMAND},
    {"ERR The user executing the script can't publish to the channel mentioned in the command",
     true, EVB_RIGHT_CHANNEL},
    {"ERR The user executing the script can't access at least one of the keys mentioned in the "
     "command arguments",
     true, EVB_RIGHT_BOTH},
    {"NOPERM ACL failure in script: User x has no permissions to run the 'publish' command", true,
     EVB_RIGHT_COMMAND},
    {"ERR ACL failure in script: No permissions to access a channel", true, EVB_RIGHT_CHANNEL},
    {"ERR user_script:18: Script attempted to access nonexistent global variable", false,
     EVB_RIGHT_BOTH},
    {"NOAUTH Authentication required.", false, EVB_RIGHT_BOTH},
    {"ERR NOPERM", false, EVB_RIGHT_BOTH},
    {"", false, EVB_RIGHT_BOTH},
};

START_TEST(from_refusals)
{
    ck_assert_int_eq(evb_acl_refuses(refusals[_i].error), refusals[_i].refuses);
    ck_assert_int_eq(evb_acl_right(refusals[_i].error), refusals[_i].right);
}
END_TEST

#define BOTH    EVB_RIGHT_BOTH
#define COMMAND EVB_RIGHT_COMMAND
#define CHANNEL EVB_RIGHT_CHANNEL

static const struct {
    struct evb_need need;
    const char *name;
} needs[] = {
    {{COMMAND, "publish", EVB_CHANNEL_EXACT, "a", 1}, "+publish"},
    {{CHANNEL, "publish", EVB_CHANNEL_EXACT, "abc", 2}, "&ab"},
    {{BOTH, "publish", EVB_CHANNEL_EXACT, "a", 1}, "+publish and &a"},
    {{CHANNEL, "subscribe", EVB_CHANNEL_EXACT, "a*[b]?\\", 7}, "&a\\*\\[b\\]\\?\\\\"},
    {{CHANNEL, "subscribe", EVB_CHANNEL_PREFIX, "p*:", 3}, "&p\\*:*"},
    {{CHANNEL, "psubscribe", EVB_CHANNEL_PATTERN, "p\\*.[a]*", 8}, "&p\\*.[a]* (word for word)"},
    {{BOTH, "psubscribe", EVB_CHANNEL_PATTERN, "*", 1}, "+psubscribe and &* (word for word)"},
    {{CHANNEL, "publish", EVB_CHANNEL_EXACT, NULL, 0}, "&"},
};

START_TEST(by_name)
{
    char name[EVB_RIGHT_TEXT];
    evb_acl_name(name, sizeof name, &needs[_i].need);
    ck_assert_str_eq(name, needs[_i].name);
    for (size_t room = 1; room < 40; room++) { /* cut, and nothing behind it written */
        char *little = malloc(room);
        evb_acl_name(little, room, &needs[_i].need);
        ck_assert_uint_lt(strlen(little), room);
        ck_assert_int_eq(strncmp(little, name, strlen(little)), 0);
        free(little);
    }
}
END_TEST

static char logged[2000];

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    ck_assert_int_eq(level, EVBUS_LOG_WARNING);
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static const char *const lacks_say[EVB_LACKS] = {
    "+client|setname", "+ping", "+hello", "+unsubscribe",
    "+punsubscribe",   "+word", "+word",  "+word",
};

START_TEST(told_once)
{
    struct evb_log log;
    struct evb_lacks lacks = {&log, 0};
    evb_log_init(&log, "test", EVBUS_LOG_WARNING);
    evb_log_set(&log, EVBUS_LOG_WARNING, on_log, NULL);
    for (int lack = 0; lack < EVB_LACKS; lack++) {
        logged[0] = '\0';
        for (int again = 0; again < 2; again++)
            evb_lacks_tell(&lacks, (enum evb_lack)lack, lack >= EVB_LACK_FENCE ? "+word" : NULL);
        char *say = strstr(logged, lacks_say[lack]);
        ck_assert_msg(say && strstr(say, "; without it "), "%s", logged);
        ck_assert_uint_eq(strchr(logged, '\n') - logged + 1, strlen(logged)); /* one line */
    }
    evb_log_fini(&log);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acl");
    TCase *tests = tcase_create("rights");
    tcase_add_loop_test(tests, from_refusals, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, by_name, 0, (int)EVB_COUNT(needs));
    tcase_add_test(tests, told_once);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
