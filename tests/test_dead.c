/* test_dead.c - what stands in a dead letter, and that failing to make one changes nothing. */
#include "dead.h"
#include "bus_fixture.h"

static evbus_event *event, *letter;
static const struct evb_dead dead = {"g", "because", 6, "stream", "1-1"};

static void on_letter(evbus_event *of, int outcome, int error, int64_t receivers, void *user)
{
    (void)receivers;
    ck_assert_ptr_eq(user, &dead);
    letter = evbus_event_ref(of);
    tell("%d:%d ", outcome, error);
}

static void setup_dead(void)
{
    setup();
    scripted_listen(server, false);
    bus = open_on(1, NULL);
    event = evbus_event_new("job");
    ck_assert_int_eq(evbus_event_set_bytes(event, "\0x", 2), 0);
    ck_assert_int_eq(evbus_event_set_version(event, "2.1"), 0);
    ck_assert_int_eq(evbus_event_set_correlation(event, "c"), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, "a", "b"), 0);
    ck_assert_int_eq(evbus_event_set_attr(event, "dead.reason", "of old"), 0);
    ck_assert_int_eq(evb_event_freeze(event, "0123456789abcdef", "s"), 0);
}

static void teardown_dead(void)
{
    evbus_event_unref(event);
    evbus_event_unref(letter);
    letter = NULL;
    teardown();
}

static void expect_attr(const char *name, const char *value)
{
    const char *is = evbus_event_attr(letter, name);
    ck_assert_msg(is && !strcmp(is, value), "%s: %s", name, is ? is : "none");
}

/* Through Redis alone: nobody gets it here, and it fails with the bus. */
START_TEST(says_why)
{
    size_t length;
    evbus_sub *sub = subscribe(">", NULL, "here:");
    ck_assert_int_eq(evb_dead_send(bus, event, &dead, on_letter, (void *)&dead), 0);
    turn();
    evbus_free(bus);
    bus = NULL;
    evbus_unsubscribe(sub);
    ck_assert_ptr_null(strstr(story, "here:job"));
    ck_assert_ptr_nonnull(strstr(story, "5:-7 "));
    ck_assert_str_eq(evbus_event_type(letter), "job.dead");
    ck_assert_int_eq(memcmp(evbus_event_data(letter, &length), "\0x", 2), 0);
    ck_assert_uint_eq(length, 2);
    ck_assert(!evbus_event_is_json(letter));
    ck_assert_str_eq(evbus_event_version(letter), "2.1");
    ck_assert_str_eq(evbus_event_correlation(letter), "c");
    ck_assert_str_ne(evbus_event_id(letter), evbus_event_id(event));
    expect_attr("a", "b");
    expect_attr("dead.reason", "because");
    expect_attr("dead.group", "g");
    expect_attr("dead.attempts", "6");
    expect_attr("dead.id", evbus_event_id(event));
    expect_attr("dead.time", evbus_event_timestamp(event));
    ck_assert_ptr_null(evbus_event_attr(letter, "dead.position"));
}
END_TEST

START_TEST(no_memory)
{
    int64_t before = evb_outbox_events(&bus->redis.outbox);
    for (long n = 0;; n++) {
        failing_at(n, false);
        int rc = evb_dead_send(bus, event, &dead, on_letter, (void *)&dead);
        bool failed = failing_off();
        ck_assert(rc == 0 || failed);
        if (rc == 0)
            break;
        ck_assert_int_eq(rc, EVBUS_ENOMEM);
        ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), before);
    }
    ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), before + 1);
    evbus_free(bus);
    bus = NULL;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dead");
    TCase *all = tcase_create("dead");
    tcase_add_checked_fixture(all, setup_dead, teardown_dead);
    tcase_add_test(all, says_why);
    tcase_add_test(all, no_memory);
    suite_add_tcase(suite, all);
    return run(suite);
}
