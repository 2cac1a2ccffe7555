/* test_batch.c - what becomes of batches: when they are published, what is in them, what their
 * members are told. */
#include "bus_fixture.h"
#include "bus.h"
#include "clock.h"
#include "list.h"
#include <jansson.h>

static int join_with(const char *type, const char *json, int flags, bool asks)
{
    evbus_event *event = evbus_event_new(type);
    if (json)
        ck_assert_int_eq(evbus_event_set_json(event, json, strlen(json)), 0);
    int rc = asks ? evbus_publish_report(bus, event, EVBUS_BATCH | flags, on_report, NULL)
                  : evbus_publish_event(bus, event, EVBUS_BATCH | flags);
    evbus_event_unref(event);
    return rc;
}

static void join(const char *type)
{
    ck_assert_int_eq(join_with(type, NULL, 0, true), EVBUS_SENT_BATCH);
}

/* "<type>(<type of a member> ...) " with how many the batch says there are */
static int on_batch(evbus_sub *sub, evbus_event *event, void *user)
{
    json_t *data = json_loads(evbus_event_data(event, NULL), JSON_REJECT_DUPLICATES, NULL), *member;
    size_t i;
    (void)sub;
    (void)user;
    ck_assert_ptr_nonnull(data);
    json_t *events = json_object_get(data, "events");
    ck_assert_int_eq(json_integer_value(json_object_get(data, "count")),
                     (json_int_t)json_array_size(events));
    tell("%s(", evbus_event_type(event));
    json_array_foreach(events, i, member)
        tell("%s%s", i ? " " : "", json_string_value(json_object_get(member, "type")));
    tell(") ");
    json_decref(data);
    return 0;
}

static evbus_sub *batches(const char *options)
{
    evbus_sub *sub = evbus_subscribe(bus, ">", options, on_batch, NULL);
    ck_assert_ptr_nonnull(sub);
    return sub;
}

START_TEST(whole_envelopes)
{
    bus = open_on(false, "batch.events", "2", NULL);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, "order.*.batch", NULL, 0);
    evbus_event *events[2], *batch;
    for (int i = 0; i < 2; i++) {
        events[i] = evbus_event_new("order.paid");
        evbus_event_set_attr(events[i], "user\"Id", "4\n2");
        evbus_event_set_correlation(events[i], "c");
        if (i == 0)
            evbus_event_set_json(events[i], "{\"id\":7}", 8);
        else
            evbus_event_set_bytes(events[i], "\0\377", 2);
        ck_assert_int_eq(evbus_publish_event(bus, events[i], EVBUS_BATCH), EVBUS_SENT_BATCH);
    }
    turn();
    ck_assert_int_eq(evbus_queue_next(queue, 0, &batch, NULL), 1);
    ck_assert_str_eq(evbus_event_type(batch), "order.paid.batch");
    ck_assert_int_eq(evbus_event_is_json(batch), 1);
    json_t *data = json_loads(evbus_event_data(batch, NULL), JSON_REJECT_DUPLICATES, NULL);
    for (int i = 0; i < 2; i++) {
        json_t *member = json_array_get(json_object_get(data, "events"), (size_t)i);
        char *text = json_dumps(member, JSON_COMPACT), *want = evbus_event_to_json(events[i]);
        json_t *whole = json_loads(want, 0, NULL);
        ck_assert_msg(json_equal(member, whole), "%s\n%s", text, want);
        evbus_event *again = evbus_event_from_json(text, strlen(text));
        ck_assert_str_eq(evbus_event_id(again), evbus_event_id(events[i]));
        ck_assert_str_eq(evbus_event_attr(again, "user\"Id"), "4\n2");
        evbus_event_unref(again);
        json_decref(whole);
        free(text);
        evbus_string_free(want);
        evbus_event_unref(events[i]);
    }
    json_decref(data);
    evbus_event_unref(batch);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &batch, NULL), 0); /* not singly */
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(by_number)
{
    bus = open_on(false, "batch.events", "3", NULL);
    evbus_sub *sub = batches("deliver=inline");
    for (int i = 0; i < 7; i++)
        join("t");
    expect(""); /* by the loop, whoever filled it */
    turn();
    expect("t.batch(t t t) t.batch(t t t) l:t l:t l:t l:t l:t l:t ");
    ck_assert_int_eq(evbus_stat(bus, "batches_size"), 2);
    ck_assert_int_eq(evbus_stat(bus, "batch_events"), 1);
    ck_assert_int_eq(evbus_stat(bus, "batched"), 7);
    evbus_unsubscribe(sub);
}
END_TEST

/* Its data is at most batch.bytes, and at most event.max.bytes. */
START_TEST(by_bytes)
{
    bus = open_on(false, _i ? "event.max.bytes" : "batch.bytes", "2000", NULL);
    atomic_int seen = 0;
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, ">", NULL, 0);
    evbus_event *batch;
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(join_with("t", "\"0123456789\"", 0, false), EVBUS_SENT_BATCH);
    ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ETIMEDOUT);
    turn();
    while (evbus_queue_next(queue, 0, &batch, NULL) == 1) {
        size_t length;
        const char *data = evbus_event_data(batch, &length);
        ck_assert_uint_le(length, 2000);
        ck_assert_uint_gt(length, atomic_load(&seen) < 90 ? 1500 : 0);
        atomic_fetch_add(&seen, atoi(strstr(data, "\"count\":") + 8));
        evbus_event_unref(batch);
    }
    ck_assert_int_eq(atomic_load(&seen), 100);
    ck_assert_int_gt(evbus_stat(bus, "batches_bytes"), 10);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(by_interval)
{
    bus = open_on(false, "batch.interval", "30ms", NULL);
    evbus_sub *sub = batches("deliver=inline");
    for (int round = 0; round < 3; round++) {
        int64_t before = evb_clock_mono_ms();
        join("t");
        join("u");
        turn();
        expect("");
        await("l:u ");
        ck_assert_int_ge(evb_clock_mono_ms(), before + 30);
        turn();
        expect("t.batch(t) u.batch(u) l:t l:u ");
    }
    ck_assert_int_eq(evbus_stat(bus, "batches_interval"), 6);
    evbus_unsubscribe(sub);
}
END_TEST

/* Each flags' events are a batch that goes the way they asked for. */
START_TEST(by_flags)
{
    scripted_listen(server, false);
    bus = open_on(true, NULL);
    evbus_sub *sub = batches("scope=local");
    for (int i = 0; i < 2; i++) {
        join_with("t", NULL, EVBUS_LOCAL_ONLY, false);
        join_with("t", NULL, EVBUS_REDIS_ONLY, false);
        join_with("t", NULL, EVBUS_NO_HISTORY, false);
        join_with("t", NULL, 0, false);
    }
    evbus_flush(bus, 0);
    turn();
    expect("t.batch(t t) t.batch(t t) t.batch(t t) ");
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 3);
    ck_assert_int_eq(evbus_stat(bus, "published_redis"), 3);
    ck_assert_int_eq(evbus_stat(bus, "batches_flush"), 4);
    evbus_unsubscribe(sub);
}
END_TEST

static void on_done(int result, void *user)
{
    tell("%s:%d ", (const char *)user, result);
}

/* A flush waits for the reports of members, of what comes meanwhile it knows nothing. */
START_TEST(flushed)
{
    bus = open_on(false, NULL);
    evbus_sub *sub = batches("deliver=inline");
    join("t");
    join("t");
    ck_assert_int_eq(evbus_flush_async(bus, on_done, "flushed"), 0);
    turn();
    expect("t.batch(t t) l:t l:t flushed:0 ");
    join("u");
    ck_assert_int_eq(evbus_close_async(bus, 1000, on_done, "closed"), 0);
    evbus_event *late = evbus_event_new("t");
    ck_assert_int_eq(evbus_publish_event(bus, late, EVBUS_BATCH), EVBUS_ECLOSED);
    evbus_event_unref(late);
    await("closed");
    expect("u.batch(u) l:u closed:0 ");
    ck_assert_int_eq(evbus_stat(bus, "batched_dropped"), 0);
    evbus_unsubscribe(sub);
}
END_TEST

/* Freed with open batches: this process's subscribers get them, Redis does not any more. */
START_TEST(freed)
{
    scripted_listen(server, false);
    bus = open_on(_i, NULL);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = batches("deliver=inline"),
              *pulled = evbus_queue_subscribe(queue, ">", NULL, 0);
    evbus_event *batch;
    join("t");
    join("t");
    evbus_free(bus);
    bus = NULL;
    expect(_i ? "t.batch(t t) f:t f:t " : "t.batch(t t) l:t l:t ");
    ck_assert_int_eq(evbus_queue_next(queue, 0, &batch, NULL), 1);
    ck_assert_str_eq(evbus_event_type(batch), "t.batch");
    evbus_event_unref(batch);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(pulled);
}
END_TEST

START_TEST(evicted)
{
    scripted_listen(server, false);
    bus = open_on(true, "outbox.events", "2", NULL);
    static const char *const types[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < 3; n++)
            join(types[i]);
        evbus_flush(bus, 0);
        turn();
    }
    expect("v:a v:a v:a ");
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 2);
    ck_assert_int_eq(evbus_stat(bus, "evicted"), 1);
    evbus_free(bus);
    bus = NULL;
    expect("f:b f:b f:b f:c f:c f:c ");
}
END_TEST

START_TEST(expired)
{
    scripted_listen(server, false);
    bus = open_on(true, "outbox.age", "30ms", NULL);
    join("t");
    join("t");
    evbus_flush(bus, 0);
    await("x:t x:t ");
}
END_TEST

/* What was accepted has room: policies that refuse what is new find no reason to. */
START_TEST(not_refused_later)
{
    static const char *const full[] = {"reject", "drop-newest"};
    scripted_listen(server, false);
    bus = open_on(true, "outbox.events", "2", "outbox.full", full[_i], NULL);
    join("t");
    for (int i = 0; evbus_publish(bus, "plain", NULL) & EVBUS_SENT_OUTBOX && i < 10; i++)
        continue;
    evbus_flush(bus, 0);
    turn();
    expect("");
    ck_assert_int_eq(evbus_stat(bus, "evicted"), _i);
    evbus_free(bus);
    bus = NULL;
    expect("f:t ");
}
END_TEST

/* Nothing is kept while Redis is away. */
START_TEST(off)
{
    int flags = _i ? EVBUS_REDIS_ONLY : 0;
    scripted_listen(server, false);
    bus = open_on(true, "outbox.full", "off", NULL);
    ck_assert_int_eq(join_with("t", NULL, flags, true), EVBUS_SENT_BATCH);
    ck_assert_int_eq(join_with("t", NULL, flags, true), EVBUS_SENT_BATCH);
    evbus_flush(bus, 0);
    turn();
    expect("v:t v:t ");
    ck_assert_int_eq(evbus_stat(bus, "batched_dropped"), _i ? 2 : 0);
    ck_assert_int_eq(evbus_stat(bus, "dropped_away"), _i ? 0 : 1);
    ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox), 0);
}
END_TEST

/* ---- handlers and reports that do what they may ---- */

static int joins_again(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    tell("h ");
    if (bus && --*(int *)user >= 0)
        ck_assert_int_eq(join_with("t", NULL, 0, false), EVBUS_SENT_BATCH);
    return 0;
}

START_TEST(a_handler_publishes_batched)
{
    int left = 3;
    bus = open_on(false, "batch.events", _i ? "1" : "100", NULL);
    evbus_sub *sub = evbus_subscribe(bus, "t.batch", "deliver=inline", joins_again, &left);
    join_with("t", NULL, 0, false);
    evbus_flush(bus, 0);
    turn();
    expect(_i ? "h h h h " : "h "); /* a flush takes what was there when it came */
    evbus_flush(bus, 0);
    turn();
    expect(_i ? "" : "h ");
    evbus *ending = bus;
    bus = NULL;
    evbus_free(ending);
    expect(_i ? "" : "h ");
    evbus_unsubscribe(sub);
}
END_TEST

static int frees(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    tell("%s ", evbus_event_type(event));
    if (bus)
        evbus_free(bus);
    bus = NULL;
    return 0;
}

START_TEST(a_handler_frees_the_bus)
{
    bus = open_on(false, "batch.events", "2", NULL);
    evbus_sub *sub = evbus_subscribe(bus, ">", "deliver=inline", frees, NULL);
    for (int i = 0; i < 4; i++)
        join("t");
    join("u");
    turn();
    turn();
    ck_assert_ptr_null(bus);
    expect("t.batch t.batch l:t l:t u.batch l:t l:t l:u ");
    evbus_unsubscribe(sub);
}
END_TEST

static char sentences[3][128];
static int sentence_count;

static void on_failure(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    (void)user;
    ck_assert_int_eq(outcome, EVBUS_FAILED);
    ck_assert_int_eq(error, EVBUS_EDENIED);
    ck_assert_int_eq(receivers, -1);
    snprintf(sentences[sentence_count++], sizeof sentences[0], "%s", evbus_last_error());
    evbus_publish(NULL, NULL, NULL); /* another error, in between */
}

/* Each member finds the sentence that its batch's refusal has. */
START_TEST(refused_by_redis)
{
    bus = open_on(true, "history.enabled", "no", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    scripted_answer(server, "PUBLISH",
                    "-NOPERM this user has no permissions to access one of the channels used as "
                    "arguments\r\n",
                    1);
    for (int i = 0; i < 3; i++) {
        evbus_event *event = evbus_event_new("t");
        ck_assert_int_gt(evbus_publish_report(bus, event, EVBUS_BATCH, on_failure, NULL), 0);
        evbus_event_unref(event);
    }
    evbus_flush_async(bus, on_done, "flushed");
    await("flushed");
    ck_assert_int_eq(sentence_count, 3);
    ck_assert_ptr_nonnull(strstr(sentences[0], "&evbus:events:t.batch"));
    ck_assert_str_eq(sentences[0], sentences[1]);
    ck_assert_str_eq(sentences[0], sentences[2]);
}
END_TEST

/* ---- memory ---- */

/* While batches are published one allocation fails, or all do from there on: whoever asked is told
 * once, and nothing is left. */
START_TEST(no_memory)
{
    bool failed = true;
    bus = open_on(_i / 2, "history.enabled", "no", NULL);
    if (_i / 2)
        await_mode(EVBUS_MODE_HYBRID);
    evbus_sub *sub = batches("scope=local");
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 60);
        char type[16];
        snprintf(type, sizeof type, "t%ld", n);
        int64_t dropped = evbus_stat(bus, "batched_dropped");
        for (int i = 0; i < 3; i++)
            join(type);
        ck_assert_int_eq(join_with(type, NULL, 0, false), EVBUS_SENT_BATCH);
        ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ETIMEDOUT); /* the job is on its way */
        failing_at(n, _i % 2);
        event_base_loop(base, EVLOOP_NONBLOCK);
        failed = failing_off();
        evbus_flush_async(bus, on_done, "flushed");
        await("flushed:0 ");
        dropped = evbus_stat(bus, "batched_dropped") - dropped;
        ck_assert(dropped == 0 || (failed && dropped == 4));
        int told = 0;
        for (const char *p = story; (p = strchr(p, ':')); p++)
            told += strncmp(p + 1, type, strlen(type)) == 0 && p[-1] != 'd';
        ck_assert_msg(told == 3, "%s", story);
        ck_assert_int_eq(strstr(story, "f:t") != NULL, dropped != 0);
        story[0] = '\0';
        ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), 0);
        ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox), 0);
        ck_assert_int_eq(atomic_load(&bus->redis.outbox.reports.events), 0);
    }
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch");
    TCase *tests = tcase_create("batch");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, whole_envelopes);
    tcase_add_test(tests, by_number);
    tcase_add_loop_test(tests, by_bytes, 0, 2);
    tcase_add_test(tests, by_interval);
    tcase_add_test(tests, by_flags);
    tcase_add_test(tests, flushed);
    tcase_add_loop_test(tests, freed, 0, 2);
    tcase_add_test(tests, evicted);
    tcase_add_test(tests, expired);
    tcase_add_loop_test(tests, not_refused_later, 0, 2);
    tcase_add_loop_test(tests, off, 0, 2);
    tcase_add_loop_test(tests, a_handler_publishes_batched, 0, 2);
    tcase_add_test(tests, a_handler_frees_the_bus);
    tcase_add_test(tests, refused_by_redis);
    tcase_add_loop_test(tests, no_memory, 0, 4);
    return run(suite);
}
