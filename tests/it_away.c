/* it_away.c - Redis is away under a steady rate of events, with default settings: publishing never
 * waits, local subscribers notice nothing, and afterwards the other side has all, with their own
 * times. EVB_TEST_AWAY_S: how many seconds, 3 by default. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SOON = 20000, A_SECOND = 1000, MOST = 200000 };

static struct server *server;
static struct recorder here, there;
static int64_t published_us[MOST]; /* by number */
static atomic_int wrong_times;

/* The times are those of publishing: to the millisecond that the text has. */
static int note(evbus_sub *sub, evbus_event *event, void *user)
{
    int number = event_number(event);
    int64_t off_us = evbus_event_time_us(event) - published_us[number];
    if (off_us < -1000 || off_us > 100000)
        atomic_fetch_add(&wrong_times, 1);
    return recorder_handle(sub, event, user);
}

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

START_TEST(away)
{
    const char *text = getenv("EVB_TEST_AWAY_S");
    int seconds = text ? atoi(text) : 3, total = (seconds + 2) * A_SECOND;
    long waits = 0;
    ck_assert_int_lt(total, MOST);
    server = server_start(_i ? NULL : "appendonly yes\nappendfsync always");
    evbus *from = server_bus(server, NULL), *to = server_bus(server, NULL);
    recorder_init(&here);
    recorder_init(&there);
    bus_subscribe(from, "t", "deliver=inline", recorder_handle, &here);
    evbus_sub *sub = bus_subscribe(to, "t", NULL, note, &there);
    expect_connected(from, SOON);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    int64_t start_us = now_us();
    for (int n = 1; n <= total; n++) {
        if (n == A_SECOND)
            _i ? server_stop(server) : server_kill(server);
        if (n == (seconds + 1) * A_SECOND)
            _i ? server_continue(server) : server_run(server);
        published_us[n] = now_wall_us();
        long before = switches();
        int rc = publish_numbered(from, "t", 0, n);
        waits += switches() - before;
        ck_assert_msg(rc & EVBUS_SENT_LOCAL && rc != EVBUS_SENT_LOCAL, "%d", rc);
        int64_t left_us = start_us + (int64_t)n * 1000000 / A_SECOND - now_us();
        if (left_us > 0)
            nap_us(left_us);
    }
    struct wait wait = wait_for(SOON);
    while (recorder_received(&there) < total && wait_more(&wait))
        ;
    recorder_expect_perfect(&here, "here", 1, &total);
    recorder_expect_perfect(&there, "the other side", 1, &total);
    printf("figure: away for %d s (%s): %ld voluntary context switches in %d calls, %lld gaps\n",
           seconds, _i ? "stopped" : "killed", waits, total, (long long)evbus_stat(to, "gaps"));
    ck_assert_int_eq(atomic_load(&wrong_times), 0);
    if (!suite_sanitized()) /* none on a quiet machine; a busy one may preempt malloc's lock */
        ck_assert_int_le(waits, total / 1000);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    ck_assert_int_eq(evbus_stat(from, "evicted") + evbus_stat(from, "expired"), 0);
    bus_end(from);
    bus_end(to);
    server_free(server);
    recorder_fini(&here);
    recorder_fini(&there);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("away");
    TCase *tests = tcase_create("away");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, away, 0, 2);
    return suite_run(suite, argc, argv);
}
