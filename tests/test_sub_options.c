/* test_sub_options.c - which call takes which option, what is the default, what is refused. */
#include "sub_options.h"
#include "bus_fixture.h"
#include "config.h"
#include "sub.h"

static struct evb_sub_options options;

static int reads(enum evb_door door, const char *text)
{
    int rc = evb_sub_options_read(&options, bus, door, text);
    if (rc == 0)
        evb_sub_options_fini(&options);
    return rc;
}

START_TEST(doors)
{
    static const struct {
        const char *text;
        unsigned doors;
    } all[] = {{NULL, 7},
               {"", 7},
               {"scope=local", 3},
               {"echo=no", 3},
               {"limit=2", 3},
               {"from=all", 3},
               {"durable=d", 3},
               {"leader=c away=last", 1},
               {"poll=2s when=always", 1},
               {"deliver=inline", 1},
               {"key=type", 1},
               {"size=5 bytes=7", 5},
               {"full=drop-newest", 5},
               {"tag=1", 0}};
    bus = open_on(false, NULL);
    for (size_t i = 0; i < EVB_COUNT(all); i++)
        for (unsigned door = 1; door <= EVB_DOOR_QUEUE; door *= 2)
            ck_assert_msg(reads(door, all[i].text) == (all[i].doors & door ? 0 : EVBUS_EINVAL),
                          "%s at %u: %s", all[i].text, door, evbus_last_error());
}
END_TEST

static const struct {
    const char *text, *says;
} refused[] = {
    {"leader=c deliver=inline", "leader with deliver=inline"},
    {"leader=c durable=d", "leader with durable"},
    {"leader=c from=last", "from=last with leader"},
    {"leader=''", "leader"},
    {"leader=c away=first", "away"},
    {"away=last", "away: needs leader=NAME"},
    {"poll=2s deliver=inline", "poll with deliver=inline"},
    {"when=always", "when: needs poll=INTERVAL"},
    {"poll=2", "poll"},
    {"poll=5ms", "poll"},
    {"poll=2d", "poll"},
    {"poll=no", "poll"},
    {"poll=2s when=never", "when"},
};

START_TEST(refuses)
{
    bus = open_on(false, NULL);
    long before = failing_live();
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, refused[_i].text), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), refused[_i].says) != NULL, "%s", evbus_last_error());
    ck_assert_int_eq(failing_live(), before);
}
END_TEST

START_TEST(intervals)
{
    bus = open_on(false, "poll.interval", "7s", NULL);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "poll=10ms"), 0);
    ck_assert_int_eq(options.poll_ms, 10);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "poll=yes when=always"), 0);
    ck_assert_int_eq(options.poll_ms, 7000);
    ck_assert_int_eq(options.when, EVB_POLL_ALWAYS);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "leader=c"), 0);
    ck_assert_int_eq(options.poll_ms, 0);
}
END_TEST

START_TEST(names_its_door)
{
    bus = open_on(false, NULL);
    ck_assert_int_eq(reads(EVB_DOOR_QUEUE, "limit=1"), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "queue option"));
    ck_assert_int_eq(reads(EVB_DOOR_QUEUE_SUB, "size=1"), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "queue subscription option"));
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "sise=1"), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "subscription option"));
}
END_TEST

START_TEST(defaults)
{
    bus = open_on(false, NULL);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, NULL), 0);
    ck_assert_int_eq(options.scope, EVB_SCOPE_BOTH);
    ck_assert_int_eq(options.deliver, EVB_DELIVER_LOOP);
    ck_assert_int_eq(options.echo, 1);
    ck_assert_int_eq(options.size, 1000);
    ck_assert_int_eq(options.bytes, 4 << 20);
    ck_assert_int_eq(options.limit, 0);
    ck_assert_ptr_null(options.key);
}
END_TEST

START_TEST(lag_needs_history)
{
    bus = open_on(false, NULL);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "full=lag"), 0);
    ck_assert_int_eq(options.full, EVB_FULL_DROP_OLDEST);
    ck_assert_int_eq(reads(EVB_DOOR_HANDLER, "full=drop-newest"), 0);
    ck_assert_int_eq(options.full, EVB_FULL_DROP_NEWEST);
}
END_TEST

START_TEST(texts)
{
    bus = open_on(false, NULL);
    ck_assert_int_eq(evb_sub_options_read(&options, bus, EVB_DOOR_QUEUE_SUB,
                                          "from=-10m durable='a b' limit=3 scope=redis"),
                     0);
    ck_assert_str_eq(options.from, "-10m");
    ck_assert_str_eq(options.durable, "a b");
    ck_assert_int_eq(options.limit, 3);
    ck_assert_int_eq(options.scope, EVB_SCOPE_REDIS);
    evb_sub_options_fini(&options);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub_options");
    TCase *tests = tcase_create("sub_options");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, doors);
    tcase_add_loop_test(tests, refuses, 0, (int)EVB_COUNT(refused));
    tcase_add_test(tests, intervals);
    tcase_add_test(tests, names_its_door);
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, lag_needs_history);
    tcase_add_test(tests, texts);
    return run(suite);
}
