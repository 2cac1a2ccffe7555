/* it_guest_signals.c - a guest in somebody's process: it touches no signal of the host, lets none
 * reach its threads, loses nothing in a storm of them, raises no SIGPIPE; its descriptors close on
 * exec, its thread bears the bus's name, and it prints nothing. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/rude.h"
#include "harness/scripted.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <dirent.h>
#include <event2/event.h>
#include <evbus_libevent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 10000, SIGNALS = 64, PUBLISHERS = 3, FDS_MOST = 256 };

/* ---- dispositions and masks ---- */

struct manners {
    struct sigaction actions[SIGNALS + 1];
    sigset_t mask;
};

static void look(struct manners *now)
{
    memset(now, 0, sizeof *now);
    for (int n = 1; n <= SIGNALS; n++)
        sigaction(n, NULL, &now->actions[n]); /* fails for glibc's own two */
    pthread_sigmask(SIG_SETMASK, NULL, &now->mask);
}

static void expect_untouched(const struct manners *before, const char *when)
{
    struct manners now;
    look(&now);
    for (int n = 1; n <= SIGNALS; n++) {
        const struct sigaction *is = &now.actions[n], *was = &before->actions[n];
        ck_assert_msg(is->sa_handler == was->sa_handler && is->sa_flags == was->sa_flags &&
                          !memcmp(&is->sa_mask, &was->sa_mask, SIGNALS / 8),
                      "%s: the disposition of signal %d changed", when, n);
        ck_assert_msg(sigismember(&now.mask, n) == sigismember(&before->mask, n),
                      "%s: signal %d is blocked or no longer is", when, n);
    }
}

static atomic_int caught;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&caught, 1);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART: calls end with EINTR */
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

START_TEST(dispositions_and_masks)
{
    struct manners before;
    atomic_int seen = 0;
    sigset_t some;
    struct server *server = server_start(NULL);
    handle(SIGUSR1, on_signal);
    handle(SIGPIPE, SIG_DFL);
    handle(SIGHUP, SIG_IGN);
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigaddset(&some, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    look(&before);
    evbus *bus = server_bus(server, NULL);
    bus_subscribe(bus, "t", NULL, handle_count, &seen);
    expect_connected(bus, SOON);
    bus_publish(bus, "t", "{}");
    expect_count(&seen, 1, SOON);
    expect_untouched(&before, "connected");
    server_kill(server);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    bus_end(bus);
    evbus_free(evbus_default());
    expect_untouched(&before, "freed");
    server_free(server);
}
END_TEST

/* ---- threads ---- */

static unsigned long long blocked_by(const char *task, char name[32])
{
    char path[300], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "re");
    name[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "Name:\t%31[^\n]", name);
        sscanf(line, "SigBlk:\t%llx", &mask);
    }
    if (file)
        fclose(file);
    return mask;
}

/* How many threads bear that name; each of them blocks all that can be blocked. */
static int count_named(const char *wanted)
{
    const unsigned long long never = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1) |
                                     3ULL << 31; /* and glibc's own two, 32 and 33 */
    int count = 0;
    char name[32];
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
            continue;
        unsigned long long mask = blocked_by(entry->d_name, name);
        if (strcmp(name, wanted) != 0)
            continue;
        count++;
        ck_assert_msg((mask | never) == ~0ULL, "thread %s blocks %llx only", name, mask);
    }
    closedir(folder);
    return count;
}

START_TEST(threads_are_named_and_deaf)
{
    static const char *const names[][2] = {{"shop", "shop"},
                                           {"fifteen letters", "fifteen letters"},
                                           {"more than fifteen letters", "more than fifte"}};
    for (int i = 0; i < 3; i++) {
        evbus *bus = bus_with("bus.name", names[i][0], NULL);
        ck_assert_int_eq(count_named(names[i][1]), 1);
        bus_end(bus);
    }
}
END_TEST

/* ---- a storm ---- */

static struct {
    evbus *bus;
    evbus_queue *queue;
    struct recorder here, there;
    atomic_int stop, published[PUBLISHERS], pulled;
    pthread_t threads[PUBLISHERS + 1];
} storm;

static void *publish_numbers(void *user)
{
    intptr_t id = (intptr_t)user;
    for (int n = 1; !atomic_load(&storm.stop); n++) {
        if (publish_numbered(storm.bus, "n", (int)id, n) < 0)
            break;
        atomic_store(&storm.published[id], n);
        nap_us(50);
    }
    return NULL;
}

static void *pull(void *unused)
{
    evbus_event *event = NULL;
    (void)unused;
    while (evbus_queue_next(storm.queue, -1, &event, NULL) == 1) {
        atomic_fetch_add(&storm.pulled, 1);
        evbus_event_unref(event);
    }
    return NULL;
}

static void expect_storm_passed(void)
{
    int published[PUBLISHERS];
    atomic_store(&storm.stop, 1);
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_join(storm.threads[i], NULL);
        published[i] = atomic_load(&storm.published[i]);
        ck_assert_int_gt(published[i], 0);
    }
    ck_assert_int_eq(evbus_flush(storm.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(storm.bus, "disconnects"), 0);
    expect_accounts(storm.bus);
    ck_assert_int_eq(evbus_close(storm.bus, suite_patience(SOON)), 0);
    pthread_join(storm.threads[PUBLISHERS], NULL);
    ck_assert_int_eq(atomic_load(&storm.pulled), published[0] + published[1] + published[2]);
    recorder_expect_perfect(&storm.here, "inline", PUBLISHERS, published);
    recorder_expect_perfect(&storm.there, "loop", PUBLISHERS, published);
}

START_TEST(in_a_storm)
{
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    unsigned seed = suite_seed("a storm of signals");
    struct server *server = server_start(NULL);
    atomic_int seen = 0;
    storm.bus = server_bus(server, NULL);
    recorder_init(&storm.here);
    recorder_init(&storm.there);
    bus_subscribe(storm.bus, "n", "deliver=inline", recorder_handle, &storm.here);
    bus_subscribe(storm.bus, "n", "size=1000000 bytes=1GiB", recorder_handle, &storm.there);
    storm.queue = evbus_queue_open(storm.bus, "size=1000000 bytes=1GiB");
    evbus_sub *pulled = evbus_queue_subscribe(storm.queue, "n", NULL, 0);
    expect_connected(storm.bus, SOON);
    handle(SIGUSR1, on_signal);
    handle(SIGALRM, on_signal);
    pthread_create(&storm.threads[PUBLISHERS], NULL, pull, NULL);
    for (intptr_t i = 0; i < PUBLISHERS; i++)
        pthread_create(&storm.threads[i], NULL, publish_numbers, (void *)i);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < suite_scaled(20); i++) { /* what waits, while the signals come */
        for (int n = 0; n < 50; n++) {
            pthread_kill(storm.threads[rand_r(&seed) % (PUBLISHERS + 1)], SIGUSR1);
            nap_us(200);
        }
        evbus *other = server_bus(server, NULL);
        bus_subscribe(other, "other", "scope=redis", handle_count, &seen);
        expect_connected(other, SOON);
        bus_publish(storm.bus, "other", NULL);
        expect_count(&seen, i + 1, SOON);
        ck_assert_int_eq(evbus_flush(storm.bus, suite_patience(SOON)), 0);
        ck_assert_int_eq(evbus_close(other, suite_patience(SOON)), 0);
        bus_end(other);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    expect_storm_passed();
    printf("figure: a storm: %d signals caught\n", atomic_load(&caught));
    ck_assert_int_gt(atomic_load(&caught), suite_scaled(20) * 50);
    evbus_unsubscribe(pulled);
    evbus_queue_free(storm.queue);
    bus_end(storm.bus);
    recorder_fini(&storm.here);
    recorder_fini(&storm.there);
    server_free(server);
}
END_TEST

/* ---- SIGPIPE ---- */

/* Turns the base until the bus has connected (disconnected) that often. */
static bool turn_until(struct event_base *base, evbus *bus, const char *counter, int often)
{
    struct wait wait = wait_for(SOON);
    do
        event_base_loop(base, EVLOOP_NONBLOCK);
    while (evbus_stat(bus, counter) < often && wait_more(&wait));
    return evbus_stat(bus, counter) >= often;
}

/* On the host's own loop and thread, where nothing is blocked: one SIGPIPE would end the test. The
 * loop is woken to write before it can see that the peer is gone. */
START_TEST(no_sigpipe)
{
    struct event_base *base = event_base_new();
    struct scripted *server = scripted_start(base);
    evbus_config *config = evbus_config_new();
    handle(SIGPIPE, SIG_DFL);
    evbus_config_set(config, "redis.path", scripted_path(server));
    evbus_config_set(config, "reconnect.backoff", "1ms");
    evbus_config_set(config, "reconnect.backoff.max", "1ms");
    evbus *bus = evbus_open_on(base, config);
    int broken_pipes = 0;
    for (int i = 0; i < 20; i++) {
        ck_assert(turn_until(base, bus, "connects", i + 1));
        bus_publish(bus, "t", "{}");
        scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
        ck_assert(turn_until(base, bus, "disconnects", i + 1));
        char *health = evbus_health_json(bus);
        broken_pipes += strstr(health, "Broken pipe") != NULL;
        evbus_string_free(health);
    }
    ck_assert_int_gt(broken_pipes, 0);
    bus_end(bus);
    evbus_config_free(config);
    scripted_free(server);
    event_base_free(base);
}
END_TEST

/* ---- descriptors ---- */

static int open_fds(bool fds[FDS_MOST])
{
    int count = 0;
    for (int fd = 0; fd < FDS_MOST; fd++)
        count += fds[fd] = fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void expect_cloexec(const bool before[FDS_MOST], int at_least, const char *what)
{
    int fresh = 0;
    for (int fd = 0; fd < FDS_MOST; fd++) {
        char path[64], line[128];
        unsigned flags = 0;
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        if (before[fd] || fcntl(fd, F_GETFD) < 0)
            continue;
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
            sscanf(line, "flags: %o", &flags);
        if (file)
            fclose(file);
        fresh++;
        ck_assert_msg(flags & O_CLOEXEC, "%s: descriptor %d outlives exec (flags 0%o)", what, fd,
                      flags);
    }
    ck_assert_msg(fresh >= at_least, "%s: only %d descriptors", what, fresh);
}

START_TEST(descriptors_close_on_exec)
{
    bool before[FDS_MOST];
    char port[16];
    struct server *server = server_plan(true, NULL);
    server_run(server);
    snprintf(port, sizeof port, "%d", server->port);
    open_fds(before);
    evbus *bus = server_bus(server, NULL);
    evbus *by_name = bus_with("redis.host", "localhost", "redis.port", port, NULL);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    ck_assert_int_ge(evbus_queue_fd(queue), 0);
    expect_connected(bus, SOON);
    expect_connected(by_name, SOON);
    /* each: two connections, an eventfd, an epoll set; and the queue's pair */
    expect_cloexec(before, 10, "connected");
    server_kill(server);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    server_run(server);
    expect_connected(bus, SOON);
    expect_cloexec(before, 8, "connected again");
    evbus_queue_free(queue);
    bus_end(by_name);
    bus_end(bus);
    bool after[FDS_MOST];
    open_fds(after);
    ck_assert(!memcmp(before, after, sizeof before));
    server_free(server);
}
END_TEST

/* ---- output ---- */

static void provoke(struct server *server, struct rude *rude)
{
    char port[16];
    atomic_int seen = 0;
    snprintf(port, sizeof port, "%d", rude_port(rude));
    evbus *refused = server_bus(server, "redis.password", "wrong", NULL);
    evbus *broken = bus_with("redis.port", port, "reconnect.backoff", "1ms", NULL);
    evbus *away = bus_with("redis.path", "/nowhere/at/all", "outbox.events", "1", NULL);
    evbus *named = bus_with("redis.host", "localhost", "redis.port", "1", NULL);
    bus_subscribe(broken, ">", NULL, handle_count, &seen);
    expect_stat(refused, "connect_errors", 1, SOON);
    evbus_reconnect(refused);
    expect_stat(refused, "connect_errors", 2, SOON);
    expect_stat(broken, "connect_errors", 2, SOON);
    expect_stat(named, "connect_errors", 2, SOON);
    for (int n = 0; n < 10; n++)
        evbus_publish(away, "t", "{}");
    evbus_publish(away, "t", "{");
    evbus_publish(NULL, NULL, NULL);
    ck_assert_ptr_null(evbus_subscribe(away, "a b", "size=x", handle_count, &seen));
    ck_assert_int_eq(evbus_wait_connected(away, 1), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_close(away, 1), EVBUS_ETIMEDOUT);
    bus_end(refused);
    bus_end(broken);
    bus_end(away);
    bus_end(named);
}

START_TEST(nothing_is_printed)
{
    char path[128];
    int status;
    struct stat seen;
    struct server *server = server_start("requirepass right");
    snprintf(path, sizeof path, "%s/printed", suite_folder());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    pid_t pid = fork();
    if (pid == 0) { /* a failed assertion there is told to Check and ends this child alone */
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        struct rude *rude = rude_start();
        rude_set_greeting(rude, "HTTP/1.1 400 Bad Request\r\n\r\n");
        provoke(server, rude);
        rude_free(rude);
        fflush(NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    ck_assert_int_eq(fstat(fd, &seen), 0);
    ck_assert_int_eq(seen.st_size, 0);
    close(fd);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest signals");
    suite_add(suite, "dispositions_and_masks", dispositions_and_masks, 30);
    suite_add(suite, "threads_are_named_and_deaf", threads_are_named_and_deaf, 30);
    suite_add(suite, "in_a_storm", in_a_storm, 60);
    suite_add(suite, "no_sigpipe", no_sigpipe, 60);
    suite_add(suite, "descriptors_close_on_exec", descriptors_close_on_exec, 60);
    suite_add(suite, "nothing_is_printed", nothing_is_printed, 60);
    return suite_run(suite, argc, argv);
}
