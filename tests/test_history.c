/* test_history.c - asking for history: on the loop, waiting, at the end of the bus, from this
 * process's ring. */
#include "bus_fixture.h"
#include "bus.h"
#include "harness/until.h"
#include "list.h"
#include <pthread.h>
#include <stdatomic.h>

/* "3:c,b,a " or "E-7 " */
static void on_list(evbus_list *list, int error, void *user)
{
    (void)user;
    if (error != 0)
        tell("E%d ", error);
    else
        tell("%d:", evbus_list_count(list));
    for (int i = 0; list && i < evbus_list_count(list) && i < 9; i++)
        tell("%s%s", i ? "," : "", evbus_event_type(evbus_list_at(list, i)));
    if (error == 0)
        tell(" ");
    ck_assert((error == 0) == (list != NULL));
    evbus_list_free(list);
}

static void ask(const char *query)
{
    int rc = evbus_history_async(bus, query, on_list, NULL);
    ck_assert_msg(rc == 0, "%s: %s", query, evbus_last_error());
}

static void publish(const char *type)
{
    ck_assert_int_gt(evbus_publish(bus, type, NULL), 0);
}

static void open_keeping(const char *events)
{
    bus = open_on(0, "history.local.events", events, NULL);
    ck_assert_ptr_nonnull(bus);
    turn();
}

START_TEST(newest_first)
{
    open_keeping("4");
    ask(NULL);
    expect(""); /* never from inside the call */
    turn();
    expect("0: ");
    publish("a.a");
    publish("a.b");
    publish("b.a");
    ask(NULL);
    ask("type=a.*");
    ask("limit=1");
    ask("type=c");
    turn();
    expect("3:b.a,a.b,a.a 2:a.b,a.a 1:b.a 0: ");
    publish("c");
    publish("d");
    ask("source=local");
    turn();
    expect("4:d,c,b.a,a.b ");
}
END_TEST

static void put(const char *type, const char *correlation, int64_t us, int flags)
{
    evbus_event *event = evbus_event_new(type);
    evbus_event_set_time_us(event, us);
    if (correlation)
        evbus_event_set_correlation(event, correlation);
    ck_assert_int_gt(evbus_publish_event(bus, event, flags), 0);
    evbus_event_unref(event);
}

START_TEST(by_time_and_correlation)
{
    open_keeping("100");
    put("c", "x", 3000000, 0);
    put("a", "y", 1000000, EVBUS_LOCAL_ONLY);
    put("b", "x", 2000000, 0);
    ask("correlation=x");
    ask("since=1970-01-01T00:00:02Z");
    ask("until=1970-01-01T00:00:02Z");
    turn();
    expect("2:c,b 2:c,b 2:b,a ");
}
END_TEST

static int publish_effect(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    publish("effect");
    ask(NULL);
    return 0;
}

/* Events of the library are not kept; what a handler publishes stands behind its cause. */
START_TEST(from_handlers)
{
    open_keeping("100");
    evbus_sub *sub = evbus_subscribe(bus, "cause", "deliver=inline", publish_effect, NULL);
    ck_assert_ptr_nonnull(sub);
    publish("cause");
    turn();
    expect("2:effect,cause ");
    evbus_unsubscribe(sub);
}
END_TEST

/* What others publish is kept when it comes; what comes back is not kept twice. */
START_TEST(from_redis)
{
    bus = open_on(1, "history.local.events", "100", NULL);
    evbus_sub *sub = subscribe(">", NULL, "");
    await_mode(EVBUS_MODE_HYBRID);
    publish("mine");
    put("through", NULL, 5000000, EVBUS_REDIS_ONLY);
    await("through ");
    story[0] = '\0';
    ask("type=mine");
    ask("type=through");
    turn();
    expect("1:mine 1:through ");
    evbus_unsubscribe(sub);
}
END_TEST

static const struct {
    const char *keeps, *query, *says;
    int code;
} refused[] = {
    {"0", NULL, "history.local.events", EVBUS_ENOTSUP},
    {"0", "source=local", "history.local.events", EVBUS_ENOTSUP},
    {"0", "source=redis", "in Redis", EVBUS_ENOTSUP},
    {"9", "source=redis", "in Redis", EVBUS_ENOTSUP},
    {"9", "limit=0", "limit", EVBUS_EINVAL},
    {"9", "type=a..b", "empty word", EVBUS_EINVAL},
};

START_TEST(refuses)
{
    long before;
    open_keeping(refused[_i].keeps);
    before = failing_live();
    ck_assert_int_eq(evbus_history_async(bus, refused[_i].query, on_list, NULL), refused[_i].code);
    ck_assert_msg(strstr(evbus_last_error(), refused[_i].says) != NULL, "%s", evbus_last_error());
    ck_assert_ptr_null(evbus_history(bus, refused[_i].query, 0));
    ck_assert_int_eq(evbus_last_code(), refused[_i].code);
    ck_assert_int_eq(failing_live(), before);
    turn();
    expect("");
}
END_TEST

START_TEST(doors)
{
    ck_assert_int_eq(evbus_history_async(NULL, NULL, on_list, NULL), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_history(NULL, NULL, 10));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    open_keeping("9");
    ck_assert_int_eq(evbus_history_async(bus, NULL, NULL, NULL), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_history(bus, NULL, 1000)); /* this thread is the loop's */
    ck_assert_int_eq(evbus_last_code(), EVBUS_EDEADLK);
    publish("a");
    evbus_list *list = evbus_history(bus, NULL, 0); /* which needs no loop */
    ck_assert_ptr_nonnull(list);
    ck_assert_int_eq(evbus_list_count(list), 1);
    evbus_list_free(list);
    evbus_event *kept = NULL;
    list = evbus_history(bus, NULL, 0);
    kept = evbus_event_ref(evbus_list_at(list, 0));
    evbus_list_free(list);
    evbus_close(bus, 0);
    turn();
    ck_assert_int_eq(evbus_history_async(bus, NULL, on_list, NULL), EVBUS_ECLOSED);
    ck_assert_ptr_null(evbus_history(bus, NULL, 0));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ECLOSED);
    evbus_free(bus);
    bus = NULL;
    ck_assert_str_eq(evbus_event_type(kept), "a");
    evbus_event_unref(kept);
}
END_TEST

/* ---- the end of the bus ---- */

enum { MANY = 60000 }; /* more than the loop looks at in the turns that closing takes */

static void fill(void)
{
    open_keeping("100000");
    for (int i = 0; i < MANY; i++)
        publish("a");
}

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed%d ", result);
}

START_TEST(closed_meanwhile)
{
    fill();
    ask("limit=100000");
    ck_assert_int_eq(evbus_close_async(bus, -1, on_closed, NULL), 0);
    await("closed0 ");
    expect("E-7 closed0 "); /* told before closing is */
    turn();
    expect("");
}
END_TEST

START_TEST(freed_meanwhile)
{
    open_keeping("9");
    publish("a");
    ask(NULL);
    evbus_free(bus);
    bus = NULL;
    expect("E-7 ");
}
END_TEST

static void free_bus(evbus_list *list, int error, void *user)
{
    on_list(list, error, user);
    evbus_free(bus);
    bus = NULL;
}

START_TEST(freed_by_the_answer)
{
    open_keeping("9");
    publish("a");
    ck_assert_int_eq(evbus_history_async(bus, NULL, free_bus, NULL), 0);
    ask(NULL);
    turn();
    ck_assert_ptr_nonnull(strstr(story, "1:a "));
    ck_assert_uint_eq(strlen(story), 8); /* the other one, too: an answer, or E-7 */
}
END_TEST

/* ---- waiting ---- */

static void *wait_in_vain(void *arg)
{
    (void)arg;
    ck_assert_ptr_null(evbus_history(bus, "limit=100000", 20));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "within 20 ms"));
    return NULL;
}

/* Nobody turns the loop while the other thread waits. */
START_TEST(times_out)
{
    pthread_t thread;
    long before = 0;
    base = event_base_new();
    fill();
    for (int round = 0; round < 2; round++) { /* the first makes a record for the thread */
        before = failing_live();
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_vain, NULL), 0);
        pthread_join(thread, NULL);
        turn();
    }
    ck_assert_int_eq(failing_live(), before);
    evbus_free(bus);
    event_base_free(base);
}
END_TEST

START_TEST(too_many)
{
    open_keeping("1");
    for (int i = 0; i < 10000; i++)
        ask(NULL);
    ck_assert_int_eq(evbus_history_async(bus, NULL, on_list, NULL), EVBUS_EFULL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "10000 queries"));
    turn();
    ask(NULL);
}
END_TEST

static evbus *own_bus(const char *events)
{
    evbus_config *config = evbus_config_new();
    ck_assert_int_eq(evbus_config_set(config, "history.local.events", events), 0);
    evbus *own = evbus_open(config);
    ck_assert_ptr_nonnull(own);
    evbus_config_free(config);
    return own;
}

START_TEST(waits)
{
    evbus *own = own_bus("1000");
    for (int i = 0; i < 3000; i++)
        ck_assert_int_gt(evbus_publish(own, i % 2 ? "odd" : "even", NULL), 0);
    for (int timeout_ms = -1; timeout_ms <= 60000; timeout_ms += 60001) {
        evbus_list *list = evbus_history(own, "type=odd limit=100000", timeout_ms);
        ck_assert_msg(list != NULL, "%s", evbus_last_error());
        ck_assert_int_eq(evbus_list_count(list), 500);
        evbus_list_free(list);
    }
    ck_assert_ptr_null(evbus_history(own, "source=redis", 1000));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOTSUP);
    evbus_free(own);
}
END_TEST

static atomic_int going;

static void *publish_on(void *own)
{
    while (atomic_load(&going))
        evbus_publish(own, "a.b", "1");
    return NULL;
}

static void *query_on(void *own)
{
    while (atomic_load(&going)) {
        evbus_list *list = evbus_history(own, "limit=100", 60000);
        if (!list && evbus_last_code() == EVBUS_EFULL)
            continue; /* too many wait already */
        if (!list) {
            ck_assert_int_eq(evbus_last_code(), EVBUS_ECLOSED);
            break;
        }
        evbus_list_free(list);
    }
    return NULL;
}

static atomic_int answers, late, over; /* late: answers when closing was over */

static void count_answer(evbus_list *list, int error, void *user)
{
    (void)user;
    ck_assert(error == 0 || error == EVBUS_ECLOSED);
    evbus_list_free(list);
    atomic_fetch_add(&late, atomic_load(&over));
    atomic_fetch_add(&answers, 1);
}

static void *ask_on(void *own)
{
    intptr_t asked = 0;
    while (evbus_history_async(own, "type=a.* limit=1", count_answer, NULL) == 0)
        asked++;
    return (void *)asked;
}

/* Every query has its answer by the time that the bus is closed. */
START_TEST(closes_under_queries)
{
    for (int round = suite_rounds(200); round > 0; round--) {
        pthread_t publisher, waiter, asker;
        void *asked;
        evbus *own = own_bus("10");
        atomic_store(&answers, 0);
        atomic_store(&over, 0);
        atomic_store(&going, 1);
        pthread_create(&publisher, NULL, publish_on, own);
        pthread_create(&waiter, NULL, query_on, own);
        pthread_create(&asker, NULL, ask_on, own);
        ck_assert(until_count(&answers, 1 + round % 7, 10000));
        ck_assert_int_eq(evbus_close(own, 60000), 0);
        atomic_store(&over, 1);
        atomic_store(&going, 0);
        pthread_join(publisher, NULL);
        pthread_join(waiter, NULL);
        pthread_join(asker, &asked);
        evbus_free(own);
        ck_assert_int_eq(atomic_load(&answers), (intptr_t)asked);
        ck_assert_int_eq(atomic_load(&late), 0);
    }
}
END_TEST

/* ---- without memory ---- */

START_TEST(memory)
{
    open_keeping("1000");
    for (int i = 0; i < 100; i++)
        publish("a");
    long before = failing_live();
    int asked = 0, answered = 0;
    for (int n = 0;; n++) {
        failing_at(n, false);
        int rc = evbus_history_async(bus, "type=a limit=60 since=1h", on_list, NULL);
        turn();
        bool failed = failing_off();
        ck_assert_int_eq(failing_live(), before);
        ck_assert(rc == 0 || rc == EVBUS_ENOMEM);
        asked += rc != 0;
        answered += !strcmp(story, "E-1 ");
        ck_assert(rc == 0 || story[0] == '\0');
        if (!failed)
            break;
        ck_assert(rc != 0 || !strcmp(story, "E-1 "));
        story[0] = '\0';
    }
    expect("60:a,a,a,a,a,a,a,a,a ");
    ck_assert_int_gt(asked, 2);
    ck_assert_int_gt(answered, 1);
    for (int n = 0, failed = 1; failed; n++) {
        failing_at(n, false);
        evbus_list *list = evbus_history(bus, NULL, 0);
        failed = failing_off();
        ck_assert(failed ? !list && evbus_last_code() == EVBUS_ENOMEM : list != NULL);
        evbus_list_free(list);
        ck_assert_int_eq(failing_live(), before);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("history");
    TCase *tests = tcase_create("history");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, newest_first);
    tcase_add_test(tests, by_time_and_correlation);
    tcase_add_test(tests, from_handlers);
    tcase_add_test(tests, from_redis);
    tcase_add_loop_test(tests, refuses, 0, (int)EVB_COUNT(refused));
    tcase_add_test(tests, doors);
    tcase_add_test(tests, closed_meanwhile);
    tcase_add_test(tests, freed_meanwhile);
    tcase_add_test(tests, freed_by_the_answer);
    tcase_add_test(tests, too_many);
    tcase_add_test(tests, memory);
    suite_add_tcase(suite, tests);
    TCase *threads = tcase_create("threads"); /* which leave records behind, for the next ones */
    tcase_set_timeout(threads, 120);
    tcase_add_unchecked_fixture(threads, failing_install, NULL);
    tcase_add_test(threads, times_out);
    tcase_add_test(threads, waits);
    tcase_add_test(threads, closes_under_queries);
    suite_add_tcase(suite, threads);
    return run(suite);
}
