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
    tcase_add_test(tests, names_its_door);
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, lag_needs_history);
    tcase_add_test(tests, texts);
    return run(suite);
}
