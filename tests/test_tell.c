/* test_tell.c - slow subscriptions and queues as events and log lines: their words, their order,
 * and that telling of one makes no other one slow. The base turns here, so nothing is chance. */
#include "bus_fixture.h"
#include "list.h"
#include "tell.h"

enum { LIMIT = 4 };

static int on_edge(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    char text[400], *ms;
    snprintf(text, sizeof text, "%s", evbus_event_data(event, NULL));
    if ((ms = strstr(text, "\"slow_ms\":")))
        strcpy(ms, "..");
    tell("%s%s ", strcmp(evbus_event_type(event), EVB_TYPE_SLOW) == 0 ? "SLOW" : "END", text);
    return 0;
}

static void on_line(int level, const char *line, void *user)
{
    (void)user;
    if (strstr(line, "slow"))
        tell("%s%s ", level == EVBUS_LOG_WARNING ? "W:" : "I:", strchr(line, ':') + 2);
}

static void publish(int count)
{
    for (int n = 0; n < count; n++)
        ck_assert_int_eq(evbus_publish(bus, "t", NULL), EVBUS_SENT_LOCAL);
}

static int64_t number_of(evbus_sub *sub, const char *name)
{
    return evbus_sub_stat(sub, name);
}

static evbus_sub *watch(void)
{
    evbus_sub *sub = evbus_subscribe(bus, "glob:evbus.slow*", "deliver=inline", on_edge, NULL);
    ck_assert_ptr_nonnull(sub);
    return sub;
}

static int ignore(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    return 0;
}

#define BYTES ",\"bytes_limit\":100000,\"policy\":"

static void expect_told(const char *format, ...)
{
    /* Bytes are the events' own affair. */
    for (char *at = story; (at = strstr(at, "\"bytes\":")); at += 8)
        memmove(at + 8, at + 8 + strspn(at + 8, "0123456789"),
                strlen(at + 8 + strspn(at + 8, "0123456789")) + 1);
    expect(format);
}

START_TEST(a_subscription)
{
    bus = open_on(false, NULL);
    evbus_sub *edges = watch();
    evbus_sub *sub =
        evbus_subscribe(bus, "t", "size=4 bytes=100000 full=drop-newest", ignore, NULL);
    publish(LIMIT);
    ck_assert_int_eq(number_of(sub, "slow"), 0);
    publish(1);
    ck_assert_int_eq(number_of(sub, "slow"), 1); /* at once, though nothing is told */
    ck_assert_int_eq(evbus_stat(bus, "slow"), 1);
    publish(2);
    expect("");
    turn();
    expect_told("SLOW{\"pattern\":\"t\",\"queued\":4,\"limit\":4,\"bytes\":" BYTES
                "\"drop-newest\"} END{\"pattern\":\"t\",\"queued\":0,\"limit\":4,\"bytes\":" BYTES
                "\"drop-newest\",\"dropped\":3,.. ");
    ck_assert_int_eq(number_of(sub, "slow"), 0);
    ck_assert_int_eq(number_of(sub, "dropped"), 3);
    ck_assert_int_eq(evbus_stat(bus, "slow"), 1);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(edges);
}
END_TEST

START_TEST(a_queue)
{
    evbus_event *event;
    bus = open_on(false, NULL);
    evbus_sub *edges = watch();
    evbus_queue *queue = evbus_queue_open(bus, "size=4 bytes=100000");
    evbus_sub *one = evbus_queue_subscribe(queue, "t", NULL, 1),
              *two = evbus_queue_subscribe(queue, "glob:\"", NULL, 2);
    publish(LIMIT);
    turn();
    expect("");
    publish(3);
    ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 1);
    turn();
    expect_told("SLOW{\"queue\":true,\"patterns\":[\"t\",\"glob:\\\"\"],\"subscriptions\":2,"
                "\"queued\":4,\"limit\":4,\"bytes\":" BYTES "\"drop-oldest\"} ");
    for (int left = LIMIT - 1; left >= LIMIT / 2; left--) {
        ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 1);
        ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), 1);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 0);
    turn();
    expect_told("END{\"queue\":true,\"patterns\":[\"t\",\"glob:\\\"\"],\"subscriptions\":2,"
                "\"queued\":2,\"limit\":4,\"bytes\":" BYTES "\"drop-oldest\",\"dropped\":3,.. ");
    evbus_queue_free(queue);
    evbus_unsubscribe(one);
    evbus_unsubscribe(two);
    evbus_unsubscribe(edges);
}
END_TEST

/* A queue outlives its bus; then nobody is there to be told. */
START_TEST(after_the_bus)
{
    evbus_event *event;
    int left = 0;
    bus = open_on(false, NULL);
    evbus_queue *queue = evbus_queue_open(bus, "size=4");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 1);
    publish(LIMIT + 1);
    if (_i)
        turn();
    evbus_free(bus);
    bus = NULL;
    ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 1);
    for (; evbus_queue_next(queue, 0, &event, NULL) == 1; left++)
        evbus_event_unref(event);
    ck_assert_int_eq(left, LIMIT);
    ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 0);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
}
END_TEST

/* A line a second at the most, each with its end. */
START_TEST(the_log)
{
    bus = open_on(false, NULL);
    evbus_set_log(bus, EVBUS_LOG_INFO, on_line, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "t.>", "size=4 bytes=100000", ignore, NULL);
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < LIMIT + 2; n++)
            evbus_publish(bus, "t.a", NULL);
        turn();
    }
    ck_assert_int_eq(evbus_stat(bus, "slow"), 3);
    ck_assert_msg(
        strncmp(story, "W:the subscription to t.> is slow: 4 events (size=4) with ", 58) == 0, "%s",
        story);
    char *end = strstr(story, " I:");
    ck_assert_msg(end != NULL, "%s", story);
    memmove(story, end + 1, strlen(end));
    expect("I:the subscription to t.> keeps up again: slow for 0.0 s, 2 dropped ");
    evbus_set_log(bus, EVBUS_LOG_INFO, NULL, NULL);
    evbus_unsubscribe(sub);
}
END_TEST

/* Without memory to remember it, it is dropped and counted, and that is all. */
START_TEST(no_memory)
{
    for (long n = 0, failed = true; failed; n++) {
        ck_assert_int_lt(n, 100);
        bus = open_on(false, NULL);
        evbus_sub *edges = watch(), *sub = evbus_subscribe(bus, "t", "size=4", ignore, NULL);
        publish(LIMIT);
        failing_at(n, false);
        int rc = evbus_publish(bus, "t", NULL);
        failed = failing_off();
        ck_assert(rc == EVBUS_SENT_LOCAL || (failed && rc < 0));
        ck_assert_int_eq(number_of(sub, "dropped"), rc == EVBUS_SENT_LOCAL);
        ck_assert_int_le(number_of(sub, "slow"), number_of(sub, "dropped"));
        ck_assert(failed || number_of(sub, "slow") == 1);
        turn();
        ck_assert_int_eq(number_of(sub, "slow"), 0);
        evbus_unsubscribe(sub);
        evbus_unsubscribe(edges);
        evbus_free(bus);
        bus = NULL;
        story[0] = '\0';
    }
}
END_TEST

/* Each takes what is told of the other, and has room for one: still there is an end to it. */
START_TEST(telling_makes_nobody_slow)
{
    static const char *const options[] = {"size=1", "size=1 full=drop-newest"};
    bus = open_on(false, NULL);
    evbus_sub *watchers[3];
    for (int i = 0; i < 3; i++)
        watchers[i] = evbus_subscribe(bus, "evbus.>", options[_i], ignore, NULL);
    turn();
    evbus_sub *sub = evbus_subscribe(bus, "t", "size=1", ignore, NULL);
    for (int round = 1; round <= 5; round++) {
        publish(2);
        for (int i = 0; i < 50; i++)
            turn();
        ck_assert_int_eq(evbus_stat(bus, "slow"), round);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(number_of(watchers[i], "slow"), 0);
        ck_assert_int_eq(number_of(watchers[0], "dropped"),
                         round); /* two at a time, room for one */
    }
    evbus_unsubscribe(sub);
    for (int i = 0; i < 3; i++)
        evbus_unsubscribe(watchers[i]);
}
END_TEST

/* The slow one takes the news of itself. */
START_TEST(its_own_news)
{
    bus = open_on(false, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "glob:*", "size=1", on_event, NULL);
    turn();
    story[0] = '\0';
    evbus_sub *all = evbus_subscribe(bus, "evbus.*", "size=8", on_event, NULL);
    publish(3);
    for (int i = 0; i < 50; i++)
        turn();
    expect("t evbus.slow evbus.slow_end ");
    ck_assert_int_eq(evbus_stat(bus, "slow"), 1);
    ck_assert_int_eq(number_of(sub, "dropped"), 2);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(all);
}
END_TEST

/* The handlers of one turn are slow: what is to be told does not wait for all of them. */
static int handled;

static int on_many(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    handled++;
    return 0;
}

static int on_told(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)user;
    (void)sub;
    tell("%s:%d ", evbus_event_type(event), handled);
    return 0;
}

START_TEST(told_between_the_handlers_of_a_turn)
{
    bus = open_on(false, NULL);
    handled = 0;
    evbus_sub *edges = evbus_subscribe(bus, "evbus.*", "deliver=inline", on_told, NULL);
    turn();
    story[0] = '\0';
    evbus_sub *sub = evbus_subscribe(bus, "t", "size=900", on_many, NULL);
    publish(901);
    turn();
    expect("evbus.slow:0 evbus.slow_end:449 "); /* chunks of thirty, but for the dropped one */
    ck_assert_int_eq(handled, 900);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(edges);
}
END_TEST

START_TEST(a_row_says_so)
{
    bus = open_on(false, NULL);
    evbus_sub *sub = evbus_subscribe(bus, "t", "size=1", ignore, NULL);
    for (int slow = 0; slow < 2; slow++) {
        char *json = evbus_stats_json(bus);
        ck_assert_msg(strstr(json, slow ? "\"slow\":true" : "\"slow\":false"), "%s", json);
        evbus_string_free(json);
        publish(2);
    }
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tell");
    TCase *tests = tcase_create("slow");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_subscription);
    tcase_add_test(tests, a_queue);
    tcase_add_loop_test(tests, after_the_bus, 0, 2);
    tcase_add_test(tests, the_log);
    tcase_add_test(tests, no_memory);
    tcase_add_loop_test(tests, telling_makes_nobody_slow, 0, 2);
    tcase_add_test(tests, its_own_news);
    tcase_add_test(tests, told_between_the_handlers_of_a_turn);
    tcase_add_test(tests, a_row_says_so);
    suite_add_tcase(suite, tests);
    return run(suite);
}
