/* it_workers_handlers.c - deliver=workers: what a handler may do on a worker's thread, what these
 * threads are, and what happens when they cannot be had. */
#include "harness/failing.h"
#include "workers_fixture.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* ---- what a handler does there ---- */

static int chain(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)sub;
    (void)event;
    return atomic_fetch_add(&act->calls, 1) + 1 < 5000 && evbus_publish(act->bus, "t", NULL) <= 0;
}

START_TEST(publishes)
{
    struct act act = {.bus = two_workers()};
    evbus_sub *sub = bus_subscribe(act.bus, "t", "deliver=workers", chain, &act);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, 5000, SOON);
    ck_assert_int_eq(evbus_sub_stat(sub, "failed"), 0);
    bus_end(act.bus);
}
END_TEST

static int end_itself(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)event;
    atomic_fetch_add(&act->calls, 1);
    if (atomic_fetch_add(&act->result, 1) > 0)
        return 0; /* another worker was first */
    int rc = evbus_unsubscribe(sub);
    ck_assert_int_eq(atomic_load(&act->freed), 0); /* this handler still runs */
    return rc;
}

START_TEST(unsubscribes_itself)
{
    evbus *bus = two_workers();
    for (int i = 0; i < suite_scaled(RACES); i++) {
        struct act act = {.bus = bus};
        evbus_sub *sub = evbus_subscribe(bus, "t", PARALLEL, end_itself, &act);
        evbus_sub_on_free(sub, count_freed);
        for (int n = 0; n < 5; n++)
            bus_publish(bus, "t", NULL);
        expect_count(&act.freed, 1, SOON);
        int calls = atomic_load(&act.calls);
        ck_assert_int_le(calls, 5);
        bus_publish(bus, "t", NULL);
        ck_assert_int_eq(atomic_load(&act.calls), calls);
    }
    bus_end(bus);
}
END_TEST

static int end_the_other(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&act->calls, 1);
    until_count(&act->go_on, 1, SOON);
    atomic_store(&act->result, evbus_unsubscribe(act->sub));
    return 0;
}

/* Both run, each removes the other: nobody waits for anybody. */
START_TEST(two_remove_each_other)
{
    evbus *bus = two_workers();
    struct act acts[2] = {{.bus = bus}, {.bus = bus}};
    for (int i = 0; i < 2; i++) {
        acts[1 - i].sub = evbus_subscribe(bus, "t", PARALLEL, end_the_other, &acts[i]);
        evbus_sub_on_free(acts[1 - i].sub, count_freed);
    }
    bus_publish(bus, "t", NULL);
    expect_count(&acts[0].calls, 1, SOON);
    expect_count(&acts[1].calls, 1, SOON);
    for (int i = 0; i < 2; i++)
        atomic_store(&acts[i].go_on, 1);
    for (int i = 0; i < 2; i++)
        expect_count(&acts[i].freed, 1, SOON);
    bus_end(bus);
}
END_TEST

static int wait_for_things(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    evbus_event *none = NULL;
    int rc = evbus_publish(act->bus, "sent", NULL) > 0 ? 0 : 1;
    (void)event;
    if (rc == 0)
        rc = evbus_flush(act->bus, suite_patience(SOON));
    if (rc == 0)
        rc = evbus_wait_connected(act->bus, suite_patience(SOON));
    if (rc == 0)
        rc = evbus_sub_wait(sub, suite_patience(SOON));
    evbus_queue *queue = evbus_queue_open(act->bus, NULL);
    if (rc == 0)
        rc = evbus_queue_next(queue, 1, &none, NULL); /* 0: none came */
    evbus_queue_free(queue);
    atomic_store(&act->result, rc);
    atomic_fetch_add(&act->calls, 1);
    return rc;
}

/* It is not the loop: what has to wait for the loop may. */
START_TEST(waits)
{
    struct server *server = server_start(NULL);
    struct act act = {.bus = server_bus(server, "workers", "2", NULL), .result = 1};
    bus_subscribe(act.bus, "t", "deliver=workers", wait_for_things, &act);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, 1, 2 * SOON);
    ck_assert_int_eq(atomic_load(&act.result), 0);
    bus_end(act.bus);
    server_free(server);
}
END_TEST

/* ---- threads ---- */

/* How many threads of this process have such a name. */
static int named(const char *name)
{
    char path[300], text[32];
    int count = 0;
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/task");
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file && fgets(text, sizeof text, file))
            count += strncmp(text, name, strlen(name)) == 0;
        if (file)
            fclose(file);
    }
    closedir(folder);
    return count;
}

START_TEST(threads_have_names_and_end)
{
    struct level level = level_now();
    int threads = level.threads;
    atomic_int calls = 0;
    evbus *bus = bus_with("workers", "12", "bus.name", "notification-service", NULL);
    ck_assert_int_eq(process_threads(), threads + 1); /* the loop; no worker is needed yet */
    for (int i = 0; i < 3; i++)
        bus_subscribe(bus, "t", "deliver=workers", handle_count, &calls);
    ck_assert_int_eq(process_threads(), threads + 1 + 12);
    ck_assert_int_eq(named("notificat-w"), 12);
    ck_assert_int_eq(named("notificat-w11\n"), 1);
    ck_assert_int_eq(evbus_stat(bus, "workers"), 12);
    bus_publish(bus, "t", NULL);
    expect_count(&calls, 3, SOON);
    bus_end(bus);
    ck_assert(until(is_level, &level, SOON));
}
END_TEST

/* ---- what does not work, and says so ---- */

static const char *refusal(evbus *bus, const char *options)
{
    ck_assert_ptr_null(evbus_subscribe(bus, "t", options, handle_count, NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    return evbus_last_error();
}

START_TEST(refusals_name_the_fault)
{
    evbus *none = bus_with(NULL), *some = bus_with("workers", "1", NULL);
    ck_assert_ptr_nonnull(strstr(refusal(none, "deliver=workers"), "set workers"));
    ck_assert_ptr_nonnull(strstr(refusal(some, "deliver=workers key=user"), "\"user\""));
    ck_assert_ptr_nonnull(strstr(refusal(some, "deliver=workers key="), "key"));
    ck_assert_ptr_nonnull(strstr(refusal(some, "key=type"), "deliver=workers"));
    ck_assert_ptr_nonnull(strstr(refusal(some, "deliver=inline key=none"), "deliver=workers"));
    ck_assert_int_eq(evbus_stat(none, "workers"), 0);
    ck_assert_int_eq(evbus_stat(some, "workers"), 0); /* none was needed yet */
    ck_assert_int_eq(evbus_has("workers"), 1);
    bus_end(none);
    bus_end(some);
}
END_TEST

START_TEST(threads_that_do_not_start)
{
    struct rlimit was, tight;
    atomic_int calls = 0;
    if (suite_sanitized()) {
        printf("SKIPPED: a sanitizer has taken the address space that this test limits\n");
        return;
    }
    evbus *bus = bus_with("workers", "1000", NULL);
    int threads = process_threads();
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &was), 0);
    tight = was;
    tight.rlim_cur = 512 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    evbus_sub *sub = evbus_subscribe(bus, "t", "deliver=workers", handle_count, &calls);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &was), 0);
    ck_assert_ptr_null(sub);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ESYS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "of 1000"));
    struct wait wait = wait_for(SOON); /* a joined thread may stay in /proc for a moment */
    while (process_threads() > threads && wait_more(&wait))
        ;
    ck_assert_int_eq(process_threads(), threads);
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 0);
    bus_subscribe(bus, "t", "deliver=workers", handle_count, &calls);
    ck_assert_int_eq(evbus_stat(bus, "workers"), 1000);
    bus_publish(bus, "t", NULL);
    expect_count(&calls, 1, SOON);
    bus_end(bus);
}
END_TEST

static void subscribe_poorly(evbus *bus, long n, bool for_good, atomic_int *calls)
{
    failing_at(n, for_good);
    evbus_sub *sub = evbus_subscribe(bus, "t", "deliver=workers key=attr:x", handle_count, calls);
    int sent = evbus_publish(bus, "t", NULL);
    failing_off();
    ck_assert(sub || evbus_last_code() == EVBUS_ENOMEM);
    ck_assert(sent >= 0 || sent == EVBUS_ENOMEM);
    int64_t dropped = evbus_stat(bus, "dropped");
    if (sub && sent > 0 && dropped == 0)
        expect_count(calls, 1, SOON);
    if (sub)
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}

/* Each allocation of subscribing and publishing fails, once or for good: an error or a drop, and
 * nothing is left when the bus is gone. */
START_TEST(memory_that_runs_out)
{
    failing_install();
    evbus *warm = bus_with("workers", "2", NULL); /* threads' records stay, and are used again */
    bus_unsubscribe(bus_subscribe(warm, "t", "deliver=workers", handle_count, NULL));
    bus_publish(warm, "t", NULL);
    bus_end(warm);
    for (long n = 0; n < 40; n++) {
        atomic_int calls = 0;
        long live = failing_live();
        evbus *bus = bus_with("workers", "2", NULL);
        subscribe_poorly(bus, n, _i, &calls);
        bus_end(bus);
        ck_assert_int_eq(failing_live(), live);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("workers' handlers");
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, suite_patience(60));
    tcase_add_loop_test(memory, memory_that_runs_out, 0, 2);
    suite_add_tcase(suite, memory);
    suite_add(suite, "publishes", publishes, 20);
    suite_add(suite, "unsubscribes_itself", unsubscribes_itself, 30);
    suite_add(suite, "two_remove_each_other", two_remove_each_other, 20);
    suite_add(suite, "waits", waits, 30);
    suite_add(suite, "threads_have_names_and_end", threads_have_names_and_end, 20);
    suite_add(suite, "refusals_name_the_fault", refusals_name_the_fault, 10);
    suite_add(suite, "threads_that_do_not_start", threads_that_do_not_start, 20);
    return suite_run(suite, argc, argv);
}
