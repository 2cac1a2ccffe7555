/* it_guest_dl.c - a plugin's life: the shared library is opened and closed again and again by a
 * program that is not linked with it, with a bus each time; no thread, descriptor or crash is left
 * behind, not even when a thread that used it ends after it was closed. */
#include "harness/process.h"
#include "harness/program.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <dlfcn.h>
#include <evbus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { SOON = 10000, SLACK_KIB = 1024 };

static struct library {
    void *handle;
    evbus *(*open)(const evbus_config *config);
    evbus *(*process)(void);
    int (*publish)(evbus *bus, const char *type, const char *json);
    evbus_sub *(*subscribe)(evbus *bus, const char *pattern, const char *options, evbus_event_fn fn,
                            void *user);
    int (*unsubscribe)(evbus_sub *sub);
    void (*free)(evbus *bus);
} lib;

static void take(void *function, const char *name)
{
    void *found = dlsym(lib.handle, name);
    ck_assert_msg(found, "%s", dlerror());
    *(void **)function = found;
}

static void load(void)
{
    lib.handle = dlopen(program_built("libevbus.so"), RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(lib.handle, "%s", dlerror());
    take(&lib.open, "evbus_open");
    take(&lib.process, "evbus_default");
    take(&lib.publish, "evbus_publish");
    take(&lib.subscribe, "evbus_subscribe");
    take(&lib.unsubscribe, "evbus_unsubscribe");
    take(&lib.free, "evbus_free");
}

/* A sanitizer's run time cannot be loaded later: make check-san builds no shared library. */
static bool is_built(void)
{
    if (!suite_sanitized() && access(program_built("libevbus.so"), R_OK) == 0)
        return true;
    printf("SKIPPED: there is no %s to open\n", program_built("libevbus.so"));
    ck_assert(suite_sanitized());
    return false;
}

static int count(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static void use(evbus *bus)
{
    atomic_int seen = 0;
    ck_assert_ptr_nonnull(bus);
    evbus_sub *sub = lib.subscribe(bus, "t", NULL, count, &seen);
    ck_assert_ptr_nonnull(sub);
    ck_assert_int_gt(lib.publish(bus, "t", "{}"), 0);
    ck_assert(until_count(&seen, 1, SOON));
    lib.free(bus);
    ck_assert_int_eq(lib.unsubscribe(sub), 0);
}

START_TEST(again_and_again)
{
    int rounds = suite_rounds(200), fds = 0, threads = 0;
    long rss_kib = 0;
    if (!is_built())
        return;
    for (int i = 0; i < rounds + 20; i++) {
        load();
        use(lib.open(NULL));
        if (i % 2)
            use(lib.process());
        ck_assert_int_eq(dlclose(lib.handle), 0);
        if (i == 19) {
            fds = process_fds();
            threads = process_threads();
            rss_kib = process_rss_kib();
        }
    }
    printf("figure: opened and closed %d times: fds %+d, threads %+d, RSS %+ld KiB\n", rounds,
           process_fds() - fds, process_threads() - threads, process_rss_kib() - rss_kib);
    ck_assert_int_eq(process_fds(), fds);
    ck_assert_int_eq(process_threads(), threads);
    ck_assert_int_lt(process_rss_kib() - rss_kib, SLACK_KIB);
}
END_TEST

struct user {
    pthread_t thread;
    atomic_int used, closed;
};

static void *use_and_outlive(void *arg)
{
    struct user *user = arg;
    evbus *bus = lib.open(NULL);
    lib.publish(bus, "t", "{}");
    lib.free(bus);
    atomic_store(&user->used, 1);
    while (!atomic_load(&user->closed))
        nap_us(100);
    return NULL; /* the library's records of this thread end here */
}

START_TEST(a_thread_ends_after_it)
{
    if (!is_built())
        return;
    for (int i = 0; i < suite_scaled(50); i++) {
        struct user user = {.used = 0};
        load();
        pthread_create(&user.thread, NULL, use_and_outlive, &user);
        ck_assert(until_count(&user.used, 1, SOON));
        ck_assert_int_eq(dlclose(lib.handle), 0);
        atomic_store(&user.closed, 1);
        pthread_join(user.thread, NULL);
    }
}
END_TEST

/* The process's bus is still open: closing the library must not pull it from under its loop. */
START_TEST(closed_in_use)
{
    atomic_int seen = 0;
    if (!is_built())
        return;
    load();
    evbus *bus = lib.process();
    evbus_sub *sub = lib.subscribe(bus, "t", NULL, count, &seen);
    ck_assert_int_eq(dlclose(lib.handle), 0);
    for (int n = 1; n <= 100; n++) {
        ck_assert_int_gt(lib.publish(bus, "t", "{}"), 0);
        ck_assert(until_count(&seen, n, SOON));
    }
    load();
    ck_assert_ptr_eq(lib.process(), bus);
    lib.free(bus);
    ck_assert_int_eq(lib.unsubscribe(sub), 0);
    ck_assert_int_eq(dlclose(lib.handle), 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest dl");
    suite_add(suite, "again_and_again", again_and_again, 60);
    suite_add(suite, "a_thread_ends_after_it", a_thread_ends_after_it, 30);
    suite_add(suite, "closed_in_use", closed_in_use, 30);
    return suite_run(suite, argc, argv);
}
