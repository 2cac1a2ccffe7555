/* test_handover.c - what becomes of an event for Redis: reserved, posted, evicted, given back. */
#include "handover.h"
#include "bus_fixture.h"
#include "list.h"

enum { LOCAL = EVB_FROM_LOCAL, REDIS = EVB_FROM_REDIS, BOTH = LOCAL | REDIS };

static const struct {
    const char *full;
    int before; /* events that are in the outbox, of two */
    int where;
    bool asks; /* for a report */
    int answer;
    enum evb_way way;
    int bits;
} rows[] = {
    {"reject", 0, LOCAL, false, 0, EVB_WAY_NONE, 0},
    {"reject", 0, LOCAL, true, 0, EVB_WAY_REPORT, 0},
    {"reject", 2, LOCAL, true, 0, EVB_WAY_REPORT, 0},
    {"reject", 0, BOTH, false, 0, EVB_WAY_OUTBOX, EVBUS_SENT_OUTBOX},
    {"reject", 0, REDIS, true, 0, EVB_WAY_OUTBOX, EVBUS_SENT_OUTBOX},
    {"reject", 2, BOTH, false, EVBUS_EFULL, 0, 0},
    {"reject", 2, REDIS, true, EVBUS_EFULL, 0, 0},
    {"drop-newest", 1, BOTH, false, 0, EVB_WAY_OUTBOX, EVBUS_SENT_OUTBOX},
    {"drop-newest", 2, BOTH, false, 0, EVB_WAY_DROPPED, 0},
    {"drop-newest", 2, BOTH, true, 0, EVB_WAY_EVICTED, 0},
    {"drop-newest", 2, REDIS, true, 0, EVB_WAY_EVICTED, 0},
    {"drop-oldest", 1, BOTH, false, 0, EVB_WAY_OUTBOX, EVBUS_SENT_OUTBOX},
    {"drop-oldest", 2, BOTH, true, 0, EVB_WAY_EVICTED, 0}, /* of two, an eighth more is none */
    {"off", 0, BOTH, false, 0, EVB_WAY_DROPPED, 0},
    {"off", 0, BOTH, true, 0, EVB_WAY_EVICTED, 0},
    {"off", 0, REDIS, false, EVBUS_EAWAY, 0, 0},
    {"off", 0, REDIS, true, EVBUS_EAWAY, 0, 0},
    {"off", 0, LOCAL, true, 0, EVB_WAY_REPORT, 0},
};

static void open_row(int i)
{
    scripted_listen(server, false);
    bus = open_on(true, "outbox.full", rows[i].full, "outbox.events", "2", NULL);
    for (int n = 0; n < rows[i].before; n++)
        ck_assert_int_eq(evbus_publish(bus, "before", NULL), EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX);
}

START_TEST(reserve_and_release)
{
    open_row(_i);
    evbus_event *event = evbus_event_new("t");
    int64_t events = evb_outbox_events(&bus->redis.outbox);
    int64_t bytes = evb_outbox_bytes(&bus->redis.outbox);
    struct evb_handover way = {.report = rows[_i].asks ? on_report : NULL};
    ck_assert_int_eq(evb_handover_reserve(&way, bus, event, rows[_i].where), rows[_i].answer);
    if (rows[_i].answer == 0) {
        bool room =
            way.way == EVB_WAY_OUTBOX || way.way == EVB_WAY_REPORT || way.way == EVB_WAY_EVICTED;
        ck_assert_int_eq(way.way, rows[_i].way);
        ck_assert_int_eq(way.bits, rows[_i].bits);
        ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), events + room);
        ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox) > bytes, room);
        evb_handover_release(&way, bus);
    }
    ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), events);
    ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox), bytes);
    ck_assert_int_eq(evbus_stat(bus, "published_redis"), rows[_i].before);
    evbus_event_unref(event);
}
END_TEST

/* Accounted for before: no limit refuses or drops it; only what nobody keeps is gone. */
START_TEST(promised)
{
    open_row(_i);
    evbus_event *event = evbus_event_new("t");
    int64_t events = evb_outbox_events(&bus->redis.outbox);
    int64_t bytes = evb_outbox_bytes(&bus->redis.outbox);
    struct evb_special special = {.promised = true, .more = 1000};
    struct evb_handover way = {.report = rows[_i].asks ? on_report : NULL, .special = &special};
    bool off = !strcmp(rows[_i].full, "off") && rows[_i].where & REDIS;
    int answer = off ? rows[_i].answer : 0;
    ck_assert_int_eq(evb_handover_reserve(&way, bus, event, rows[_i].where), answer);
    if (answer == 0) {
        bool report = way.way == EVB_WAY_REPORT || way.way == EVB_WAY_EVICTED;
        bool room = report || way.way == EVB_WAY_OUTBOX;
        ck_assert_int_eq(way.way == EVB_WAY_OUTBOX, rows[_i].where & REDIS && !off);
        ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), events + room);
        ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox) >= bytes + 1000, room);
        ck_assert_int_eq(atomic_load(&bus->redis.outbox.reports.events), report);
        evb_handover_release(&way, bus);
    }
    ck_assert_int_eq(evb_outbox_events(&bus->redis.outbox), events);
    ck_assert_int_eq(evb_outbox_bytes(&bus->redis.outbox), bytes);
    ck_assert_int_eq(atomic_load(&bus->redis.outbox.reports.events), 0);
    evbus_event_unref(event);
}
END_TEST

/* accepted = waiting + ended, and whoever asks is told once. */
START_TEST(posted)
{
    static const char *const stories[] = {[EVB_WAY_NONE] = "",
                                          [EVB_WAY_OUTBOX] = "f:t ",
                                          [EVB_WAY_REPORT] = "l:t ",
                                          [EVB_WAY_EVICTED] = "v:t ",
                                          [EVB_WAY_DROPPED] = ""};
    if (rows[_i].answer != 0)
        return;
    open_row(_i);
    evbus_event *event = evbus_event_new("t");
    struct evb_handover way = {.report = rows[_i].asks ? on_report : NULL};
    ck_assert_int_eq(evb_handover_reserve(&way, bus, event, rows[_i].where), 0);
    ck_assert_int_eq(evb_event_freeze(event, bus->node, bus->source), 0);
    ck_assert_int_eq(evb_handover_post(&way, bus, event, rows[_i].where & LOCAL), 0);
    bool dropped = way.way == EVB_WAY_DROPPED || way.way == EVB_WAY_EVICTED;
    bool off = !strcmp(rows[_i].full, "off");
    ck_assert_int_eq(evbus_stat(bus, "published_redis"),
                     rows[_i].before + (way.way == EVB_WAY_OUTBOX || (dropped && !off)));
    ck_assert_int_eq(evbus_stat(bus, "evicted"), dropped && !off);
    ck_assert_int_eq(evbus_stat(bus, "dropped_away"), dropped && off);
    expect(""); /* on the loop, not here */
    turn();
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"),
                     rows[_i].before + (way.way == EVB_WAY_OUTBOX));
    evbus_free(bus);
    bus = NULL;
    expect(way.way == EVB_WAY_OUTBOX && !rows[_i].asks ? "" : stories[way.way]);
    evbus_event_unref(event);
}
END_TEST

START_TEST(no_memory)
{
    open_row(_i);
    evbus_event *event = evbus_event_new("t");
    struct evb_handover way = {.report = on_report};
    ck_assert_int_eq(evb_handover_reserve(&way, bus, event, rows[_i].where), 0);
    ck_assert_int_eq(evb_event_freeze(event, bus->node, bus->source), 0);
    failing_at(0, true);
    int rc = evb_handover_post(&way, bus, event, true);
    ck_assert(failing_off());
    ck_assert_int_eq(rc, EVBUS_ENOMEM);
    evb_handover_release(&way, bus);
    ck_assert_int_eq(evbus_stat(bus, "published_redis"), 0);
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 0);
    turn();
    expect("");
    evbus_event_unref(event);
}
END_TEST

/* What a bound drops while Redis is there is evicted as with drop-newest: nobody is away. */
START_TEST(off_while_redis_is_there)
{
    open_row(EVB_COUNT(rows) - 1);
    atomic_store(&bus->redis.outbox.up, 1);
    for (int i = 0; i < 3; i++) {
        evbus_event *event = evbus_event_new("t");
        struct evb_handover way = {0};
        ck_assert_int_eq(evb_handover_reserve(&way, bus, event, REDIS), 0);
        ck_assert_int_eq(way.way, i < 2 ? EVB_WAY_OUTBOX : EVB_WAY_DROPPED);
        ck_assert(!way.away);
        ck_assert_int_eq(evb_event_freeze(event, bus->node, bus->source), 0);
        ck_assert_int_eq(evb_handover_post(&way, bus, event, false), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_stat(bus, "published_redis"), 3);
    ck_assert_int_eq(evbus_stat(bus, "evicted"), 1);
    ck_assert_int_eq(evbus_stat(bus, "dropped_away"), 0);
}
END_TEST

static void run_before(struct evb_job *job)
{
    (void)job;
    ck_assert_int_eq(atomic_load(&bus->redis.outbox.owed.events), 1); /* reserved */
    tell(evb_list_empty(&bus->redis.outbox.waiting) ? "before " : "behind ");
}

/* To a channel of its own, for a while, with a job in front of it; none of it in the history. */
START_TEST(as_it_is_told)
{
    static const int64_t ends[][3] = {/* within, its own, what counts */
                                      {0, 0, 0},
                                      {700, 0, 700},
                                      {0, 800, 800},
                                      {700, 800, 700},
                                      {900, 800, 800}};
    for (size_t i = 0; i < EVB_COUNT(ends); i++) {
        struct evb_job before = {.run = run_before};
        struct evb_special special = {
            .channel = {"evbus:inbox:x", 13}, .within_ms = ends[i][0], .before = &before};
        struct evb_handover way = {.special = &special, .history = true};
        scripted_listen(server, false);
        bus = open_on(true, NULL);
        turn();
        evbus_event *event = evbus_event_new("t");
        evbus_event_set_ttl(event, ends[i][1]);
        ck_assert_int_eq(evb_handover_reserve(&way, bus, event, REDIS), 0);
        ck_assert_int_eq(evb_event_freeze(event, bus->node, bus->source), 0);
        event->exchange = evb_event_exchange(event);
        ck_assert_int_eq(evb_handover_post(&way, bus, event, false), 0);
        turn();
        expect("before ");
        struct evb_item *item =
            evb_container(bus->redis.outbox.waiting.next, struct evb_item, node);
        size_t length;
        ck_assert_int_eq(strncmp(evb_item_channel(item, &length), "evbus:inbox:x\r", 14), 0);
        ck_assert_int_eq(item->expires_ms, ends[i][2] ? item->accepted_ms + ends[i][2] : INT64_MAX);
        ck_assert(!item->history && !way.kept);
        evbus_event_unref(event);
        evbus_free(bus);
    }
    bus = NULL;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handover");
    TCase *tests = tcase_create("handover");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, reserve_and_release, 0, (int)EVB_COUNT(rows));
    tcase_add_loop_test(tests, promised, 0, (int)EVB_COUNT(rows));
    tcase_add_test(tests, off_while_redis_is_there);
    tcase_add_loop_test(tests, posted, 0, (int)EVB_COUNT(rows));
    tcase_add_test(tests, as_it_is_told);
    tcase_add_loop_test(tests, no_memory, 3, 5);
    return run(suite);
}
