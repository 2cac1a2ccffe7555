/* test_redis_subs.c - what is wanted, asked, confirmed and refused, over a connection to a script.
 */
#include "harness/failing.h"
#include "harness/scripted.h"
#include "list.h"
#include "redis_subs.h"
#include "harness/check.h"
#include <event2/event.h>
#include <evbus.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct event_base *base;
static struct scripted *server;
static struct evb_loop loop;
static struct evb_metrics metrics;
static struct evb_link conn;
static struct evb_subs subs;
static char story[2000]; /* "+a" live, "-a" refused, "!1" lacks 1 */
static char why[200];
static int last_rc;
static int messages;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static void on_decided(const struct evb_topic *topic, void *user)
{
    ck_assert_ptr_eq(user, &subs);
    ck_assert(topic->state != EVB_TOPIC_NEW && topic->wanted);
    tell("%c%s%s ", topic->state == EVB_TOPIC_LIVE ? '+' : '-', topic->pattern ? "p:" : "",
         topic->name);
}

static void on_lack(enum evb_lack lack, void *user)
{
    ck_assert_ptr_eq(user, &subs);
    tell("!%d ", (int)lack);
}

static void on_up(struct evb_link *link, void *user)
{
    (void)user;
    link->gate.pushes = true;
    evb_subs_start(&subs, link);
    evb_link_flush(link);
}

static void on_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    (void)user;
    if (evb_reply_is_push(reply, "message") || evb_reply_is_push(reply, "pmessage")) {
        messages++;
        return;
    }
    last_rc = evb_subs_reply(&subs, reply, why, sizeof why);
    if (last_rc != 0)
        evb_link_fail(link, last_rc, why);
}

static void on_down(struct evb_link *link, int error, const char *text, void *user)
{
    (void)link;
    (void)user;
    last_rc = error;
    snprintf(why, sizeof why, "%s", text);
    evb_subs_reset(&subs);
    tell("down ");
}

static void come_up(void)
{
    struct evb_address address = {.path = scripted_path(server)};
    last_rc = 0;
    ck_assert_int_eq(evb_link_open(&conn, &address, NULL), 0);
}

static bool is_settled(void *arg)
{
    (void)arg;
    evb_link_flush(&conn);
    return last_rc != 0 || (subs.link && evb_list_empty(&subs.asks));
}

static void settle(const char *want)
{
    ck_assert(run_until(base, is_settled, NULL, 5000));
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

static void setup(void)
{
    static const struct evb_link_hooks hooks = {on_up, on_reply, on_down};
    failing_install();
    base = event_base_new();
    server = scripted_start(base);
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    evb_metrics_init(&metrics);
    evb_subs_init(&subs, on_decided, on_lack, &subs);
    evb_link_init(&conn, &loop, &metrics, "subscriber", 1 << 20, &hooks, &subs);
}

static void teardown(void)
{
    evb_link_close(&conn);
    evb_subs_fini(&subs);
    scripted_free(server);
    evb_loop_fini(&loop);
    event_base_free(base);
    ck_assert_int_eq(failing_live(), 0);
}

static void add(const char *name, bool pattern)
{
    ck_assert_int_eq(evb_subs_add(&subs, name, strlen(name), pattern), 0);
}

static void drop(const char *name, bool pattern)
{
    evb_subs_remove(&subs, name, strlen(name), pattern);
}

START_TEST(confirmed)
{
    add("a", false);
    add("a", false); /* once is enough */
    add("a", true);  /* a pattern is another thing */
    ck_assert_uint_eq(subs.pending, 2);
    come_up();
    settle("+a +p:a ");
    ck_assert_uint_eq(subs.pending, 0);
    ck_assert_int_eq(scripted_count(server, "SUBSCRIBE"), 1);
    ck_assert_int_eq(scripted_count(server, "PSUBSCRIBE"), 1);
    add("b", false);
    ck_assert_int_eq(evb_subs_ping(&subs), 0);
    add("c", false);
    settle("+b +c ");
    ck_assert_str_eq(scripted_last(server, "SUBSCRIBE"), "subscribe c");
    ck_assert_int_eq(scripted_publish(server, "b", "x", 1), 1);
    drop("b", false);
    drop("b", false);
    drop("nobody", true);
    settle("");
    ck_assert_int_eq(scripted_count(server, "UNSUBSCRIBE"), 1);
    ck_assert_int_eq(scripted_publish(server, "b", "x", 1), 0);
    ck_assert_uint_eq(subs.channels.count, 2);
    ck_assert_int_eq(messages, 1);
}
END_TEST

START_TEST(not_connected)
{
    ck_assert_int_eq(evb_subs_ping(&subs), 0); /* nobody to ask */
    add("a", false);
    drop("a", false);
    ck_assert_uint_eq(subs.pending, 0);
    ck_assert_uint_eq(subs.channels.count, 0);
    add("b", false);
    come_up();
    settle("+b ");
}
END_TEST

START_TEST(refused)
{
    add("a", false);
    scripted_answer(server, "SUBSCRIBE", "-NOPERM User joe has no permissions\r\n", 1);
    come_up();
    settle("-a ");
    ck_assert_uint_eq(subs.pending, 0);
    add("b", false);
    settle("+b ");
    drop("a", false); /* there is nothing to take back */
    settle("");
    ck_assert_int_eq(scripted_count(server, "UNSUBSCRIBE"), 0);
    add("a", false); /* the list may have changed meanwhile */
    settle("+a ");
    scripted_answer(server, "PSUBSCRIBE", "-NOPERM x\r\n", 0);
    add("p", true);
    settle("-p:p ");
    scripted_answer(server, "PSUBSCRIBE", NULL, 0);
    evb_link_close(&conn); /* each connection asks anew, the refused too */
    evb_subs_reset(&subs);
    ck_assert_uint_eq(subs.pending, 3);
    come_up();
    ck_assert(run_until(base, is_settled, NULL, 5000));
    ck_assert(strstr(story, "+p:p ") && strstr(story, "+a ") && strstr(story, "+b "));
}
END_TEST

/* Wanted, not wanted, wanted again, all before the first answer. */
START_TEST(changed_while_asked)
{
    come_up();
    ck_assert(run_until(base, is_settled, NULL, 5000));
    add("a", false);
    drop("a", false);
    add("a", false);
    drop("b", false);
    add("b", false);
    drop("b", false);
    ck_assert_uint_eq(subs.pending, 1);
    settle("+a "); /* told once */
    ck_assert_uint_eq(subs.pending, 0);
    ck_assert_uint_eq(subs.channels.count, 1);
    drop("a", false);
    add("a", false);
    ck_assert_uint_eq(subs.pending, 1);
    settle("+a ");
    ck_assert_int_eq(scripted_publish(server, "a", "x", 1), 1);
    /* refused the first time, confirmed the second */
    scripted_answer(server, "SUBSCRIBE", "-NOPERM x\r\n", 1);
    add("c", false);
    drop("c", false);
    add("c", false);
    settle("+c ");
    scripted_answer(server, "UNSUBSCRIBE", "-NOPERM x\r\n", 1);
    drop("c", false);
    settle("!3 ");
    ck_assert_uint_eq(subs.channels.count, 1);
}
END_TEST

START_TEST(reset_in_the_middle)
{
    add("a", false);
    scripted_answer(server, "SUBSCRIBE", "", 0);
    come_up();
    run_for(base, 5);
    add("b", false);
    drop("a", false);
    ck_assert_uint_eq(subs.pending, 1);
    ck_assert_uint_eq(subs.channels.count, 2);
    evb_link_close(&conn);
    evb_subs_reset(&subs);
    ck_assert_uint_eq(subs.pending, 1);
    ck_assert_uint_eq(subs.channels.count, 1); /* a was kept for its answers only */
    evb_subs_reset(&subs);
    ck_assert_uint_eq(subs.pending, 1);
    scripted_answer(server, "SUBSCRIBE", NULL, 0);
    come_up();
    settle("+b ");
}
END_TEST

/* A second drop while asking for everything again, each time with many. */
START_TEST(drops_while_resubscribing)
{
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "c%d", i);
        add(name, i % 2);
    }
    for (int round = 0; round < 5; round++) {
        come_up();
        while (scripted_count(server, "SUBSCRIBE") < round * 3 + 3)
            event_base_loop(base, EVLOOP_ONCE);
        evb_link_close(&conn);
        evb_subs_reset(&subs);
        ck_assert_uint_eq(subs.pending, 20);
    }
    story[0] = '\0';
    come_up();
    ck_assert(run_until(base, is_settled, NULL, 5000));
    ck_assert_uint_eq(subs.pending, 0);
}
END_TEST

/* ---- hostile answers to SUBSCRIBE a, or to PING ---- */

static const struct {
    const char *command, *answer;
    int error;
    const char *why;
} hostile[] = {
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$2\r\nab\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$0\r\n\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$10\r\npsubscribe\r\n$1\r\na\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n:1\r\n:2\r\n:3\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "+OK\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "$9\r\nsubscribe\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n", EVBUS_EPARSE, "not the answer"},
    {"SUBSCRIBE", ":1\r\n", EVBUS_EPARSE, "a number or nil"},
    {"SUBSCRIBE", "*1\r\n$1\r\na\r\n", EVBUS_EPARSE, "a length that"},
    {"SUBSCRIBE", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", EVBUS_EPARSE, "RESP3"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n+OK\r\n", EVBUS_EPARSE,
     "nobody asked for"},
    {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n-ERR out of the blue\r\n",
     EVBUS_EPARSE, "out of the blue"},
    {"SUBSCRIBE", "-NOAUTH Authentication required.\r\n", EVBUS_EAUTH, "subscribe refused: NOAUTH"},
    {"SUBSCRIBE", "-ERR unknown\r\n", EVBUS_EREMOTE, "subscribe refused: ERR unknown"},
    {"SUBSCRIBE", "-LOADING x\r\n", EVBUS_EREMOTE, "LOADING"},
    {"PING", "*2\r\n$4\r\npong\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"PING", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", EVBUS_EPARSE, "not the answer"},
    {"PING", "-NOAUTH x\r\n", EVBUS_EAUTH, "NOAUTH"},
};

START_TEST(hostile_answers)
{
    scripted_answer(server, hostile[_i].command, hostile[_i].answer, 0);
    add("a", false);
    come_up();
    if (!strcmp(hostile[_i].command, "PING")) {
        settle("+a ");
        ck_assert_int_eq(evb_subs_ping(&subs), 0);
    }
    ck_assert(run_until(base, is_settled, NULL, 5000));
    if (last_rc == 0) /* the first part was right */
        while (last_rc == 0)
            event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(last_rc, hostile[_i].error);
    ck_assert_msg(strstr(why, hostile[_i].why) != NULL, "%s", why);
    ck_assert_uint_eq(subs.pending, 1);
}
END_TEST

/* A status is a PONG, too: with no subscription left Redis answers so. */
START_TEST(pong_without_subscriptions)
{
    add("a", false);
    come_up();
    settle("+a ");
    scripted_answer(server, "PING", "+PONG\r\n", 1);
    evb_subs_ping(&subs);
    settle("");
}
END_TEST

/* An error that passes is an answer, too: Redis that cannot save refuses PING, and goes on sending. */
START_TEST(pings_are_refused_for_now)
{
    static const char *const errors[] = {"-MISCONF x\r\n", "-BUSY x\r\n", "-LOADING x\r\n"};
    add("a", false);
    come_up();
    settle("+a ");
    scripted_answer(server, "PING", errors[_i], 2);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(evb_subs_ping(&subs), 0);
    settle("");
    ck_assert_int_eq(last_rc, 0);
    ck_assert(evb_list_empty(&subs.asks));
}
END_TEST

/* A refusal is an answer: the connection lives on, and it is told what is missing. */
START_TEST(rights_that_are_missing)
{
    char want[40];
    add("a", false);
    add("p", true);
    come_up();
    settle("+a +p:p ");
    scripted_answer(server, "PING", "-NOPERM x\r\n", 0);
    scripted_answer(server, "UNSUBSCRIBE", "-NOPERM x\r\n", 0);
    scripted_answer(server, "PUNSUBSCRIBE", "-NOPERM x\r\n", 0);
    evb_subs_ping(&subs);
    evb_subs_remove(&subs, "a", 1, false);
    evb_subs_remove(&subs, "p", 1, true);
    snprintf(want, sizeof want, "!%d !%d !%d ", EVB_LACK_PING, EVB_LACK_UNSUBSCRIBE,
             EVB_LACK_PUNSUBSCRIBE);
    settle(want);
    ck_assert_int_eq(last_rc, 0);
}
END_TEST

static const struct {
    const char *refusal, *channel, *pattern;
} refusals[] = {
    {"-NOPERM x\r\n", "+subscribe and &a", "+psubscribe and &p (word for word)"},
    {"-NOPERM to run the 'x' command\r\n", "+subscribe", "+psubscribe"},
    {"-NOPERM to access a channel\r\n", "&a", "&p (word for word)"},
};

START_TEST(refused_is_asked_for_again)
{
    char right[EVB_RIGHT_TEXT];
    scripted_answer(server, "SUBSCRIBE", refusals[_i].refusal, 1);
    scripted_answer(server, "PSUBSCRIBE", refusals[_i].refusal, 2);
    evb_subs_again(&subs); /* no link: nothing to ask */
    add("a", false);
    add("p", true);
    come_up();
    settle("-a -p:p ");
    evb_topic_lacks(evb_map_get(&subs.channels, "a", 1), right, sizeof right);
    ck_assert_str_eq(right, refusals[_i].channel);
    evb_topic_lacks(evb_map_get(&subs.patterns, "p", 1), right, sizeof right);
    ck_assert_str_eq(right, refusals[_i].pattern);
    evb_subs_again(&subs);
    ck_assert_uint_eq(subs.pending, 2);
    settle("+a -p:p ");
    evb_subs_again(&subs);
    ck_assert_uint_eq(subs.pending, 1);
    evb_subs_remove(&subs, "p", 1, true);
    settle("");
    ck_assert_uint_eq(subs.pending, 0);
    evb_subs_again(&subs);
    ck_assert(evb_list_empty(&subs.asks));
}
END_TEST

/* Every n-th allocation fails: the call says so and nothing stays half wanted, or the link drops
 * and all is asked anew. */
START_TEST(no_memory)
{
    bool failed = true;
    add("first", false);
    come_up();
    settle("+first ");
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 100);
        failing_at(n, _i);
        int rc = evb_subs_add(&subs, "a", 1, false);
        int rc2 = evb_subs_add(&subs, "p", 1, true);
        evb_link_flush(&conn);
        failed = failing_off();
        ck_assert(rc == 0 || rc == EVBUS_ENOMEM);
        ck_assert(failed || (rc == 0 && rc2 == 0));
        ck_assert_uint_eq(subs.pending, (size_t)((rc == 0) + (rc2 == 0) + !conn.context));
        if (!conn.context)
            come_up();
        if (rc != 0)
            add("a", false); /* the second try is like a first one */
        if (rc2 != 0)
            add("p", true);
        ck_assert(run_until(base, is_settled, NULL, 5000));
        ck_assert_uint_eq(subs.pending, 0);
        ck_assert(strstr(story, "+a ") && strstr(story, "+p:p "));
        ck_assert_int_eq(scripted_publish(server, "a", "x", 1), 1);
        drop("a", false);
        drop("p", true);
        ck_assert(run_until(base, is_settled, NULL, 5000));
        ck_assert_uint_eq(subs.channels.count, 1);
        ck_assert_uint_eq(subs.patterns.count, 0);
        story[0] = '\0';
    }
}
END_TEST

/* What Redis counts, and the count of what may have changed it. */
START_TEST(matching)
{
    add("a.b", false);
    add("a.*", true);
    add("*", true);
    add("c", false);
    ck_assert_int_eq(evb_subs_matching(&subs, "a.b", 3), 0); /* none is there yet */
    uint64_t before = subs.changes;
    come_up();
    ck_assert(run_until(base, is_settled, NULL, 5000));
    ck_assert_uint_ne(subs.changes, before);
    before = subs.changes;
    ck_assert_int_eq(evb_subs_matching(&subs, "a.b", 3), 3);
    ck_assert_int_eq(evb_subs_matching(&subs, "a.c", 3), 2);
    ck_assert_int_eq(evb_subs_matching(&subs, "c", 1), 2);
    ck_assert_int_eq(evb_subs_matching(&subs, "", 0), 1);
    ck_assert_uint_eq(subs.changes, before);
    drop("*", true);
    ck_assert_uint_ne(subs.changes, before);
    ck_assert_int_eq(evb_subs_matching(&subs, "a.b", 3), 2); /* whether it is or is not yet */
    before = subs.changes;
    ck_assert(run_until(base, is_settled, NULL, 5000));
    scripted_answer(server, "SUBSCRIBE", "-NOPERM no\r\n", 1);
    add("d", false);
    ck_assert(run_until(base, is_settled, NULL, 5000));
    ck_assert_int_eq(evb_subs_matching(&subs, "d", 1), 0);
    before = subs.changes;
    evb_subs_reset(&subs);
    ck_assert_uint_ne(subs.changes, before);
    ck_assert_int_eq(evb_subs_matching(&subs, "a.b", 3), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis subs");
    TCase *tests = tcase_create("redis subs");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, confirmed);
    tcase_add_test(tests, not_connected);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, changed_while_asked);
    tcase_add_test(tests, reset_in_the_middle);
    tcase_add_test(tests, drops_while_resubscribing);
    tcase_add_loop_test(tests, hostile_answers, 0, (int)EVB_COUNT(hostile));
    tcase_add_test(tests, pong_without_subscriptions);
    tcase_add_loop_test(tests, pings_are_refused_for_now, 0, 3);
    tcase_add_test(tests, matching);
    tcase_add_test(tests, rights_that_are_missing);
    tcase_add_loop_test(tests, refused_is_asked_for_again, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, no_memory, 0, 2);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
