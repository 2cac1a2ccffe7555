/* it_guest_exit.c - a process may end at any time, from any place, with buses in full use: no
 * crash, no hang, its own exit status. What waits in the process's bus is handled first. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/program.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 10000, STATUS = 7, PUBLISHERS = 2, CHILD_SECONDS = 40 };

static struct {
    char socket[128], port[16], ca[128]; /* port "": the socket */
    evbus *bus, *process;                /* one of the child's own, and evbus_default() */
    evbus_sub *subs[4];
    evbus_event *event;
    pthread_t threads[PUBLISHERS + 1];
    atomic_int seen;
} guest;

static void *publish_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        evbus_publish(guest.bus, "t", "{\"n\":1}");
        evbus_publish(guest.process, "t", "{\"n\":1}"); /* says ECLOSED in the end */
    }
    return NULL;
}

static void end_process(int how)
{
    if (how == 0)
        exit(STATUS);
    if (how == 1)
        quick_exit(STATUS);
    _exit(STATUS);
}

static void *end_in_a_thread(void *how)
{
    end_process((int)(intptr_t)how);
    return NULL;
}

static int end_in_a_handler(evbus_sub *sub, evbus_event *event, void *how)
{
    (void)sub;
    (void)event;
    end_process((int)(intptr_t)how);
    return 0;
}

static void end_in_a_report(evbus_event *event, int outcome, int error, int64_t receivers,
                            void *how)
{
    (void)event;
    (void)outcome;
    (void)error;
    (void)receivers;
    end_process((int)(intptr_t)how);
}

/* Buses in full use; false: they do not come up. */
static bool get_going(void)
{
    if (guest.port[0]) {
        setenv("EVBUS_REDIS_HOST", "127.0.0.1", 1);
        setenv("EVBUS_REDIS_PORT", guest.port, 1);
        setenv("EVBUS_TLS_ENABLED", "yes", 1);
        setenv("EVBUS_TLS_CA_FILE", guest.ca, 1);
    } else {
        setenv("EVBUS_REDIS_PATH", guest.socket, 1);
    }
    evbus_config *config = evbus_config_new();
    evbus_config_load_env(config, NULL);
    guest.bus = evbus_open(config);
    evbus_config_free(config);
    guest.process = evbus_default();
    if (!guest.bus || !guest.process || evbus_wait_connected(guest.bus, SOON) != 0)
        return false;
    guest.subs[0] = evbus_subscribe(guest.bus, "t", NULL, handle_count, &guest.seen);
    guest.subs[1] =
        evbus_subscribe(guest.process, "t", "deliver=inline", handle_count, &guest.seen);
    guest.subs[2] = evbus_subscribe(guest.process, "t", "scope=redis", handle_count, &guest.seen);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_create(&guest.threads[i], NULL, publish_for_ever, NULL);
    return until_count(&guest.seen, 100, SOON);
}

enum place { MAIN, THREAD, LOOP, INLINE, REPORT, PLACES };

static const char *const places[] = {"main", "a thread", "a loop handler", "an inline handler",
                                     "a report"};
static const char *const ends[] = {"exit", "quick_exit", "_exit"};

static void end_at(enum place place, intptr_t how)
{
    evbus *bus = how % 2 ? guest.process : guest.bus;
    switch (place) {
    case MAIN:
        end_process((int)how);
        break;
    case THREAD:
        pthread_create(&guest.threads[PUBLISHERS], NULL, end_in_a_thread, (void *)how);
        break;
    case REPORT:
        guest.event = evbus_event_new("end");
        evbus_publish_report(bus, guest.event, 0, end_in_a_report, (void *)how);
        break;
    default:
        guest.subs[3] = evbus_subscribe(bus, "end", place == LOOP ? NULL : "deliver=inline",
                                        end_in_a_handler, (void *)how);
        evbus_publish(bus, "end", NULL);
    }
    for (;;) /* the process ends elsewhere */
        pause();
}

static void become_guest(struct server *server)
{
    snprintf(guest.socket, sizeof guest.socket, "%s", server->socket);
    server->pid = 0; /* what exit() calls must not kill it */
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS); /* who hangs is killed */
}

static void expect_status(pid_t pid, int wanted, const char *what, const char *where)
{
    int status = 0;
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "%s in %s: status %x", what,
                  where, (unsigned)status);
}

static void end_guests(struct server *server, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        enum place place = (enum place)(i % PLACES);
        int how = i / PLACES % 3;
        pid_t pid = fork();
        if (pid == 0) {
            become_guest(server);
            if (!get_going())
                _exit(99);
            end_at(place, how);
        }
        expect_status(pid, STATUS, ends[how], places[place]);
    }
    ck_assert(server_answers(server));
    printf("figure: processes ended in full use: %d\n", rounds);
    server_free(server);
}

START_TEST(in_full_use)
{
    end_guests(server_start(NULL), suite_rounds(60));
}
END_TEST

/* The host has begun to use OpenSSL for itself, whose exit handler clears everything away. */
START_TEST(in_full_use_over_tls)
{
    struct cert ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    struct cert own =
        cert_make("own", (struct cert_wish){.name = "s", .alt = "IP:127.0.0.1", .issuer = &ca});
    struct server *server = server_plan_tls(&own, ca.cert, NULL);
    server_run(server);
    snprintf(guest.port, sizeof guest.port, "%d", server->tls_port);
    snprintf(guest.ca, sizeof guest.ca, "%s", ca.cert);
    end_guests(server, suite_rounds(60));
}
END_TEST

/* ---- exit() and handlers ---- */

static int never_return(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_fetch_add((atomic_int *)user, 1);
    for (;;)
        pause();
    return 0;
}

/* A handler that never returns holds exit() up for close.timeout, no longer. */
START_TEST(a_handler_never_returns)
{
    static const char *const options[] = {NULL, "deliver=inline"};
    for (int i = 0; i < 2; i++) {
        int64_t start = now_us();
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(CHILD_SECONDS);
            setenv("EVBUS_CLOSE_TIMEOUT", "100ms", 1);
            guest.process = guest.bus = evbus_default();
            guest.subs[0] =
                evbus_subscribe(guest.process, "t", options[i], never_return, &guest.seen);
            pthread_create(&guest.threads[0], NULL, publish_for_ever, NULL);
            if (!until_count(&guest.seen, 1, SOON))
                _exit(99);
            exit(STATUS);
        }
        expect_status(pid, STATUS, "exit", "main");
        ck_assert_int_lt((now_us() - start) / 1000, suite_patience(5000));
    }
}
END_TEST

/* ---- main() returns ---- */

/* This program once more, as "<program> return SOCKET". */
static int return_from_main(const char *socket)
{
    snprintf(guest.socket, sizeof guest.socket, "%s", socket);
    alarm(CHILD_SECONDS);
    return get_going() ? STATUS : 99;
}

START_TEST(main_returns)
{
    struct server *server = server_start(NULL);
    for (int i = 0; i < 5; i++) {
        char *argv[] = {(char *)"/proc/self/exe", (char *)"return", server->socket, NULL};
        struct program *program = program_start(NULL, argv);
        ck_assert_msg(program_end(program) == STATUS, "status %d: %s", program->status,
                      program->err);
        ck_assert_str_eq(program->err, "");
        program_free(program);
    }
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "return"))
        return return_from_main(argv[2]);
    Suite *suite = suite_create("guest exit");
    suite_add(suite, "in_full_use", in_full_use, 120);
    suite_add(suite, "in_full_use_over_tls", in_full_use_over_tls, 120);
    suite_add(suite, "a_handler_never_returns", a_handler_never_returns, 60);
    suite_add(suite, "main_returns", main_returns, 60);
    return suite_run(suite, argc, argv);
}
