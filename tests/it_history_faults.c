/* it_history_faults.c - what disturbs the script that keeps the history, under traffic: each event
 * has one report, each acknowledged one reaches the other process once and in order, and stands in
 * the stream once. */
#include "harness/bus.h"
#include "harness/middle.h"
#include "harness/stream.h"
#include "harness/suite.h"
#include "harness/traffic.h"
#include "harness/until.h"
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOON = 10000, PACE_US = 500 };

static struct server *server;
static evbus *bus;
static struct peer *peer;
static struct talk talk;
static struct traffic *traffic;

static void command(const char *text)
{
    ck_assert_msg(server_command(server, text) >= 0, "%s: %s", text, server_error());
}

static bool some_traffic(void *user)
{
    return evbus_stat(bus, "published_local") >= *(int64_t *)user;
}

static void let_pass(int events)
{
    int64_t wanted = evbus_stat(bus, "published_local") + events;
    ck_assert(until(some_traffic, &wanted, SOON));
}

static void let_be_acked(int events)
{
    expect_stat(bus, "acked", evbus_stat(bus, "acked") + events, SOON);
}

/* ---- troubles ---- */

static void flush_scripts(void)
{
    command("SCRIPT FLUSH");
    let_be_acked(20);
}

/* Somebody else's script that does not end: all get BUSY for a second. */
static void be_busy(void)
{
    int64_t start = now_us();
    server_be_busy(server);
    let_pass(300);
    nap_us(start + 1000000 - now_us()); /* the fault itself: a second */
    ck_assert_int_ge(evbus_stat(bus, "outbox_events"), 200);
    server_be_calm(server);
    let_be_acked(200);
}

static void run_out_of_memory(void)
{
    command("CONFIG SET maxmemory 1");
    let_pass(300);
    ck_assert_int_ge(evbus_stat(bus, "outbox_events"), 200);
    command("CONFIG SET maxmemory 0");
    let_be_acked(200);
}

static bool is_in_info(const char *line)
{
    char *info = server_text(server, "INFO persistence");
    bool found = strstr(info, line) != NULL;
    free(info);
    return found;
}

static void save_until(const char *line)
{
    struct wait wait = wait_for(SOON);
    server_command(server, "BGSAVE");
    while (!is_in_info(line) && wait_more(&wait))
        ;
    ck_assert(is_in_info(line));
}

/* A folder stands where the file is to be. */
static void fail_to_save(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/dump.rdb", server->folder);
    remove(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    server_command(server, "CONFIG SET save %s", "3600 1000000");
    save_until("rdb_last_bgsave_status:err");
    let_pass(300);
    ck_assert_int_ge(evbus_stat(bus, "outbox_events"), 200);
    ck_assert_int_eq(rmdir(path), 0);
    save_until("rdb_last_bgsave_status:ok");
    let_be_acked(200);
}

static int64_t peer_connects(void)
{
    return strtoll(peer_ask(peer, "stat connects"), NULL, 10);
}

/* All at once: what happens next, happens to processes that are both back. */
static void kill_clients(void)
{
    int64_t here = evbus_stat(bus, "connects"), there = peer_connects();
    server_command(server, "CLIENT KILL USER default SKIPME yes");
    expect_stat(bus, "connects", here + 1, SOON);
    struct wait wait = wait_for(SOON);
    while (peer_connects() <= there && wait_more(&wait))
        ;
    ck_assert_int_gt(peer_connects(), there);
    let_be_acked(20);
}

static void pause_clients(void)
{
    command("CLIENT PAUSE 300 ALL");
    let_be_acked(20);
    command("CLIENT PAUSE 300 WRITE");
    let_be_acked(20);
}

static void flush_all(void)
{
    command("FLUSHALL");
    let_be_acked(20);
}

static void delete_the_mark(void)
{
    for (int i = 0; i < 20; i++) {
        server_command(server, "DEL " STREAM_MARK "%s", evbus_node(bus));
        let_be_acked(10);
    }
}

static bool history_is(const char *state)
{
    char *health = evbus_health_json(bus), wanted[40];
    snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", state);
    const char *history = strstr(health, "\"history\":");
    bool found =
        history && strstr(history, wanted) && strstr(history, wanted) < strchr(history, '}');
    evbus_string_free(health);
    return found;
}

static void expect_history(const char *state)
{
    struct wait wait = wait_for(SOON);
    while (!history_is(state) && wait_more(&wait))
        ;
    ck_assert_msg(history_is(state), "%s", evbus_health_json(bus));
}

static void take_scripts_away(void)
{
    expect_history("on");
    command("ACL SETUSER default -evalsha -eval");
    let_be_acked(100);
    expect_history("lacking");
    command("ACL SETUSER default +evalsha +eval");
    let_be_acked(100);
    kill_clients();
    expect_history("on");
}

/* Some at once, and a break in between. */
static void all_at_once(void)
{
    static const char *const commands[] = {
        "SCRIPT FLUSH",           "CLIENT KILL TYPE normal", "CONFIG SET maxmemory 1",
        "CONFIG SET maxmemory 0", "CLIENT KILL TYPE pubsub", "CLIENT PAUSE 20 ALL"};
    for (int i = 0; i < 60; i++) {
        let_pass(10);
        server_command(server, commands[(i * 5 + i / 6) % 6]);
    }
    command("CONFIG SET maxmemory 0");
    let_be_acked(50);
}

static const struct trouble {
    const char *what;
    void (*make)(void);
    int times;
    enum traffic_promise promise;
    bool emptied; /* the stream does not have all */
} troubles[] = {
    {"SCRIPT FLUSH", flush_scripts, 20, TRAFFIC_KEPT, false},
    {"BUSY", be_busy, 1, TRAFFIC_KEPT, false},
    {"OOM", run_out_of_memory, 3, TRAFFIC_KEPT, false},
    {"MISCONF", fail_to_save, 2, TRAFFIC_KEPT, false},
    {"CLIENT KILL", kill_clients, 10, TRAFFIC_KEPT, false},
    {"CLIENT PAUSE", pause_clients, 1, TRAFFIC_KEPT, false},
    {"FLUSHALL", flush_all, 10, TRAFFIC_KEPT, true},
    {"DEL of the mark", delete_the_mark, 2, TRAFFIC_KEPT, false},
    {"all at once", all_at_once, 2, TRAFFIC_KEPT, false},
    {"no right to scripts", take_scripts_away, 2, TRAFFIC_MIXED, true},
};

/* Four publishers, each on a type of its own. */
static void expect_sound_stream(const struct trouble *trouble)
{
    struct recorder kept;
    int published[TRAFFIC_THREADS];
    char label[64];
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        published[i] = atomic_load(&traffic->threads[i].published);
    recorder_init(&kept);
    struct stream_sum sum = stream_expect_sound(server, &kept);
    snprintf(label, sizeof label, "%s, in the stream", trouble->what);
    ck_assert_int_gt(sum.entries, 0);
    ck_assert_int_eq(kept.doubled, 0);
    ck_assert_int_eq(kept.reordered, 0);
    if (!trouble->emptied)
        recorder_expect_perfect(&kept, label, TRAFFIC_THREADS, published);
    recorder_fini(&kept);
}

static void expect_totals(int received)
{
    char wanted[40];
    snprintf(wanted, sizeof wanted, "%d 0 0 0", received);
    struct wait wait = wait_for(SOON);
    while (strcmp(peer_ask(peer, "totals"), wanted) != 0 && wait_more(&wait))
        ;
    ck_assert_str_eq(peer_ask(peer, "totals"), wanted);
}

/* Then it has come back from the last break, too. */
static void expect_peer_has_all(void)
{
    int published = 0;
    for (int i = 0; i < TRAFFIC_THREADS; i++)
        published += atomic_load(&traffic->threads[i].published);
    expect_totals(published);
}

START_TEST(under_traffic)
{
    const struct trouble *trouble = &troubles[_i];
    server = server_start(NULL);
    bus = server_bus(server, "outbox.events", "1000000", "reconnect.backoff.max", "200ms",
                     "history.exclude", "talk.*", NULL);
    peer = peer_start(server, "bus.name=peer reconnect.backoff.max=200ms history.exclude=talk.*");
    peer_ask(peer, "gaps");
    peer_ask(peer, "record traffic.* size=10000000 bytes=4GiB");
    expect_connected(bus, SOON);
    peer_ask(peer, "connected %d", suite_patience(SOON));
    traffic = traffic_start(bus, PACE_US);
    let_be_acked(100);
    for (int i = 0; i < suite_scaled(trouble->times); i++)
        trouble->make();
    traffic_stop(traffic);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_sound_stream(trouble);
    if (trouble->promise == TRAFFIC_KEPT)
        expect_peer_has_all(); /* before it hears what nobody keeps */
    talk_start(&talk, bus, peer);
    talk_again(&talk, now_us());
    traffic_close(traffic, &talk, peer, trouble->promise, trouble->what);
    server_free(server);
}
END_TEST

/* ---- a call that fails amid calls that do not ---- */

static struct burst {
    evbus *bus;
    pthread_t thread;
    int id, count;
    atomic_bool over;
} bursts[2];

static void *publish_burst(void *user)
{
    struct burst *self = user;
    for (int n = 1; n <= self->count; n++)
        if (publish_numbered(self->bus, "burst", self->id, n) <= 0)
            n = self->count;
    self->over = true;
    return NULL;
}

/* One bus brings back the script that the other one's calls in flight miss. */
START_TEST(scripts_come_and_go)
{
    int count = suite_scaled(30000), flushes = 0;
    server = server_start(NULL);
    peer = peer_start(server, "");
    peer_ask(peer, "gaps");
    peer_ask(peer, "record burst size=1000000 bytes=1GiB");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    for (int i = 0; i < 2; i++) {
        struct burst *burst = &bursts[i];
        *burst = (struct burst){.bus = server_bus(server, NULL), .id = i, .count = count};
        expect_connected(burst->bus, SOON);
        ck_assert_int_eq(pthread_create(&burst->thread, NULL, publish_burst, burst), 0);
    }
    while (!(bursts[0].over && bursts[1].over) || evbus_stat(bursts[0].bus, "outbox_events") ||
           evbus_stat(bursts[1].bus, "outbox_events")) {
        command("SCRIPT FLUSH");
        flushes++;
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(bursts[i].thread, NULL);
        ck_assert_int_eq(evbus_flush(bursts[i].bus, suite_patience(SOON)), 0);
        ck_assert_int_eq(evbus_stat(bursts[i].bus, "kept"), count);
    }
    struct recorder kept;
    int published[2] = {count, count};
    recorder_init(&kept);
    stream_expect_sound(server, &kept);
    recorder_expect_perfect(&kept, "scripts flushed in mid-pipeline, in the stream", 2, published);
    recorder_fini(&kept);
    expect_totals(2 * count);
    printf("figure: %d flushes of the scripts\n", flushes);
    peer_stop(peer);
    for (int i = 0; i < 2; i++)
        bus_end(bursts[i].bus);
    server_free(server);
}
END_TEST

/* ---- refusals within a call ---- */

enum { BURST = 400 };

static atomic_int outcomes[2][TRAFFIC_OUTCOMES], denied;

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    bool refused = strcmp(evbus_event_type(event), "no.such") == 0;
    (void)receivers;
    (void)user;
    atomic_fetch_add(&outcomes[refused][outcome], 1);
    atomic_fetch_add(&denied, error == EVBUS_EDENIED);
}

static void publish_reported(const char *type, int publisher, int number)
{
    evbus_event *event = event_numbered(type, publisher, number, 0);
    int sent = evbus_publish_report(bus, event, 0, on_report, NULL);
    ck_assert_msg(sent > 0, "%s", evbus_last_error());
    evbus_event_unref(event);
}

static void make_writer(void)
{
    command(
        "ACL SETUSER writer on nopass +@all ~* resetchannels &evbus:events:yes.* &evbus:inbox:*");
}

/* One channel of a call is refused: its events alone fail. */
START_TEST(one_channel_refused)
{
    server = server_start(NULL);
    make_writer();
    bus = server_bus(server, "redis.username", "writer", NULL);
    peer = peer_start(server, "");
    peer_ask(peer, "gaps");
    peer_ask(peer, "record > size=100000");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    expect_connected(bus, SOON);
    for (int n = 1; n <= BURST; n++) {
        publish_reported("yes.a", 0, n);
        publish_reported("no.such", 1, n);
        publish_reported("yes.b", 2, n);
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&outcomes[0][EVBUS_ACKED]), 2 * BURST);
    ck_assert_int_eq(atomic_load(&outcomes[1][EVBUS_FAILED]), BURST);
    ck_assert_int_eq(atomic_load(&denied), BURST);
    ck_assert_int_eq(stream_expect_sound(server, NULL).entries, 2 * BURST);
    ck_assert_int_eq(evbus_stat(bus, "kept"), 2 * BURST);
    ck_assert(history_is("on"));
    expect_totals(2 * BURST);
    peer_stop(peer);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- an answer that is lost ---- */

static evbus *open_behind(struct middle *middle)
{
    char port[8];
    struct middle_act act = {.kind = MIDDLE_PASS, .path = server->socket};
    middle_become(middle, &act, NULL);
    snprintf(port, sizeof port, "%d", middle_port(middle));
    return bus_with("redis.port", port, "reconnect.backoff", "1ms", "reconnect.backoff.max", "20ms",
                    "redis.username", "writer", NULL);
}

/* What was executed and not answered goes again, and adds nothing; what was refused fails for all
 * that. */
START_TEST(answers_swallowed)
{
    struct middle *middle = middle_start();
    server = server_start(NULL);
    make_writer();
    bus = open_behind(middle);
    peer = peer_start(server, "");
    peer_ask(peer, "gaps");
    peer_ask(peer, "record yes.* size=100000");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    expect_connected(bus, SOON);
    int number = 0, refused = 0, rounds = suite_scaled(20);
    for (int i = 0; i < rounds; i++) {
        publish_reported("yes.a", 0, ++number);
        ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
        middle_mute(middle);
        for (int n = 0; n < 10 + 17 * i; n++) {
            if (n % 3 == i % 3)
                publish_reported("no.such", 1, ++refused);
            publish_reported("yes.a", 0, ++number);
        }
        struct wait wait = wait_for(SOON);
        while (stream_length(server) < number && wait_more(&wait))
            ;
        ck_assert_int_eq(stream_length(server), number);
        middle_cut(middle);
        ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    }
    ck_assert_int_eq(evbus_stat(bus, "resent"), number - rounds + refused);
    ck_assert_int_eq(atomic_load(&outcomes[1][EVBUS_FAILED]), refused);
    ck_assert_int_eq(atomic_load(&denied), refused);
    ck_assert_int_eq(atomic_load(&outcomes[0][EVBUS_ACKED]), number);
    ck_assert_int_eq(stream_expect_sound(server, NULL).entries, number);
    ck_assert_int_eq(evbus_stat(bus, "kept"), number);
    expect_totals(number);
    peer_stop(peer);
    bus_end(bus);
    middle_free(middle);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("history_faults");
    TCase *all = tcase_create("under_traffic");
    tcase_set_timeout(all, suite_patience(60));
    tcase_add_loop_test(all, under_traffic, 0, sizeof troubles / sizeof troubles[0]);
    suite_add_tcase(suite, all);
    suite_add(suite, "scripts_come_and_go", scripts_come_and_go, 60);
    suite_add(suite, "one_channel_refused", one_channel_refused, 20);
    suite_add(suite, "answers_swallowed", answers_swallowed, 30);
    return suite_run(suite, argc, argv);
}
