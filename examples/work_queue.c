/*
 * work_queue.c - jobs, each done by one of several processes that may crash.
 *
 *   work_queue work          does jobs until it gets SIGTERM; start as many as you like, one first
 *   work_queue work crash    the same, but dies in the middle of its third job
 *   work_queue submit N      publishes N jobs; the fourth is one that nobody can do
 *
 * EVBUS_REDIS_URL names the Redis. What a crashed process had in hand goes to the others when
 * EVBUS_GROUP_RECLAIM (60s) is over. A job may come twice, if its process died between doing it and
 * saying so: do it in a way that bears that (note evbus_event_id() with the effect, say).
 */
#include <evbus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int crash_at; /* 0: never */

/* On the bus's thread: what takes long goes to deliver=workers, or other members would wait for
 * none of what this one has in hand. */
static int do_job(evbus_sub *sub, evbus_event *job, void *user)
{
    const char *data = evbus_event_data(job, NULL);
    (void)sub;
    (void)user;
    if (--crash_at == 0)
        _exit(7);
    if (strstr(data, "\"broken\""))
        return 1; /* comes again, EVBUS_GROUP_RETRIES times, then as "job.dead" */
    printf("done %s%s\n", data, evbus_event_attempt(job) > 1 ? " (another try)" : "");
    fflush(stdout);
    return 0;
}

static int give_up(evbus_sub *sub, evbus_event *letter, void *user)
{
    (void)sub;
    (void)user;
    printf("given up %s: %s, %s times\n", evbus_event_data(letter, NULL),
           evbus_event_attr(letter, "dead.reason"), evbus_event_attr(letter, "dead.attempts"));
    fflush(stdout);
    return 0;
}

static int work(evbus *bus)
{
    int number;
    sigset_t ends;
    evbus_sub *jobs = evbus_subscribe(bus, "job", "group=workers size=2", do_job, NULL);
    evbus_sub *letters = evbus_subscribe(bus, "job.dead", NULL, give_up, NULL);
    int rc = jobs && letters ? evbus_sub_wait(jobs, 10000) : evbus_last_code();
    if (rc == 0) {
        printf("ready\n");
        fflush(stdout);
        sigemptyset(&ends);
        sigaddset(&ends, SIGTERM);
        sigaddset(&ends, SIGINT);
        sigwait(&ends, &number);
        evbus_close(bus, 10000); /* what it has not begun goes to the others at once */
    }
    evbus_unsubscribe(jobs);
    evbus_unsubscribe(letters);
    return rc;
}

static int submit(evbus *bus, int count)
{
    char json[64];
    int rc = evbus_wait_connected(bus, 10000); /* now it knows which types have groups */
    for (int n = 1; n <= count && rc >= 0; n++) {
        snprintf(json, sizeof json, "{\"n\":%d%s}", n, n == 4 ? ",\"broken\":true" : "");
        rc = evbus_publish(bus, "job", json);
    }
    return rc < 0 ? rc : evbus_flush(bus, 10000);
}

int main(int argc, char **argv)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL); /* work() waits for them */
    evbus_config *config = evbus_config_new();
    evbus *bus = evbus_config_load_env(config, NULL) == 0 ? evbus_open(config) : NULL;
    int rc = bus ? 0 : -1;
    if (rc == 0 && argc > 1 && !strcmp(argv[1], "work")) {
        crash_at = argc > 2 ? 3 : 0;
        rc = work(bus);
    } else if (rc == 0) {
        rc = submit(bus, argc > 2 ? atoi(argv[2]) : 1);
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", evbus_last_error());
    evbus_free(bus);
    evbus_config_free(config);
    return rc < 0;
}
