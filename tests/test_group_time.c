/* test_group_time.c - what is done for groups from time to time, and how one goes that has no
 * members any more: the timer is run by hand, at times of the test's choice. */
#include "group_fixture.h"

enum { FAR_MS = 1000000000 };

/* Nothing is due any more but what the test says. */
static void rest(struct evb_groups *all)
{
    all->beat_at_ms = all->renew_at_ms = all->takeover_at_ms = evb_clock_mono_ms() + FAR_MS;
}

static struct evb_group *begin(void)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    rest(group->all);
    return group;
}

static void tick(struct evb_groups *all)
{
    evb_group_on_timer(-1, 0, all);
}

/* "claims pendings takeovers members" since the last time */
static const char *asked(void)
{
    static char text[80];
    static int claims, pendings, announced;
    snprintf(text, sizeof text, "%d %d %d %d", scripted_count(server, "XCLAIM") - claims,
             scripted_count(server, "XPENDING") - pendings, has_called("takeover"),
             members - announced);
    claims = scripted_count(server, "XCLAIM");
    pendings = scripted_count(server, "XPENDING");
    announced = members;
    called[0] = '\0';
    return text;
}

/* ---- what is due ---- */

static const struct {
    bool beats, renews, takes;
    const char *asked;
} ticks[] = {
    {false, false, false, "0 0 0 0"}, {true, false, false, "0 0 0 1"},
    {false, true, false, "1 1 0 0"},  {false, false, true, "0 0 1 0"},
    {true, true, true, "1 1 1 1"},
};

/* Each in its turn, and not again before the next. */
START_TEST(what_is_due)
{
    struct evb_group *group = begin();
    struct evb_groups *all = group->all;
    int64_t now_ms = evb_clock_mono_ms();
    put_hold(&group->hand, "1-1");
    all->beat_at_ms = ticks[_i].beats ? now_ms : all->beat_at_ms;
    all->renew_at_ms = ticks[_i].renews ? now_ms : all->renew_at_ms;
    all->takeover_at_ms = ticks[_i].takes ? now_ms : all->takeover_at_ms;
    asked();
    event_del(all->timer);
    tick(all);
    ck_assert(event_pending(all->timer, EV_TIMEOUT, NULL));
    await_answers(group);
    ck_assert_str_eq(asked(), ticks[_i].asked);
    ck_assert_int_gt(all->beat_at_ms, now_ms);
    ck_assert_int_gt(all->renew_at_ms, now_ms);
    ck_assert_int_gt(all->takeover_at_ms, now_ms);
    tick(all);
    await_answers(group);
    ck_assert_str_eq(asked(), "0 0 0 0");
}
END_TEST

/* Of all kinds, by the settings; a microsecond counts. */
static const struct {
    int64_t later_us;
    const char *asked;
} rounds[] = {{0, "0 1 1 1"},        {4999999, "0 0 0 0"}, {1, "0 0 0 1"},
              {14999999, "0 0 0 1"}, {1, "0 1 0 0"},       {10000000, "0 0 1 1"}};

START_TEST(when_it_is_due_again)
{
    struct evb_group *group = begin();
    struct evb_groups *all = group->all;
    all->beat_at_ms = all->renew_at_ms = all->takeover_at_ms = stop_clock();
    asked();
    for (size_t i = 0; i < EVB_COUNT(rounds); i++) {
        still_us += rounds[i].later_us;
        tick(all);
        await_answers(group);
        ck_assert_str_eq(asked(), rounds[i].asked);
    }
}
END_TEST

struct wake {
    int64_t *at_ms, was_ms;
};

static bool has_waked(void *wake)
{
    return *((struct wake *)wake)->at_ms != ((struct wake *)wake)->was_ms;
}

/* The timer is set for the first of all, be it in the past. */
START_TEST(the_first_one_wakes)
{
    struct evb_groups *all = begin()->all;
    int64_t *const at_ms[] = {&all->beat_at_ms, &all->renew_at_ms, &all->takeover_at_ms,
                              &all->due_at_ms};
    struct wake wake = {at_ms[_i / 2], _i % 2 ? 1 : evb_clock_mono_ms()};
    *wake.at_ms = wake.was_ms;
    evb_group_arm(all);
    ck_assert(run_until(base, has_waked, &wake, suite_patience(4000)));
}
END_TEST

/* What is put off goes back in its time, if Redis is away even; then it is told later. */
START_TEST(what_was_put_off)
{
    char back[] = "tell:1-1:2 ";
    struct evb_group *group = begin();
    struct evb_hold *soon = put_hold(&group->hand, "1-1"), *later = put_hold(&group->hand, "2-1");
    soon->due_ms = 1;
    soon->more = 2;
    later->due_ms = evb_clock_mono_ms() + FAR_MS / 2;
    if (_i)
        cut();
    tick(group->all);
    ck_assert_int_eq(group->all->due_at_ms, later->due_ms);
    ck_assert_int_eq(length_of(&group->hand), 1);
    ck_assert_int_eq(length_of(&group->backs), _i);
    if (_i)
        scripted_listen(server, true);
    await_call(back);
    ck_assert_str_eq(called, back);
}
END_TEST

/* ---- a beat ---- */

START_TEST(a_beat_begins_anew)
{
    struct evb_group *group = begin();
    struct evb_member *member = evb_container(group->members.next, struct evb_member, node);
    int reads = scripted_count(server, "XREADGROUP");
    member->full = true;
    group->all->errors = 7;
    group->all->link.state = EVB_BLOCKING_IDLE;
    tick(group->all);
    ck_assert_int_eq(group->all->errors, 7);
    ck_assert_int_eq(group->all->link.state, EVB_BLOCKING_IDLE);
    group->all->beat_at_ms = 0;
    tick(group->all);
    ck_assert_int_eq(group->all->errors, 0);
    ck_assert(!member->full);
    await_reads(reads + 1);
}
END_TEST

static const struct {
    enum evb_group_state state;
    bool looked, looking, looks;
} looks[] = {
    {EVB_GROUP_STANDS, false, false, true},   {EVB_GROUP_STANDS, true, false, false},
    {EVB_GROUP_STANDS, false, true, false},   {EVB_GROUP_OPEN, false, false, false},
    {EVB_GROUP_REFUSED, false, false, false},
};

/* Looking was refused for a while. */
START_TEST(a_beat_looks_again)
{
    struct evb_group *group = begin();
    answer_script(MEMBER, "", 0);
    group->state = looks[_i].state;
    group->looked = looks[_i].looked;
    group->looking = looks[_i].looking;
    group->all->beat_at_ms = 0;
    tick(group->all);
    ck_assert_int_eq(group->looking, looks[_i].looks || looks[_i].looking);
    ck_assert_int_eq(group->asks, 1 + looks[_i].looks);
}
END_TEST

/* ---- renewing ---- */

static const struct {
    int64_t reclaim_ms;
    bool looked;
    const char *idle;
} renewals[] = {
    {60000, true, "IDLE 20000 "},
    {42000, true, "IDLE 14000 "},
    {30000, true, "IDLE 14000 "},
    {60000, false, "IDLE 0 "}, /* the last of before */
};

/* What a connection could not bring is looked for where it has been idle for too long. */
START_TEST(looks_for_what_is_lost)
{
    struct evb_group *group = begin();
    group->all->reclaim_ms = renewals[_i].reclaim_ms;
    group->looked = renewals[_i].looked;
    group->all->renew_at_ms = 0;
    tick(group->all);
    await_answers(group);
    ck_assert_ptr_nonnull(strstr(scripted_last(server, "XPENDING"), renewals[_i].idle));
}
END_TEST

/* ---- taking over ---- */

static const struct {
    const char *answer;
    bool again;
    int64_t counted;
} takeovers[] = {
    {"*2\r\n:0\r\n:0\r\n", false, 0},
    {"*2\r\n:3\r\n:1\r\n", false, 3},
    {"*2\r\n:255\r\n:0\r\n", false, 255},
    {"*2\r\n:256\r\n:0\r\n", true, 256},
    {"-NOSCRIPT No matching script\r\n", true, 0},
    {"-NOPERM no\r\n", false, 0},
    {"*-1\r\n", false, 0},
    {"*1\r\n:256\r\n", false, 0},
    {"*2\r\n$3\r\n256\r\n:0\r\n", false, 0},
    {":256\r\n", false, 0},
};

/* At once again, where there may be more. */
START_TEST(takes_over)
{
    char once[] = "takeover:60000:256: ", twice[] = "takeover:60000:256: takeover:60000:256: ";
    struct evb_group *group = begin();
    answer_script(TAKEOVER, takeovers[_i].answer, 1);
    group->all->takeover_at_ms = 0;
    tick(group->all);
    await_answers(group);
    ck_assert_int_eq(group->all->takeover_at_ms == 0, takeovers[_i].again);
    if (takeovers[_i].again)
        await_call(twice);
    await_answers(group);
    ck_assert_str_eq(called, takeovers[_i].again ? twice : once);
    ck_assert_int_eq(evbus_stat(bus, "group_takeovers"), takeovers[_i].counted);
}
END_TEST

static char line[400];

static void on_line(int level, const char *text, void *user)
{
    (void)level;
    (void)user;
    if (strstr(text, "gone"))
        snprintf(line, sizeof line, "%s", text);
}

START_TEST(says_what_it_took)
{
    struct evb_group *group = begin();
    ck_assert_int_eq(evbus_set_log(bus, EVBUS_LOG_INFO, on_line, NULL), 0);
    for (int i = 0; i < 2; i++) {
        answer_script(TAKEOVER, i ? "*2\r\n:3\r\n:1\r\n" : NULL, 1);
        ck_assert_str_eq(line, "");
        group->all->takeover_at_ms = 0;
        tick(group->all);
        await_answers(group);
    }
    ck_assert_ptr_nonnull(strstr(line, "job: group g: 3 events of members that are gone"));
}
END_TEST

START_TEST(takes_nothing)
{
    struct evb_group *group = begin();
    group->state = _i ? EVB_GROUP_OPEN : EVB_GROUP_REFUSED;
    group->all->takeover_at_ms = 0;
    tick(group->all);
    ck_assert_int_eq(group->asks, 0);
}
END_TEST

START_TEST(the_answer_is_lost)
{
    struct evb_group *group = begin();
    answer_script(TAKEOVER, "", 1);
    group->all->takeover_at_ms = 0;
    tick(group->all);
    ck_assert_int_eq(group->asks, 1);
    cut();
    ck_assert_int_eq(group->asks, 0);
    ck_assert_int_gt(group->all->takeover_at_ms, 0);
}
END_TEST

/* Without Redis, or before what comes first on its connection, nothing is asked. */
START_TEST(away)
{
    struct evb_group *group = begin();
    put_hold(&group->hand, "1-1");
    if (_i)
        cut();
    else
        atomic_store(&bus->redis.state, EVB_REDIS_HANDSHAKE);
    asked();
    group->all->beat_at_ms = group->all->renew_at_ms = group->all->takeover_at_ms = 0;
    tick(group->all);
    ck_assert_int_eq(group->asks, 0);
    ck_assert_str_eq(asked(), "0 0 0 0");
}
END_TEST

/* What Redis did not take is told with each tick. */
START_TEST(tells_again)
{
    char call[] = "tell:1-1 ";
    struct evb_group *group = begin();
    put_hold(&group->acks, "1-1");
    tick(group->all);
    ck_assert_int_eq(group->asks, 1);
    await_call(call);
}
END_TEST

/* ---- leaving ---- */

static void part(struct evb_group *group)
{
    evbus_unsubscribe(mine);
    mine = NULL;
    go_round();
    ck_assert(evb_list_empty(&group->members));
}

static bool has_none(void *unused)
{
    (void)unused;
    return evb_list_empty(&bus->groups->list);
}

/* First the command that waits has to know of it. */
START_TEST(leaves)
{
    struct evb_group *group = begin();
    part(group);
    tick(group->all);
    ck_assert(group->all->rung && !group->leaving);
    group->listed = false;
    tick(group->all);
    ck_assert(group->leaving);
    ck_assert_int_eq(group->asks, 1);
    tick(group->all); /* it has said so */
    ck_assert_int_eq(group->asks, 1);
    go_round();
    ck_assert(run_until(base, has_none, NULL, suite_patience(20000)));
    ck_assert_str_eq(called, "takeover:2147483647:1:me ");
}
END_TEST

START_TEST(leaves_once)
{
    struct evb_group *group = begin();
    part(group);
    group->listed = false;
    group->leaving = true;
    tick(group->all);
    ck_assert_int_eq(group->asks, 0);
}
END_TEST

static const size_t lists[] = {offsetof(struct evb_group, hand), offsetof(struct evb_group, acks),
                               offsetof(struct evb_group, backs),
                               offsetof(struct evb_group, told_acks),
                               offsetof(struct evb_group, told_backs)};

/* As long as one is in hand, or an answer is to come, it stays. */
START_TEST(stays)
{
    struct evb_group *group = begin();
    bool holds = _i < (int)EVB_COUNT(lists);
    part(group);
    group->listed = false;
    if (holds)
        put_hold((struct evb_node *)(void *)((char *)group + lists[_i]), "1-1");
    else
        group->asks++;
    answer_script(TELL, "", 0);
    tick(group->all);
    ck_assert(!group->leaving);
    group->asks -= !holds;
}
END_TEST

/* It has members again when Redis has answered; or it waits for that with whoever closes. */
static const struct {
    bool joined, holds, asks, closes, stopping, removed, leaving;
} returns[] = {
    {.removed = true},
    {.joined = true},
    {.holds = true},
    {.asks = true},
    {.closes = true, .stopping = true, .leaving = true},
    {.joined = true, .stopping = true, .leaving = true},
};

static void on_done(void *user)
{
    (void)user;
    tell("done ");
}

START_TEST(has_left)
{
    struct evb_group *group = begin();
    struct evb_groups *all = group->all;
    if (!returns[_i].joined)
        part(group);
    if (returns[_i].holds)
        put_hold(&group->hand, "1-1");
    all->done = returns[_i].closes ? on_done : NULL;
    all->stopping = returns[_i].stopping;
    group->leaving = true;
    if (returns[_i].closes)
        all->link.state = EVB_BLOCKING_IDLE;
    group->asks = 1 + returns[_i].asks;
    evb_group_on_left(NULL, group);
    ck_assert_int_eq(evb_list_empty(&all->list), returns[_i].removed);
    if (!returns[_i].removed) {
        ck_assert_int_eq(group->leaving, returns[_i].leaving);
        ck_assert_int_eq(group->asks, returns[_i].asks);
        group->asks = 0;
    }
    go_round();
    expect(returns[_i].closes ? "done " : "");
}
END_TEST

/* Somebody came while it left: that one is read for at once. */
START_TEST(has_come_back)
{
    struct evb_group *group = begin();
    group->listed = false;
    group->leaving = true;
    group->asks = 1;
    evb_group_go(group->all);
    ck_assert(!group->all->rung);
    evb_group_on_left(_i ? reply_of("*2\r\n:0\r\n:1\r\n") : NULL, group);
    ck_assert_int_eq(group->all->rung, _i); /* not where the link is lost */
}
END_TEST

START_TEST(cannot_ask_now)
{
    struct evb_group *group = begin();
    if (_i)
        part(group);
    else
        group->all->takeover_at_ms = 0;
    bus->redis.publisher.stage = EVB_LINK_CONNECTING;
    tick(group->all);
    bus->redis.publisher.stage = EVB_LINK_UP;
    ck_assert(!group->leaving);
    ck_assert_int_eq(group->asks, 0);
}
END_TEST

/* ---- for who closes the bus ---- */

static const struct {
    bool asks, holds, reads, stays, away;
    const char *story;
} ends[] = {
    {.story = "done "},
    {.asks = true, .story = ""},
    {.holds = true, .story = ""},
    {.reads = true, .story = ""},
    {.stays = true, .story = ""}, /* it says first that it goes */
    {.asks = true, .holds = true, .stays = true, .away = true, .story = "done "},
};

START_TEST(nothing_is_to_come)
{
    struct evb_group *group = begin();
    struct evb_groups *all = group->all;
    if (ends[_i].away)
        cut();
    if (ends[_i].holds)
        put_hold(&group->hand, "1-1");
    group->asks = ends[_i].asks;
    group->leaving = !ends[_i].stays;
    if (!ends[_i].reads)
        all->link.state = EVB_BLOCKING_IDLE;
    evb_group_maybe_done(all);
    expect("");
    all->done = on_done;
    evb_group_maybe_done(all);
    evb_group_maybe_done(all); /* once */
    expect(ends[_i].story);
    ck_assert_int_eq(group->asks, ends[_i].asks || (ends[_i].stays && !ends[_i].away));
    all->done = NULL;
    group->asks = 0;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group time");
    TCase *all = tcase_create("time");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_loop_test(all, what_is_due, 0, (int)EVB_COUNT(ticks));
    tcase_add_test(all, when_it_is_due_again);
    tcase_add_loop_test(all, the_first_one_wakes, 0, 8);
    tcase_add_loop_test(all, what_was_put_off, 0, 2);
    tcase_add_test(all, a_beat_begins_anew);
    tcase_add_loop_test(all, a_beat_looks_again, 0, (int)EVB_COUNT(looks));
    tcase_add_loop_test(all, looks_for_what_is_lost, 0, (int)EVB_COUNT(renewals));
    tcase_add_loop_test(all, takes_over, 0, (int)EVB_COUNT(takeovers));
    tcase_add_test(all, says_what_it_took);
    tcase_add_loop_test(all, takes_nothing, 0, 2);
    tcase_add_test(all, the_answer_is_lost);
    tcase_add_loop_test(all, away, 0, 2);
    tcase_add_test(all, tells_again);
    tcase_add_test(all, leaves);
    tcase_add_test(all, leaves_once);
    tcase_add_loop_test(all, stays, 0, (int)EVB_COUNT(lists) + 1);
    tcase_add_loop_test(all, has_left, 0, (int)EVB_COUNT(returns));
    tcase_add_loop_test(all, has_come_back, 0, 2);
    tcase_add_loop_test(all, cannot_ask_now, 0, 2);
    tcase_add_loop_test(all, nothing_is_to_come, 0, (int)EVB_COUNT(ends));
    suite_add_tcase(suite, all);
    return run(suite);
}
