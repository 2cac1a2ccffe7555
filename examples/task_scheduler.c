/*
 * task_scheduler.c - an API gateway creates tasks, and of several coordinators the leader schedules
 * each: at once when its event comes, by looking into the database every two seconds while Redis is
 * away, and once when it is back. A file in memory plays the database; each write of a coordinator
 * into it bears its fencing number, and an old one is refused.
 *
 *   task_scheduler [-r TASKS_PER_SECOND] [-d SECONDS] [-k KILLS] [-u REDIS_URL]
 *
 * runs one gateway and three coordinators, each a process, and prints what came of it. Without -u a
 * redis-server of its own is started, and killed KILLS times on the way. In a program of one role
 * the settings would come from the environment: evbus_config_load_env(config, "COORDINATOR_").
 */
#include <evbus.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COORDINATORS = 3, TASKS_MOST = 1000000, IDLE_S = 3, AWAY_MS = 3000, SETTLE_MS = 30000 };

/* ---- the database: what all processes share ---- */

struct task {
    _Atomic int64_t created_us, scheduled_us; /* monotonic; 0: not yet */
    bool hybrid;                              /* Redis was there when its event was published */
};

struct coordinator {
    pid_t pid;
    atomic_int ready;
    _Atomic int64_t event_cycles, poll_cycles, tasks_by_event, tasks_by_poll, refused, led;
    _Atomic int64_t needless; /* polls while Redis was there, but for the one at its return */
    evbus *bus;               /* its own process's */
    double idle_percent;      /* of a processor */
};

static struct database {
    _Atomic int64_t fence;       /* the highest that has written */
    atomic_int created, stopped; /* tasks there are; no more will be */
    struct coordinator coordinators[COORDINATORS];
    struct task tasks[TASKS_MOST];
} * db;

static struct {
    int rate, seconds, kills;
    const char *url;
    char folder[64], socket[80];
    pid_t redis, gateway;
} demo = {.rate = 200, .seconds = 6, .kills = -1};

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until_us(int64_t at_us)
{
    struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* A coordinator that led once and does not know that another one does: its writes come to nothing.
 * (UPDATE ... WHERE fence <= $1 in SQL.) */
static bool may_write(int64_t fence)
{
    int64_t highest = atomic_load(&db->fence);
    while (fence > highest && !atomic_compare_exchange_weak(&db->fence, &highest, fence))
        ;
    return fence >= highest;
}

/* True: it was pending. Events and polls may find the same task: the first one has it. */
static bool schedule(struct coordinator *self, int id, int64_t fence)
{
    int64_t pending = 0;
    if (!may_write(fence)) {
        atomic_fetch_add(&self->refused, 1);
        return false;
    }
    return atomic_compare_exchange_strong(&db->tasks[id].scheduled_us, &pending, now_us());
}

/* ---- a coordinator ---- */

static int64_t number_in(const evbus_event *event, const char *key)
{
    const char *data = evbus_event_data(event, NULL), *at = data ? strstr(data, key) : NULL;
    return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

static void schedule_one(struct coordinator *self, const evbus_event *event, int64_t fence)
{
    int64_t id = number_in(event, "\"task_id\":");
    atomic_fetch_add(&self->event_cycles, 1);
    if (id >= 0 && id < TASKS_MOST)
        atomic_fetch_add(&self->tasks_by_event, schedule(self, (int)id, fence));
}

static void schedule_all(struct coordinator *self, const evbus_event *event, int64_t fence)
{
    bool back = strstr(evbus_event_data(event, NULL), "\"reason\":\"back\"") != NULL;
    atomic_fetch_add(&self->poll_cycles, 1);
    atomic_fetch_add(&self->needless, !back && evbus_mode(self->bus) == EVBUS_MODE_HYBRID);
    for (int id = 0; id < atomic_load(&db->created); id++)
        if (atomic_load(&db->tasks[id].scheduled_us) == 0)
            atomic_fetch_add(&self->tasks_by_poll, schedule(self, id, fence));
}

/* Called for events and for polls, by the leader alone. */
static int one_cycle(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *fence = evbus_event_attr(event, "evbus.fence");
    (void)sub;
    if (strcmp(evbus_event_type(event), "evbus.poll") == 0)
        schedule_all(user, event, strtoll(fence, NULL, 10));
    else
        schedule_one(user, event, strtoll(fence, NULL, 10));
    return 0;
}

static int on_leader(evbus_sub *sub, evbus_event *event, void *user)
{
    struct coordinator *self = user;
    (void)sub;
    if (strstr(evbus_event_data(event, NULL), "\"change\":\"gained\""))
        atomic_fetch_add(&self->led, 1);
    return 0;
}

static evbus *open_bus(const char *name)
{
    evbus_config *config = evbus_config_new();
    evbus_config_set(config, "bus.name", name);
    evbus_config_set(config, "reconnect.backoff.max", "100ms"); /* what is late is late by this */
    if (evbus_config_set(config, demo.url ? "redis.url" : "redis.path",
                         demo.url ? demo.url : demo.socket) != 0)
        fprintf(stderr, "%s\n", evbus_last_error());
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    if (!bus)
        fprintf(stderr, "%s: %s\n", name, evbus_last_error());
    return bus;
}

static int run_coordinator(int index)
{
    struct coordinator *self = &db->coordinators[index];
    char name[32];
    snprintf(name, sizeof name, "coordinator-%d", index + 1);
    evbus *bus = self->bus = open_bus(name);
    evbus_sub *changes = evbus_subscribe(bus, "evbus.leader", NULL, on_leader, self);
    evbus_sub *tasks = evbus_subscribe(bus, "task.created", "leader=coordinator away=last poll=2s",
                                       one_cycle, self);
    if (!tasks || evbus_sub_wait(tasks, SETTLE_MS) != 0) {
        fprintf(stderr, "%s: %s\n", name, evbus_last_error());
        return 1;
    }
    atomic_store(&self->ready, 1);
    while (!atomic_load(&db->stopped))
        sleep_until_us(now_us() + 100000); /* all that it does, the bus does */
    evbus_close(bus, 5000);
    evbus_unsubscribe(tasks);
    evbus_unsubscribe(changes);
    evbus_free(bus);
    return 0;
}

/* ---- the API gateway ---- */

static void create_task(evbus *bus, int id)
{
    char json[80];
    struct task *task = &db->tasks[id];
    atomic_store(&task->created_us, now_us());
    atomic_store(&db->created, id + 1); /* first into the database, then the event */
    snprintf(json, sizeof json, "{\"task_id\":%d,\"circuit_type\":\"merkle_proof\"}", id);
    int sent = evbus_publish(bus, "task.created", json);
    if (sent < 0) /* the task is there all the same: polling finds it */
        fprintf(stderr, "api-gateway: %s\n", evbus_last_error());
    task->hybrid = sent > 0 && (sent & EVBUS_SENT_REDIS);
}

static int run_gateway(void)
{
    evbus *bus = open_bus("api-gateway");
    if (!bus || evbus_wait_connected(bus, SETTLE_MS) != 0) {
        fprintf(stderr, "api-gateway: %s\n", evbus_last_error());
        return 1;
    }
    int count = demo.rate * demo.seconds;
    int64_t start_us = now_us();
    for (int id = 0; id < count && id < TASKS_MOST; id++) {
        sleep_until_us(start_us + (int64_t)id * 1000000 / demo.rate);
        create_task(bus, id);
    }
    int rc = evbus_close(bus, SETTLE_MS);
    evbus_free(bus);
    return rc == 0 ? 0 : 1;
}

/* ---- the demo: processes, Redis, figures ---- */

static pid_t start_process(int role) /* -1: the gateway */
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(getppid() != parent ? 1 : role < 0 ? run_gateway() : run_coordinator(role));
}

static void start_redis(void)
{
    pid_t parent = getpid();
    demo.redis = fork();
    if (demo.redis != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open("/dev/null", O_WRONLY);
    dup2(log, STDOUT_FILENO);
    if (getppid() == parent)
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", demo.socket, "--save",
               "", "--appendonly", "yes", "--dir", demo.folder, (char *)NULL);
    _exit(127);
}

static void kill_redis(void)
{
    if (demo.redis <= 0)
        return;
    kill(demo.redis, SIGKILL);
    waitpid(demo.redis, NULL, 0);
    demo.redis = 0;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

static int64_t cpu_us(pid_t pid)
{
    struct timespec spent;
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &spent) != 0)
        return 0;
    return (int64_t)spent.tv_sec * 1000000 + spent.tv_nsec / 1000;
}

static void measure_idle(void)
{
    int64_t before[COORDINATORS];
    for (int i = 0; i < COORDINATORS; i++)
        before[i] = cpu_us(db->coordinators[i].pid);
    sleep_until_us(now_us() + IDLE_S * 1000000);
    for (int i = 0; i < COORDINATORS; i++)
        db->coordinators[i].idle_percent =
            (double)(cpu_us(db->coordinators[i].pid) - before[i]) / (IDLE_S * 10000);
}

static bool await_coordinators(void)
{
    int64_t until_us = now_us() + SETTLE_MS * INT64_C(1000);
    for (int i = 0; i < COORDINATORS; i++)
        while (!atomic_load(&db->coordinators[i].ready)) {
            if (now_us() > until_us || waitpid(db->coordinators[i].pid, NULL, WNOHANG) != 0)
                return false;
            sleep_until_us(now_us() + 10000);
        }
    return true;
}

/* Redis goes KILLS times while tasks are created, evenly spread. */
static void disturb(int64_t start_us)
{
    for (int i = 1; i <= demo.kills; i++) {
        sleep_until_us(start_us + (int64_t)demo.seconds * 1000000 * i / (demo.kills + 1));
        printf("Redis is killed, and comes back in %d s\n", AWAY_MS / 1000);
        fflush(stdout);
        kill_redis();
        sleep_until_us(now_us() + AWAY_MS * INT64_C(1000));
        start_redis();
    }
}

static int unscheduled(void)
{
    int count = 0;
    for (int id = 0; id < atomic_load(&db->created); id++)
        count += atomic_load(&db->tasks[id].scheduled_us) == 0;
    return count;
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void print_latency(const char *what, bool hybrid)
{
    int64_t *us = malloc(TASKS_MOST * sizeof *us);
    int count = 0;
    for (int id = 0; us && id < atomic_load(&db->created); id++) {
        const struct task *task = &db->tasks[id];
        int64_t scheduled_us = atomic_load(&task->scheduled_us);
        if (scheduled_us && task->hybrid == hybrid)
            us[count++] = scheduled_us - atomic_load(&task->created_us);
    }
    if (count) {
        qsort(us, (size_t)count, sizeof *us, by_value);
        printf("%s: %d tasks, latency p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", what, count,
               (double)us[count / 2] / 1000, (double)us[(int64_t)count * 99 / 100] / 1000,
               (double)us[count - 1] / 1000);
    }
    free(us);
}

static void print_figures(void)
{
    printf("tasks: %d created, %d not scheduled\n", atomic_load(&db->created), unscheduled());
    print_latency("while Redis was there", true);
    print_latency("while it was away", false);
    for (int i = 0; i < COORDINATORS; i++) {
        struct coordinator *self = &db->coordinators[i];
        printf("coordinator-%d: led %lld times; by event %lld cycles, %lld tasks; by poll %lld "
               "cycles (%lld needless), %lld tasks; refused %lld; idle %.2f %% of a processor\n",
               i + 1, (long long)self->led, (long long)self->event_cycles,
               (long long)self->tasks_by_event, (long long)self->poll_cycles,
               (long long)self->needless, (long long)self->tasks_by_poll, (long long)self->refused,
               self->idle_percent);
    }
}

static int run_demo(void)
{
    if (!demo.url)
        start_redis();
    for (int i = 0; i < COORDINATORS; i++)
        db->coordinators[i].pid = start_process(i);
    if (!await_coordinators()) {
        fprintf(stderr, "a coordinator did not come up (is redis-server installed?)\n");
        return 1;
    }
    measure_idle();
    int64_t start_us = now_us();
    int status = 0;
    demo.gateway = start_process(-1);
    disturb(start_us);
    waitpid(demo.gateway, &status, 0);
    int64_t until_us = now_us() + SETTLE_MS * INT64_C(1000);
    while (unscheduled() && now_us() < until_us)
        sleep_until_us(now_us() + 10000);
    atomic_store(&db->stopped, 1);
    for (int i = 0; i < COORDINATORS; i++)
        waitpid(db->coordinators[i].pid, NULL, 0);
    print_figures();
    return unscheduled() || status ? 1 : 0;
}

static bool read_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "r:d:k:u:")) != -1;) {
        int number = optarg ? atoi(optarg) : 0;
        if (option == 'u')
            demo.url = optarg;
        else if (option == 'k' && number >= 0)
            demo.kills = number;
        else if (option == 'r' && number > 0)
            demo.rate = number;
        else if (option == 'd' && number > 0)
            demo.seconds = number;
        else
            return false;
    }
    if (demo.kills < 0)
        demo.kills = demo.url ? 0 : 1;
    return optind == argc && (int64_t)demo.rate * demo.seconds <= TASKS_MOST &&
           !(demo.url && demo.kills);
}

/* A folder of our own for Redis's files and its socket, whose path has 107 bytes at most. */
static void name_folder(void)
{
    static const char template[] = "/task-scheduler-XXXXXX"; /* mkdtemp(3) fills it in */
    const char *tmp = getenv("TMPDIR");
    if (!tmp || tmp[0] != '/' || strlen(tmp) + sizeof template > sizeof demo.folder)
        tmp = P_tmpdir;
    snprintf(demo.folder, sizeof demo.folder, "%s%s", tmp, template);
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr,
                "usage: task_scheduler [-r TASKS_PER_SECOND] [-d SECONDS] [-k KILLS | -u "
                "REDIS_URL]; at most %d tasks\n",
                TASKS_MOST);
        return 2;
    }
    name_folder();
    db = mmap(NULL, sizeof *db, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (db == MAP_FAILED || (!demo.url && !mkdtemp(demo.folder))) {
        perror("task_scheduler");
        return 1;
    }
    if (demo.url)
        demo.folder[0] = '\0';
    snprintf(demo.socket, sizeof demo.socket, "%s/redis.sock", demo.folder);
    int status = run_demo();
    kill_redis();
    if (demo.folder[0] && nftw(demo.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "%s stays\n", demo.folder);
    return status;
}
