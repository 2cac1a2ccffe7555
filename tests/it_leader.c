/* it_leader.c - leader=NAME: three processes, of which one handles, whatever happens to it. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "share/leader_book.h"
#include "share/leader_member.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MEMBERS = 3, SOON = 20000, TTL_MS = 1000 };

#define FAST "reconnect.backoff=10ms reconnect.backoff.max=50ms redis.ping.interval=300ms "

static struct server *server;
static evbus *from;
static struct leader_member members[MEMBERS];

static void begin(const char *pattern, const char *options, const char *settings)
{
    server = server_start("appendonly yes\nappendfsync always");
    from =
        server_bus(server, "bus.name", "from", "outbox.full", "reject", "reconnect.backoff", "10ms",
                   "reconnect.backoff.max", "50ms", "redis.ping.interval", "300ms", NULL);
    expect_connected(from, SOON);
    for (int i = 0; i < MEMBERS; i++) {
        memset(&members[i], 0, sizeof members[i]);
        snprintf(members[i].book, sizeof members[i].book, "%s/book.%d", suite_folder(), i);
        snprintf(members[i].pattern, sizeof members[i].pattern, "%s", pattern);
        snprintf(members[i].options, sizeof members[i].options, "%s", options);
        snprintf(members[i].settings, sizeof members[i].settings, "bus.name=m%d %s", i, settings);
        remove(members[i].book);
        leader_member_start(&members[i], server);
        ck_assert_int_eq(leader_member_ask(&members[i], "wait %d", suite_patience(SOON)), 0);
    }
}

static void end(void)
{
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].child.pid)
            leader_member_end(&members[i]);
    bus_end(from);
    server_free(server);
}

/* Who leads, as it says itself; -1: nobody. */
static int leader(void)
{
    int who = -1;
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].child.pid && leader_member_ask(&members[i], "sub leading") > 0) {
            ck_assert_int_eq(who, -1);
            who = i;
        }
    return who;
}

static void publish(int first, int last)
{
    for (int n = first; n <= last; n++)
        while (publish_numbered(from, "t.n", 0, n) < 0)
            nap_us(1000);
}

static struct leader_book read_books(void)
{
    const char *paths[MEMBERS];
    struct leader_book book;
    for (int i = 0; i < MEMBERS; i++)
        paths[i] = members[i].book;
    leader_book_read(&book, paths, MEMBERS);
    return book;
}

/* All of 1..count were handled, by one at a time, the one with the highest number; how many calls
 * more there were than events. */
static int expect_all(int count)
{
    struct wait wait = wait_for(SOON);
    const struct leader_line *first = NULL;
    struct leader_book book = read_books();
    while (leader_book_lost(&book, count, NULL) && wait_more(&wait)) {
        leader_book_free(&book);
        book = read_books();
    }
    ck_assert_int_eq(leader_book_lost(&book, count, NULL), 0);
    ck_assert_uint_eq(leader_book_unnumbered(&book), 0);
    size_t overlaps = leader_book_overlaps(&book, &first);
    ck_assert_msg(overlaps == 0, "member %d began %d with an old number", first ? first->member : 0,
                  first ? first->number : 0);
    int more = (int)leader_book_count(&book, LEADER_EVENT, -1) - count;
    leader_book_free(&book);
    return more;
}

/* And in order: of one publisher. */
static int expect_handled(int count)
{
    int more = expect_all(count);
    struct leader_book book = read_books();
    ck_assert_int_eq(leader_book_reordered(&book), 0);
    leader_book_free(&book);
    return more;
}

static size_t calls_of(int member)
{
    struct leader_book book = read_books();
    size_t count = leader_book_count(&book, LEADER_EVENT, member) +
                   leader_book_count(&book, LEADER_POLL, member);
    leader_book_free(&book);
    return count;
}

static void await_leader(int not_this)
{
    struct wait wait = wait_for(SOON);
    int who;
    while (((who = leader()) < 0 || who == not_this) && wait_more(&wait))
        ;
    ck_assert_int_ge(who, 0);
    ck_assert_int_ne(who, not_this);
}

static const char *const ways[] = {"leader=c", "leader=c deliver=workers key=all",
                                   "leader=c size=20 scope=redis"};

/* ---- one at a time ---- */

START_TEST(one_handles)
{
    begin("t.*", ways[_i], "workers=3");
    int who = leader();
    ck_assert_int_eq(who, 0); /* it was the first to ask */
    publish(1, 2000);
    ck_assert_int_eq(expect_handled(2000), 0);
    for (int i = 0; i < MEMBERS; i++)
        ck_assert_uint_eq(calls_of(i), i == who ? 2000 : 0);
    end();
}
END_TEST

/* What came between death and takeover, and what the dead one had in hand, comes to the next. */
START_TEST(killed)
{
    begin("t.*", ways[_i], "workers=3 lease.ttl=1s");
    int done = 0;
    for (int round = 0; round < 3; round++) {
        int who = leader();
        leader_member_ask(&members[who], "hold 2");
        publish(done + 1, done + 50);
        int64_t killed_us = leader_boot_us();
        int64_t fence = leader_member_ask(&members[who], "sub leading");
        leader_member_kill(&members[who]);
        publish(done + 51, done + 100);
        done += 100;
        int more = expect_handled(done);
        struct leader_book book = read_books();
        int64_t took_us = leader_book_next_us(&book, killed_us, fence) - killed_us;
        leader_book_free(&book);
        printf("figure: takeover after kill -9: %lld ms (lease.ttl=1s), %d handled again\n",
               (long long)took_us / 1000, more);
        ck_assert_int_gt(took_us, 0);
        ck_assert_int_lt(took_us, suite_patience(5 * TTL_MS) * 1000);
        leader_member_start(&members[who], server);
        ck_assert_int_eq(leader_member_ask(&members[who], "wait %d", suite_patience(SOON)), 0);
    }
    end();
}
END_TEST

/* Nobody waits for a lease that was given back, however long it was to last. */
START_TEST(clean_end)
{
    begin("t.*", ways[0], "lease.ttl=60s");
    for (int round = 0; round < 4; round++) {
        int who = leader();
        int64_t left_us = leader_boot_us();
        if (round % 2)
            leader_member_end(&members[who]);
        else
            leader_member_ask(&members[who], "unsubscribe");
        publish(round * 50 + 1, round * 50 + 50);
        ck_assert_int_eq(expect_handled(round * 50 + 50), 0); /* the place went with it */
        ck_assert_int_lt(leader_boot_us() - left_us, suite_patience(3000) * 1000);
        if (round % 2)
            leader_member_start(&members[who], server);
        else
            leader_member_ask(&members[who], "subscribe");
        ck_assert_int_eq(leader_member_ask(&members[who], "wait %d", suite_patience(SOON)), 0);
        ck_assert_int_ne(leader(), who);
    }
    end();
}
END_TEST

/* ---- stopped, and going on ---- */

/* It had events in hand, and begins no call with them when it may run again. */
START_TEST(stopped)
{
    begin("t.*", _i ? "leader=c deliver=workers key=all" : "leader=c", "workers=2 lease.ttl=1s");
    int who = leader();
    leader_member_ask(&members[who], "hold 5");
    publish(1, 200);
    struct wait wait = wait_for(SOON);
    while (calls_of(who) < 20 && wait_more(&wait))
        ;
    kill(members[who].child.pid, SIGSTOP);
    ck_assert_int_eq(waitpid(members[who].child.pid, NULL, WUNTRACED), members[who].child.pid);
    size_t before = calls_of(who); /* it runs on for a moment after kill(2) */
    expect_handled(200);           /* by somebody else */
    publish(201, 220);
    expect_handled(220);
    kill(members[who].child.pid, SIGCONT);
    publish(221, 300);
    expect_handled(300);
    ck_assert_uint_eq(calls_of(who), before);
    wait = wait_for(SOON); /* its loop has to run again to know */
    while (leader_member_ask(&members[who], "sub leading") != 0 && wait_more(&wait))
        ;
    ck_assert_int_eq(leader_member_ask(&members[who], "sub leading"), 0);
    ck_assert_int_gt(leader_member_ask(&members[who], "stat not_leading"), 0);
    ck_assert_int_eq(leader_member_ask(&members[who], "stat leases_lost"), 1);
    end();
}
END_TEST

/* A loop that was held up for longer than its lease, while nobody else was there: what was let go
 * meanwhile comes again, in order, and nothing twice. */
START_TEST(cut_off_and_alone)
{
    begin("t.*", "leader=c deliver=workers key=all", "workers=2 lease.ttl=1s");
    for (int i = 1; i < MEMBERS; i++)
        leader_member_end(&members[i]);
    leader_member_ask(&members[0], "hold 5");
    publish(1, 300);
    struct wait wait = wait_for(SOON);
    while (calls_of(0) < 20 && wait_more(&wait))
        ;
    server_stop(server);
    size_t before, after = calls_of(0);
    do { /* until the lease has ended */
        before = after;
        nap_us(1300000);
        after = calls_of(0);
    } while (after != before && wait_more(&wait));
    ck_assert_uint_lt(after, 300);
    server_continue(server);
    ck_assert_int_eq(expect_handled(300), 0);
    end();
}
END_TEST

/* ---- without Redis ---- */

START_TEST(redis_away)
{
    begin("t.*", "leader=c", "lease.ttl=1s " FAST);
    int who = leader();
    publish(1, 100);
    expect_handled(100);
    server_kill(server);
    expect_mode(from, EVBUS_MODE_DEGRADED, SOON);
    struct wait wait = wait_for(SOON);
    while (leader_member_ask(&members[who], "stat leases_lost") < 1 && wait_more(&wait))
        ;
    ck_assert_int_eq(leader(), -1);
    size_t before = calls_of(who);
    leader_member_ask(&members[who], "publish 101 120"); /* by a leader that was */
    publish(121, 150);
    nap_us(100000);
    ck_assert_uint_eq(calls_of(who), before);
    server_run(server);
    expect_all(150);
    ck_assert_int_eq(leader(), who); /* the others let it come first */
    end();
}
END_TEST

/* The last holder goes on with its own events, and gets none of them again afterwards. */
START_TEST(away_last)
{
    const char *options[] = {"leader=c away=last", "leader=c away=last deliver=workers key=all"};
    begin("t.*", options[_i], "workers=2 lease.ttl=1s " FAST);
    int who = leader(), other = (who + 1) % MEMBERS, done = 0;
    for (int round = 0; round < 2; round++) {
        publish(done + 1, done + 50);
        expect_all(done + 50);
        server_kill(server);
        struct wait wait = wait_for(SOON);
        while (leader_member_ask(&members[who], "stat leases_lost") <= round && wait_more(&wait))
            ;
        leader_member_ask(&members[who], "publish %d %d", done + 51, done + 100);
        expect_all(done + 100); /* while Redis is away */
        leader_member_ask(&members[other], "publish %d %d", done + 101, done + 120);
        server_run(server);
        ck_assert_int_eq(expect_all(done += 120), 0);
        ck_assert_int_eq(leader(), who);
        leader_member_ask(&members[who], "publish %d %d", done + 1, done + 30);
        ck_assert_int_eq(expect_all(done += 30), 0);
    }
    end();
}
END_TEST

/* The number rises though Redis has forgotten it, and who led goes on. */
START_TEST(flushed)
{
    begin("t.*", "leader=c", "lease.ttl=1s");
    int who = leader();
    publish(1, 50);
    ck_assert_int_eq(expect_handled(50), 0);
    for (int round = 1; round <= 3; round++) {
        long long fence = leader_member_ask(&members[who], "sub leading");
        server_command(server, "FLUSHALL");
        struct wait wait = wait_for(SOON);
        while (leader_member_ask(&members[who], "sub leading") == fence && wait_more(&wait))
            ;
        ck_assert_int_gt(leader_member_ask(&members[who], "sub leading"), fence);
        publish(round * 50 + 1, round * 50 + 50);
        expect_handled(round * 50 + 50);
        ck_assert_int_eq(leader(), who);
    }
    long long fence = leader_member_ask(&members[who], "sub leading");
    server_command(server, "FLUSHALL");
    leader_member_kill(&members[who]);
    publish(201, 210);
    await_leader(who);
    ck_assert_int_gt(leader_member_ask(&members[leader()], "sub leading"), fence);
    end();
}
END_TEST

/* ---- without history ---- */

static bool has_polled(int member, const char *reason)
{
    struct leader_book book = read_books();
    bool found = false;
    for (size_t i = 0; i < book.count; i++)
        found = found || (book.lines[i].kind == LEADER_POLL && book.lines[i].member == member &&
                          !strcmp(book.lines[i].word, reason));
    leader_book_free(&book);
    return found;
}

START_TEST(without_history)
{
    begin("t.*", "leader=c", "lease.ttl=1s history.enabled=no");
    int who = leader();
    publish(1, 100);
    ck_assert_int_eq(expect_handled(100), 0);
    ck_assert(has_polled(who, "takeover"));
    leader_member_kill(&members[who]);
    await_leader(who);
    ck_assert(has_polled(leader(), "takeover")); /* what came meanwhile is for it to find */
    publish(101, 150);
    ck_assert_int_eq(expect_handled(150), 0);
    leader_member_ask(&members[leader()], "publish 151 200");
    ck_assert_int_eq(expect_handled(200), 0);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    int status = leader_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("leader");
    TCase *tests = tcase_create("leader"), *away = tcase_create("away");
    tcase_set_timeout(tests, suite_patience(120));
    tcase_set_timeout(away, suite_patience(120));
    tcase_add_loop_test(tests, one_handles, 0, 3);
    tcase_add_loop_test(tests, killed, 0, 3);
    tcase_add_test(tests, clean_end);
    tcase_add_loop_test(tests, stopped, 0, 2);
    tcase_add_test(tests, cut_off_and_alone);
    tcase_add_test(tests, flushed);
    tcase_add_test(tests, without_history);
    suite_add_tcase(suite, tests);
    tcase_add_test(away, redis_away);
    tcase_add_loop_test(away, away_last, 0, 2);
    suite_add_tcase(suite, away);
    return suite_run(suite, argc, argv);
}
