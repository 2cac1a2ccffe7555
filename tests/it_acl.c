/* it_acl.c - buses whose Redis user has the rights that the manual lists: all works; one less: it is
 * named, the rest works; changed while the bus runs: noticed, and found when granted. */
#include "acl_fixture.h"

START_TEST(all_that_the_manual_grants)
{
    atomic_int exact = 0, all = 0, words = 0;
    evbus_event *event = NULL;
    begin("app");
    set_user("app", "&evbus:events:task.*"); /* for the pattern, as the manual says */
    bus = open_as("app", "redis.db", "1");
    evbus *other = open_as("app", "bus.name", "other");
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *pulled = evbus_queue_subscribe(queue, "task.queued", NULL, 7);
    expect_subscribed(bus_subscribe(bus, "task.created", NULL, handle_count, &exact), NULL);
    expect_subscribed(bus_subscribe(bus, ">", NULL, handle_count, &all), NULL);
    evbus_sub *pattern = bus_subscribe(bus, "glob:task.*", NULL, handle_count, &words);
    expect_subscribed(pattern, NULL);
    expect_subscribed(pulled, NULL);
    expect_connected(other, SOON);
    expect_published("task.created", NULL);
    bus_publish(other, "task.queued", "{}");
    ck_assert_int_eq(evbus_queue_next(queue, suite_patience(SOON), &event, NULL), 1);
    evbus_event_unref(event);
    expect_count(&all, 2, SOON);
    bus_unsubscribe(pattern);
    expect_heartbeats(6);
    server_command(server, "CLIENT KILL TYPE pubsub");
    expect_stat(bus, "connects", 2, SOON);
    expect_connected(bus, SOON);
    expect_foreign("task.created", &exact);
    evbus_queue_free(queue);
    evbus_unsubscribe(pulled);
    expect_published("anything.else", NULL);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    expect_nothing_denied();
    ck_assert_msg(!strstr(logged.text, "needs"), "%s", logged.text);
    bus_end(other);
    end();
}
END_TEST

START_TEST(a_part_of_the_types)
{
    atomic_int mine = 0, pattern = 0;
    begin("clerk");
    bus = open_as("clerk", "history.enabled", "no");
    expect_subscribed(bus_subscribe(bus, "task.created", NULL, handle_count, &mine), NULL);
    expect_subscribed(bus_subscribe(bus, "task.*", NULL, handle_count, &pattern), NULL);
    expect_published("task.created", NULL);
    expect_heartbeats(2);
    expect_nothing_denied();
    expect_subscribed(bus_subscribe(bus, "other", NULL, handle_count, &mine),
                      "&evbus:events:other");
    expect_subscribed(bus_subscribe(bus, "*.created", NULL, handle_count, &mine),
                      "&evbus:events:*.created (word for word)");
    expect_published("other", "&evbus:events:other");
    expect_foreign("task.created", &pattern);
    end();
}
END_TEST

START_TEST(own_prefixes)
{
    atomic_int seen = 0;
    begin("app");
    set_user("app", "resetchannels &shop:events:* &shop:inbox:* resetkeys ~shop:*");
    bus = open_as("app", "key.prefix", "shop:");
    expect_subscribed(bus_subscribe(bus, ">", NULL, handle_count, &seen), NULL);
    expect_published("a", NULL);
    expect_heartbeats(2);
    expect_nothing_denied();
    end();
}
END_TEST

/* ---- one right less ---- */

static const struct {
    const char *taken, *log[2];
    const char *exact, *pattern, *publish; /* what is named, NULL: it works */
} rows[] = {
    {"-client|setname",
     {"+client|setname; without it CLIENT LIST shows no name"},
     NULL,
     NULL,
     NULL},
    {"-ping", {"+ping; without it"}, NULL, NULL, NULL},
    {"-publish",
     {"PUBLISH refused: the user needs +publish (",
      "the user needs +publish; without it delivery is not proven"},
     NULL,
     NULL,
     "needs +publish ("},
    {"-subscribe",
     {"refuses evbus:events:t: the user needs +subscribe",
      "the user needs +subscribe; without it delivery is not proven"},
     "+subscribe",
     NULL,
     NULL},
    {"-psubscribe",
     {"refuses evbus:events:*: the user needs +psubscribe"},
     NULL,
     "+psubscribe",
     NULL},
    {"-unsubscribe", {"+unsubscribe; without it"}, NULL, NULL, NULL},
    {"-punsubscribe", {"+punsubscribe; without it"}, NULL, NULL, NULL},
    {"resetchannels &evbus:events:*",
     {"&evbus:inbox:*; without it delivery is not proven"},
     NULL,
     NULL,
     NULL},
    {"resetchannels &evbus:inbox:* &evbus:events:ok*",
     {"refuses evbus:events:t: the user needs &evbus:events:t",
      "refuses evbus:events:*: the user needs &evbus:events:* (word for word)"},
     "&evbus:events:t",
     "&evbus:events:* (word for word)",
     "needs &evbus:events:t ("},
    {"resetchannels &evbus:*",
     {"refuses evbus:events:*: the user needs &evbus:events:* (word for word)"},
     NULL,
     "&evbus:events:* (word for word)",
     NULL},
};

static void take_away(int i)
{
    atomic_int exact = 0, pattern = 0, ok = 0;
    make_user("app");
    set_user("app", rows[i].taken);
    logged.text[0] = '\0'; /* no bus is open */
    bus = open_as("app", "redis.db", "1");
    evbus_sub *t = bus_subscribe(bus, "t", "scope=redis", handle_count, &exact);
    evbus_sub *all = bus_subscribe(bus, ">", "scope=redis", handle_count, &pattern);
    expect_connected(bus, SOON);
    expect_subscribed(t, rows[i].exact);
    expect_subscribed(all, rows[i].pattern);
    expect_published("t", rows[i].publish);
    if (!rows[i].exact)
        expect_foreign("t", &exact);
    if (!rows[i].pattern)
        expect_foreign("t", &pattern);
    if (!rows[i].publish || rows[i].publish[6] == '&') /* other types go on */
        expect_published("ok.here", NULL);
    if (!rows[i].exact || rows[i].exact[0] == '&') {
        evbus_sub *other = bus_subscribe(bus, "ok.here", NULL, handle_count, &ok);
        expect_subscribed(other, NULL);
        expect_foreign("ok.here", &ok);
    }
    bus_unsubscribe(t);
    bus_unsubscribe(all);
    int left = atomic_load(&exact) + atomic_load(&pattern);       /* from here on none comes */
    server_publish(server, "evbus:events:t", "{\"data\":1}", 10); /* nobody's any more */
    expect_heartbeats(2);
    for (int n = 0; n < 2 && rows[i].log[n]; n++)
        expect_logged(rows[i].log[n]);
    ck_assert_int_eq(atomic_load(&exact) + atomic_load(&pattern), left);
    if (evbus_stat(bus, "disconnects") || evbus_stat(bus, "connect_errors")) /* it holds */
        ck_abort_msg("%s broke the link: %.2000s", rows[i].taken, logged.text);
    bus_end(bus);
}

START_TEST(one_right_less)
{
    server = server_start(NULL);
    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++)
        take_away(i);
    server_free(server);
}
END_TEST

START_TEST(no_right_to_select)
{
    begin("app");
    set_user("app", "-select");
    bus = open_as("app", "redis.db", "1");
    expect_stat(bus, "connect_errors", 2, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    expect_last_error("SELECT refused (the user needs +select)");
    set_user("app", "+select"); /* found by itself */
    expect_connected(bus, SOON);
    bus_end(bus);
    set_user("app", "-select"); /* without redis.db it is not needed */
    bus = open_as("app", "bus.name", "zero");
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_stat(bus, "connect_errors"), 0);
    end();
}
END_TEST

/* ---- changed while the bus runs ---- */

START_TEST(a_channel_is_taken_and_granted)
{
    atomic_int seen = 0, others = 0;
    begin("app");
    bus = open_as("app", "bus.name", "live");
    evbus_sub *sub = bus_subscribe(bus, "t", "scope=redis", handle_count, &seen);
    evbus_sub *other = bus_subscribe(bus, "ok", "scope=redis", handle_count, &others);
    expect_connected(bus, SOON);
    expect_subscribed(sub, NULL);
    set_user("app", "resetchannels &evbus:inbox:* &evbus:events:ok"); /* Redis hangs up */
    expect_stat(bus, "connects", 2, SOON);
    expect_connected(bus, SOON);
    expect_subscribed(sub, "&evbus:events:t");
    expect_subscribed(other, NULL);
    expect_published("t", "&evbus:events:t");
    expect_foreign("ok", &others);
    set_user("app", "&evbus:events:t");
    expect_published("t", NULL); /* at once */
    expect_heartbeats(2);
    expect_subscribed(sub, "&evbus:events:t"); /* not asked again by itself */
    ck_assert_int_eq(evbus_reconnect(bus), 0);
    struct wait wait = wait_for(SOON);
    while (evbus_sub_wait(sub, 0) != 0 && wait_more(&wait))
        ;
    expect_foreign("t", &seen);
    ck_assert_int_eq(evbus_stat(bus, "connects"), 2); /* the connection stayed */
    end();
}
END_TEST

START_TEST(the_inbox_is_granted)
{
    begin("app");
    set_user("app", "resetchannels &evbus:events:* -ping");
    bus = open_as("app", "bus.name", "inbox");
    expect_logged("&evbus:inbox:*; without it");
    expect_logged("+ping; without it");
    set_user("app", "&evbus:inbox:* +ping");
    ck_assert_int_eq(evbus_reconnect(bus), 0); /* fences come again */
    server_command(server, "CONFIG RESETSTAT");
    ck_assert(until(has_run, (void *)(uintptr_t) "cmdstat_publish:", SOON));
    server_command(server, "ACL LOG RESET");
    expect_heartbeats(2);
    expect_nothing_denied();
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    end();
}
END_TEST

static void expect_login_refused(void)
{
    expect_stat(bus, "connect_errors", 1, SOON);
    expect_last_error("HELLO refused (check redis.username and redis.password)");
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    ck_assert_int_eq(bus_publish(bus, "kept", NULL), EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX);
    ck_assert_int_eq(evbus_stat(bus, "connect_errors"), 1); /* no storm of wrong passwords */
}

static void expect_login_again(void)
{
    ck_assert_int_eq(evbus_reconnect(bus), 0);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "acked"), 2);
    expect_last_error("\"last_error\":null");
}

START_TEST(the_password_changes)
{
    begin("app");
    bus = open_as("app", "bus.name", "password");
    expect_connected(bus, SOON);
    set_user("app", "resetpass >other");
    expect_heartbeats(2);
    expect_published("still.connected", NULL);
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    server_command(server, "CLIENT KILL USER app");
    expect_login_refused();
    set_user("app", ">secret");
    expect_login_again();
    end();
}
END_TEST

START_TEST(the_user_is_deleted)
{
    begin("app");
    bus = open_as("app", "bus.name", "deleted");
    expect_connected(bus, SOON);
    expect_published("first", NULL);
    server_command(server, "ACL DELUSER app");
    expect_login_refused();
    make_user("app");
    expect_login_again();
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("access lists");
    suite_add(suite, "all_that_the_manual_grants", all_that_the_manual_grants, 40);
    suite_add(suite, "a_part_of_the_types", a_part_of_the_types, 40);
    suite_add(suite, "own_prefixes", own_prefixes, 40);
    suite_add(suite, "one_right_less", one_right_less, 90);
    suite_add(suite, "no_right_to_select", no_right_to_select, 40);
    suite_add(suite, "a_channel_is_taken_and_granted", a_channel_is_taken_and_granted, 40);
    suite_add(suite, "the_inbox_is_granted", the_inbox_is_granted, 40);
    suite_add(suite, "the_password_changes", the_password_changes, 40);
    suite_add(suite, "the_user_is_deleted", the_user_is_deleted, 40);
    return suite_run(suite, argc, argv);
}
