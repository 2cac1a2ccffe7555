/* it_replay_last.c - from=last: the latest event of each type, oldest first, and then live: from
 * each type's first event on nothing is missing, doubled or out of order. */
#include "replay_last_fixture.h"

enum { TYPES = 3000 };

/* ---- one type, a pattern ---- */

START_TEST(exact_type)
{
    open_two(NULL);
    publish_and_flush(from, 3, 1, 5);
    bus_subscribe(to, "t.1", "from=last", tally_handle, NULL);
    expect_received(1);
    publish_and_flush(from, 3, 6, 7);
    expect_received(3);
    ck_assert_int_eq(tally.first[1], 5);
    ck_assert_int_eq(tally.last[1], 7);
    ck_assert_int_eq(tally.replayed, 1);
    ck_assert_int_eq(tally.broken, 0);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

/* None yet: of the type, or of all. */
START_TEST(nothing_there)
{
    open_two(NULL);
    if (_i)
        publish_and_flush(from, 2, 1, 5);
    evbus_sub *one = bus_subscribe(to, "t.2", "from=last", tally_handle, NULL);
    evbus_sub *some = bus_subscribe(to, "glob:t.[3-9]", "from=last", tally_handle, NULL);
    ck_assert_int_eq(evbus_sub_wait(one, SOON), 0);
    ck_assert_int_eq(evbus_sub_wait(some, SOON), 0);
    publish_and_flush(from, 4, 1, 3);
    expect_received(6);
    ck_assert_int_eq(tally.broken, 0);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

static const struct {
    const char *pattern;
    int count;
} patterns[] = {{"t.*", 3}, {"t.>", 4}, {">", 5}, {"glob:t.[12]", 2}, {"*.0.*", 1}, {"other.>", 0}};

/* Redis's glob for t.* matches t.0.x, too; another prefix's channels lie in the same history. */
START_TEST(pattern)
{
    open_two(NULL);
    evbus *other = server_bus(server, "channel.prefix", "evbus:events:other.", NULL);
    evbus *apart = server_bus(server, "channel.prefix", "apart:", NULL);
    expect_connected(other, SOON);
    expect_connected(apart, SOON);
    publish_and_flush(from, 3, 1, 4);
    publish_numbered(from, "t.0.x", 3, 1);
    publish_numbered(from, "u", 4, 1);
    publish_and_flush(from, 1, 5, 5); /* t.0 is the newest */
    publish_and_flush(apart, 2, 1, 1);
    bus_subscribe(to, patterns[_i].pattern, "from=last", tally_handle, NULL);
    evbus_sub *mark = bus_subscribe(to, "t.0.y", NULL, tally_handle, NULL);
    ck_assert_int_eq(evbus_sub_wait(mark, SOON), 0);
    expect_received(patterns[_i].count);
    ck_assert_int_eq(tally.broken, 0);
    ck_assert_int_eq(tally.replayed, patterns[_i].count);
    if (tally.first[0]) /* all others came before it */
        ck_assert_int_eq(tally.unordered, patterns[_i].count > 1);
    bus_end(other);
    bus_end(apart);
    close_two();
}
END_TEST

/* ---- many types ---- */

static const struct {
    const char *options, *lines;
} many[] = {
    {"deliver=loop from=last", NULL},
    {"deliver=inline from=last", NULL},
    {"deliver=workers key=all size=100 from=last", NULL},
    {"deliver=loop from=last", "hash-max-listpack-entries 1000"},
    {"deliver=loop from=last", "hash-max-listpack-entries 10000"}, /* all in one reply */
};

START_TEST(many_types)
{
    open_two(many[_i].lines);
    publish_and_flush(from, TYPES, 1, 2);
    bus_subscribe(to, "t.*", many[_i].options, tally_handle, NULL);
    expect_received(TYPES);
    expect_types(TYPES, 2, 2);
    ck_assert_int_eq(tally.replayed, TYPES);
    ck_assert_int_eq(tally.unordered, 0);
    ck_assert_int_eq(evbus_stat(to, "disconnects"), 0);
    close_two();
}
END_TEST

START_TEST(published_meanwhile)
{
    int types = suite_scaled(1000);
    open_two(NULL);
    publish_and_flush(from, types, 1, 2);
    publish_and_flush(to, types, 3, 3);
    bus_subscribe(to, "t.*", many[_i].options, tally_handle, NULL);
    publish_types(from, types, 4, 6);
    publish_types(from, types + 50, 7, 8); /* new ones, too */
    expect_types(types, 3, 8);
    expect_types(types + 50, 3, 8);
    ck_assert_int_ge(tally.replayed, 1);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

/* ---- own events, scopes, limits; from which moment on ---- */

static const struct {
    const char *options;
    int count; /* of two types of others' and two own ones */
} scopes[] = {{"from=last", 4},
              {"from=last echo=no", 2},
              {"from=last scope=redis", 2},
              {"from=last limit=3", 3}};

START_TEST(own_events)
{
    open_two(NULL);
    publish_and_flush(from, 4, 1, 1);
    publish_and_flush(to, 2, 2, 3);
    bus_subscribe(to, "t.*", scopes[_i].options, tally_handle, NULL);
    expect_received(scopes[_i].count);
    publish_and_flush(to, 2, 4, 4);
    publish_and_flush(from, 4, 5, 5); /* behind the own ones */
    int live = scopes[_i].count == 4 ? 6 : scopes[_i].count == 3 ? 0 : 4;
    expect_received(scopes[_i].count + live);
    if (scopes[_i].count == 4) {
        ck_assert_int_eq(tally.first[0], 3);
        ck_assert_int_eq(tally.first[2], 1);
        ck_assert_int_eq(tally.last[0], 5);
    }
    close_two();
}
END_TEST

/* What this bus publishes once it has subscribed, and others once evbus_sub_wait() has returned,
 * comes whole; of what was before, the latest. Somebody may listen already. */
START_TEST(whole_from_now_on)
{
    atomic_int others = 0;
    int number = 1;
    open_two(NULL);
    if (_i)
        ck_assert_int_eq(
            evbus_sub_wait(bus_subscribe(to, "t.*", NULL, handle_count, &others), SOON), 0);
    publish_and_flush(from, 1, 1, 1);
    for (int i = 0; i < suite_rounds(100); i++, number += 3) {
        tally_reset();
        evbus_sub *sub = bus_subscribe(to, "t.*", "from=last", tally_handle, NULL);
        if (i % 2)
            ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
        publish_and_flush(i % 2 ? from : to, 1, number + 1, number + 3);
        expect_types(1, number, number + 3);
        ck_assert_int_le(tally.first[0], number + 1); /* the old one is the latest no more */
        bus_unsubscribe(sub);
    }
    close_two();
}
END_TEST

START_TEST(queue_pulled_slowly)
{
    int types = 300;
    open_two(NULL);
    publish_and_flush(from, types, 1, 2);
    evbus_queue *queue = evbus_queue_open(to, "size=10");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", "from=last", 7);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int got = 0; got < 3 * types; got++) {
        evbus_event *event;
        int64_t tag;
        ck_assert_int_eq(evbus_queue_next(queue, suite_patience(SOON), &event, &tag), 1);
        ck_assert_int_eq(tag, 7);
        tally_handle(sub, event, NULL);
        evbus_event_unref(event);
        if (got == types / 2)
            publish_and_flush(from, types, 3, 4);
        if (got % 20 == 0)
            nap_us(1000);
    }
    expect_types(types, 2, 4);
    ck_assert_int_eq(tally.received, 3 * types);
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 0);
    ck_assert_int_le(evbus_queue_stat(queue, "peak"), 10);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    close_two();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("from=last");
    TCase *tests = tcase_create("from=last");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, exact_type);
    tcase_add_loop_test(tests, nothing_there, 0, 2);
    tcase_add_loop_test(tests, pattern, 0, 6);
    tcase_add_loop_test(tests, many_types, 0, 5);
    tcase_add_loop_test(tests, published_meanwhile, 0, 3);
    tcase_add_loop_test(tests, own_events, 0, 4);
    tcase_add_loop_test(tests, whole_from_now_on, 0, 2);
    tcase_add_test(tests, queue_pulled_slowly);
    return suite_run(suite, argc, argv);
}
