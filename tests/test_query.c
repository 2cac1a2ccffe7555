/* test_query.c - options of queries, the filter, and the merge of what was found. */
#include "query.h"
#include "unit.h"
#include <stdio.h>

#define T0_MS INT64_C(1700000000000)

static int64_t wall_us(void)
{
    return T0_MS * 1000 + 999;
}

static struct evb_query query;

static void setup(void)
{
    evb_clock_set(wall_us, NULL);
}

static void read_query(const char *text)
{
    ck_assert_msg(evb_query_read(&query, text) == 0, "%s: %s", text, evbus_last_error());
}

START_TEST(defaults)
{
    read_query(NULL);
    ck_assert_int_eq(query.limit, 50);
    ck_assert_int_eq(query.source, EVB_SOURCE_BOTH);
    ck_assert_int_eq(query.since.kind, EVB_MOMENT_ALL);
    ck_assert_int_eq(query.until.kind, EVB_MOMENT_NOW);
    ck_assert_ptr_null(query.pattern);
    ck_assert_ptr_null(query.correlation);
}
END_TEST

START_TEST(all_options)
{
    read_query("type=task.* limit=100000 since=10s until=now correlation='it''s' source=local");
    ck_assert_str_eq(query.pattern, "task.*");
    ck_assert_str_eq(query.correlation, "it's");
    ck_assert_int_eq(query.limit, 100000);
    ck_assert_int_eq(query.source, EVB_SOURCE_LOCAL);
    ck_assert(query.since.kind == EVB_MOMENT_TIME && query.since.ms == T0_MS - 10000);
    ck_assert(query.until.kind == EVB_MOMENT_TIME && query.until.ms == T0_MS);
    evb_query_fini(&query);
    read_query("source=redis since=5-6 until=7-8");
    ck_assert_int_eq(query.source, EVB_SOURCE_REDIS);
    ck_assert(query.since.kind == EVB_MOMENT_POSITION && query.since.n == 6);
    ck_assert(query.until.kind == EVB_MOMENT_POSITION && query.until.ms == 7);
}
END_TEST

static const struct {
    const char *text, *says;
} bad[] = {
    {"limit=0", "limit: \"0\" is not a whole number from 1 to 100000"},
    {"limit=100001", "from 1 to 100000"},
    {"type=a..b", "empty word"},
    {"type=a.>.b", "pattern"},
    {"type=a since=soon", "history query since: \"soon\" is no point"},
    {"since=last", "\"last\" bounds nothing"},
    {"until=last", "\"last\" bounds nothing"},
    {"until=all", "\"all\" bounds nothing"},
    {"until=0", "history query until: \"0\""},
    {"source=disk", "both|redis|local"},
    {"corelation=x", "the nearest is \"correlation\""},
    {"type=a type=b", "given twice"},
};

START_TEST(refuses)
{
    long live = atomic_load(&memory_live);
    ck_assert_int_eq(evb_query_read(&query, bad[_i].text), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), bad[_i].says) != NULL, "%s: %s", bad[_i].text,
                  evbus_last_error());
    ck_assert_int_eq(atomic_load(&memory_live), live);
}
END_TEST

/* ---- the filter ---- */

static evbus_event *made(const char *type, int64_t after_ms, const char *correlation)
{
    evbus_event *event = evbus_event_new(type);
    evbus_event_set_time_us(event, (T0_MS + after_ms) * 1000 + 500);
    if (correlation)
        evbus_event_set_correlation(event, correlation);
    ck_assert_int_eq(evb_event_freeze(event, "0123456789abcdef", NULL), 0);
    return event;
}

static const struct {
    const char *query;
    const char *type;
    int64_t after_ms;
    const char *correlation;
    bool wanted;
} filters[] = {
    {NULL, "a.b", 0, NULL, true},
    {"type=a.b", "a.b", 0, NULL, true},
    {"type=a.b", "a.bc", 0, NULL, false},
    {"type=a.*", "a.b", 0, NULL, true},
    {"type=a.*", "a.b.c", 0, NULL, false},
    {"type=a.>", "a.b.c", 0, NULL, true},
    {"type=>", "a", 0, NULL, true},
    {"type=glob:a?b*", "a.b.c", 0, NULL, true},
    {"type=glob:a?b", "a.b.c", 0, NULL, false},
    {"correlation=x", "a", 0, "x", true},
    {"correlation=x", "a", 0, "xy", false},
    {"correlation=x", "a", 0, NULL, false},
    {"since=2023-11-14T22:13:20Z", "a", 0, NULL, true}, /* T0 */
    {"since=2023-11-14T22:13:20Z", "a", -1, NULL, false},
    {"until=2023-11-14T22:13:20Z", "a", 0, NULL, true},
    {"until=2023-11-14T22:13:20Z", "a", 1, NULL, false},
    {"since=now", "a", -1, NULL, false},
    {"until=now", "a", 1, NULL, false},
    {"since=all until=now", "a", -1000000, NULL, true},
    {"since=10s until=5s", "a", -7000, NULL, true},
    {"since=10s until=5s", "a", -4000, NULL, false},
    {"since=1700000000000-5", "a", 0, NULL, true}, /* by its time alone */
    {"since=1700000000000-5", "a", -1, NULL, false},
    {"until=1700000000000-5", "a", 0, NULL, true},
    {"until=1700000000000-5", "a", 1, NULL, false},
    {"type=a.* correlation=x since=1m", "a.b", 0, "x", true},
    {"type=a.* correlation=x since=1m", "b.b", 0, "x", false},
};

START_TEST(wants)
{
    evbus_event *event = made(filters[_i].type, filters[_i].after_ms, filters[_i].correlation);
    read_query(filters[_i].query);
    ck_assert_msg(evb_query_wants(&query, event, NULL) == filters[_i].wanted, "%s",
                  filters[_i].query);
    evb_query_fini(&query);
    evbus_event_unref(event);
}
END_TEST

/* Where it stands counts, not the clock of who published it, whether the source tells or it does. */
START_TEST(positions)
{
    evbus_event *event = made("a", -3600000, NULL);
    const struct evb_moment at = {EVB_MOMENT_POSITION, 100, 5};
    if (_i)
        evb_event_set_position(event, (struct evb_position){100, 5});
    static const struct {
        const char *query;
        bool wanted;
    } rows[] = {{"since=100-5", true}, {"since=100-6", false}, {"since=99-9", true},
                {"until=100-5", true}, {"until=100-4", false}, {"until=101-0", true},
                {"since=30m", false}};
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        read_query(rows[i].query);
        ck_assert_msg(evb_query_wants(&query, event, _i ? NULL : &at) == rows[i].wanted, "%s",
                      rows[i].query);
        evb_query_fini(&query);
    }
    evbus_event_unref(event);
}
END_TEST

/* A correlation is the event's own id where none was given. */
START_TEST(own_id)
{
    char text[80];
    evbus_event *event = made("a", 0, NULL);
    snprintf(text, sizeof text, "correlation=%s", evbus_event_id(event));
    read_query(text);
    ck_assert(evb_query_wants(&query, event, NULL));
    evb_query_fini(&query);
    evbus_event_unref(event);
}
END_TEST

/* ---- the list ---- */

static struct evb_found found;
static evbus_event *last;   /* borrowed */
static int64_t most = 1000; /* the limit while they are found */

/* An event with this id, of node `node` (one letter; 0: of none). */
static void find(char node, const char *id, int64_t us)
{
    evbus_event *event = evbus_event_new("a.b");
    char name[EVB_NODE_LENGTH + 1];
    memset(name, node, sizeof name);
    evbus_event_set_id(event, id);
    evbus_event_set_time_us(event, us);
    ck_assert_int_eq(evb_event_freeze(event, name, NULL), 0);
    if (!node)
        event->node.ptr = NULL;
    last = event;
    ck_assert_int_eq(evb_found_add(&found, event, most), 0);
}

static void expect_list(int64_t limit, bool merge, const char *ids)
{
    char got[256] = "";
    evbus_list *list = evb_found_list(&found, limit, merge);
    ck_assert_ptr_nonnull(list);
    ck_assert_uint_eq(found.count, 0);
    for (int i = 0; i < evbus_list_count(list); i++) {
        strcat(got, evbus_event_id(evbus_list_at(list, i)));
        strcat(got, " ");
    }
    ck_assert_str_eq(got, ids);
    evbus_list_free(list);
}

START_TEST(sorted_and_cut)
{
    expect_list(5, true, "");
    find('a', "2", 200);
    find('a', "1", 100);
    find('b', "4", 400);
    find('b', "3", 300);
    expect_list(50, false, "4 3 2 1 ");
    for (int i = 0; i < 9; i++)
        find('a', (char[]){(char)('9' - i), '\0'}, 100); /* of one microsecond: as they came */
    expect_list(4, false, "9 8 7 6 ");
}
END_TEST

START_TEST(merged)
{
    for (int i = 0; i < 2; i++) {
        find('a', "x", 300 - i);
        find('b', "x", 200 - i);
        find(0, "x", 100 - i);
        find('a', "y", 50);
    }
    expect_list(50, true, "x x x y ");
    for (int i = 0; i < 2; i++) {
        find('a', "x", 300 - i);
        find('a', "y", 200 - i);
        find('a', "z", 100 - i);
    }
    expect_list(2, true, "x y "); /* copies do not use the limit up */
}
END_TEST

/* Of each source the newest stay, in whatever order they come; when so many newer ones are there
 * that none of that time can be among them is known. */
START_TEST(the_newest_of_each_source)
{
    char id[16];
    most = 3;
    ck_assert(!evb_found_has(&found, most, 0));
    for (int i = 0; i < 2000; i++) {
        snprintf(id, sizeof id, "%d", i * 7 % 2000);
        find('a', id, i * 7 % 2000);
        ck_assert_uint_lt(found.count, 100);
    }
    ck_assert(evb_found_has(&found, most, 1996));
    ck_assert(!evb_found_has(&found, most, 1997));
    evb_found_next(&found);
    ck_assert(!evb_found_has(&found, most, 0));
    find('b', "x", 5);
    find('b', "y", 6);
    ck_assert(!evb_found_has(&found, most, 0));
    for (int i = 0; i < 200; i++)
        find('b', "old", i % 5);
    find('a', "1998", 1998);
    ck_assert(evb_found_has(&found, most, 4));
    ck_assert(!evb_found_has(&found, most, 5));
    expect_list(6, true, "1999 1998 1997 y x ");
    most = 1000;
}
END_TEST

/* A copy of which another source knows the position. */
START_TEST(position_of_a_copy)
{
    for (int i = 0; i < 2; i++) {
        find('a', "x", 300 - i);
        if (i)
            evb_event_set_position(last, (struct evb_position){7, 8});
    }
    evbus_list *list = evb_found_list(&found, 50, true);
    ck_assert_int_eq(evbus_list_count(list), 1);
    ck_assert_str_eq(evbus_event_position(evbus_list_at(list, 0)), "7-8");
    evbus_list_free(list);
}
END_TEST

static evbus_event *heavy(int64_t us)
{
    static char data[1 << 20];
    memset(data, '1', sizeof data);
    evbus_event *event = evbus_event_new("a");
    evbus_event_set_json(event, data, sizeof data);
    evbus_event_set_time_us(event, us);
    ck_assert_int_eq(evb_event_freeze(event, "0123456789abcdef", NULL), 0);
    return event;
}

START_TEST(too_heavy)
{
    int count = 0, rc = 0;
    while (rc == 0 && count < 300)
        rc = evb_found_add(&found, heavy(count++), 1000);
    ck_assert_int_eq(rc, EVBUS_ETOOBIG);
    ck_assert_int_ge(count, EVB_FOUND_BYTES >> 20);
    ck_assert_int_le(count, 2 * (EVB_FOUND_BYTES >> 20));
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "more than 64 MiB"));
    evb_found_fini(&found);
    for (int i = 0; i < 300; i++) /* what is beyond the limit is let go */
        ck_assert_int_eq(evb_found_add(&found, heavy(i), 40), 0);
    ck_assert_int_le(found.bytes, 2 * (int64_t)EVB_FOUND_BYTES);
    evb_found_fini(&found);
}
END_TEST

START_TEST(list_doors)
{
    find('a', "x", 1);
    evbus_list *list = evb_found_list(&found, 5, false);
    ck_assert_int_eq(evbus_list_count(NULL), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_list_at(NULL, 0));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_list_at(list, -1));
    ck_assert_ptr_null(evbus_list_at(list, 1));
    ck_assert(strstr(evbus_last_error(), "1 events, none at 1") != NULL);
    ck_assert_ptr_nonnull(evbus_list_at(list, 0));
    evbus_list_free(list);
    evbus_list_free(NULL);
}
END_TEST

static void read_and_merge(bool fails)
{
    struct evb_found some = {0};
    struct evb_query asked;
    int rc = evb_query_read(&asked, "type=a.* correlation=x since=1h until=1m");
    if (rc == 0)
        evb_query_fini(&asked);
    for (int i = 0; rc == 0 && i < 100; i++) {
        evbus_event *event = evbus_event_new("a.b");
        rc = event ? evb_event_freeze(event, "0123456789abcdef", NULL) : EVBUS_ENOMEM;
        if (rc == 0)
            rc = evb_found_add(&some, event, 50);
        else
            evbus_event_unref(event);
    }
    evbus_list *list = rc == 0 ? evb_found_list(&some, 50, true) : NULL;
    evb_found_fini(&some);
    ck_assert(fails || list);
    ck_assert(list || evbus_last_code() == EVBUS_ENOMEM); /* a map that cannot grow goes on */
    evbus_list_free(list);
}

START_TEST(memory)
{
    ck_assert_int_gt(memory_fail_each(read_and_merge), 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("query");
    TCase *tests = unit_case(suite, "query");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, all_options);
    tcase_add_loop_test(tests, refuses, 0, (int)EVB_COUNT(bad));
    tcase_add_loop_test(tests, wants, 0, (int)EVB_COUNT(filters));
    tcase_add_loop_test(tests, positions, 0, 2);
    tcase_add_test(tests, own_id);
    tcase_add_test(tests, sorted_and_cut);
    tcase_add_test(tests, merged);
    tcase_add_test(tests, the_newest_of_each_source);
    tcase_add_test(tests, position_of_a_copy);
    tcase_add_test(tests, too_heavy);
    tcase_add_test(tests, list_doors);
    tcase_add_test(tests, memory);
    return unit_run(suite);
}
