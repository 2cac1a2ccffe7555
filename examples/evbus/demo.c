/* demo.c - evbus demo: what the bus does without Redis, with it, and while it dies. Main thread. */
#include "demo.h"
#include "signals.h"
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EARLY = 100, TOGETHER = 1000, AWAY = 500, ALL = EARLY + TOGETHER + AWAY };

struct demo {
    struct watch watch;
    struct server server;
    struct peer peer;
    evbus_sub *subs[3];
    int64_t published;
};

/* ---- publishing ---- */

/* On the loop. */
static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct watch *watch = user;
    (void)event, (void)error, (void)receivers;
    atomic_fetch_add(outcome == EVBUS_ACKED ? &watch->acked : &watch->lost, 1);
}

static int publish_one(struct demo *demo)
{
    char json[32];
    int length = snprintf(json, sizeof json, "{\"n\":%" PRId64 "}", demo->published + 1);
    evbus_event *event = evbus_event_new("demo.event");
    int rc = event ? evbus_event_set_json(event, json, (size_t)length) : -1;
    if (rc == 0)
        rc = evbus_publish_report(demo->watch.bus, event, 0, on_report, &demo->watch);
    evbus_event_unref(event);
    if (rc < 0) {
        cli_error("publish: %s", evbus_last_error());
        return -1;
    }
    demo->published++;
    return 0;
}

/* `count` events spread over `ms`, the bar showing what `value` says of `full`. */
static int publish(struct demo *demo, int count, int64_t ms, const char *label,
                   int64_t (*value)(const struct watch *watch), int64_t full)
{
    int64_t start_ms = cli_now_ms();
    for (int i = 1; i <= count; i++) {
        int64_t due_ms = start_ms + ms * i / count - cli_now_ms();
        if (publish_one(demo) != 0)
            return -1;
        if (due_ms <= 0)
            continue;
        if (watch_pump(&demo->watch, due_ms) != 0)
            return -1;
        say_bar(&demo->watch, label, value(&demo->watch), full);
    }
    return watch_pump(&demo->watch, 0);
}

static int64_t outbox(const struct watch *watch)
{
    return evbus_stat(watch->bus, "outbox_events");
}

static int64_t acked(const struct watch *watch)
{
    return atomic_load(&watch->acked);
}

/* ---- what is waited for ---- */

static bool is_connected(const struct watch *watch)
{
    return watch->connected;
}

static bool is_away(const struct watch *watch)
{
    return !watch->connected;
}

static bool is_peer_ready(const struct watch *watch)
{
    return watch->peer_ready;
}

static bool has_report(const struct watch *watch)
{
    return watch->peer_reported;
}

/* Until this process's subscriber and the peer have all that was published (-1: leave the peer
 * out). */
static int await_all(struct demo *demo, bool peer)
{
    struct watch *watch = &demo->watch;
    int64_t end_ms = cli_now_ms() + 5000;
    while (watch->local.received < demo->published ||
           (peer && (watch->remote.received < demo->published || acked(watch) < demo->published))) {
        if (cli_now_ms() > end_ms) {
            cli_error("still not after 5 s: all events arrived");
            return -1;
        }
        watch->peer_reported = false;
        if (peer && write(demo->peer.to, "report\n", 7) != 7)
            return -1;
        if (peer && watch_until(watch, has_report, 2000, "the second process reports") != 0)
            return -1;
        if (watch_pump(watch, 20) != 0)
            return -1;
    }
    return 0;
}

/* ---- the story ---- */

static int without_redis(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    char why[512];
    say_title(watch, 1, "No Redis");
    watch->bus = demo_open("demo", demo->server.door);
    watch->queue = evbus_queue_open(watch->bus, "size=100000 bytes=64MiB");
    demo->subs[0] = evbus_queue_subscribe(watch->queue, "demo.>", NULL, TAG_DEMO);
    demo->subs[1] = evbus_queue_subscribe(watch->queue, "peer.tick", NULL, TAG_TICK);
    demo->subs[2] = evbus_queue_subscribe(watch->queue, "evbus.>", NULL, TAG_SYSTEM);
    if (!demo->subs[0] || !demo->subs[1] || !demo->subs[2]) {
        cli_error("%s", evbus_last_error());
        return -1;
    }
    if (watch_pump(watch, 200) != 0)
        return -1;
    cli_why_away(watch->bus, why, sizeof why);
    say(watch, "bus", "open, mode %s: %s", evbus_mode_name(evbus_mode(watch->bus)), why);
    if (publish(demo, EARLY, 1000, "outbox", outbox, EARLY) != 0 || await_all(demo, false) != 0)
        return -1;
    say(watch, "publish", "%d events: this process's subscriber has %" PRId64, EARLY,
        watch->local.received);
    say(watch, "outbox", "%" PRId64 " events wait for Redis", outbox(watch));
    return watch_pump(watch, 700);
}

static int redis_comes(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    say_title(watch, 2, "Redis comes, and a second process");
    if (server_start(&demo->server) != 0)
        return -1;
    say(watch, "redis", "redis-server started, pid %d, on a private socket", (int)demo->server.pid);
    if (peer_start(&demo->peer, demo->server.socket) != 0 ||
        watch_until(watch, is_peer_ready, 6000, "the second process is connected") != 0)
        return -1;
    say(watch, "peer", "process %d subscribes to demo.> and publishes ten ticks a second",
        (int)demo->peer.pid);
    if (server_open_door(&demo->server) != 0 ||
        watch_until(watch, is_connected, 5000, "this bus is connected") != 0 ||
        await_all(demo, true) != 0)
        return -1;
    say(watch, "outbox", "empty: the peer has all %" PRId64 ", published before it existed",
        watch->remote.received);
    return watch_pump(watch, 500);
}

static int together(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    say_title(watch, 3, "Two processes talk");
    if (publish(demo, TOGETHER, 1800, "acked", acked, EARLY + TOGETHER) != 0 ||
        await_all(demo, true) != 0)
        return -1;
    say(watch, "publish", "%d more: received here %" PRId64 ", by the peer %" PRId64, TOGETHER,
        watch->local.received, watch->remote.received);
    say(watch, "ticks", "%" PRId64 " came from the peer", watch->tick_received);
    return watch_pump(watch, 300);
}

static int redis_dies(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    say_title(watch, 4, "Redis is killed");
    say(watch, "redis", "kill -9 %d", (int)demo->server.pid);
    watch->peer_ready = false;
    server_kill(&demo->server);
    server_close_door(&demo->server);
    if (publish(demo, AWAY, 2000, "outbox", outbox, AWAY) != 0 ||
        watch_until(watch, is_away, 8000, "the bus noticed") != 0 || await_all(demo, false) != 0)
        return -1;
    say(watch, "publish", "%d more, none blocked: this process's subscriber has all %" PRId64, AWAY,
        watch->local.received);
    say(watch, "outbox", "%" PRId64 " events wait for Redis", outbox(watch));
    return watch_pump(watch, 700);
}

static int redis_returns(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    say_title(watch, 5, "Redis comes back");
    if (server_start(&demo->server) != 0)
        return -1;
    say(watch, "redis", "redis-server started, pid %d, empty", (int)demo->server.pid);
    if (watch_until(watch, is_peer_ready, 8000, "the second process is back") != 0)
        return -1;
    /* Otherwise it depends on luck who is back first, and this version keeps nothing for a
     * subscriber. */
    say(watch, "peer", "is back by itself; only now this bus is let in");
    if (server_open_door(&demo->server) != 0 ||
        watch_until(watch, is_connected, 8000, "this bus is back") != 0 ||
        await_all(demo, true) != 0)
        return -1;
    say(watch, "outbox", "empty: the peer has the %d of the outage too", AWAY);
    return watch_pump(watch, 500);
}

/* ---- the bill ---- */

static bool in_gap(const struct watch *watch, int64_t us)
{
    for (int i = 0; i < watch->gap_count; i++)
        if (us >= watch->gaps[i].from_us && us < watch->gaps[i].to_us + 1000)
            return true;
    return false;
}

struct ticks {
    int64_t came;
    int64_t missed, silent; /* since this bus was first connected; and those in no announced gap */
};

/* The later ones are on their way yet. */
static struct ticks count_ticks(const struct watch *watch, int64_t sent)
{
    struct ticks ticks = {0};
    for (int64_t n = 1; n <= sent; n++) {
        bool missed = !watch->tick_came[n] && watch->tick_us[n] >= watch->since_us;
        ticks.came += watch->tick_came[n];
        ticks.missed += missed;
        ticks.silent += missed && !in_gap(watch, watch->tick_us[n]);
    }
    return ticks;
}

static bool check(struct watch *watch, bool good, const char *what)
{
    const char *mark = good ? "ok" : "WRONG";
    const char *tint = good ? "\033[32m" : "\033[1;31m";
    say(watch, "", "%s%s%s  %s", watch->cli->colour ? tint : "", mark,
        watch->cli->colour ? "\033[0m" : "", what);
    return good;
}

static int bill(struct demo *demo)
{
    struct watch *watch = &demo->watch;
    const struct numbered *here = &watch->local, *there = &watch->remote;
    int64_t sent = watch->tick_sent;
    if (watch_pump(watch, 300) != 0) /* ticks on their way */
        return -1;
    struct ticks ticks = count_ticks(watch, sent);
    int64_t lost = atomic_load(&watch->lost);
    say_title(watch, 6, "The bill");
    say(watch, "here",
        "published %" PRId64 ", acknowledged by Redis %" PRId64
        ", received by this process %" PRId64,
        demo->published, acked(watch), here->received);
    say(watch, "peer",
        "received %" PRId64 ", missing %" PRId64 ", doubled or out of order %" PRId64,
        there->received, there->missing, there->doubles);
    say(watch, "ticks",
        "sent by the peer %" PRId64 ", received here %" PRId64
        ", missed while this bus was away %" PRId64,
        sent, ticks.came, ticks.missed);
    bool good = check(
        watch, demo->published == ALL && here->received == ALL && !here->missing && !here->doubles,
        "this process had every event once and in order, Redis or not");
    good &= check(watch, acked(watch) == ALL && lost == 0, "Redis acknowledged every event");
    good &= check(watch, there->received == ALL && !there->missing && !there->doubles,
                  "the peer had every event once and in order, across the outage");
    good &= check(watch, ticks.silent == 0 && watch->tick_doubles == 0,
                  "what was missed lies inside the announced gap: no silent loss");
    good &= check(watch, watch->gap_count > 0 && watch->peer_gaps > 0,
                  "both processes were told that there was a gap");
    return good ? 0 : -1;
}

static void tear_down(struct demo *demo)
{
    peer_stop(&demo->peer);
    evbus_queue_free(demo->watch.queue);
    for (size_t i = 0; i < sizeof demo->subs / sizeof demo->subs[0]; i++)
        evbus_unsubscribe(demo->subs[i]);
    evbus_free(demo->watch.bus);
    server_remove(&demo->server);
}

static int run(struct cli *cli, int argc, char **argv)
{
    static int (*const story[])(struct demo *) = {without_redis, redis_comes,   together,
                                                  redis_dies,    redis_returns, bill};
    struct demo demo = {.peer = {.to = -1, .from = -1}};
    int rc = 0;
    if (cli_parse(cli, &cli_demo, argc, argv, NULL, NULL) != 0)
        return cli->status;
    if (cli->count > 0)
        return cli_usage("demo", "demo takes no \"%s\"", cli->words[0]);
    setlocale(LC_CTYPE, ""); /* which bars the terminal can show */
    demo.watch.cli = cli;
    demo.watch.peer = &demo.peer;
    if (signals_init() != 0) {
        cli_error("signals: %s", strerror(errno));
        return CLI_ERROR;
    }
    if (server_prepare(&demo.server) != 0)
        return CLI_ERROR;
    printf("libevbus %s: one bus, a second process, and a Redis that comes and goes.\n",
           evbus_version());
    for (size_t i = 0; rc == 0 && i < sizeof story / sizeof story[0]; i++)
        rc = story[i](&demo);
    tear_down(&demo);
    if (rc == 0)
        printf("\nAll held. Next: README.md, or two terminals with 'evbus sub \">\"' and "
               "'evbus pub hello.world'.\n");
    return rc == 0 ? CLI_OK : CLI_ERROR;
}

const struct cli_command cli_demo = {
    .name = "demo",
    .words = "",
    .summary = "Shows the bus at work in ten seconds, with a Redis of its own",
    .run = run,
};
