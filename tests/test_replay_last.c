/* test_replay_last.c - the reading of each type's latest event where it is not let do so in peace:
 * entries that are gone, room that is taken, a link that is cut, rights that are missing, an end at
 * any moment. Against a real server. */
#include "harness/middle.h"
#include "replay_last_fixture.h"

/* ---- what is not there any more, or not right ---- */

/* By age or count from the oldest on; and, as only a hand does it, from the middle. Where the
 * types' latest were is still known. */
START_TEST(trimmed)
{
    open_two(NULL);
    publish_and_flush(from, 10, 1, 1);
    char *ids = server_text(server, "XRANGE evbus:history:{0} - + COUNT 6");
    char sixth[64] = "";
    for (char *line = strtok(ids, "\n"); line; line = strtok(NULL, "\n"))
        if (strspn(line, "0123456789-") == strlen(line))
            snprintf(sixth, sizeof sixth, "%s", line);
    free(ids);
    ck_assert_int_eq(server_command(server, "XTRIM evbus:history:{0} MAXLEN 7"), 3);
    ck_assert_int_eq(server_command(server, "XDEL evbus:history:{0} %s", sixth), 1);
    ck_assert_int_eq(server_command(server, "HLEN evbus:history:{0}:latest"), 10);
    bus_subscribe(to, _i ? "t.5" : "t.*", "from=last", tally_handle, NULL);
    if (_i == 0)
        expect_received(6);
    publish_and_flush(from, 10, 2, 2);
    expect_received(_i ? 1 : 16);
    ck_assert_int_eq(tally.first[2], _i ? 0 : 2);
    ck_assert_int_eq(tally.first[5], 2);
    ck_assert_int_eq(tally.first[9], _i ? 0 : 1);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

static char gap[500];
static atomic_int gaps, heard;

static int on_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    snprintf(gap, sizeof gap, "%s", evbus_event_data(event, NULL));
    atomic_fetch_add(&gaps, 1);
    return 0;
}

START_TEST(refused)
{
    open_two(NULL);
    publish_and_flush(from, 3, 1, 2);
    ck_assert_int_eq(server_command(server, "ACL SETUSER default -hscan"), 0);
    bus_subscribe(to, "evbus.gap", NULL, on_gap, NULL);
    evbus_sub *sub = bus_subscribe(to, "t.*", "from=last", tally_handle, NULL);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    publish_and_flush(from, 3, 3, 4);
    expect_received(6);
    expect_types(3, 3, 4);
    expect_count(&gaps, 1, SOON);
    ck_assert_ptr_nonnull(strstr(gap, "\"cause\":\"refused\""));
    ck_assert_ptr_nonnull(strstr(gap, "\"pattern\":\"t.*\""));
    ck_assert_int_eq(evbus_stat(to, "gaps"), 1);
    close_two();
}
END_TEST

/* Redis will not for a moment: it is read later, and nobody is told of a gap. */
START_TEST(busy)
{
    open_two(NULL);
    publish_and_flush(from, 3, 1, 2);
    bus_subscribe(to, "evbus.gap", NULL, on_gap, NULL);
    evbus_sub *first = bus_subscribe(to, "t.*", "scope=redis", handle_count, &heard);
    ck_assert_int_eq(evbus_sub_wait(first, SOON), 0);
    server_be_busy(server);
    evbus_sub *sub = bus_subscribe(to, _i ? "t.1" : "t.*", "from=last", tally_handle, NULL);
    nap_us(200000);
    ck_assert_int_eq(tally_count(), 0);
    server_be_calm(server);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    expect_received(_i ? 1 : 3);
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    close_two();
}
END_TEST

/* What is no place of an entry is passed over; what is no hash is refused. */
START_TEST(odd_hash)
{
    open_two(NULL);
    publish_and_flush(from, 2, 1, 2);
    if (_i) {
        ck_assert_int_eq(server_command(server, "DEL evbus:history:{0}:latest"), 1);
        ck_assert_int_eq(server_command(server, "SET evbus:history:{0}:latest odd"), 0);
        bus_subscribe(to, "evbus.gap", NULL, on_gap, NULL);
    } else {
        ck_assert_int_eq(
            server_command(server, "HSET evbus:history:{0}:latest %s odd %s 1-2 %s 1- %s 99-9",
                           "evbus:events:t.7", "evbus:events:", "evbus:events:t.8", "odd"),
            4);
    }
    evbus_sub *one = bus_subscribe(to, "t.7", "from=last", tally_handle, NULL);
    evbus_sub *some = bus_subscribe(to, ">", "from=last", tally_handle, NULL);
    ck_assert_int_eq(evbus_sub_wait(one, SOON), 0);
    ck_assert_int_eq(evbus_sub_wait(some, SOON), 0);
    if (_i)
        expect_count(&gaps, 2, SOON); /* each told */
    else
        expect_received(2);
    publish_and_flush(from, 2, 3, 3);
    expect_types(2, _i ? 3 : 2, 3);
    ck_assert_int_eq(evbus_stat(to, "gaps"), _i ? 2 : 0);
    close_two();
}
END_TEST

/* Another history than the one whose latest it reads. */
START_TEST(flushed_meanwhile)
{
    evbus_event *event;
    int p = -1, n = 1;
    open_two(NULL);
    publish_and_flush(from, 100, 1, 1);
    bus_subscribe(to, "evbus.gap", NULL, on_gap, NULL);
    evbus_queue *queue = evbus_queue_open(to, "size=10");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", "from=last", 0);
    ck_assert_int_eq(evbus_queue_next(queue, suite_patience(SOON), &event, NULL), 1);
    evbus_event_unref(event);
    ck_assert_int_eq(server_command(server, "FLUSHALL"), 0);
    publish_and_flush(from, 2, 2, 2);
    while (p != 1 || n != 2) {
        ck_assert_int_eq(evbus_queue_next(queue, suite_patience(SOON), &event, NULL), 1);
        ck_assert(event_numbers(event, &p, &n));
        ck_assert_int_lt(n == 1 ? p : 0, 50); /* only what the queue held, and was on its way */
        evbus_event_unref(event);
    }
    expect_count(&gaps, 1, SOON);
    ck_assert_ptr_nonnull(strstr(gap, "\"cause\":\"flushed\""));
    ck_assert_ptr_nonnull(strstr(gap, "\"pattern\":\"t.*\""));
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    close_two();
}
END_TEST

/* ---- no room, no link ---- */

/* One takes the room that the other was told of. */
START_TEST(queue_shared)
{
    int types = 300, got[2] = {0, 0};
    open_two(NULL);
    publish_and_flush(from, types, 1, 1);
    evbus_queue *queue = evbus_queue_open(to, "size=10");
    evbus_sub *subs[2];
    for (int i = 0; i < 2; i++)
        subs[i] = evbus_queue_subscribe(queue, "t.*", "from=last", i);
    for (int all = 0; all < 2 * types; all++) {
        evbus_event *event;
        int64_t tag;
        int p, n;
        ck_assert_int_eq(evbus_queue_next(queue, suite_patience(SOON), &event, &tag), 1);
        ck_assert(event_numbers(event, &p, &n));
        ck_assert_int_eq(p, got[tag]++);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped"), 0);
    ck_assert_int_le(evbus_queue_stat(queue, "peak"), 10);
    evbus_queue_free(queue);
    for (int i = 0; i < 2; i++)
        evbus_unsubscribe(subs[i]);
    close_two();
}
END_TEST

static struct middle *middle;

/* `to` hears the server through somebody who may be cut. */
static void open_apart(void)
{
    static struct middle_act act;
    char port[16];
    open_two(NULL);
    bus_end(to);
    middle = middle_start();
    act = (struct middle_act){.kind = MIDDLE_PASS, .path = server->socket, .forget = true};
    middle_become(middle, &act, NULL);
    snprintf(port, sizeof port, "%d", middle_port(middle));
    to = bus_with("redis.host", "127.0.0.1", "redis.port", port, "reconnect.backoff", "1ms", NULL);
    expect_connected(to, SOON);
}

/* Cut wherever a byte may be the last: while it looks for the types, reads them, reads on. */
START_TEST(cut_anywhere)
{
    int types = suite_scaled(700), rounds = suite_rounds(30), number = 2;
    open_apart();
    publish_and_flush(from, types, 1, 2);
    for (int i = 0; i < rounds; i++) {
        tally_reset();
        tally.slow_every = i % 3 == 0 ? 100 : 0;
        middle_cut_after(middle, (size_t)(i + 1) * (size_t)types * 400 / (size_t)rounds, i % 2);
        evbus_sub *sub = bus_subscribe(to, "t.*", i % 2 ? "from=last" : "from=last deliver=inline",
                                       tally_handle, NULL);
        publish_types(from, types, number + 1, number + 3); /* some before the cut, some after */
        expect_types(types, number, number + 3);
        bus_unsubscribe(sub);
        number += 3;
        expect_connected(to, SOON);
    }
    ck_assert_int_eq(evbus_stat(to, "gaps"), 0);
    ck_assert_int_ge(middle_accepted(middle), rounds);
    close_two();
    middle_free(middle);
}
END_TEST

/* The pattern is live, but where the history ends is not known yet. */
START_TEST(waits_for_its_place)
{
    atomic_int others = 0;
    open_apart();
    evbus_sub *other = bus_subscribe(to, "t.*", NULL, handle_count, &others);
    ck_assert_int_eq(evbus_sub_wait(other, SOON), 0);
    publish_and_flush(from, 2, 1, 1);
    middle_swallow(middle);
    evbus_sub *sub = bus_subscribe(to, "t.*", "from=last", tally_handle, NULL);
    ck_assert_int_eq(evbus_sub_wait(other, 0), 0);
    ck_assert_int_eq(evbus_sub_wait(sub, 50), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    middle_cut(middle);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    publish_and_flush(from, 2, 2, 3);
    expect_types(2, 1, 3);
    middle_swallow(middle);
    bus_subscribe(to, "t.*", "from=last", tally_handle, NULL);
    close_two(); /* while it asks */
    middle_free(middle);
}
END_TEST

/* ---- more types than it takes ---- */

static atomic_int crowded;

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    if (level == EVBUS_LOG_WARNING && strstr(line, "from=last of t.*: there are more than 65536"))
        atomic_fetch_add(&crowded, 1);
}

/* As 70,000 events in a history that is long enough. */
static const char fill[] =
    "local last = redis.call('HGET', KEYS[2], 'last') "
    "local ms, n = string.match(last, '^(%d+)-(%d+)$') "
    "for p = 1, 69999 do "
    "  local id, channel = ms .. '-' .. string.format('%.0f', n + p), 'evbus:events:t.' .. p "
    "  redis.call('XADD', KEYS[1], id, 'c', channel, 'e', '{\"data\":{\"p\":' .. p .. "
    "',\"n\":1}}') "
    "  redis.call('HSET', KEYS[3], channel, id) "
    "  redis.call('HSET', KEYS[2], 'last', id) "
    "end return 1";

START_TEST(too_many_types)
{
    open_two(NULL);
    ck_assert_int_eq(evbus_set_log(to, EVBUS_LOG_WARNING, on_log, NULL), 0);
    publish_and_flush(from, 1, 1, 1);
    ck_assert_int_eq(server_command(server, "EVAL %s 3 %s %s %s", fill, "evbus:history:{0}",
                                    "evbus:history:{0}:state", "evbus:history:{0}:latest"),
                     1);
    bus_subscribe(to, "t.*", "from=last", tally_handle, NULL);
    expect_received(65536);
    ck_assert_int_eq(tally.broken, 0);
    ck_assert_int_eq(tally.first[70000 - 65537], 0);
    ck_assert_int_eq(tally.first[70000 - 65536], 1);
    ck_assert_int_eq(tally.unordered, 0);
    ck_assert_int_eq(atomic_load(&crowded), 1);
    close_two();
}
END_TEST

/* ---- ended anywhere ---- */

START_TEST(ends_anywhere)
{
    static const char *const options[] = {"from=last limit=70", "from=last deliver=workers size=10",
                                          "from=last deliver=inline", "from=last"};
    open_two(NULL);
    publish_and_flush(from, 1000, 1, 1);
    for (int i = 0; i < suite_rounds(200); i++) {
        atomic_int count = 0;
        evbus_sub *sub = evbus_subscribe(to, "t.*", options[i % 4], handle_count, &count);
        ck_assert_ptr_nonnull(sub);
        expect_count(&count, i % 4 == 0 ? 70 : i * 7 % 90, SOON);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        if (i % 4 == 0)
            ck_assert_int_eq(atomic_load(&count), 70);
    }
    evbus_queue *queue = evbus_queue_open(to, "size=10");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.*", "from=last", 0);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    tally.slow_every = 1;
    bus_subscribe(to, "t.*", "from=last deliver=workers size=10", tally_handle, NULL);
    int some = 3;
    ck_assert(until(has_all, &some, SOON));
    bus_end(to); /* both wait for room */
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    bus_end(from);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("replay_last");
    TCase *tests = tcase_create("replay_last");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, trimmed, 0, 2);
    tcase_add_test(tests, refused);
    tcase_add_loop_test(tests, busy, 0, 2);
    tcase_add_loop_test(tests, odd_hash, 0, 2);
    tcase_add_test(tests, flushed_meanwhile);
    tcase_add_test(tests, queue_shared);
    tcase_add_test(tests, cut_anywhere);
    tcase_add_test(tests, waits_for_its_place);
    tcase_add_test(tests, too_many_types);
    tcase_add_test(tests, ends_anywhere);
    return suite_run(suite, argc, argv);
}
