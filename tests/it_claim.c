/* it_claim.c - claims against a real server: one of many handles an event, whatever happens to it. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 20000, EVENTS = 400, EVENTS_MOST = 1000 };

static struct server *server;
static evbus *one, *two;
static struct recorder seen; /* by whichever handler */

static evbus *open_bus(const char *name, const char *away)
{
    evbus *bus = server_bus(server, "bus.name", name, "workers", "2", "lease.ttl", "1s",
                            "claim.away", away, "reconnect.backoff.max", "50ms", NULL);
    expect_connected(bus, SOON);
    return bus;
}

static void begin_with(const char *lines)
{
    server = server_start(lines);
    recorder_init(&seen);
}

static void begin(void)
{
    begin_with(NULL);
    one = open_bus("one", "run");
    two = open_bus("two", "run");
}

static void end(void)
{
    bus_end(one);
    bus_end(two);
    server_free(server);
    recorder_fini(&seen);
}

static evbus_sub *claiming(evbus *bus, const char *options, evbus_event_fn fn, void *user)
{
    evbus_sub *sub = bus_subscribe(bus, "t.*", options, fn, user);
    ck_assert_msg(evbus_sub_wait(sub, SOON) == 0, "%s", evbus_last_error());
    return sub;
}

static void publish_many(evbus *bus, int first, int last)
{
    for (int n = first; n <= last; n++)
        while (publish_numbered(bus, "t.even", 0, n) < 0)
            nap_us(1000);
}

static bool all_seen(void *count)
{
    return recorder_received(&seen) >= *(int *)count;
}

/* All of them, once each, whoever had them. */
static void expect_once(int count)
{
    ck_assert_msg(until(all_seen, &count, SOON), "%ld of %d", recorder_received(&seen), count);
    for (int n = 1; n <= count; n++)
        ck_assert_msg(recorder_has(&seen, 0, n) == 1, "event %d: %d times", n,
                      recorder_has(&seen, 0, n));
}

static int64_t both(const char *name)
{
    return evbus_stat(one, name) + evbus_stat(two, name);
}

static bool is_counted(void *name)
{
    return both(name) >= EVENTS;
}

/* ---- keys ---- */

START_TEST(keys)
{
    begin();
    ck_assert_int_eq(evbus_claim(one, "k", 0, SOON), 1);
    long long left = server_command(server, "PTTL evbus:claim:k");
    ck_assert(left > 290000 && left <= 300000);
    ck_assert_int_eq(evbus_claim(two, "k", 0, SOON), 0);
    ck_assert_int_eq(evbus_claim(one, "k", 60000, SOON), 1); /* its own, anew */
    ck_assert_int_le(server_command(server, "PTTL evbus:claim:k"), 60000);
    ck_assert_int_eq(evbus_release(two, "k"), EVBUS_ENOENT);
    ck_assert_int_eq(evbus_release(one, "k"), 0);
    ck_assert_int_eq(evbus_release(one, "k"), EVBUS_ENOENT);
    struct wait wait = wait_for(SOON);
    while (evbus_claim(two, "k", 100, SOON) != 1 && wait_more(&wait))
        ;
    while (evbus_claim(one, "k", 0, SOON) != 1 && wait_more(&wait)) /* when it has run out */
        ;
    ck_assert_int_eq(evbus_release(two, "k"), EVBUS_ENOENT);
    ck_assert_int_eq(evbus_claim(two, "k", 0, SOON), 0);
    server_command(server, "SET evbus:claim:s4 1 NX EX 300"); /* as others take it */
    ck_assert_int_eq(evbus_claim(two, "s4", 0, SOON), 0);
    ck_assert_int_eq(evbus_stat(one, "claims_won"), 3);
    end();
}
END_TEST

/* Somebody else's by now: a late release leaves it alone. */
START_TEST(release_compares)
{
    begin();
    ck_assert_int_eq(evbus_claim(one, "k", 0, SOON), 1);
    server_command(server, "SET evbus:claim:k other");
    ck_assert_int_eq(evbus_release(one, "k"), 0);
    ck_assert_int_eq(evbus_claim(one, "fence", 0, SOON), 1); /* behind it */
    char *holder = server_text(server, "GET evbus:claim:k");
    ck_assert_str_eq(holder, "other");
    free(holder);
    end();
}
END_TEST

static void on_done(int result, void *user)
{
    *(_Atomic int *)user = result;
}

static int claim_on_loop(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    *(_Atomic int *)user = evbus_claim(one, "k", 0, SOON);
    return 0;
}

static bool is_done(void *result)
{
    return *(_Atomic int *)result != 99;
}

START_TEST(refusals)
{
    static _Atomic int result = 99, there = 99;
    begin();
    ck_assert_int_eq(evbus_claim(one, NULL, 0, SOON), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_claim(one, "", 0, SOON), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_claim(one, "k", -1, SOON), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_claim(one, "k", 0, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_claim_async(one, "k", 0, NULL, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_release(one, "k"), EVBUS_ENOENT);
    bus_subscribe(one, "l", NULL, claim_on_loop, &there);
    bus_publish(one, "l", NULL);
    ck_assert(until(is_done, &there, SOON));
    ck_assert_int_eq(there, EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_claim_async(one, "k", 0, on_done, &result), 0);
    ck_assert(until(is_done, &result, SOON));
    ck_assert_int_eq(result, 1);

    server_stop(server);
    ck_assert_int_eq(evbus_claim(two, "late", 0, 50), EVBUS_ETIMEDOUT);
    server_continue(server);
    ck_assert_int_eq(evbus_claim(two, "behind", 0, SOON), 1);
    struct wait wait = wait_for(SOON); /* won too late: it is given back */
    while (server_command(server, "EXISTS evbus:claim:late") && wait_more(&wait))
        ;
    ck_assert_int_eq(server_command(server, "EXISTS evbus:claim:late"), 0);

    server_kill(server);
    expect_mode(two, EVBUS_MODE_DEGRADED, SOON);
    ck_assert_int_eq(evbus_claim(two, "k", 0, SOON), EVBUS_EAWAY);
    evbus_close(two, SOON);
    ck_assert_int_eq(evbus_claim(two, "k", 0, SOON), EVBUS_ECLOSED);
    evbus *alone = bus_with("bus.name", "alone", NULL);
    ck_assert_int_eq(evbus_claim(alone, "k", 0, SOON), EVBUS_EAWAY);
    ck_assert_int_eq(evbus_release(alone, "k"), EVBUS_EAWAY);
    bus_end(alone);
    end();
}
END_TEST

/* Two of a bus ask for one key, and one of them does not wait any more when it is won: it stays the
 * other's, whichever asked first. */
START_TEST(late_beside_another)
{
    begin();
    for (int round = 0; round < 10; round++) {
        _Atomic int result = 99;
        char key[20];
        snprintf(key, sizeof key, "k%d", round);
        server_stop(server);
        if (round % 2)
            ck_assert_int_eq(evbus_claim_async(one, key, 0, on_done, &result), 0);
        ck_assert_int_eq(evbus_claim(one, key, 0, 20), EVBUS_ETIMEDOUT);
        if (round % 2 == 0)
            ck_assert_int_eq(evbus_claim_async(one, key, 0, on_done, &result), 0);
        server_continue(server);
        ck_assert(until(is_done, &result, SOON));
        ck_assert_int_eq(result, 1);
        ck_assert_int_eq(evbus_claim(one, "behind", 0, SOON), 1);
        ck_assert_int_eq(evbus_claim(one, "behind", 0, SOON), 1);
        ck_assert_int_eq(evbus_claim(two, key, 0, SOON), 0);
        ck_assert_int_eq(evbus_release(one, key), 0);
    }
    end();
}
END_TEST

/* The connection breaks while it is asked for: what was won is not told as lost. */
START_TEST(answers_lost)
{
    begin();
    for (int round = 0; round < 30; round++) {
        _Atomic int result = 99;
        char key[20];
        snprintf(key, sizeof key, "k%d", round);
        expect_connected(one, SOON);
        ck_assert_int_eq(evbus_claim_async(one, key, 0, on_done, &result), 0);
        server_command(server, "CLIENT KILL TYPE normal");
        ck_assert(until(is_done, &result, SOON));
        ck_assert_int_ne(result, 0);
        if (result == 1)
            ck_assert_int_eq(server_command(server, "EXISTS evbus:claim:%s", key), 1);
    }
    end();
}
END_TEST

/* ---- events ---- */

static const char *const ways[] = {"claim=c",
                                   "claim=c deliver=workers",
                                   "claim=c deliver=workers key=none size=500",
                                   "claim=c scope=redis",
                                   "claim=c from=all",
                                   "claim=c full=drop-newest size=5000"};

START_TEST(handled_once)
{
    char name[] = "claims_lost";
    begin();
    evbus *from = open_bus("from", "run");
    claiming(one, ways[_i], recorder_handle, &seen);
    claiming(two, ways[_i], recorder_handle, &seen);
    publish_many(from, 1, EVENTS);
    expect_once(EVENTS);
    ck_assert_int_eq(both("claims_won"), EVENTS);
    ck_assert(until(is_counted, name, SOON));
    ck_assert_int_eq(both("claims_lost"), EVENTS);
    ck_assert_int_eq(both("claims_lapsed"), 0);
    bus_end(from);
    end();
}
END_TEST

/* Own events and those of the other meet by their ids. */
START_TEST(local_and_remote)
{
    begin();
    claiming(one, "claim=c", recorder_handle, &seen);
    claiming(two, "claim=c", recorder_handle, &seen);
    claiming(two, "claim=c", recorder_handle, &seen); /* two of one bus do, too */
    publish_many(one, 1, EVENTS / 2);
    publish_many(two, EVENTS / 2 + 1, EVENTS);
    expect_once(EVENTS);
    end();
}
END_TEST

START_TEST(names_are_apart)
{
    atomic_int a = 0, b = 0;
    begin();
    claiming(one, "claim=a", handle_count, &a);
    claiming(two, "claim=b", handle_count, &b);
    publish_many(one, 1, 50);
    expect_count(&a, 50, SOON);
    expect_count(&b, 50, SOON);
    end();
}
END_TEST

/* Closing handles what came, tells Redis, and only then says goodbye. */
START_TEST(close_settles)
{
    begin();
    claiming(one, ways[_i], recorder_handle, &seen);
    publish_many(one, 1, 100);
    ck_assert_int_eq(evbus_close(one, SOON), 0);
    int handled = (int)recorder_received(&seen);
    ck_assert_int_eq(handled, 100);
    char *all = server_text(server, "KEYS evbus:claim:c:*");
    int count = 0, done = 0;
    char *rest, *key;
    for (key = strtok_r(all, "\n", &rest); key; key = strtok_r(NULL, "\n", &rest)) {
        char *value = server_text(server, "GET %s", key);
        done += !strcmp(value, "done");
        count++;
        free(value);
    }
    free(all);
    ck_assert_int_eq(count, 100);
    ck_assert_int_eq(done, 100);
    end();
}
END_TEST

/* ---- failures and deaths ---- */

static int fail_always(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_fetch_add((atomic_int *)user, 1);
    return -1;
}

/* One that fails lets the other have it; alone it tries three times. */
START_TEST(failing)
{
    atomic_int failures = 0;
    begin();
    evbus_sub *bad = claiming(one, "claim=c", fail_always, &failures);
    claiming(two, "claim=c", recorder_handle, &seen);
    publish_many(two, 1, 100);
    expect_once(100);
    ck_assert_int_le(atomic_load(&failures), 300);
    bus_unsubscribe(bad);

    atomic_store(&failures, 0);
    bus_subscribe(one, "alone", "claim=alone", fail_always, &failures);
    bus_publish(one, "alone", NULL);
    expect_count(&failures, 3, SOON);
    struct wait wait = wait_for(SOON);
    while (
        server_command(server, "EVAL %s 0", "return #redis.call('KEYS', 'evbus:claim:alone:*')") &&
        wait_more(&wait))
        ;
    ck_assert_int_eq(atomic_load(&failures), 3);
    end();
}
END_TEST

static atomic_int go_on; /* handlers that stay wait for it */

static int stay(evbus_sub *sub, evbus_event *event, void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
    while (!atomic_load(&go_on))
        nap_us(1000);
    return recorder_handle(sub, event, &seen);
}

/* A handler that takes two leases keeps its claim, for it is renewed. */
START_TEST(long_handler)
{
    atomic_int begun = 0;
    begin();
    atomic_store(&go_on, 0);
    claiming(one, "claim=c deliver=workers", stay, &begun);
    publish_many(one, 1, 1);
    expect_count(&begun, 1, SOON);
    claiming(two, "claim=c from=all", recorder_handle, &seen);
    int64_t from_us = now_us();
    while (now_us() < from_us + 2500000) {
        ck_assert_int_eq(recorder_received(&seen), 0);
        nap_us(20000);
    }
    atomic_store(&go_on, 1);
    expect_once(1);
    expect_stat(two, "claims_lost", 1, SOON);
    ck_assert_int_eq(both("claims_lapsed"), 0);
    end();
}
END_TEST

static int tell_and_stay(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    if (write((int)(intptr_t)user, "h", 1) == 1)
        pause();
    return 0;
}

static void hold_in_handler(int fd)
{
    evbus *bus = server_bus(server, "lease.ttl", "1s", "workers", "1", NULL);
    evbus_sub *sub =
        evbus_subscribe(bus, "t.*", "claim=c deliver=workers", tell_and_stay, (void *)(intptr_t)fd);
    if (evbus_sub_wait(sub, SOON) != 0 || write(fd, "c", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* kill -9 in the handler: another one has the event when the lease has ended, not before. */
START_TEST(killed)
{
    int ends[2];
    char byte;
    begin_with(NULL);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        hold_in_handler(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    one = open_bus("one", "run");
    two = open_bus("two", "run");
    publish_many(one, 1, 1);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'h');
    claiming(two, "claim=c from=all", recorder_handle, &seen);
    expect_stat(two, "replayed", 1, SOON);
    int64_t killed_us = now_us();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    long long left_ms = server_command(server, "EVAL %s 0",
                                       "return redis.call('PTTL', redis.call('KEYS', "
                                       "'evbus:claim:c:*')[1])");
    expect_once(1);
    int64_t took_ms = (now_us() - killed_us) / 1000;
    ck_assert_int_gt(left_ms, 300);
    ck_assert_int_ge(took_ms, left_ms - 50);
    ck_assert_int_eq(evbus_stat(two, "claims_taken_over"), 1);
    printf("figure: after kill -9, with %lld ms of the lease left, taken over after %lld ms\n",
           left_ms, (long long)took_ms);
    close(ends[0]);
    close(ends[1]);
    end();
}
END_TEST

/* A subscription that ends gives back what it has not handled. */
START_TEST(ending)
{
    atomic_int begun = 0;
    begin();
    atomic_store(&go_on, 0);
    evbus_sub *sub = claiming(one, "claim=c deliver=workers key=all", stay, &begun);
    publish_many(one, 1, 100);
    ck_assert_int_eq(evbus_flush(one, SOON), 0);
    expect_count(&begun, 1, SOON);
    claiming(two, "claim=c from=all", recorder_handle, &seen);
    expect_stat(two, "replayed", 100, SOON);
    atomic_store(&go_on, 1);
    bus_unsubscribe(sub);
    expect_once(100);
    end();
}
END_TEST

/* ---- the server's ways ---- */

static int away_expects[] = {50, 0, 0}; /* handled while Redis is away, of 50 */
static const char *const aways[] = {"run", "skip", "wait"};

START_TEST(away)
{
    int all = _i == 1 ? 50 : 100;
    begin_with("save ''\nappendonly yes\nappendfsync always");
    one = open_bus("one", aways[_i]);
    two = open_bus("two", aways[_i]);
    claiming(one, "claim=c", recorder_handle, &seen);
    claiming(two, "claim=c", recorder_handle, &seen);
    publish_many(one, 1, 50);
    expect_once(50);
    server_kill(server);
    expect_mode(one, EVBUS_MODE_DEGRADED, SOON);
    publish_many(one, 51, 100);
    int there = 50 + away_expects[_i];
    ck_assert(until(all_seen, &there, SOON));
    server_run(server);
    expect_connected(one, SOON);
    expect_connected(two, SOON);
    ck_assert_int_eq(evbus_flush(one, SOON), 0);
    if (_i == 1) { /* the others have them from the outbox */
        int count = 100;
        ck_assert(until(all_seen, &count, SOON));
        ck_assert_int_eq(evbus_stat(one, "dropped"), 50);
        all = 100;
    }
    expect_once(all);
    expect_stat(two, "claims_lost", 1, SOON);
    ck_assert_int_eq(evbus_flush(one, SOON), 0);
    expect_once(100);
    end();
}
END_TEST

/* It stops and goes on, connections are cut: nothing is lost, nothing handled twice. */
START_TEST(cut)
{
    begin();
    evbus *from = open_bus("from", "run");
    claiming(one, "claim=c size=5000", recorder_handle, &seen);
    claiming(two, "claim=c size=5000 deliver=workers key=none", recorder_handle, &seen);
    for (int part = 0; part < 10; part++) {
        publish_many(from, part * 100 + 1, part * 100 + 100);
        server_command(server, part % 2 ? "CLIENT KILL TYPE normal" : "CLIENT KILL TYPE pubsub");
        if (part == 5) {
            server_stop(server);
            nap_us(300000);
            server_continue(server);
        }
    }
    expect_once(EVENTS_MOST);
    ck_assert_int_eq(both("claims_lapsed"), 0);
    bus_end(from);
    end();
}
END_TEST

START_TEST(scripts_flushed)
{
    begin();
    claiming(one, "claim=c", recorder_handle, &seen);
    claiming(two, "claim=c", recorder_handle, &seen);
    for (int part = 0; part < 10; part++) {
        server_command(server, "SCRIPT FLUSH");
        publish_many(one, part * 40 + 1, part * 40 + 40);
        ck_assert_int_ge(evbus_claim(two, "k", 0, SOON), 0);
    }
    expect_once(EVENTS);
    end();
}
END_TEST

/* FLUSHALL takes the lease of a handler that runs: that is told, and what it did is kept. */
START_TEST(flushed)
{
    atomic_int begun = 0;
    begin();
    atomic_store(&go_on, 0);
    claiming(one, "claim=c deliver=workers", stay, &begun);
    publish_many(one, 1, 1);
    expect_count(&begun, 1, SOON);
    server_command(server, "FLUSHALL");
    expect_stat(one, "claims_lapsed", 1, SOON); /* when it is to be renewed */
    atomic_store(&go_on, 1);
    expect_once(1);
    struct wait wait = wait_for(SOON);
    char *done = NULL;
    do {
        free(done);
        done = server_text(server, "EVAL %s 0",
                           "local key = redis.call('KEYS', 'evbus:claim:c:*')[1]\n"
                           "return key and redis.call('GET', key)");
    } while (strcmp(done, "done") != 0 && wait_more(&wait));
    ck_assert_str_eq(done, "done");
    free(done);
    ck_assert_int_eq(evbus_stat(one, "claims_lapsed"), 1);
    end();
}
END_TEST

/* A process that stood still beyond its lease does not write over who took over. */
START_TEST(stalled)
{
    atomic_int begun = 0;
    begin();
    atomic_store(&go_on, 0);
    claiming(one, "claim=c deliver=workers", stay, &begun);
    publish_many(one, 1, 1);
    expect_count(&begun, 1, SOON);
    server_command(server, "EVAL %s 0",
                   "redis.call('SET', redis.call('KEYS', 'evbus:claim:c:*')[1], 'other')");
    atomic_store(&go_on, 1);
    expect_stat(one, "claims_lapsed", 1, SOON);
    char *holder = server_text(
        server, "EVAL %s 0", "return redis.call('GET', redis.call('KEYS', 'evbus:claim:c:*')[1])");
    ck_assert_str_eq(holder, "other");
    free(holder);
    end();
}
END_TEST

static void *wiping_resize(void *block, size_t size)
{
    return realloc(block, size);
}

/* What is used after that is seen. */
static void wiping_free(void *block)
{
    if (block)
        memset(block, 0xd5, malloc_usable_size(block));
    free(block);
}

static void publish_named(const char *name, int count)
{
    for (int n = 1; n <= count; n++) {
        char id[20];
        snprintf(id, sizeof id, "%s%d", name, n);
        evbus_event *event = evbus_event_new("t.even");
        ck_assert_int_eq(evbus_event_set_id(event, id), 0);
        ck_assert_int_gt(evbus_publish_event(one, event, EVBUS_LOCAL_ONLY), 0);
        evbus_event_unref(event);
    }
}

static atomic_int called, go_on;

static int until_told(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    atomic_fetch_add(&called, 1);
    while (!atomic_load(&go_on))
        nap_us(500);
    return 0;
}

static bool asks_again(void *sub) /* for what others have */
{
    return evbus_sub_stat(sub, "queued") >= 82;
}

/* A handler comes to its event too late while that is asked for anew, and other events give way for
 * new ones meanwhile: it is not among these. */
START_TEST(late_and_full)
{
    ck_assert_int_eq(evbus_set_allocator(malloc, wiping_resize, wiping_free), 0);
    begin();
    evbus_sub *sub = claiming(one, "claim=c deliver=workers key=all size=100 full=drop-oldest",
                              until_told, NULL);
    publish_named("mine", 2); /* one in the handler, one behind it */
    expect_count(&called, 1, SOON);
    expect_stat(one, "claims_won", 2, SOON);
    for (int n = 1; n <= 3; n++)
        server_command(server, "SET evbus:claim:c:other%d somebody", n);
    publish_named("other", 3);
    nap_us(5000);
    server_stop(server);
    publish_named("x", 80); /* more than are asked for at a time */
    nap_us(900000);         /* the server's: most of the lease, which it does not renew */
    atomic_store(&go_on, 1);
    ck_assert(until(asks_again, sub, SOON));
    nap_us(5000);
    publish_named("more", 40);
    ck_assert_int_gt(evbus_sub_stat(sub, "dropped"), 3);
    server_continue(server);
    expect_stat(one, "claims_won", 90, SOON);
    expect_connected(one, SOON);
    end();
}
END_TEST

START_TEST(without_rights)
{
    atomic_int handled = 0;
    begin();
    server_command(server, "ACL SETUSER poor on >x allchannels allkeys +@all -set");
    evbus *poor = server_bus(server, "redis.username", "poor", "redis.password", "x",
                             "history.enabled", "no", "claim.away", aways[_i], NULL);
    expect_connected(poor, SOON);
    ck_assert_int_eq(evbus_claim(poor, "k", 0, SOON), EVBUS_EDENIED);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "+set"));
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "~evbus:claim:*"));
    claiming(poor, "claim=c", handle_count, &handled);
    publish_many(poor, 1, 20);
    if (_i == 0) {
        expect_count(&handled, 20, SOON);
    } else if (_i == 1) {
        expect_stat(poor, "dropped", 20, SOON);
    } else {
        server_command(server, "ACL SETUSER poor +set");
        expect_count(&handled, 20, SOON);
    }
    ck_assert_int_eq(atomic_load(&handled), _i == 1 ? 0 : 20);
    bus_end(poor);
    end();
}
END_TEST

/* ---- with other options ---- */

/* A place moves on when the event is handled, here or elsewhere: after a restart nothing is left
 * out. */
START_TEST(durable)
{
    char done[] = "claims_lost";
    begin();
    claiming(two, "claim=c", recorder_handle, &seen);
    for (int round = 0; round < 4; round++) {
        evbus *bus = open_bus("reader", "run");
        claiming(bus, "claim=c durable=d from=all size=20", recorder_handle, &seen);
        publish_many(two, round * 100 + 1, round * 100 + 100);
        int count = round * 100 + 100;
        ck_assert(until(all_seen, &count, SOON));
        ck_assert_int_eq(evbus_close(bus, SOON), 0);
        bus_end(bus);
    }
    expect_once(EVENTS);
    (void)done;
    end();
}
END_TEST

START_TEST(limit)
{
    atomic_int handled = 0;
    begin();
    claiming(one, "claim=c limit=10", handle_count, &handled);
    claiming(two, "claim=c", recorder_handle, &seen);
    publish_many(two, 1, 100);
    struct wait wait = wait_for(SOON);
    while (atomic_load(&handled) + recorder_received(&seen) < 100 && wait_more(&wait))
        ;
    ck_assert_int_eq(atomic_load(&handled) + recorder_received(&seen), 100);
    ck_assert_int_le(atomic_load(&handled), 10);
    end();
}
END_TEST

/* Without room what came first gives way, and is counted: handled and dropped are all. */
START_TEST(full)
{
    atomic_int begun = 0;
    begin();
    atomic_store(&go_on, 0);
    evbus_sub *sub =
        claiming(one, "claim=c deliver=workers key=all size=100 full=drop-oldest", stay, &begun);
    publish_many(one, 1, EVENTS);
    expect_count(&begun, 1, SOON);
    ck_assert_int_le(evbus_sub_stat(sub, "queued"), 100);
    ck_assert_int_le(evbus_sub_stat(sub, "peak"), 100);
    atomic_store(&go_on, 1);
    struct wait wait = wait_for(SOON);
    while (recorder_received(&seen) + evbus_sub_stat(sub, "dropped") < EVENTS && wait_more(&wait))
        ;
    ck_assert_int_eq(recorder_received(&seen) + evbus_sub_stat(sub, "dropped"), EVENTS);
    ck_assert_int_gt(evbus_sub_stat(sub, "dropped"), 200);
    ck_assert_int_eq(recorder_has(&seen, 0, EVENTS), 1);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("claim");
    TCase *keys_alone = tcase_create("keys"), *tests = tcase_create("events");
    suite_add_tcase(suite, keys_alone);
    suite_add_tcase(suite, tests);
    tcase_set_timeout(keys_alone, 120);
    tcase_set_timeout(tests, 120);
    tcase_add_test(keys_alone, keys);
    tcase_add_test(keys_alone, release_compares);
    tcase_add_test(keys_alone, refusals);
    tcase_add_test(keys_alone, late_beside_another);
    tcase_add_test(keys_alone, answers_lost);
    tcase_add_test(keys_alone, local_and_remote);
    tcase_add_loop_test(tests, handled_once, 0, 6);
    tcase_add_test(tests, names_are_apart);
    tcase_add_loop_test(tests, close_settles, 0, 3);
    tcase_add_test(tests, failing);
    tcase_add_test(tests, long_handler);
    tcase_add_test(tests, killed);
    tcase_add_test(tests, ending);
    tcase_add_loop_test(tests, away, 0, 3);
    tcase_add_test(tests, cut);
    tcase_add_test(tests, scripts_flushed);
    tcase_add_test(tests, flushed);
    tcase_add_test(tests, stalled);
    tcase_add_test(tests, late_and_full);
    tcase_add_loop_test(tests, without_rights, 0, 3);
    tcase_add_test(tests, durable);
    tcase_add_test(tests, limit);
    tcase_add_test(tests, full);
    return suite_run(suite, argc, argv);
}
