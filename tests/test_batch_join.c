/* test_batch_join.c - joining a batch: what is refused and changes nothing, what is reserved. */
#include "batch_join.h"
#include "bus_fixture.h"
#include "json.h"
#include "list.h"

static int64_t reserved(void)
{
    return evb_outbox_bytes(&bus->redis.outbox);
}

static int publish(const char *type, const char *json, int flags, evbus_report_fn fn)
{
    evbus_event *event = evbus_event_new(type);
    ck_assert_ptr_nonnull(event);
    if (json)
        ck_assert_int_eq(evbus_event_set_json(event, json, strlen(json)), 0);
    int64_t before = reserved();
    int rc = fn ? evbus_publish_report(bus, event, EVBUS_BATCH | flags, fn, NULL)
                : evbus_publish_event(bus, event, EVBUS_BATCH | flags);
    ck_assert_int_eq(evbus_stat(bus, "publish_errors"), rc < 0);
    if (rc < 0) {
        ck_assert_int_eq(reserved(), before);
        ck_assert_int_eq(evbus_event_set_source(event, "as new"), 0);
    } else {
        ck_assert_int_eq(rc, EVBUS_SENT_BATCH);
        ck_assert_int_gt(reserved(), before);
        ck_assert_int_eq(evbus_publish_event(bus, event, EVBUS_BATCH), EVBUS_EINVAL);
    }
    evbus_event_unref(event);
    return rc;
}

static char *deep(int levels)
{
    char *text = calloc(1, 2 * (size_t)levels + 1);
    memset(text, '[', (size_t)levels);
    memset(text + levels, ']', (size_t)levels);
    return text;
}

START_TEST(too_deep_for_a_batch)
{
    bus = open_on(_i, NULL);
    char *most = deep(EVB_JSON_DEPTH - EVB_BATCH_LEVELS), *more = deep(EVB_JSON_DEPTH - 2);
    ck_assert_int_eq(publish("t", most, 0, NULL), EVBUS_SENT_BATCH);
    evbus_free(bus);
    bus = open_on(_i, NULL);
    ck_assert_int_eq(publish("t", more, 0, NULL), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "data is nested deeper than 2045 levels, the most in a "
                                         "batch");
    ck_assert_int_eq(evbus_stat(bus, "batched"), 0);
    free(most);
    free(more);
}
END_TEST

START_TEST(type_too_long)
{
    char type[EVB_TYPE_MAX + 1] = "";
    bus = open_on(false, NULL);
    memset(type, 't', EVB_TYPE_MAX - 6);
    ck_assert_int_eq(publish(type, NULL, 0, NULL), EVBUS_SENT_BATCH);
    evbus_free(bus);
    bus = open_on(false, NULL);
    memset(type, 't', EVB_TYPE_MAX - 5);
    ck_assert_int_eq(publish(type, NULL, 0, NULL), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(),
                     "a type of 250 bytes: at most 249, to have \".batch\" behind it");
}
END_TEST

static const struct {
    bool redis;
    const char *key, *value;
    const char *json;
    int flags, answer;
} rows[] = {
    {false, "bus.name", "b", "{}", 0, EVBUS_SENT_BATCH},
    {false, "bus.name", "b", NULL, 0, EVBUS_SENT_BATCH},
    {true, "bus.name", "b", "{}", EVBUS_REDIS_ONLY | EVBUS_NO_HISTORY, EVBUS_SENT_BATCH},
    {true, "bus.name", "b", "{}", EVBUS_LOCAL_ONLY, EVBUS_SENT_BATCH},
    {false, "bus.name", "b", "{}", EVBUS_REDIS_ONLY, EVBUS_EAWAY},
    {true, "bus.name", "b", "{}", EVBUS_REDIS_ONLY | EVBUS_LOCAL_ONLY, EVBUS_EINVAL},
    {false, "event.check", "remote", "{bad", 0, EVBUS_EINVAL}, /* it would spoil its batch */
    {false, "event.check", "always", "{bad", 0, EVBUS_EINVAL},
    {false, "event.check", "never", "{bad", 0, EVBUS_SENT_BATCH},
    {false, "event.max.bytes", "100", "1", 0, EVBUS_ETOOBIG},
    {false, "event.max.bytes", "1000", "1", 0, EVBUS_SENT_BATCH},
    {true, "outbox.bytes", "1", "{}", 0, EVBUS_SENT_BATCH}, /* a mebibyte at the least */
};

START_TEST(accepts_or_not)
{
    bus = open_on(rows[_i].redis, rows[_i].key, rows[_i].value, NULL);
    int rc = publish("t", rows[_i].json, rows[_i].flags, _i % 2 ? on_report : NULL);
    ck_assert_msg(rc == rows[_i].answer, "%d: %s", rc, evbus_last_error());
    ck_assert_int_eq(evbus_stat(bus, "batched"), rc > 0);
    ck_assert_int_eq(evbus_stat(bus, "batch_events"), rc > 0);
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 0); /* not owed to Redis yet */
    expect("");
}
END_TEST

/* No memory for more: refused, whatever outbox.full says; room comes back with the batch. */
START_TEST(bounded)
{
    static const char *const full[] = {"drop-oldest", "drop-newest", "reject", "off"};
    int accepted = 0;
    bus = open_on(_i != 4, "outbox.full", full[_i % 4], "outbox.events", "10", "batch.events",
                  "100000", NULL);
    evbus_event *event = evbus_event_new("t");
    while (evbus_publish_event(bus, event, EVBUS_BATCH) > 0) {
        evbus_event_unref(event);
        event = evbus_event_new("t");
        accepted++;
    }
    ck_assert_int_eq(evbus_last_code(), EVBUS_EFULL);
    ck_assert_str_eq(evbus_last_error(), "so many events wait in batches, or for their reports, "
                                         "already (outbox.events, outbox.bytes)");
    ck_assert_int_eq(accepted, 10 + 1024);
    ck_assert_int_eq(evbus_flush(bus, 0), EVBUS_ETIMEDOUT);
    turn();
    ck_assert_int_eq(evbus_stat(bus, "batch_events"), 0);
    ck_assert_int_eq(evbus_publish_event(bus, event, EVBUS_BATCH), EVBUS_SENT_BATCH);
    evbus_event_unref(event);
}
END_TEST

START_TEST(no_memory)
{
    bool failed = true;
    int refused = 0, accepted = 0;
    bus = open_on(false, NULL);
    for (long n = 0; failed; n++) {
        char type[16];
        snprintf(type, sizeof type, "t%ld", n); /* another type: another batch */
        evbus_event *event = evbus_event_new(type);
        int64_t before = reserved();
        failing_at(n, _i);
        int rc = evbus_publish_report(bus, event, EVBUS_BATCH, on_report, NULL);
        failed = failing_off();
        ck_assert_int_lt(n, 20);
        ck_assert(rc == EVBUS_SENT_BATCH || (rc == EVBUS_ENOMEM && failed));
        ck_assert_int_eq(reserved() > before, rc > 0);
        ck_assert(rc > 0 || !*evbus_event_source(event));
        ck_assert_int_eq(evbus_event_set_source(event, "s"), rc > 0 ? EVBUS_EINVAL : 0);
        evbus_event_unref(event);
        refused += rc < 0;
        accepted += rc > 0;
    }
    ck_assert_int_gt(refused, 0);
    ck_assert_int_eq(evbus_stat(bus, "batched"), accepted);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch_join");
    TCase *tests = tcase_create("batch_join");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, too_deep_for_a_batch, 0, 2);
    tcase_add_test(tests, type_too_long);
    tcase_add_loop_test(tests, accepts_or_not, 0, (int)EVB_COUNT(rows));
    tcase_add_loop_test(tests, bounded, 0, 5);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    return run(suite);
}
