/* it_group_faults.c - groups whose members die, whose links are cut, whose Redis is killed or
 * flushed: every event is handled, and doubles come only from those who died over one. */
#include "harness/bus.h"
#include "harness/peer.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 20000, MEMBERS = 3 };

#define STREAM "evbus:group:{0}:g:evbus:events:job"
#define SETTINGS                                                                                   \
    "redis.ping.interval=200ms group.reclaim=1s group.retry.delay=20ms "                           \
    "workers=1 reconnect.backoff.max=200ms "

static struct server *server;
static struct peer *peers[MEMBERS];
static evbus *bus;
static struct recorder done; /* what members say they have done */
static int sent;

static evbus *open_quick(const char *key, const char *value)
{
    return server_bus(server, "redis.ping.interval", "200ms", "group.reclaim", "1s",
                      "group.retry.delay", "20ms", "outbox.age", "5m", "reconnect.backoff.max",
                      "200ms", key, value, NULL);
}

/* `work job done`, or what else a peer's command for members is. */
static struct peer *start_member(const char *what, const char *options)
{
    struct peer *peer = peer_start(server, SETTINGS);
    peer_ask(peer, "%s group=g %s", what, options);
    peer_ask(peer, "waited %d", SOON);
    return peer;
}

static void begin_with(const char *lines, const char *options)
{
    server = server_start(lines);
    recorder_init(&done);
    bus = open_quick("bus.mode", "hybrid");
    evbus_sub *sub = bus_subscribe(bus, "done", options, recorder_handle, &done);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    expect_connected(bus, SOON);
    sent = 0;
}

static void begin(const char *lines)
{
    begin_with(lines, NULL);
}

static void end(void)
{
    bus_end(bus);
    for (int i = 0; i < MEMBERS; i++)
        if (peers[i])
            peer_stop(peers[i]);
    memset(peers, 0, sizeof peers);
    recorder_fini(&done);
    server_free(server);
}

static void publish(int count)
{
    while (count--)
        ck_assert_int_gt(publish_numbered(bus, "job", 0, ++sent), 0);
}

static bool all_done(void *unused)
{
    (void)unused;
    return recorder_lost(&done, 0, sent) == 0;
}

static bool is_drained(void *unused)
{
    (void)unused;
    return server_command(server, "XLEN " STREAM) == 0;
}

static void expect_all_done(const char *what)
{
    if (!until(all_done, NULL, 2 * SOON) || !until(is_drained, NULL, SOON))
        ck_abort_msg("%s: %ld of %d not done, %lld entries left: %s", what,
                     recorder_lost(&done, 0, sent), sent, server_command(server, "XLEN " STREAM),
                     server_text(server, "XPENDING " STREAM " evbus - + 10"));
    printf("%s: %d done, %ld twice\n", what, sent, done.doubled);
}

/* ---- members that die ---- */

START_TEST(members_are_killed)
{
    int kills = suite_scaled(10);
    begin(NULL);
    for (int i = 0; i < MEMBERS; i++)
        peers[i] = start_member("work job done", "size=20");
    for (int round = 0; round < kills; round++) {
        publish(200);
        nap_us(20000 + round % 3 * 15000);
        peer_kill(peers[round % MEMBERS]);
        peers[round % MEMBERS] = start_member("work job done", "size=20");
    }
    expect_all_done("kill -9 of members");
    ck_assert_int_le(done.doubled, kills * 20L);
    end();
}
END_TEST

static int note_attempt(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    atomic_store((atomic_int *)user, evbus_event_attempt(event));
    return 0;
}

/* In mid-handler: somebody else gets it when it has been silent long enough, as another attempt. */
START_TEST(dies_over_one)
{
    atomic_int attempt = 0;
    begin(NULL);
    struct peer *peer = start_member("hang job", "size=1 deliver=workers");
    publish(1);
    for (struct wait w = wait_for(SOON);
         strcmp(peer_ask(peer, "stat group_deliveries"), "1") != 0 && wait_more(&w);)
        continue;
    bus_subscribe(bus, "job", "group=g", note_attempt, &attempt);
    int64_t until_us = now_us() + 2000000; /* it lives: nobody robs it */
    for (struct wait w = wait_for(SOON); now_us() < until_us && wait_more(&w);)
        ck_assert_int_eq(atomic_load(&attempt), 0);
    int64_t killed_us = now_us();
    peer_kill(peer);
    expect_count(&attempt, 2, SOON);
    ck_assert_int_ge(now_us() - killed_us, 500000);
    expect_stat(bus, "group_takeovers", 1, SOON);
    char consumers[] = "XINFO CONSUMERS " STREAM " evbus";
    for (struct wait w = wait_for(SOON); server_command(server, consumers) >= 0 && wait_more(&w);) {
        char *text = server_text(server, consumers);
        bool one = strstr(text, "name") && !strstr(strstr(text, "name") + 1, "name\n");
        free(text);
        if (one)
            break;
    }
    end();
}
END_TEST

static int count_letter(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    ck_assert_str_eq(evbus_event_attr(event, "dead.reason"),
                     "it was given out as often as it may be");
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

/* An event that kills who handles it does not go round for ever. */
START_TEST(kills_all_who_try)
{
    atomic_int letters = 0, last = 0;
    begin(NULL);
    bus_subscribe(bus, "job.dead", NULL, count_letter, &letters);
    expect_connected(bus, SOON);
    publish_numbered(bus, "job", 0, 1);
    for (int round = 0; round < 2; round++) {
        struct peer *peer = start_member("hang job", "size=1 retries=1");
        if (round == 0)
            publish(1);
        for (struct wait w = wait_for(SOON);
             strcmp(peer_ask(peer, "stat group_deliveries"), "1") != 0 && wait_more(&w);)
            continue;
        peer_kill(peer);
    }
    bus_subscribe(bus, "job", "group=g retries=1", note_attempt, &last);
    expect_count(&letters, 1, SOON);
    ck_assert(until(is_drained, NULL, SOON));
    ck_assert_int_eq(atomic_load(&last), 0);
    end();
}
END_TEST

/* ---- links that are cut ---- */

static void cut_blocked(void)
{
    char *list = server_text(server, "CLIENT LIST"), *rest;
    for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strstr(line, "cmd=xreadgroup"))
            server_command(server, "CLIENT KILL ID %lld", strtoll(line + 3, NULL, 10));
    free(list);
}

static void cut_all(void)
{
    server_command(server, "CLIENT KILL TYPE normal SKIPME yes");
}

static void forget_scripts(void)
{
    server_command(server, "SCRIPT FLUSH");
}

static const struct {
    const char *what;
    void (*fault)(void);
} faults[] = {
    {"CLIENT KILL of the link that reads", cut_blocked},
    {"CLIENT KILL of all links", cut_all},
    {"SCRIPT FLUSH", forget_scripts},
};

/* Nobody died: nothing is done twice. */
START_TEST(nothing_twice)
{
    int rounds = suite_scaled(12);
    begin(NULL);
    for (int i = 0; i < MEMBERS; i++)
        peers[i] = start_member("work job done", "");
    for (int round = 0; round < rounds; round++) {
        publish(150);
        nap_us(30000);
        faults[_i].fault();
        nap_us(60000);
    }
    expect_all_done(faults[_i].what);
    ck_assert_int_eq(done.doubled, 0);
    end();
}
END_TEST

/* ---- Redis ---- */

/* Killed while it writes a transaction, Redis 7.0 brings a part of that to life again with its
 * second start, or loses what came after: rarely, a call's events are there twice, or what Redis
 * had acknowledged is gone, and then that is said. */
static bool is_told(void *unused)
{
    (void)unused;
    for (int i = 0; i < MEMBERS; i++)
        if (strstr(peer_ask(peers[i], "windows"), "\"pattern\":\"job\""))
            return true;
    return false;
}

START_TEST(redis_is_killed)
{
    int rounds = suite_scaled(4);
    begin_with("appendonly yes\nappendfsync always", "group=done"); /* what the members say, too */
    for (int i = 0; i < MEMBERS; i++) {
        peers[i] = start_member("work job done", "");
        peer_ask(peers[i], "gaps");
    }
    for (int round = 0; round < rounds; round++) {
        publish(200);
        nap_us(20000);
        server_kill(server);
        publish(50); /* they wait */
        server_run(server);
        expect_connected(bus, SOON);
        publish(50);
    }
    if (!until(all_done, NULL, SOON))
        ck_assert_msg(until(is_told, NULL, SOON), "%ld of %d lost in silence",
                      recorder_lost(&done, 0, sent), sent);
    printf("kill -9 of Redis: %d done, %ld twice, %ld lost by it\n", sent, done.doubled,
           recorder_lost(&done, 0, sent));
    ck_assert(until(is_drained, NULL, SOON));
    ck_assert_int_le(done.doubled, rounds * 64L);
    end();
}
END_TEST

struct gaps {
    const char *cause;
    atomic_int count;
};

static int count_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    struct gaps *gaps = user;
    const char *data = evbus_event_data(event, NULL);
    if (strstr(data, "\"pattern\":\"job\"") && strstr(data, gaps->cause))
        atomic_fetch_add(&gaps->count, 1);
    return 0;
}

/* It is said, and what comes afterwards is handled. */
START_TEST(redis_is_flushed)
{
    atomic_int handled = 0;
    struct gaps flushed = {"\"cause\":\"flushed\"", 0};
    begin(NULL);
    evbus *worker = open_quick("bus.mode", "hybrid");
    bus_subscribe(worker, "evbus.gap", NULL, count_gap, &flushed);
    evbus_sub *sub = bus_subscribe(worker, "job", "group=g", handle_count, &handled);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int round = 1; round <= 3; round++) {
        server_command(server, "FLUSHALL");
        expect_count(&flushed.count, round, SOON);
        ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
        publish(20);
        expect_count(&handled, 20 * round, SOON);
    }
    ck_assert_int_eq(atomic_load(&flushed.count), 3);
    bus_end(worker);
    end();
}
END_TEST

/* A group that nobody comes back to is removed by whoever is there, and that is said. */
START_TEST(nobody_comes_back)
{
    atomic_int handled = 0;
    struct gaps gone = {"\"cause\":\"group\"", 0};
    server = server_start(NULL);
    evbus *worker = open_quick("group.ttl", "1s");
    evbus_sub *sub = bus_subscribe(worker, "job", "group=g", handle_count, &handled);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    bus_end(worker);
    bus = open_quick("bus.mode", "hybrid");
    bus_subscribe(bus, "evbus.gap", NULL, count_gap, &gone);
    expect_connected(bus, SOON);
    publish(5);
    ck_assert_int_eq(evbus_flush(bus, SOON), 0);
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 5);
    /* as if it were much later: the others wait for a minute more */
    char *field = server_text(server, "HSET evbus:group:{0} evbus:events:job g=1000");
    free(field);
    server_command(server, "PUBLISH evbus:inbox:groups x");
    expect_count(&gone.count, 1, SOON);
    ck_assert_int_eq(server_command(server, "EXISTS " STREAM), 0);
    bus_end(bus);
    server_free(server);
}
END_TEST

static bool is_removed(void *field)
{
    return server_command(server, "HEXISTS evbus:group:{0} %s", (char *)field) == 0;
}

/* However seldom its members announce themselves, and also when another one is removed. */
START_TEST(who_lives_stays)
{
    atomic_int handled = 0;
    struct gaps flushed = {"\"cause\":\"flushed\"", 0};
    char old[] = "evbus:events:old";
    server = server_start(NULL);
    evbus *worker = server_bus(server, "redis.ping.interval", "5s", "group.ttl", "1s", NULL);
    bus_subscribe(worker, "evbus.gap", NULL, count_gap, &flushed);
    evbus_sub *sub = bus_subscribe(worker, "job", "group=g", handle_count, &handled);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    char *now = server_text(server, "TIME");
    char *row = server_text(server, "HGET evbus:group:{0} evbus:events:job");
    ck_assert_int_gt(atoll(strchr(row, '=') + 1), atoll(now) * 1000 + 10000);
    free(now);
    free(row);
    bus = open_quick("bus.mode", "hybrid");
    expect_connected(bus, SOON);
    now = server_text(server, "TIME"); /* nobody has said anything for some seconds */
    server_command(server, "HSET evbus:group:{0} evbus:events:job g=%lld000", atoll(now) - 5);
    free(now);
    server_command(server, "HSET evbus:group:{0} %s g=1000", old);
    server_command(server, "PUBLISH evbus:inbox:groups x");
    ck_assert(until(is_removed, old, SOON));
    sent = 0;
    publish(1);
    expect_count(&handled, 1, SOON);
    ck_assert_int_eq(atomic_load(&flushed.count), 0);
    bus_end(worker);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- who leaves ---- */

/* What is on its way to a bus that closes is nobody's try, and waits for nobody's death. */
START_TEST(closes_under_load)
{
    atomic_int handled = 0;
    begin(NULL);
    for (int round = 0; round < 20; round++) {
        evbus *worker = open_quick("bus.mode", "hybrid");
        evbus_sub *sub = bus_subscribe(worker, "job", "group=g", handle_count, &handled);
        ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
        publish(300);
        nap_us(round * 200);
        ck_assert_int_eq(evbus_close(worker, SOON), 0);
        bus_end(worker);
        char *pending = server_text(server, "XPENDING " STREAM " evbus");
        ck_assert_int_eq(atoll(pending), 0);
        free(pending);
    }
    end();
}
END_TEST

static bool is_alone(void *unused)
{
    (void)unused;
    return server_command(server, "EVAL %s 1 %s",
                          "return #redis.call('XINFO', 'CONSUMERS', KEYS[1], 'evbus')",
                          STREAM) == 1;
}

/* One of two members leaves. No command of its waits on, to be given an event that nobody handles. */
START_TEST(leaves_nothing_behind)
{
    atomic_int all = 0;
    const char *settings[] = {"redis.ping.interval", "1s", "group.retries", "0"};
    begin(NULL);
    evbus *other = server_bus(server, settings[0], settings[1], settings[2], settings[3], NULL);
    evbus *mine = server_bus(server, settings[0], settings[1], settings[2], settings[3], NULL);
    evbus_sub *stays = bus_subscribe(other, "job", "group=g", handle_count, &all);
    evbus_sub *goes = bus_subscribe(mine, "job", "group=g", handle_count, &all);
    ck_assert_int_eq(evbus_sub_wait(stays, SOON), 0);
    ck_assert_int_eq(evbus_sub_wait(goes, SOON), 0);
    publish(6);
    expect_count(&all, 6, SOON);
    bus_unsubscribe(goes);
    ck_assert(until(is_alone, NULL, SOON));
    publish(6);
    expect_count(&all, 12, SOON);
    bus_end(mine);
    bus_end(other);
    end();
}
END_TEST

/* ---- rights ---- */

static const struct {
    const char *taken, *named;
} rights[] = {
    {"-xgroup|create", "+xgroup|create"},
    {"-xreadgroup", "+xreadgroup"},
    {"-xack", "+xack"},
    {"-xclaim", "+xclaim"},
    {"-evalsha -eval", "eval"},
    {"resetkeys ~evbus:history:*", "evbus:group"},
};

START_TEST(a_right_is_missing)
{
    atomic_int handled = 0;
    begin(NULL);
    server_command(server, "ACL SETUSER joe on nopass ~* &* +@all %s", "");
    char *rest, *rules = strdup(rights[_i].taken);
    for (char *rule = strtok_r(rules, " ", &rest); rule; rule = strtok_r(NULL, " ", &rest))
        ck_assert_int_ge(server_command(server, "ACL SETUSER joe %s", rule), 0);
    free(rules);
    evbus *joe = open_quick("redis.username", "joe");
    evbus_sub *sub = bus_subscribe(joe, "job", "group=g", handle_count, &handled);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), EVBUS_EDENIED);
    ck_assert_msg(strstr(evbus_last_error(), rights[_i].named), "%s", evbus_last_error());
    server_command(server, "ACL SETUSER joe ~* +@all");
    cut_all();
    for (struct wait w = wait_for(SOON); evbus_sub_wait(sub, SOON) != 0 && wait_more(&w);)
        continue;
    publish(1);
    expect_count(&handled, 1, SOON);
    bus_end(joe);
    end();
}
END_TEST

static void add_loop(Suite *suite, const char *name, const TTest *test, size_t count)
{
    TCase *all = tcase_create(name);
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, test, 0, (int)count);
    suite_add_tcase(suite, all);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("group faults");
    suite_add(suite, "members_are_killed", members_are_killed, 120);
    suite_add(suite, "dies_over_one", dies_over_one, 60);
    suite_add(suite, "kills_all_who_try", kills_all_who_try, 60);
    add_loop(suite, "nothing_twice", nothing_twice, sizeof faults / sizeof faults[0]);
    suite_add(suite, "redis_is_killed", redis_is_killed, 120);
    suite_add(suite, "redis_is_flushed", redis_is_flushed, 60);
    suite_add(suite, "nobody_comes_back", nobody_comes_back, 60);
    suite_add(suite, "who_lives_stays", who_lives_stays, 60);
    suite_add(suite, "closes_under_load", closes_under_load, 60);
    suite_add(suite, "leaves_nothing_behind", leaves_nothing_behind, 60);
    add_loop(suite, "a_right_is_missing", a_right_is_missing, sizeof rights / sizeof rights[0]);
    return suite_run(suite, argc, argv);
}
