/* it_replay.c - subscriptions that read the history: from=, and what they had no room for
 * (full=lag). Once each, in order, and on to what is live without a hole. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 20000 };

static struct server *server;
static evbus *from, *to;
static struct recorder seen;

static void open_two(const char *lines)
{
    server = server_start(lines);
    from = server_bus(server, "bus.name", "from", "outbox.full", "reject", NULL);
    to = server_bus(server, "bus.name", "to", "workers", "2", NULL);
    expect_connected(from, SOON);
    expect_connected(to, SOON);
    recorder_init(&seen);
}

static void close_two(void)
{
    bus_end(from);
    bus_end(to);
    server_free(server);
    recorder_fini(&seen);
}

static void publish_many(evbus *bus, int publisher, int first, int last)
{
    for (int n = first; n <= last; n++)
        while (publish_numbered(bus, publisher % 2 ? "t.odd" : "t.even", publisher, n) < 0)
            nap_us(1000);
}

static void expect_all(int publishers, int each)
{
    int published[RECORDER_PUBLISHERS];
    struct wait wait = wait_for(SOON);
    while (recorder_received(&seen) < (long)publishers * each && wait_more(&wait))
        ;
    for (int i = 0; i < publishers; i++)
        published[i] = each;
    recorder_expect_perfect(&seen, "the reader", publishers, published);
}

static const char *const deliveries[] = {"deliver=loop from=all", "deliver=inline from=all",
                                         "deliver=workers key=all from=all"};

START_TEST(from_all)
{
    int each = suite_scaled(5000);
    open_two(NULL);
    publish_many(from, 0, 1, each);
    publish_many(from, 1, 1, each);
    publish_many(to, 2, 1, each); /* its own, too */
    ck_assert_int_eq(evbus_flush(from, SOON), 0);
    ck_assert_int_eq(evbus_flush(to, SOON), 0);
    bus_subscribe(to, "t.>", deliveries[_i], recorder_handle, &seen);
    for (int n = each + 1; n <= 2 * each; n++) { /* while it reads */
        publish_many(from, 0, n, n);
        publish_many(from, 1, n, n);
        publish_many(to, 2, n, n);
    }
    expect_all(3, 2 * each);
    close_two();
}
END_TEST

static int note_first(evbus_sub *sub, evbus_event *event, void *user)
{
    int none = 0;
    (void)sub;
    atomic_compare_exchange_strong((atomic_int *)user, &none, event_number(event));
    return 0;
}

START_TEST(from_a_position)
{
    static char position[64], option[80];
    atomic_int first = 0;
    open_two(NULL);
    publish_many(from, 0, 1, 10);
    evbus_flush(from, SOON);
    char *text = server_text(server, "XRANGE %s - + COUNT 7", "evbus:history:{0}");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strspn(line, "0123456789-") == strlen(line))
            snprintf(position, sizeof position, "%s", line);
    free(text);
    snprintf(option, sizeof option, "from=%s", position);
    bus_subscribe(to, "t.even", option, note_first, &first);
    expect_count(&first, 1, SOON);
    ck_assert_int_eq(atomic_load(&first), 8);
    close_two();
}
END_TEST

/* Twice the server's time away from what was published is beyond it. */
START_TEST(from_a_time)
{
    atomic_int old = 0, young = 0;
    open_two(NULL);
    publish_many(from, 0, 1, 3);
    evbus_flush(from, SOON);
    bus_subscribe(to, "t.even", "from=10m", note_first, &old);
    expect_count(&old, 1, SOON);
    ck_assert_int_eq(atomic_load(&old), 1);
    evbus_sub *sub = bus_subscribe(to, "t.even", "from=2099-01-01T00:00:00Z", note_first, &young);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    publish_many(from, 0, 4, 4);
    expect_count(&old, 1, SOON);
    close_two();
}
END_TEST

/* A handler slower than its events, with room for few: nothing is lost, memory is bounded. */
static int slow_handle(evbus_sub *sub, evbus_event *event, void *user)
{
    if (event_number(event) % 64 == 0)
        nap_us(1000);
    return recorder_handle(sub, event, user);
}

START_TEST(lags_on_workers)
{
    int each = suite_scaled(20000);
    open_two(NULL);
    evbus_sub *sub =
        bus_subscribe(to, "t.>", "deliver=workers key=all size=100", slow_handle, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    publish_many(from, 0, 1, each);
    publish_many(from, 1, 1, each);
    expect_all(2, each);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    ck_assert_int_le(evbus_sub_stat(sub, "peak"), 100);
    ck_assert_int_ge(evbus_stat(to, "replayed"), 1);
    ck_assert_int_ge(evbus_stat(to, "slow"), 1);  /* until it has all, and not for each without */
    ck_assert_int_le(evbus_stat(to, "slow"), 20); /* room; a publisher that is slow lets it have */
    close_two();
}
END_TEST

START_TEST(lags_in_a_queue)
{
    int each = suite_scaled(20000);
    open_two(NULL);
    evbus_queue *queue = evbus_queue_open(to, NULL); /* the default size */
    evbus_sub *even = evbus_queue_subscribe(queue, "t.even", NULL, 0);
    evbus_sub *odd = evbus_queue_subscribe(queue, "t.*", "from=all", 1);
    ck_assert_int_eq(evbus_sub_wait(even, SOON), 0);
    ck_assert_int_eq(evbus_sub_wait(odd, SOON), 0);
    publish_many(from, 0, 1, each);
    publish_many(from, 1, 1, each);
    evbus_flush(from, SOON);
    evbus_event *event;
    int64_t tag, got = 0, evens = 0;
    while (got < 2 * each || evens < each) {
        int n = evbus_queue_next(queue, suite_patience(SOON), &event, &tag);
        ck_assert_msg(n == 1, "%lld and %lld", (long long)got, (long long)evens);
        got += tag == 1;
        evens += tag == 0;
        if (tag == 1)
            recorder_handle(odd, event, &seen);
        evbus_event_unref(event);
    }
    expect_all(2, each);
    ck_assert_int_eq(evens, each);
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 0);
    ck_assert_int_le(evbus_queue_stat(queue, "peak"), 1000);
    evbus_queue_free(queue);
    evbus_unsubscribe(even);
    evbus_unsubscribe(odd);
    close_two();
}
END_TEST

/* Cut while it reads, again and again. */
START_TEST(cut_while_reading)
{
    int each = suite_scaled(20000);
    open_two(NULL);
    evbus_sub *sub = bus_subscribe(to, "t.even", "deliver=workers key=all size=200 from=all",
                                   slow_handle, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int part = 0; part < 10; part++) {
        publish_many(from, 0, part * (each / 10) + 1, (part + 1) * (each / 10));
        server_command(server, part % 2 ? "CLIENT KILL TYPE normal" : "CLIENT KILL TYPE pubsub");
    }
    expect_all(1, each / 10 * 10);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

/* What was let go while it had no room is told, with a count. */
START_TEST(falls_behind_too_far)
{
    atomic_int gaps = 0, got = 0;
    server = server_start(NULL);
    from = server_bus(server, "outbox.full", "reject", "history.max.events", "1000", NULL);
    to = server_bus(server, "history.max.events", "1000", NULL);
    expect_connected(from, SOON);
    expect_connected(to, SOON);
    bus_subscribe(to, "evbus.gap", NULL, handle_count, &gaps);
    evbus_queue *queue = evbus_queue_open(to, "size=100");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", NULL, 0);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    publish_many(from, 0, 1, 5000);
    evbus_flush(from, SOON);
    evbus_event *event;
    int last = 0;
    while (last < 5000) {
        ck_assert_int_eq(evbus_queue_next(queue, SOON, &event, NULL), 1);
        ck_assert_int_gt(event_number(event), last);
        last = event_number(event);
        atomic_fetch_add(&got, 1);
        evbus_event_unref(event);
    }
    ck_assert_int_ge(atomic_load(&got), 1000);
    ck_assert_int_lt(atomic_load(&got), 5000);
    expect_count(&gaps, 1, SOON);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    bus_end(from);
    bus_end(to);
    server_free(server);
}
END_TEST

/* Ended while it reads, and while it waits for room: by unsubscribing, by closing, by a limit. */
START_TEST(ends_anywhere)
{
    open_two(NULL);
    publish_many(from, 0, 1, 3000);
    evbus_flush(from, SOON);
    for (int i = 0; i < suite_scaled(200); i++) {
        atomic_int count = 0;
        const char *options = i % 3 == 0   ? "from=all limit=700"
                              : i % 3 == 1 ? "from=all deliver=workers size=10"
                                           : "from=all deliver=inline";
        evbus_sub *sub = evbus_subscribe(to, "t.even", options, handle_count, &count);
        ck_assert_ptr_nonnull(sub);
        if (i % 3 == 0)
            expect_count(&count, 700, SOON);
        else
            expect_count(&count, i % 7, SOON);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        if (i % 3 == 0)
            ck_assert_int_eq(atomic_load(&count), 700);
    }
    evbus_queue *queue = evbus_queue_open(to, "size=10");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", "from=all", 0);
    evbus_sub_wait(sub, SOON);
    evbus_queue_free(queue); /* it waits for room */
    evbus_unsubscribe(sub);
    close_two();
}
END_TEST

static const struct {
    const char *options, *says;
    int error;
} refused[] = {
    {"from=yesterday", "from", EVBUS_EINVAL},
    {"from=all scope=local", "scope=local", EVBUS_EINVAL},
    {"full=never", "full", EVBUS_EINVAL},
};

START_TEST(refuses)
{
    atomic_int count = 0;
    open_two(NULL);
    ck_assert_ptr_null(evbus_subscribe(to, "t", refused[_i].options, handle_count, &count));
    ck_assert_int_eq(evbus_last_code(), refused[_i].error);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), refused[_i].says));
    evbus *local = evbus_open(NULL);
    ck_assert_ptr_null(evbus_subscribe(local, "t", "from=all", handle_count, &count));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOTSUP);
    evbus_free(local);
    close_two();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("replay");
    TCase *tests = tcase_create("replay");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, from_all, 0, 3);
    tcase_add_test(tests, from_a_position);
    tcase_add_test(tests, from_a_time);
    tcase_add_test(tests, lags_on_workers);
    tcase_add_test(tests, lags_in_a_queue);
    tcase_add_test(tests, cut_while_reading);
    tcase_add_test(tests, falls_behind_too_far);
    tcase_add_test(tests, ends_anywhere);
    tcase_add_loop_test(tests, refuses, 0, 3);
    return suite_run(suite, argc, argv);
}
