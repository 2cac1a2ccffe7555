/* test_interest.c - from patterns to Redis's channels: shared, given up, refused, asked for again.
 */
#include "interest.h"
#include "bus_fixture.h"
#include "list.h"

static bool is_settled(void *count)
{
    return scripted_count(server, "SUBSCRIBE") + scripted_count(server, "PSUBSCRIBE") +
               scripted_count(server, "UNSUBSCRIBE") + scripted_count(server, "PUNSUBSCRIBE") >=
           *(int *)count;
}

static void await_commands(int count)
{
    ck_assert(run_until(base, is_settled, &count, suite_patience(10000)));
    turn();
}

static const struct {
    const char *pattern, *wire; /* wire "" for none */
} wires[] = {
    {"a.b", "subscribe evbus:events:a.b"},
    {"a.*", "psubscribe evbus:events:a.*"},
    {"a.>", "psubscribe evbus:events:a.*"},
    {">", "psubscribe evbus:events:*"},
    {"glob:a[b]?", "psubscribe evbus:events:a[b]?"},
    {"evbus.mode", ""},
    {"evbus.*", ""},
    {"evbus.>", ""},
};

static bool is_open(void *sub)
{
    return evbus_sub_wait(sub, 0) == 0;
}

START_TEST(on_the_wire)
{
    bus = open_on(true, NULL);
    await_mode(EVBUS_MODE_HYBRID);
    evbus_sub *local = subscribe(wires[_i].pattern, "scope=local", "");
    evbus_sub *sub = subscribe(wires[_i].pattern, NULL, "");
    run_for(base, 5); /* nothing, or no more than this */
    ck_assert(run_until(base, is_open, sub, suite_patience(10000)));
    const char *command = wires[_i].wire[0] == 'p' ? "PSUBSCRIBE" : "SUBSCRIBE";
    ck_assert_int_eq(scripted_count(server, "PSUBSCRIBE"), wires[_i].wire[0] == 'p');
    ck_assert_int_eq(scripted_count(server, "SUBSCRIBE"), 2 + (wires[_i].wire[0] == 's'));
    if (wires[_i].wire[0])
        ck_assert_str_eq(scripted_last(server, command), wires[_i].wire);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(local);
}
END_TEST

START_TEST(shared)
{
    bus = open_on(true, NULL);
    await_mode(EVBUS_MODE_HYBRID);
    evbus_sub *one = subscribe("a.*", NULL, "1"), *same = subscribe("a.*", NULL, "2"),
              *deep = subscribe("a.>", "scope=redis", "3"); /* the same pattern of Redis */
    await_commands(2);
    ck_assert_int_eq(scripted_count(server, "PSUBSCRIBE"), 1);
    static const char *const events[] = {"evbus:events:a.x", "evbus:events:a.x.y"};
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(scripted_publish(server, events[i], "{\"data\":1}", 10), 1);
    await("3a.x.y ");
    ck_assert_int_eq(evbus_sub_stat(one, "delivered"), 1);
    ck_assert_int_eq(evbus_sub_stat(same, "delivered"), 1);
    ck_assert_int_eq(evbus_sub_stat(deep, "delivered"), 2);
    evbus_unsubscribe(one);
    evbus_unsubscribe(same);
    turn();
    ck_assert_int_eq(scripted_count(server, "PUNSUBSCRIBE"), 0);
    evbus_unsubscribe(deep);
    await_commands(3);
    ck_assert_str_eq(scripted_last(server, "PUNSUBSCRIBE"), "punsubscribe evbus:events:a.*");
    ck_assert_int_eq(scripted_publish(server, events[0], "{\"data\":1}", 10), 0);
}
END_TEST

/* There and gone before the loop looked: nothing is asked. Gone and there again: nothing is lost.
 */
START_TEST(quick_changes)
{
    bus = open_on(true, NULL);
    await_mode(EVBUS_MODE_HYBRID);
    for (int i = 0; i < 10; i++)
        evbus_unsubscribe(subscribe("a", NULL, ""));
    turn();
    ck_assert_int_eq(scripted_count(server, "SUBSCRIBE"), 2); /* the inbox, the word of groups */
    evbus_sub *sub = subscribe("a", NULL, "");
    await_commands(2);
    for (int i = 0; i < 10; i++) {
        evbus_unsubscribe(sub);
        sub = subscribe("a", NULL, "");
    }
    turn();
    run_for(base, 5);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
    ck_assert_int_eq(scripted_publish(server, "evbus:events:a", "{\"data\":1}", 10), 1);
    await("a ");
    expect("a ");
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(told)
{
    bus = open_on(true, NULL);
    evbus_sub *system = subscribe("evbus.>", NULL, ""), *a = subscribe("a", NULL, "");
    scripted_answer(server, "PSUBSCRIBE", "-NOPERM x\r\n", 0);
    evbus_sub *p = subscribe("p.*", NULL, "");
    await("evbus.mode ");
    expect("evbus.started evbus.subscribed evbus.refused evbus.mode ");
    ck_assert_int_eq(evbus_stat(bus, "refused_subscriptions"), 1);
    ck_assert_int_eq(evbus_sub_wait(p, 0), EVBUS_EDENIED);
    ck_assert_msg(strstr(evbus_last_error(), "+psubscribe and &evbus:events:p.* (word for word)"),
                  "%s", evbus_last_error());
    /* asked once more while the link is up */
    evb_loop_begin(&bus->loop);
    evb_interest_again(bus);
    ck_assert_int_eq(evbus_sub_wait(p, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_sub_wait(a, 0), 0);
    evb_loop_end(&bus->loop);
    await("evbus.refused ");
    expect("evbus.refused ");
    /* a drop: open again, asked again, and the access list may have changed */
    scripted_close(server, SCRIPTED_SUBSCRIBER);
    scripted_answer(server, "PSUBSCRIBE", NULL, 0);
    await("evbus.mode ");
    ck_assert_int_eq(evbus_sub_wait(a, 0), EVBUS_ETIMEDOUT);
    await("evbus.gap ");
    expect("evbus.mode evbus.subscribed evbus.subscribed evbus.mode evbus.gap ");
    ck_assert_int_eq(evbus_sub_wait(p, 0), 0);
    evbus_unsubscribe(system);
    evbus_unsubscribe(a);
    evbus_unsubscribe(p);
}
END_TEST

/* Somebody gave a subscription back, and the bus was freed before it could be told: nothing waits
 * for a loop that is gone. */
START_TEST(too_late)
{
    bus = open_on(true, NULL);
    evbus_sub *sub = subscribe("a", NULL, "");
    struct evb_entry *entry = sub->entry;
    struct evbus *freed = bus;
    evbus_free(bus);
    bus = NULL;
    int refs = atomic_load(&entry->refs);
    evb_entry_ref(entry);
    evb_interest_changed(entry, freed);
    ck_assert_int_eq(atomic_load(&entry->refs), refs);
    ck_assert(!evb_loop_has_rest(&freed->loop));
    evbus_unsubscribe(sub);
}
END_TEST

/* The loop finds no memory for the channel: local events come, and the next one is asked for. */
START_TEST(no_memory)
{
    bool failed = true;
    bus = open_on(true, "log.level", "none", NULL);
    await_mode(EVBUS_MODE_HYBRID);
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 100);
        evbus_sub *sub = subscribe("a", NULL, "");
        failing_at(n, _i);
        turn();
        failed = failing_off();
        await_mode(EVBUS_MODE_HYBRID);
        turn();
        int rc = evbus_sub_wait(sub, 0);
        ck_assert_msg(rc == 0 || (rc == EVBUS_EDENIED && failed), "%d", rc);
        story[0] = '\0';
        evbus_publish(bus, "a", NULL);
        await("a ");
        expect("a ");
        evbus_unsubscribe(sub);
        turn();
        sub = subscribe("a", NULL, "");
        await_mode(EVBUS_MODE_HYBRID);
        for (int i = 0; i < 2000 && evbus_sub_wait(sub, 0) != 0; i++)
            run_for(base, 2);
        ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
        ck_assert_int_eq(scripted_publish(server, "evbus:events:a", "{\"data\":1}", 10), 1);
        await("a ");
        evbus_unsubscribe(sub);
        run_for(base, 2);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interest");
    TCase *tests = tcase_create("interest");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, on_the_wire, 0, (int)EVB_COUNT(wires));
    tcase_add_test(tests, shared);
    tcase_add_test(tests, quick_changes);
    tcase_add_test(tests, told);
    tcase_add_test(tests, too_late);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    return run(suite);
}
