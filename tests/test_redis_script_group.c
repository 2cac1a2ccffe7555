/* test_redis_script_group.c - the scripts of groups, run by a real redis-server: who gets what, and
 * that nothing is lost or doubled by running one twice. */
#include "harness/until.h"
#include "script_fixture.h"

#define STREAM "g:workers:a"

/* A member of the group on channel a; {known, made, last, entries ever}. */
#define MEMBER(name, ttl_ms)                                                                       \
    run(EVB_SCRIPT_MEMBER, "3", "g", "g:" name ":a", "bell", "a", name, ttl_ms, "control", "9000", \
        NULL)
#define SPECIAL(which, keep, key, entry, ...)                                                      \
    run(EVB_SCRIPT_APPEND, "5", "s", "t", "m", "l", "g", "0", "1", "0", "60000", "100", "1000000", \
        "1", which, keep, key, entry, __VA_ARGS__, NULL)

static const char *results(const char *reply)
{
    const char *at = strchr(reply, ' ');
    return *reply == '{' && at ? at + 1 : reply;
}

/* One entry for consumer `who`: its id, and in `story` what it holds. */
static const char *take(const char *who)
{
    static char id[64];
    char *text = server_text(server, "XREADGROUP GROUP evbus %s COUNT 1 STREAMS " STREAM " >", who);
    char *line = strchr(text, '\n');
    snprintf(story, sizeof story, "%s", line ? line + 1 : "");
    free(text);
    char *end = strchr(story, '\n');
    if (!end)
        return NULL;
    *end = '\0';
    snprintf(id, sizeof id, "%.60s", story);
    memmove(story, end + 1, strlen(end + 1) + 1);
    for (char *at = story; *at; at++)
        *at = *at == '\n' ? ' ' : *at;
    for (size_t n = strlen(story); n && story[n - 1] == ' ';)
        story[--n] = '\0';
    return id;
}

static long long pending(void)
{
    char *text = server_text(server, "XPENDING " STREAM " evbus");
    long long n = atoll(text);
    free(text);
    return n;
}

/* The server's clock has gone on by some milliseconds. */
static void nap_past(void)
{
    char *from = server_text(server, "TIME"), *now = NULL;
    long long begin = atoll(from) * 1000000 + atoll(strchr(from, '\n') + 1), at = begin;
    for (struct wait w = wait_for(5000); at < begin + 5000 && wait_more(&w);) {
        free(now);
        now = server_text(server, "TIME");
        at = atoll(now) * 1000000 + atoll(strchr(now, '\n') + 1);
    }
    free(from), free(now);
    ck_assert_int_ge(at, begin + 5000);
}

static void publish_one(const char *first)
{
    run(EVB_SCRIPT_APPEND, "5", "s", "t", "m", "l", "g", "0", first, "0", "60000", "100", "1000000",
        "0", "a", "{", NULL);
}

/* Who may not see which groups there are passes none by in silence. */
START_TEST(groups_are_hidden)
{
    MEMBER("w", "60000");
    server_command(server, "ACL SETUSER default -hget");
    const char *special = SPECIAL("1", "no", "", "", "a", "{");
    ck_assert_msg(strstr(special, "GROUP ") != NULL, "%s", special);
    publish_one("2"); /* it is kept, and its publisher knows of no group */
    ck_assert_int_eq(server_command(server, "XLEN s"), 1);
    server_command(server, "ACL SETUSER default +hget");
}
END_TEST

START_TEST(announces)
{
    ck_assert_str_eq(MEMBER("workers", "60000"), "{0 1 0-0 0}");
    ck_assert_str_eq(MEMBER("workers", "60000"), "{1 0 0-0 0}");
    ck_assert_str_eq(MEMBER("audit", "60000"), "{0 1 0-0 0}");
    const char *text = ask("HGET g %s", "a");
    ck_assert_msg(!strncmp(text, "workers=", 8) && strstr(text, " audit="), "%s", text);
    ck_assert_str_eq(ask("HGET g %s", ""), "1"); /* there are groups */
    server_command(server, "DEL " STREAM);
    ck_assert_str_eq(MEMBER("workers", "60000"), "{1 1 0-0 0}"); /* somebody has deleted it */
    server_command(server, "SET " STREAM " x");
    ck_assert_int_eq(strncmp(MEMBER("workers", "60000"), "!WRONGTYPE", 10), 0);
    ck_assert_int_gt(server_command(server, "PTTL bell"), 0);
}
END_TEST

/* What the registry knows goes to each group, kept or not, whatever the publisher knows. */
START_TEST(hands_out)
{
    publish_one("1"); /* before there was a group */
    MEMBER("workers", "60000");
    MEMBER("audit", "60000");
    ck_assert_str_eq(results(SPECIAL("2", "no", "", "", "a", "{", "a", "{", "b", "{")),
                     "1 -1 0 0}");
    ck_assert_int_eq(server_command(server, "XLEN s"), 2); /* 1, and that of b */
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 1);
    ck_assert_int_eq(server_command(server, "XLEN g:audit:a"), 1);
    ck_assert_ptr_nonnull(take("one"));
    ck_assert_str_eq(story, "e {}"); /* without a position */
    publish_one("4");
    ck_assert_ptr_nonnull(take("one"));
    ck_assert_msg(strstr(story, "\"position\":\""), "%s", story);
    publish_one("4"); /* sent again */
    ck_assert_ptr_null(take("one"));
}
END_TEST

START_TEST(tells_whom_it_did_not_reach)
{
    MEMBER("workers", "60000");
    server_command(server, "SET " STREAM " x");
    ck_assert_int_eq(
        strncmp(results(SPECIAL("2", "no", "", "", "a", "{", "a", "{")), "0 GROUP WRONGTYPE", 17),
        0);
    ck_assert_msg(strstr(story, "} GROUP") || strstr(story, " GROUP WRONGTYPE"), "%s", story);
    ck_assert_int_eq(server_command(server, "XLEN s"), 1);
    server_command(server, "SET s x");
    ck_assert_str_ne(ask("GET s", NULL), "");
}
END_TEST

START_TEST(settles)
{
    MEMBER("workers", "60000");
    publish_one("1"), publish_one("2");
    char first[64], second[64];
    snprintf(first, sizeof first, "%s", take("one"));
    snprintf(second, sizeof second, "%s", take("one"));
    ck_assert_str_eq(run(EVB_SCRIPT_SETTLE, "1", STREAM, first, second, NULL), "2");
    ck_assert_str_eq(run(EVB_SCRIPT_SETTLE, "1", STREAM, first, second, NULL), "0");
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 0);
    ck_assert_int_eq(pending(), 0);
}
END_TEST

/* As an entry of its own, with what it had; never one that is settled. */
START_TEST(gives_back)
{
    MEMBER("workers", "60000");
    publish_one("1");
    char first[64], second[64];
    snprintf(first, sizeof first, "%s", take("one"));
    ck_assert_str_eq(run(EVB_SCRIPT_REQUEUE, "1", STREAM, first, "1", NULL), "1");
    ck_assert_str_eq(run(EVB_SCRIPT_REQUEUE, "1", STREAM, first, "1", NULL), "0");
    snprintf(second, sizeof second, "%s", take("two"));
    ck_assert_str_ne(first, second);
    ck_assert_msg(strstr(story, " a 1"), "%s", story);
    ck_assert_str_eq(run(EVB_SCRIPT_REQUEUE, "1", STREAM, second, "2", NULL), "1");
    snprintf(first, sizeof first, "%s", take("two"));
    ck_assert_msg(strstr(story, " a 3"), "%s", story);
    ck_assert_str_eq(run(EVB_SCRIPT_SETTLE, "1", STREAM, first, NULL), "1");
    ck_assert_str_eq(run(EVB_SCRIPT_REQUEUE, "1", STREAM, first, "1", NULL), "0");
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 0);
}
END_TEST

START_TEST(takes_over)
{
    MEMBER("workers", "60000");
    publish_one("1"), publish_one("2");
    ck_assert_ptr_nonnull(take("dead"));
    ck_assert_ptr_nonnull(take("alive"));
    ck_assert_str_eq(run(EVB_SCRIPT_TAKEOVER, "1", STREAM, "60000", "10", "", NULL), "{0 0}");
    ck_assert_str_eq(run(EVB_SCRIPT_TAKEOVER, "1", STREAM, "0", "1", "", NULL), "{1 1}");
    ck_assert_str_eq(ask("XPENDING " STREAM " evbus - + 9 dead", NULL), "");
    ck_assert_int_eq(pending(), 1);
    ck_assert_ptr_nonnull(take("alive"));
    ck_assert_msg(strstr(story, " a 1"), "%s", story);
    ck_assert_str_eq(run(EVB_SCRIPT_TAKEOVER, "1", STREAM, "60000", "1", "alive", NULL), "{0 0}");
    ck_assert_int_eq(pending(), 2); /* it has something in hand: it stays */
}
END_TEST

/* Somebody has deleted who had it in hand. */
START_TEST(finds_what_nobody_has)
{
    MEMBER("workers", "60000");
    publish_one("1"), publish_one("2"), publish_one("3");
    ck_assert_ptr_nonnull(take("one"));
    ck_assert_ptr_nonnull(take("two"));
    ck_assert_int_eq(server_command(server, "XGROUP DELCONSUMER " STREAM " evbus one"), 1);
    ck_assert_str_eq(run(EVB_SCRIPT_TAKEOVER, "1", STREAM, "60000", "10", "", NULL), "{1 0}");
    ck_assert_str_eq(run(EVB_SCRIPT_TAKEOVER, "1", STREAM, "60000", "10", "", NULL), "{0 0}");
    ck_assert_int_eq(pending(), 1);
    ck_assert_ptr_nonnull(take("two")); /* the third */
    ck_assert_ptr_nonnull(take("two"));
    ck_assert_msg(strstr(story, " a 0"), "%s", story);
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 3);
}
END_TEST

/* A dead letter and the acknowledgement are one step, and only the first counts. */
START_TEST(settles_with_an_event)
{
    MEMBER("workers", "60000");
    publish_one("1");
    char id[64];
    snprintf(id, sizeof id, "%s", take("one"));
    server_command(server, "DEL m");
    ck_assert_str_eq(results(SPECIAL("1", "yes", STREAM, id, "a.dead", "{")), "1 0}");
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 0);
    ck_assert_int_eq(server_command(server, "XLEN s"), 2);
    server_command(server, "DEL m"); /* another bus's, say */
    ck_assert_str_eq(results(SPECIAL("1", "yes", STREAM, id, "a.dead", "{")), "2 -1}");
    ck_assert_int_eq(server_command(server, "XLEN s"), 2);
}
END_TEST

START_TEST(forgets_who_has_no_members)
{
    MEMBER("workers", "1");
    MEMBER("audit", "60000");
    publish_one("1");
    nap_past();
    ck_assert_str_eq(run(EVB_SCRIPT_FORGET, "1", "g", "control", "0", NULL), "{a workers 1}");
    ck_assert_str_eq(run(EVB_SCRIPT_FORGET, "1", "g", "control", "0", NULL), "{}");
    ck_assert_int_eq(server_command(server, "EXISTS " STREAM " g:audit:a"), 1);
    ck_assert_int_eq(strncmp(ask("HGET g %s", "a"), "audit=", 6), 0);
    MEMBER("audit", "1");
    nap_past();
    ck_assert_str_eq(run(EVB_SCRIPT_FORGET, "1", "g", "control", "60000", NULL),
                     "{}"); /* not yet */
    ck_assert_str_eq(run(EVB_SCRIPT_FORGET, "1", "g", "control", "0", NULL), "{a audit 1}");
    ck_assert_str_eq(ask("HGET g %s", "a"), "");
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis script group");
    TCase *all = tcase_create("groups");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 30);
    tcase_add_test(all, groups_are_hidden);
    tcase_add_test(all, announces);
    tcase_add_test(all, hands_out);
    tcase_add_test(all, tells_whom_it_did_not_reach);
    tcase_add_test(all, settles);
    tcase_add_test(all, gives_back);
    tcase_add_test(all, takes_over);
    tcase_add_test(all, finds_what_nobody_has);
    tcase_add_test(all, settles_with_an_event);
    tcase_add_test(all, forgets_who_has_no_members);
    suite_add_tcase(suite, all);
    return suite_run(suite, argc, argv);
}
