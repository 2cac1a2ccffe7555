/* it_guest_fork.c - forks in the middle of traffic: the child's calls say EFORK, it gives the
 * handles back, opens buses of its own and ends in every way; the parent does not notice. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 10000, PUBLISHERS = 3, CHILD_SECONDS = 5 };

/* What the parent has, all of it in use. */
static struct {
    struct server *server;
    evbus *bus;
    evbus_queue *queue;
    evbus_sub *here, *there, *pulled;
    evbus_event *event;
    struct recorder loop, local;
    pthread_t publisher[PUBLISHERS], puller;
    atomic_int stop, published[PUBLISHERS];
} parent;

static void *publish_numbers(void *user)
{
    intptr_t id = (intptr_t)user;
    for (int n = 1; !atomic_load(&parent.stop); n++) {
        if (publish_numbered(parent.bus, "n", (int)id, n) < 0)
            break;
        atomic_store(&parent.published[id], n);
        nap_us(100);
    }
    return NULL;
}

static void *pull(void *unused)
{
    evbus_event *event = NULL;
    (void)unused;
    while (!atomic_load(&parent.stop))
        if (evbus_queue_next(parent.queue, 1, &event, NULL) == 1)
            evbus_event_unref(event);
    return NULL;
}

static void start_parent(void)
{
    parent.server = server_start(NULL);
    parent.bus = server_bus(parent.server, "redis.ping.timeout", "60s", NULL); /* forks take time */
    recorder_init(&parent.loop);
    recorder_init(&parent.local);
    parent.here =
        bus_subscribe(parent.bus, "n", "size=1000000 bytes=1GiB", recorder_handle, &parent.loop);
    parent.there = bus_subscribe(parent.bus, "n", "deliver=inline", recorder_handle, &parent.local);
    parent.queue = evbus_queue_open(parent.bus, NULL);
    parent.pulled = evbus_queue_subscribe(parent.queue, "n", NULL, 0);
    ck_assert_int_ge(evbus_queue_fd(parent.queue), 0);
    parent.event = evbus_event_new("t");
    expect_connected(parent.bus, SOON);
    for (intptr_t i = 0; i < PUBLISHERS; i++)
        pthread_create(&parent.publisher[i], NULL, publish_numbers, (void *)i);
    pthread_create(&parent.puller, NULL, pull, NULL);
}

/* The parent's traffic went on: nothing lost, doubled, reordered, and the link never dropped. */
static void end_parent(void)
{
    int published[PUBLISHERS];
    atomic_store(&parent.stop, 1);
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_join(parent.publisher[i], NULL);
        published[i] = atomic_load(&parent.published[i]);
        ck_assert_int_gt(published[i], 0);
    }
    pthread_join(parent.puller, NULL);
    ck_assert_int_eq(evbus_flush(parent.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_mode(parent.bus), EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_stat(parent.bus, "disconnects"), 0);
    ck_assert_int_eq(evbus_close(parent.bus, suite_patience(SOON)), 0);
    recorder_expect_perfect(&parent.loop, "loop", PUBLISHERS, published);
    recorder_expect_perfect(&parent.local, "inline", PUBLISHERS, published);
    evbus_event_unref(parent.event);
    evbus_unsubscribe(parent.pulled);
    evbus_queue_free(parent.queue);
    bus_end(parent.bus);
    recorder_fini(&parent.loop);
    recorder_fini(&parent.local);
    server_free(parent.server);
}

/* ---- the child: no assertion there, its exit status is the line that failed ---- */

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__ % 255 + 1;                                                             \
    } while (0)

static int refuse_the_parents(void)
{
    evbus_event *none = NULL;
    NEED(evbus_publish(parent.bus, "n", "{}") == EVBUS_EFORK);
    NEED(evbus_publish_event(parent.bus, parent.event, 0) == EVBUS_EFORK);
    NEED(evbus_publish_event(parent.bus, parent.event, EVBUS_BATCH) == EVBUS_EFORK);
    NEED(evbus_flush(parent.bus, -1) == EVBUS_EFORK);
    NEED(evbus_close(parent.bus, -1) == EVBUS_EFORK);
    NEED(evbus_mode(parent.bus) == EVBUS_EFORK);
    NEED(evbus_stat(parent.bus, "acked") == EVBUS_EFORK);
    NEED(!evbus_health_json(parent.bus) && evbus_last_code() == EVBUS_EFORK);
    NEED(evbus_queue_next(parent.queue, -1, &none, NULL) == EVBUS_EFORK);
    NEED(evbus_sub_wait(parent.here, -1) == EVBUS_EFORK);
    NEED(evbus_sub_stat(parent.here, "queued") == EVBUS_EFORK);
    NEED(evbus_queue_stat(parent.queue, "queued") == EVBUS_EFORK);
    return 0;
}

/* Of the descriptors only the loop's epoll set stays: it is the parent's, too. */
static int give_the_parents_back(int round)
{
    int had = process_fds();
    if (round % 2)
        evbus_free(parent.bus);
    NEED(evbus_unsubscribe(parent.here) == 0);
    NEED(evbus_unsubscribe(parent.there) == 0);
    evbus_queue_free(parent.queue);
    NEED(evbus_unsubscribe(parent.pulled) == 0);
    evbus_event_unref(parent.event);
    if (round % 2 == 0)
        evbus_free(parent.bus);
    NEED(process_fds() == had - 5); /* two connections, the queue's pair, the loop's eventfd */
    return 0;
}

static int live_on(int round)
{
    atomic_int seen = 0;
    evbus *mine = evbus_default();
    NEED(mine && mine != parent.bus && mine == evbus_default());
    evbus_sub *inline_sub = evbus_subscribe(mine, "t", "deliver=inline", handle_count, &seen);
    evbus_sub *loop_sub = evbus_subscribe(mine, "t", NULL, handle_count, &seen);
    NEED(inline_sub && loop_sub);
    NEED(evbus_publish(mine, "t", "{}") == EVBUS_SENT_LOCAL);
    NEED(until_count(&seen, 2, SOON));
    NEED(evbus_unsubscribe(loop_sub) == 0 && evbus_unsubscribe(inline_sub) == 0);
    if (round % 8 == 0) { /* and one on the parent's Redis */
        evbus_config *config = evbus_config_new();
        evbus_config_set(config, "redis.path", parent.server->socket);
        evbus *other = evbus_open(config);
        evbus_config_free(config);
        NEED(other && evbus_wait_connected(other, SOON) == 0);
        NEED(evbus_publish(other, "t", "{}") > 0 && evbus_flush(other, SOON) == 0);
        evbus_free(other);
    }
    return 0;
}

static void hang_no_longer(void)
{
    signal(SIGALRM, SIG_DFL); /* Check's own would end the whole test */
    alarm(CHILD_SECONDS);
}

static void child(int round)
{
    hang_no_longer();
    int bad = refuse_the_parents();
    bad = bad ? bad : give_the_parents_back(round);
    bad = bad ? bad : live_on(round);
    parent.server->pid = 0; /* what exit() calls must not kill it */
    if (round % 3 == 0)
        exit(bad);
    if (round % 3 == 1)
        quick_exit(bad);
    _exit(bad);
}

/* Where a thread of the child is: what to look at when it hangs. */
static void read_word(pid_t pid, const char *name, char *out, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(out, (int)room, file))
        snprintf(out, room, "?");
    if (file)
        fclose(file);
}

static void expect_good_end(pid_t pid, int round)
{
    char stat[128], where[128];
    int status = 0, got;
    struct wait wait = wait_for(2000 * CHILD_SECONDS);
    ck_assert_int_gt(pid, 0);
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && wait_more(&wait))
        ;
    if (got != pid) {
        read_word(pid, "stat", stat, sizeof stat);
        read_word(pid, "syscall", where, sizeof where);
        kill(pid, SIGKILL);
        ck_abort_msg("child %d hangs, not even an alarm ends it: %s; %s", round, stat, where);
    }
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "child %d: status %x (exit: the line that failed, modulo 255, plus 1)", round,
                  (unsigned)status);
}

START_TEST(amid_traffic)
{
    int rounds = suite_rounds(100);
    if (suite_sanitized()) {
        printf("SKIPPED: amid_traffic: sanitizers' allocators do not survive such a fork()\n");
        return;
    }
    unsetenv("EVBUS_REDIS_URL");
    start_parent();
    for (int round = 0; round < rounds; round++) {
        pid_t pid = fork();
        if (pid == 0)
            child(round);
        expect_good_end(pid, round);
    }
    printf("figure: forks amid traffic: %d, %ld events in the parent\n", rounds,
           recorder_received(&parent.local));
    end_parent();
}
END_TEST

/* ---- another thread is opening the process's bus ---- */

static atomic_int hold, held;

static void *slow_alloc(size_t size)
{
    if (atomic_load(&hold)) {
        atomic_store(&held, 1);
        while (atomic_load(&hold))
            nap_us(100);
    }
    return malloc(size);
}

static void *open_process_bus(void *unused)
{
    (void)unused;
    return evbus_default();
}

/* It is held up in there, with all that it locked: the child must not wait for it. */
START_TEST(while_another_thread_opens)
{
    pthread_t opener;
    void *opened;
    ck_assert_int_eq(evbus_set_allocator(slow_alloc, realloc, free), 0);
    if (suite_sanitized()) {
        printf("SKIPPED: while_another_thread_opens: no thread starts after such a fork()\n");
        return;
    }
    atomic_store(&hold, 1);
    pthread_create(&opener, NULL, open_process_bus, NULL);
    expect_count(&held, 1, SOON);
    pid_t pid = fork();
    if (pid == 0) {
        hang_no_longer();
        atomic_store(&hold, 0);
        exit(evbus_publish(evbus_default(), "t", NULL) == EVBUS_SENT_LOCAL ? 0 : 1);
    }
    expect_good_end(pid, 0);
    atomic_store(&hold, 0);
    pthread_join(opener, &opened);
    ck_assert_ptr_nonnull(opened);
    ck_assert_ptr_eq(opened, evbus_default());
    evbus_free(opened);
}
END_TEST

/* ---- a handler forks ---- */

struct forker {
    evbus *bus;
    atomic_int calls, pid;
};

static int fork_here(evbus_sub *sub, evbus_event *event, void *user)
{
    struct forker *forker = user;
    (void)event;
    pid_t pid = fork();
    if (pid == 0) {
        hang_no_longer();
        bool good = evbus_publish(forker->bus, "t", NULL) == EVBUS_EFORK;
        good = evbus_unsubscribe(sub) == 0 && good;
        evbus_free(forker->bus);
        evbus *mine = evbus_default();
        good = mine && evbus_publish(mine, "t", NULL) == EVBUS_SENT_LOCAL && good;
        exit(good ? 0 : 1);
    }
    atomic_store(&forker->pid, pid);
    atomic_fetch_add(&forker->calls, 1);
    return 0;
}

START_TEST(in_a_handler)
{
    static const char *const options[] = {"deliver=inline", "deliver=loop"};
    if (suite_sanitized()) {
        printf("SKIPPED: in_a_handler: sanitizers do not survive fork() and exit() there\n");
        return;
    }
    for (int i = 0; i < 10; i++) {
        struct forker forker = {.bus = evbus_open(NULL)};
        bus_subscribe(forker.bus, "t", options[i % 2], fork_here, &forker);
        ck_assert_int_gt(evbus_publish(forker.bus, "t", NULL), 0);
        expect_count(&forker.calls, 1, SOON);
        expect_good_end(atomic_load(&forker.pid), i);
        bus_end(forker.bus);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest fork");
    suite_add(suite, "amid_traffic", amid_traffic, 120);
    suite_add(suite, "while_another_thread_opens", while_another_thread_opens, 60);
    suite_add(suite, "in_a_handler", in_a_handler, 30);
    return suite_run(suite, argc, argv);
}
