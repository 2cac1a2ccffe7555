/* it_acl_history.c - the history's part of the rights that the manual lists: one less, and there is
 * no history, with a word of why; without history none of them is used. */
#include "acl_fixture.h"

static const struct {
    const char *taken, *named;
} rows[] = {
    {"-eval", "'eval' command"},
    {"-evalsha", "'evalsha' command"},
    {"-time", "the user needs +time for evbus:history:{0}"},
    {"-get", "+get for "},
    {"-set", "+set for "},
    {"-pexpire", "+pexpire for "},
    {"-hget", "+hget for "},
    {"-hset", "+hset for "},
    {"-hsetnx", "+hsetnx for "},
    {"-hmget", "+hmget for "},
    {"-hdel", "+hdel for "},
    {"-hscan", "+hscan for "},
    {"-xadd", "+xadd for "},
    {"-xlen", "+xlen for "},
    {"-xrevrange", "+xrevrange for "},
    {"-xtrim", "+xtrim for "},
    {"-xinfo|stream", "+xinfo|stream for "},
    {"-memory|usage", "+memory|usage for "},
    {"resetkeys", "keys"},
    {"resetkeys ~evbus:history:{0}", "keys"},
    {"resetkeys %%R~evbus:*", "keys"},
};

/* The history is lost, with a word of why; all else works, and asking for it names the rights. */
static void take_history(int i)
{
    atomic_int seen = 0;
    make_user("app");
    set_user("app", rows[i].taken);
    logged.text[0] = '\0';
    bus = open_as("app", "bus.name", "app");
    evbus_sub *sub = bus_subscribe(bus, "t", "scope=redis", handle_count, &seen);
    expect_subscribed(sub, NULL);
    for (int n = 0; n < 3; n++)
        expect_published("t", NULL);
    expect_foreign("t", &seen);
    expect_logged("no history: NOPERM ");
    expect_logged(rows[i].named);
    expect_logged("ACCESS LISTS");
    expect_logged("cannot be recovered (history.enabled=no says that this is meant)");
    server_command(server, "ACL LOG RESET");
    expect_heartbeats(2);
    expect_nothing_denied(); /* it is tried once a connection */
    ck_assert_int_eq(evbus_stat(bus, "disconnects") + evbus_stat(bus, "connect_errors"), 0);
    bus_end(bus);
}

START_TEST(history_without_one_right)
{
    server = server_start(NULL);
    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++)
        take_history(i);
    server_free(server);
}
END_TEST

static void publish_with(int flags)
{
    evbus_event *event = evbus_event_new("t");
    ck_assert_int_gt(evbus_publish_event(bus, event, flags), 0);
    evbus_event_unref(event);
}

/* Own events come once to who asked for the history that is not there: from Redis, or, if they were
 * not to be kept, when they are published. */
START_TEST(own_events_without_history)
{
    atomic_int seen = 0, last = 0;
    server = server_start(NULL);
    make_user("app");
    set_user("app", "-xadd");
    bus = open_as("app", "bus.name", "app");
    expect_logged("no history: NOPERM ");
    expect_subscribed(bus_subscribe(bus, "t", "from=all", handle_count, &seen), NULL);
    expect_subscribed(bus_subscribe(bus, "u", "from=all", handle_count, &last), NULL);
    for (int n = 0; n < 10; n++) {
        publish_with(0);
        publish_with(EVBUS_NO_HISTORY);
        ck_assert_int_gt(evbus_publish(bus, "u", NULL), 0);
    }
    expect_count(&last, 10, SOON); /* by Redis, behind all others */
    ck_assert_int_eq(atomic_load(&seen), 20);
    end();
}
END_TEST

/* None of the history's rights, and none is missed. */
START_TEST(history_off)
{
    atomic_int seen = 0;
    begin("clerk");
    bus = open_as("clerk", "history.enabled", "no");
    expect_subscribed(bus_subscribe(bus, ">", NULL, handle_count, &seen),
                      "&evbus:events:* (word for word)");
    expect_subscribed(bus_subscribe(bus, "task.*", NULL, handle_count, &seen), NULL);
    expect_published("task.done", NULL);
    expect_heartbeats(3);
    expect_published("task.done", NULL);
    expect_count(&seen, 4, SOON);
    ck_assert_ptr_null(evbus_history(bus, "source=redis", 1000));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOTSUP);
    ck_assert_msg(!strstr(logged.text, "no history"), "%s", logged.text);
    ck_assert_int_eq(server_command(server, "DBSIZE"), 0);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("access lists: history");
    suite_add(suite, "history_without_one_right", history_without_one_right, 90);
    suite_add(suite, "own_events_without_history", own_events_without_history, 40);
    suite_add(suite, "history_off", history_off, 40);
    return suite_run(suite, argc, argv);
}
