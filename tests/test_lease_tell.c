/* test_lease_tell.c - what evbus.leader, the log, the counters and members are told of a lease. */
#include "lease_fixture.h"

static struct evb_lease *lease; /* which never joins: what is told is all that comes of it */

static int on_data(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    ck_assert_str_eq(evbus_event_type(event), "evbus.leader");
    tell("%s ", evbus_event_data(event, NULL));
    return 0;
}

static void begin_lease(void)
{
    begin();
    changes = evbus_subscribe(bus, "evbus.leader", NULL, on_data, NULL);
    lease = evb_lease_new(bus, "c");
    ck_assert(changes && lease);
    turn();
    story[0] = '\0';
}

static void end_lease(void)
{
    evb_lease_unref(lease);
    end();
}

static void expect_told(const char *want)
{
    turn();
    expect(want);
}

static const struct {
    const char *change, *name, *node, *told;
    int64_t fence;
} changes_told[] = {
    {"changed", "c", "other",
     "{\"name\":\"c\",\"change\":\"changed\",\"node\":\"other\",\"fence\":7} ", 7},
    {"lost", "c", "", "{\"name\":\"c\",\"change\":\"lost\",\"node\":null,\"fence\":0} ", 0},
    {"gained", "a\"b\\", "x\ny", /* a name is its user's, and a node what Redis says */
     "{\"name\":\"a\\\"b\\\\\",\"change\":\"gained\",\"node\":\"x\\ny\",\"fence\":9007199254740993}"
     " ",
     9007199254740993},
};

START_TEST(of_each_change)
{
    struct evb_lease *named = evb_lease_new(bus, changes_told[_i].name);
    evb_lease_tell(named, changes_told[_i].change, changes_told[_i].node, changes_told[_i].fence);
    expect_told(changes_told[_i].told);
    evb_lease_unref(named);
}
END_TEST

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    const char *text = strstr(line, "leader ");
    if (level == EVBUS_LOG_INFO && text)
        tell("%s; ", text);
}

START_TEST(logged)
{
    evbus_unsubscribe(changes);
    changes = NULL;
    evbus_set_log(bus, EVBUS_LOG_INFO, on_log, NULL);
    evb_lease_tell(lease, "changed", "other", 7);
    evb_lease_tell(lease, "lost", "", 0);
    expect("leader c: changed; other leads, number 7; leader c: lost; nobody leads, number 0; ");
    evbus_set_log(bus, 0, NULL, NULL);
}
END_TEST

/* Then it is not told: whole, or not at all. */
START_TEST(no_memory)
{
    static const char end[] = "\",\"change\":\"changed\",\"node\":\"other\",\"fence\":7} ";
    char name[1000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct evb_lease *named = evb_lease_new(bus, name);
    bool failed = true;
    int none = 0;
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 50);
        failing_at(n, false);
        evb_lease_tell(named, "changed", "other", 7);
        turn();
        failed = failing_off();
        ck_assert(failed || story[0]);
        none += !story[0];
        if (story[0])
            ck_assert_str_eq(strchr(story, '\0') - (sizeof end - 1), end);
        story[0] = '\0';
    }
    ck_assert_int_ge(none, 3); /* without the text's beginning, its rest, the event */
    evb_lease_unref(named);
}
END_TEST

/* ---- members ---- */

static void on_turn(struct evb_lease_member *member, enum evb_lease_turn turn)
{
    tell("%s:%d,%d ", member->name, turn, member->leads);
}

/* Leading goes on, as far as they were told, only where the time is up and there is no answer. */
START_TEST(members)
{
    struct evb_lease_member all[] = {{.turn = on_turn, .name = "a", .leads = true},
                                     {.turn = on_turn, .name = "b"}};
    char want[20];
    bool leads = _i == EVB_TURN_ENDED;
    for (size_t i = 0; i < EVB_COUNT(all); i++)
        evb_list_push(&lease->members, &all[i].node);
    evb_lease_tell_members(lease, (enum evb_lease_turn)_i);
    snprintf(want, sizeof want, "a:%d,%d b:%d,0 ", _i, leads, _i);
    expect(want);
    ck_assert(all[0].leads == leads && !all[1].leads);
}
END_TEST

/* ---- gained and lost ---- */

static void expect_counts(int64_t gained, int64_t lost)
{
    ck_assert_int_eq(evbus_stat(bus, "leases_gained"), gained);
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), lost);
}

static void expect_gained(const char *change, int64_t fence)
{
    char want[200];
    snprintf(want, sizeof want,
             "{\"name\":\"c\",\"change\":\"%s\",\"node\":\"%s\",\"fence\":%lld} ", change,
             evbus_node(bus), (long long)fence);
    expect_told(want);
    ck_assert_str_eq(lease->holder, evbus_node(bus));
    ck_assert_int_eq(lease->holder_fence, fence);
    ck_assert(lease->told);
}

START_TEST(gained_and_lost)
{
    evb_lease_tell_lost(lease, "other", 3, true); /* it had not been gained */
    expect_told("");
    atomic_store(&lease->fence, 5);
    evb_lease_tell_gained(lease, 5);
    expect_gained("gained", 5);
    expect_counts(1, 0);
    evb_lease_tell_gained(lease, 5); /* renewed */
    expect_told("");
    atomic_store(&lease->fence, 8);
    evb_lease_tell_gained(lease, 5); /* the same holder, with another number */
    expect_gained("changed", 8);
    expect_counts(1, 0);
    evb_lease_tell_lost(lease, "other", 9, _i);
    expect_told("{\"name\":\"c\",\"change\":\"lost\",\"node\":\"other\",\"fence\":9} ");
    expect_counts(1, _i); /* one that left by itself is not counted */
    evb_lease_tell_lost(lease, "other", 9, true);
    expect_told("");
    expect_counts(1, _i);
    evb_lease_tell_gained(lease, 8);
    expect_gained("gained", 8);
    expect_counts(2, _i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease tell");
    TCase *tests = tcase_create("lease tell");
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, begin_lease, end_lease);
    tcase_add_loop_test(tests, of_each_change, 0, (int)EVB_COUNT(changes_told));
    tcase_add_test(tests, logged);
    tcase_add_test(tests, no_memory);
    tcase_add_loop_test(tests, members, EVB_TURN_GAINING, EVB_TURN_REFUSED + 1);
    tcase_add_loop_test(tests, gained_and_lost, 0, 2);
    suite_add_tcase(suite, tests);
    return run(suite);
}
