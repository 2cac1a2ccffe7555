/* it_durable.c - durable=NAME: a process that comes back goes on where it was. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 20000 };

static struct server *server;
static evbus *from;
static struct recorder seen;

static evbus *open_bus(const char *name)
{
    evbus *bus = server_bus(server, "bus.name", name, "outbox.full", "reject", "workers", "2",
                            "redis.ping.interval", "300ms", NULL);
    expect_connected(bus, SOON);
    return bus;
}

static void begin(void)
{
    server = server_start(NULL);
    from = open_bus("from");
    recorder_init(&seen);
}

static void end(void)
{
    bus_end(from);
    server_free(server);
    recorder_fini(&seen);
}

static void publish_many(int first, int last)
{
    for (int n = first; n <= last; n++)
        while (publish_numbered(from, "t.even", 0, n) < 0)
            nap_us(1000);
    ck_assert_int_eq(evbus_flush(from, SOON), 0);
}

static void expect_seen(int count)
{
    struct wait wait = wait_for(SOON);
    while (recorder_received(&seen) < count && wait_more(&wait))
        ;
    ck_assert_int_eq(recorder_received(&seen), count);
}

static const char *const ways[] = {"durable=d", "durable=d deliver=inline",
                                   "durable=d deliver=workers key=all size=20",
                                   "durable=d scope=redis"};

/* Closed in between: what came then is there afterwards, once. */
START_TEST(goes_on_after_a_close)
{
    begin();
    for (int round = 0; round < 5; round++) {
        evbus *bus = open_bus("reader");
        evbus_sub *sub = bus_subscribe(bus, "t.*", ways[_i], recorder_handle, &seen);
        ck_assert_msg(evbus_sub_wait(sub, SOON) == 0, "%s", evbus_last_error());
        publish_many(round * 200 + 1, round * 200 + 100);
        expect_seen(round * 200 + 100);
        if (round % 2)
            bus_unsubscribe(sub);
        ck_assert_int_eq(evbus_close(bus, SOON), 0);
        bus_end(bus);
        publish_many(round * 200 + 101, round * 200 + 200); /* nobody listens */
    }
    evbus *bus = open_bus("reader");
    bus_subscribe(bus, "t.*", ways[_i], recorder_handle, &seen);
    int published[] = {1000};
    expect_seen(1000);
    recorder_expect_perfect(&seen, "the reader", 1, published);
    bus_end(bus);
    end();
}
END_TEST

/* A queue: what was pulled is handled when the next is asked for. */
START_TEST(a_queue_goes_on)
{
    evbus_event *event;
    begin();
    int last = 0, again = 0;
    for (int round = 0; round < 4; round++) {
        evbus *bus = open_bus("reader");
        evbus_queue *queue = evbus_queue_open(bus, "size=50");
        evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", "durable=q from=all", 0);
        ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
        publish_many(round * 100 + 1, round * 100 + 100);
        for (int n = 0; n < 80; n++) {
            ck_assert_int_eq(evbus_queue_next(queue, SOON, &event, NULL), 1);
            again += event_number(event) == last;
            ck_assert_int_ge(event_number(event), last);
            ck_assert_int_le(event_number(event), last + 1);
            last = event_number(event);
            evbus_event_unref(event);
        }
        ck_assert_int_eq(evbus_close(bus, SOON), 0);
        evbus_queue_free(queue);
        evbus_unsubscribe(sub);
        bus_end(bus);
    }
    ck_assert_int_eq(again, 3); /* the one in hand comes again */
    end();
}
END_TEST

/* One holder: the second is told, and takes over when the first goes, or dies. */
START_TEST(one_holder)
{
    atomic_int first = 0, second = 0;
    begin();
    evbus *one = server_bus(server, "lease.ttl", "1s", NULL);
    evbus *two = server_bus(server, "lease.ttl", "1s", NULL);
    evbus_sub *a = bus_subscribe(one, "t.*", "durable=d", handle_count, &first);
    ck_assert_int_eq(evbus_sub_wait(a, SOON), 0);
    evbus_sub *b = bus_subscribe(two, "t.*", "durable=d", handle_count, &second);
    ck_assert_int_eq(evbus_sub_wait(b, SOON), EVBUS_EDENIED);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), evbus_node(one)));
    evbus_sub *c = bus_subscribe(one, "t.*", "durable=d", handle_count, &second);
    ck_assert_int_eq(evbus_sub_wait(c, SOON), EVBUS_EDENIED);
    bus_unsubscribe(c);
    publish_many(1, 100);
    expect_count(&first, 100, SOON);
    bus_unsubscribe(a);
    publish_many(101, 200);
    expect_count(&second, 100, SOON);
    ck_assert_int_eq(atomic_load(&first), 100);
    ck_assert_int_eq(atomic_load(&second), 100);
    bus_end(one);
    bus_end(two);
    end();
}
END_TEST

/* Cut and cut again: nothing is lost, doubled or reordered. */
START_TEST(cut)
{
    begin();
    evbus *bus = open_bus("reader");
    evbus_sub *sub = bus_subscribe(bus, "t.*", ways[_i], recorder_handle, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int part = 0; part < 10; part++) {
        publish_many(part * 300 + 1, part * 300 + 300);
        server_command(server, part % 2 ? "CLIENT KILL TYPE normal" : "CLIENT KILL TYPE pubsub");
    }
    int published[] = {3000};
    expect_seen(3000);
    recorder_expect_perfect(&seen, "the reader", 1, published);
    bus_end(bus);
    end();
}
END_TEST

/* The other process: tells each event by a byte. */
static int tell(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    return write((int)(intptr_t)user, ".", 1) == 1 ? 0 : 1;
}

static void read_on(int fd)
{
    evbus *bus = server_bus(server, "lease.ttl", "1s", NULL);
    evbus_subscribe(bus, "t.*", "durable=d", tell, (void *)(intptr_t)fd);
    for (;;)
        pause();
}

/* kill -9: the next one waits for the lease, then has all, the last ones for the second time. */
START_TEST(killed)
{
    int ends[2], first = 0, last = 0;
    char byte;
    server = server_start(NULL);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        read_on(ends[1]);
    recorder_init(&seen);
    from = open_bus("from");
    struct wait wait = wait_for(SOON);
    while (server_command(server, "EXISTS evbus:durable:{0}:d") != 1 && wait_more(&wait))
        ;
    publish_many(1, 500);
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    publish_many(501, 1000);
    evbus *bus = server_bus(server, "lease.ttl", "1s", NULL);
    evbus_sub *sub = bus_subscribe(bus, "t.*", "durable=d", recorder_handle, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), EVBUS_EDENIED); /* the dead one's lease */
    while (!recorder_has(&seen, 0, 1000) && wait_more(&wait))
        ;
    for (int n = 1000; n > 0 && recorder_has(&seen, 0, n); n--)
        first = n;
    for (int n = 1; n <= 1000; n++)
        last = recorder_has(&seen, 0, n) ? n : last;
    ck_assert_int_eq(last, 1000);
    ck_assert_int_le(first, 501);
    ck_assert_int_eq(recorder_received(&seen), 1000 - first + 1);
    printf("figure: after kill -9 it goes on with event %d of 500 handled\n", first);
    bus_end(bus);
    close(ends[0]);
    close(ends[1]);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("durable");
    TCase *tests = tcase_create("durable");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, goes_on_after_a_close, 0, 4);
    tcase_add_test(tests, a_queue_goes_on);
    tcase_add_test(tests, one_holder);
    tcase_add_loop_test(tests, cut, 0, 4);
    tcase_add_test(tests, killed);
    return suite_run(suite, argc, argv);
}
