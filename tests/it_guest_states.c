/* it_guest_states.c - buses opened and ended by the dice: in every state of the link, with whatever
 * hangs on them, in every way. After each no thread, descriptor or byte of the library is left,
 * every accepted event has had its report, and no close took longer than it was given. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/rude.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOON = 10000, CYCLES = 300, THREADS_AT_ONCE = 8, SUBS_MOST = 4, LATE_MS = 500 };

/* ---- memory ---- */

static atomic_llong bytes_held;
static const size_t HEAD = 16;

static void *hook_alloc(size_t size)
{
    size_t *block = malloc(HEAD + size);
    if (!block)
        return NULL;
    *block = size;
    atomic_fetch_add(&bytes_held, (long long)size);
    return (char *)block + HEAD;
}

static void *hook_resize(void *old, size_t size)
{
    size_t *block = old ? (size_t *)(void *)((char *)old - HEAD) : NULL, had = old ? *block : 0;
    block = realloc(block, HEAD + size);
    if (!block)
        return NULL;
    *block = size;
    atomic_fetch_add(&bytes_held, (long long)size - (long long)had);
    return (char *)block + HEAD;
}

static void hook_release(void *memory)
{
    if (!memory)
        return;
    size_t *block = (size_t *)(void *)((char *)memory - HEAD);
    atomic_fetch_sub(&bytes_held, (long long)*block);
    free(block);
}

struct account {
    int fds, threads;
    long long bytes;
};

static struct account before;

static struct account look(void)
{
    return (struct account){process_fds(), process_threads(), atomic_load(&bytes_held)};
}

static bool is_even(void *unused)
{
    struct account now = look();
    (void)unused;
    return now.fds == before.fds && now.threads == before.threads && now.bytes == before.bytes;
}

/* The library keeps a record for each thread that was there at once, for the next. */
static pthread_barrier_t together;

static void *leave_a_record(void *bus)
{
    evbus_publish(bus, "warm", NULL);
    pthread_barrier_wait(&together);
    return NULL;
}

static void warm_up(void)
{
    pthread_t threads[THREADS_AT_ONCE];
    evbus *bus = evbus_open(NULL);
    pthread_barrier_init(&together, NULL, THREADS_AT_ONCE);
    for (int i = 0; i < THREADS_AT_ONCE; i++)
        pthread_create(&threads[i], NULL, leave_a_record, bus);
    for (int i = 0; i < THREADS_AT_ONCE; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
    evbus_free(bus);
}

/* ---- one life ---- */

enum link { NO_REDIS, REFUSED, BLACK_HOLE, SILENT, HANGS_UP, READY, LINKS };
enum end { FREE, CLOSE, CLOSE_SOON, CLOSE_AT_ONCE, CLOSE_ASYNC, FREE_INSIDE, CLOSE_INSIDE, ENDS };

static const char *const link_names[] = {"no Redis", "refused",  "black hole",
                                         "silent",   "hangs up", "ready"};
static const char *const end_names[] = {"free",           "close",       "close 5 ms",  "close 0",
                                        "close by async", "free inside", "close inside"};

struct world {
    struct server *server;
    struct rude *silent, *rude;
    int hole_port, nobody_port;
    unsigned dice;
};

struct life {
    struct world *world;
    evbus *bus;
    enum link link;
    enum end end;
    evbus_sub *subs[SUBS_MOST];
    evbus_queue *queue;
    evbus_sub *pulled;
    atomic_int ended, calls, reports, closed;
    int accepted;
};

static int roll(struct world *world, int sides)
{
    return (int)((unsigned)rand_r(&world->dice) % (unsigned)sides);
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct life *life = user;
    (void)event;
    (void)outcome;
    (void)error;
    (void)receivers;
    atomic_fetch_add(&life->reports, 1);
}

static void on_closed(int result, void *user)
{
    struct life *life = user;
    (void)result;
    atomic_fetch_add(&life->closed, 1);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    struct life *life = user;
    (void)sub;
    atomic_fetch_add(&life->calls, 1);
    if (strcmp(evbus_event_type(event), "end") != 0 || atomic_fetch_add(&life->ended, 1) > 0)
        return 0;
    if (life->end == CLOSE_INSIDE)
        evbus_close(life->bus, 1000);
    evbus_free(life->bus);
    return 0;
}

static evbus *open_in(const struct world *world, enum link link)
{
    const int ports[] = {[REFUSED] = world->nobody_port,
                         [BLACK_HOLE] = world->hole_port,
                         [SILENT] = rude_port(world->silent),
                         [HANGS_UP] = rude_port(world->rude)};
    char port[16];
    if (link == NO_REDIS)
        return evbus_open(NULL);
    if (link == READY)
        return server_bus(world->server, NULL);
    snprintf(port, sizeof port, "%d", ports[link]);
    return bus_with("redis.port", port, "reconnect.backoff", "1ms", "reconnect.backoff.max", "20ms",
                    NULL);
}

static void populate(struct life *life)
{
    static const char *const options[] = {NULL, "deliver=inline", "scope=redis", "scope=local"};
    static const char *const patterns[] = {"t", "t.*", ">", "glob:t*"};
    struct world *world = life->world;
    for (int i = roll(world, SUBS_MOST + 1) - 1; i >= 0; i--)
        life->subs[i] =
            evbus_subscribe(life->bus, patterns[roll(world, 4)], options[i], on_event, life);
    if (roll(world, 2)) {
        evbus_event *event = NULL;
        life->queue = evbus_queue_open(life->bus, "size=10");
        life->pulled = evbus_queue_subscribe(life->queue, patterns[roll(world, 4)], NULL, 7);
        if (roll(world, 2))
            ck_assert_int_ge(evbus_queue_fd(life->queue), 0);
        evbus_queue_next(life->queue, 0, &event, NULL);
        evbus_event_unref(event);
    }
    for (int n = roll(world, 3) ? roll(world, 50) : 0; n > 0; n--) {
        evbus_event *event = evbus_event_new("t");
        evbus_event_set_json(event, "{\"n\":1}", 7);
        int rc = evbus_publish_report(life->bus, event, 0, on_report, life);
        ck_assert_int_gt(rc, 0);
        evbus_event_unref(event);
        life->accepted++;
    }
}

/* Sometimes the state is waited for, sometimes the end comes on the way there. */
static void settle(struct life *life)
{
    struct wait wait = wait_for(SOON);
    if (roll(life->world, 2)) {
        for (volatile int i = roll(life->world, 300000); i > 0; i--)
            ;
        return;
    }
    if (life->link == READY)
        expect_connected(life->bus, SOON);
    if (life->link == REFUSED || life->link == HANGS_UP)
        expect_stat(life->bus, "connect_errors", 1, SOON);
    while (life->link == SILENT && rude_connections(life->world->silent, 3) < 2 && wait_more(&wait))
        ;
}

static void close_within(struct life *life, int ms)
{
    int64_t start = now_us();
    int rc = evbus_close(life->bus, ms);
    int64_t took_ms = (now_us() - start) / 1000;
    ck_assert_msg(rc == 0 || rc == EVBUS_ETIMEDOUT, "close: %d %s", rc, evbus_last_error());
    ck_assert_msg(took_ms <= ms + suite_patience(LATE_MS), "close of %d ms took %lld", ms,
                  (long long)took_ms);
    if (life->link == READY && ms >= SOON)
        ck_assert_msg(rc == 0, "ready, and not closed: %s", evbus_last_error());
}

static void end(struct life *life)
{
    evbus_sub *ender = NULL;
    switch (life->end) {
    case CLOSE:
        close_within(life, life->link == READY || life->link == NO_REDIS ? SOON : 20);
        break;
    case CLOSE_SOON:
        close_within(life, 5);
        break;
    case CLOSE_AT_ONCE:
        close_within(life, 0);
        break;
    case CLOSE_ASYNC:
        ck_assert_int_eq(evbus_close_async(life->bus, roll(life->world, 2) - 1, on_closed, life),
                         0);
        break;
    case FREE_INSIDE:
    case CLOSE_INSIDE:
        ender = evbus_subscribe(life->bus, "end",
                                roll(life->world, 2) ? "deliver=inline" : "scope=local", on_event,
                                life);
        ck_assert_int_gt(evbus_publish(life->bus, "end", NULL), 0);
        expect_count(&life->ended, 1, SOON);
        ck_assert_int_eq(evbus_unsubscribe(ender), 0);
        return;
    default:
        break;
    }
    evbus_free(life->bus);
    ck_assert_int_eq(atomic_load(&life->closed), life->end == CLOSE_ASYNC);
}

static void give_handles_back(struct life *life)
{
    for (int i = 0; i < SUBS_MOST; i++)
        if (life->subs[i])
            ck_assert_int_eq(evbus_unsubscribe(life->subs[i]), 0);
    if (life->pulled)
        ck_assert_int_eq(evbus_unsubscribe(life->pulled), 0);
    evbus_queue_free(life->queue);
}

static void live_once(struct world *world, int round)
{
    struct life life = {
        .world = world, .link = (enum link)roll(world, LINKS), .end = (enum end)roll(world, ENDS)};
    bool handles_first = roll(world, 2);
    life.bus = open_in(world, life.link);
    populate(&life);
    settle(&life);
    if (handles_first)
        give_handles_back(&life);
    end(&life);
    if (!handles_first)
        give_handles_back(&life);
    if (!until(is_even, NULL, SOON)) {
        struct account now = look();
        ck_abort_msg("round %d (%s, %s): fds %+d, threads %+d, bytes %+lld", round,
                     link_names[life.link], end_names[life.end], now.fds - before.fds,
                     now.threads - before.threads, now.bytes - before.bytes);
    }
    ck_assert_msg(atomic_load(&life.reports) == life.accepted,
                  "round %d (%s, %s): %d of %d reports", round, link_names[life.link],
                  end_names[life.end], atomic_load(&life.reports), life.accepted);
}

/* A port whose queue of connections is full: whoever connects waits. */
static int dig_hole(int fds[5])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    for (int i = 0; i < 5; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    ck_assert_int_eq(getsockname(fds[0], (struct sockaddr *)&address, &length), 0);
    for (int i = 1; i < 5; i++)
        (void)!connect(fds[i], (struct sockaddr *)&address, sizeof address);
    return ntohs(address.sin_port);
}

START_TEST(random_states)
{
    struct world world = {.dice = suite_seed("random states")};
    int hole[5], rounds = suite_rounds(CYCLES);
    ck_assert_int_eq(evbus_set_allocator(hook_alloc, hook_resize, hook_release), 0);
    world.server = server_start(NULL);
    struct server *nobody = server_plan(true, NULL);
    world.nobody_port = nobody->port;
    world.silent = rude_start();
    world.rude = rude_start();
    rude_set_mute(world.silent, true);
    rude_set_greeting(world.rude, "");
    world.hole_port = dig_hole(hole);
    warm_up();
    before = look();
    for (int i = 0; i < rounds; i++)
        live_once(&world, i);
    printf("figure: random states: %d cycles: fds +0, threads +0, bytes +0\n", rounds);
    for (int i = 0; i < 5; i++)
        close(hole[i]);
    rude_free(world.silent);
    rude_free(world.rude);
    server_free(nobody);
    server_free(world.server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest states");
    suite_add(suite, "random_states", random_states, 120);
    return suite_run(suite, argc, argv);
}
