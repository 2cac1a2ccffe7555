/* test_lease_answer.c - what follows from each answer to the question for a lease. */
#include "lease_fixture.h"

/* Who comes back before the last word is answered gets it again. */
START_TEST(leaves_and_returns)
{
    hold();
    await_answer(0);
    evbus_unsubscribe(sub);
    sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    await_answer(0);
    ck_assert_int_gt(evbus_sub_stat(sub, "leading"), 0);
}
END_TEST

/* Somebody else has it, though this one held it. */
START_TEST(loses)
{
    hold();
    await_answer(0);
    keeper_lease(keeper, "other", 9, "");
    await_told("lost:other:9} ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), 1);
    expect("gained:self:1} lost:other:9} ");
}
END_TEST

/* What was there is not there any more: somebody may still hold it, for its time. */
START_TEST(waits_for_the_flushed)
{
    keeper_lease(keeper, "other", 7, "");
    hold();
    await_answer(0);
    keeper_answer(keeper, KEEPER_LEASE, "*4\r\n:0\r\n$0\r\n\r\n:0\r\n:50\r\n", 1);
    keeper_lease(keeper, "", 0, "");
    await_told("gained:self:8} "); /* above what it had heard of */
    await_said(" take 1000 604800000 7 ");
}
END_TEST

static const struct {
    const char *reply, *says;
} refusals[] = {
    {"-NOPERM this user\r\n", "leader: NOPERM this user"},
    {"*1\r\n:1\r\n", "leader: no answer of the script"},
    {"*3\r\n:1\r\n:5\r\n:0\r\n", "leader: no answer of the script"}, /* and where is the place? */
    {"+OK\r\n", "leader: no answer of the script"},
};

START_TEST(refused)
{
    keeper_answer(keeper, KEEPER_LEASE, refusals[_i].reply, 1);
    hold();
    await_answer(EVBUS_EDENIED);
    ck_assert_str_eq(evbus_last_error(), refusals[_i].says);
    await_answer(0);
    expect("gained:self:1} ");
}
END_TEST

static const char *const passing[] = {"-BUSY a script\r\n", "-LOADING data\r\n", "-OOM full\r\n"};

START_TEST(passes)
{
    keeper_answer(keeper, KEEPER_LEASE, passing[_i], 3);
    hold();
    await_answer(0);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 4);
}
END_TEST

static void jump(void *user)
{
    (void)user;
    ahead_us += 5000000;
}

/* The answer came, but after the time that it gives: the next one counts. */
START_TEST(answered_too_late)
{
    keeper_after(keeper, KEEPER_LEASE, jump, NULL);
    hold();
    await_answer(0);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 2);
    expect("gained:self:1} ");
}
END_TEST

/* ---- what members are told ---- */

static void (*told_turn)(struct evb_lease_member *member, enum evb_lease_turn turn);

static void note_turn(struct evb_lease_member *member, enum evb_lease_turn turn)
{
    static const char *const names[] = {"gaining", "gained", "goes-on", "follows",
                                        "away",    "ended",  "refused"};
    tell("%s:%s ", member->name, names[turn]);
    told_turn(member, turn);
}

/* From now on the story has their turns, too. */
static void watch_turns(void)
{
    story[0] = '\0';
    EVB_LIST_EACH(&lease_now()->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        told_turn = member->turn == note_turn ? told_turn : member->turn;
        member->turn = note_turn;
    }
}

/* A bus that asks when it has to, and not because time has passed or a place has moved. */
static void without_timers(void)
{
    evbus_free(bus);
    bus = open_on(1, "history.enabled", "no", "lease.ttl", "1h", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

/* Asked, and not answered before send_answer(). */
static void await_question(void)
{
    int count = keeper_count(keeper, KEEPER_LEASE);
    keeper_answer(keeper, KEEPER_LEASE, "", 1);
    evb_lease_save(lease_now());
    await_asked(count + 1);
}

static void send_answer(const char *bytes)
{
    scripted_send(server, SCRIPTED_PUBLISHER, bytes, strlen(bytes));
}

/* ---- others ---- */

#define OTHER(fence) "*4\r\n:0\r\n$5\r\nother\r\n:" fence "\r\n:1\r\n"
#define NOBODY       "*4\r\n:0\r\n$0\r\n\r\n:9\r\n:1\r\n"

/* These answers for a while; one of them is nothing new. */
static void answer_some(const char *bytes)
{
    int count = keeper_count(keeper, KEEPER_LEASE);
    keeper_answer(keeper, KEEPER_LEASE, bytes, 0);
    await_asked(count + 3);
}

START_TEST(another_holder)
{
    keeper_answer(keeper, KEEPER_LEASE, OTHER("7"), 0);
    hold();
    await_answer(0);
    answer_some(OTHER("7"));
    expect("changed:other:7} ");
    answer_some(OTHER("9")); /* it went and came */
    expect("changed:other:9} ");
    answer_some(NOBODY); /* that is not told: somebody will */
    expect("");
    answer_some(OTHER("9"));
    expect("changed:other:9} ");
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), 0);
}
END_TEST

/* Redis had forgotten that this one leads: it does with another number, and begins anew. */
START_TEST(gained_anew)
{
    hold();
    await_answer(0);
    watch_turns();
    keeper_lease(keeper, "", 7, "");
    await_told("changed:self:8} ");
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 8);
    ck_assert_int_eq(evbus_stat(bus, "leases_gained"), 1);
    ck_assert_int_eq(evbus_stat(bus, "leases_lost"), 0);
    expect("t:gaining t:gained changed:self:8} ");
}
END_TEST

/* A bus without Redis has nobody to ask: it leads, from its clock's number on. */
START_TEST(without_redis)
{
    evbus_free(bus);
    bus = open_on(0, NULL);
    hold();
    turn();
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
    ck_assert_int_gt(evbus_sub_stat(sub, "leading"), 1000000000000);
    ck_assert_int_eq(evbus_stat(bus, "leases_gained"), 1);
    evbus_sub *second = evbus_subscribe(bus, "u", "leader=c", on_t, NULL);
    turn();
    ck_assert_int_eq(evbus_sub_stat(second, "leading"), evbus_sub_stat(sub, "leading"));
    ck_assert_int_eq(evbus_stat(bus, "leases_gained"), 1);
    evbus_unsubscribe(second);
}
END_TEST

/* ---- errors ---- */

static int warnings;

static void on_log(int level, const char *line, void *user)
{
    (void)user;
    warnings += level <= EVBUS_LOG_WARNING && strstr(line, "leader c: NOPERM") != NULL;
}

/* Said once, though it is asked for again and again. */
START_TEST(refused_while_it_leads)
{
    warnings = 0;
    evbus_set_log(bus, EVBUS_LOG_INFO, on_log, NULL);
    hold();
    await_answer(0);
    keeper_answer(keeper, KEEPER_LEASE, "-NOPERM this user\r\n", 0);
    await_answer(EVBUS_EDENIED);
    ck_assert_int_eq(evbus_sub_stat(sub, "leading"), 0);
    await_asked(keeper_count(keeper, KEEPER_LEASE) + 1);
    await_told("lost:nobody:1} "); /* by the clock */
    turn();
    ck_assert_int_eq(warnings, 1);
    keeper_answer(keeper, KEEPER_LEASE, NULL, 0);
    await_answer(0);
    expect("gained:self:1} lost:nobody:1} gained:self:1} ");
}
END_TEST

static bool is_whole(void *words)
{
    return is_said(words) && !strncmp(last(), "EVAL ", 5);
}

/* SCRIPT FLUSH: the same again, with the script. */
START_TEST(script_is_forgotten)
{
    static const char *const words[] = {" stay ", " leave "};
    hold();
    await_answer(0);
    await_said(" stay ");
    ck_assert_int_eq(strncmp(last(), "EVALSHA ", 8), 0);
    keeper_forget(keeper);
    if (_i) {
        evbus_unsubscribe(sub);
        sub = NULL;
    }
    ck_assert_msg(run_until(base, is_whole, (void *)words[_i], suite_patience(10000)), "%s",
                  last());
    if (_i)
        await_told("lost:nobody:0} ");
    await_asked(keeper_count(keeper, KEEPER_LEASE) + !_i);
    ck_assert_int_eq(strncmp(last(), _i ? "EVAL " : "EVALSHA ", _i ? 5 : 8), 0);
    expect(_i ? "gained:self:1} lost:nobody:0} " : "gained:self:1} ");
}
END_TEST

/* It is as good as left: its time runs out in Redis. Who came back meanwhile begins anew. */
START_TEST(last_word_fails)
{
    without_timers();
    hold();
    await_answer(0);
    keeper_answer(keeper, KEEPER_LEASE, "", 1);
    evbus_unsubscribe(sub);
    sub = NULL;
    await_said(" leave ");
    if (_i)
        sub = evbus_subscribe(bus, "t", "leader=c", on_t, NULL);
    turn();
    watch_turns();
    send_answer("-BUSY a script\r\n");
    if (_i)
        await_answer(0);
    await_told("lost:nobody:0} ");
    turn();
    ck_assert_int_eq(evb_list_empty(&bus->leases), !_i);
    expect(_i ? "lost:nobody:0} t 2:gaining t 2:gained gained:self:1} evbus.poll "
              : "lost:nobody:0} ");
}
END_TEST

/* ---- what happens before the answer comes ---- */

static void on_closed(int result, void *user)
{
    (void)user;
    tell("closed:%d ", result);
}

static bool is_closing(void *lease)
{
    return ((struct evb_lease *)lease)->closing;
}

static const struct {
    const char *answer;
    bool leaves;
    const char *turns; /* when the bus closes */
} closings[] = {
    {"*4\r\n:1\r\n:1\r\n:0\r\n$0\r\n\r\n", true, "t:ended "},
    {"*4\r\n:2\r\n:5\r\n:0\r\n$0\r\n\r\n", true, "t:gaining t:ended "},
    {OTHER("7"), false, "t:ended "}, /* there is nothing to give back */
    {"-BUSY a script\r\n", true, "t:ended "},
    {"-NOPERM this user\r\n", true, "t:refused t:ended "},
};

START_TEST(the_bus_closes)
{
    without_timers();
    hold();
    await_answer(0);
    expect("gained:self:1} evbus.poll ");
    await_question();
    ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
    ck_assert(run_until(base, is_closing, lease_now(), suite_patience(10000)));
    ck_assert_int_eq(evb_lease_live(lease_now()), 0);
    watch_turns();
    int count = keeper_count(keeper, KEEPER_LEASE);
    send_answer(closings[_i].answer);
    await_told("closed:0 ");
    ck_assert_msg(!strncmp(story, closings[_i].turns, strlen(closings[_i].turns)), "%s", story);
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), count + closings[_i].leaves);
    ck_assert_int_eq(strstr(last(), " leave ") != NULL, closings[_i].leaves);
}
END_TEST

/* Its subscriptions end: it is given back when the answer is there, whatever that is. */
START_TEST(all_unsubscribe)
{
    without_timers();
    hold();
    await_answer(0);
    expect("gained:self:1} evbus.poll ");
    await_question();
    evbus_unsubscribe(sub);
    sub = NULL;
    turn();
    int count = keeper_count(keeper, KEEPER_LEASE);
    send_answer(closings[_i].answer);
    await_asked(count + closings[_i].leaves);
    await_told("lost:");
    ck_assert_int_eq(strstr(last(), " leave ") != NULL, closings[_i].leaves);
    turn();
    ck_assert(evb_list_empty(&bus->leases));
}
END_TEST

/* The first question is not answered yet: what Redis grants then is given back, by whichever way it
 * ends. */
START_TEST(ends_before_it_is_known)
{
    without_timers();
    keeper_answer(keeper, KEEPER_LEASE, "", 1);
    int count = keeper_count(keeper, KEEPER_LEASE);
    hold();
    await_asked(count + 1);
    if (_i % 2) {
        evbus_unsubscribe(sub);
        sub = NULL;
        turn();
    } else {
        ck_assert_int_eq(evbus_close_async(bus, 10000, on_closed, NULL), 0);
        ck_assert(run_until(base, is_closing, lease_now(), suite_patience(10000)));
    }
    ck_assert_str_eq(story, "");
    send_answer(_i < 2 ? "*4\r\n:2\r\n:5\r\n:0\r\n$0\r\n\r\n" : OTHER("7"));
    if (_i % 2 == 0)
        await_told("closed:0 ");
    if (_i < 2)
        await_said(" leave ");
    turn();
    ck_assert_int_eq(strstr(last(), " leave ") != NULL, _i < 2);
    ck_assert(evb_list_empty(&bus->leases));
    ck_assert_ptr_null(strstr(story, "gained"));
}
END_TEST

/* Nothing was said of its place: it is asked for again, at once, and waits until then. */
START_TEST(one_joins)
{
    without_timers();
    keeper_answer(keeper, KEEPER_LEASE, "", 1);
    hold();
    await_asked(1);
    evbus_sub *second = evbus_subscribe(bus, "u", "leader=c", on_t, NULL);
    turn();
    watch_turns();
    keeper_lease(keeper, evbus_node(bus), 5, "");
    send_answer("*4\r\n:2\r\n:5\r\n:0\r\n$0\r\n\r\n");
    await_said(" u ");
    ck_assert_int_eq(keeper_count(keeper, KEEPER_LEASE), 2);
    await_told("u:gained evbus.poll ");
    expect("t:gaining u:gaining t:gained gained:self:5} evbus.poll "
           "t:goes-on u:gained evbus.poll ");
    evbus_unsubscribe(second);
}
END_TEST

/* The last word of one that ended: its place once more, and then no more of it. */
START_TEST(one_ends)
{
    hold();
    await_answer(0);
    evbus_sub *second = evbus_subscribe(bus, "u", "leader=c", on_t, NULL);
    await_said(" u ");
    while (!evbus_sub_stat(second, "leading"))
        run_for(base, 5);
    int count = keeper_count(keeper, KEEPER_LEASE);
    await_asked(count + 1); /* it has begun */
    await_question();
    evbus_unsubscribe(second);
    count = keeper_count(keeper, KEEPER_LEASE);
    turn();
    ck_assert_uint_eq(lease_now()->member_count, 2);
    send_answer("*5\r\n:1\r\n:1\r\n:0\r\n$0\r\n\r\n$0\r\n\r\n");
    await_asked(count + 1);
    const char *place = strstr(last(), " u ");
    ck_assert_msg(place && strstr(place, " 1.5"), "%s", last());
    await_asked(count + 2);
    ck_assert_ptr_null(strstr(last(), " u "));
    ck_assert_uint_eq(lease_now()->member_count, 1);
    expect("gained:self:1} ");
}
END_TEST

static bool is_held(void *lease)
{
    return ((struct evb_lease *)lease)->state == EVB_LEASE_LEADS;
}

START_TEST(the_link_is_lost)
{
    if (_i) { /* it holds it, and goes on */
        hold();
        await_answer(0);
        await_question();
    } else {
        keeper_answer(keeper, KEEPER_LEASE, "", 1);
        hold();
        await_asked(1);
    }
    int count = keeper_count(keeper, KEEPER_LEASE);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_asked(count + 1);
    ck_assert(run_until(base, is_held, lease_now(), suite_patience(10000)));
    turn();
    expect("gained:self:1} ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease answer");
    TCase *tests = lease_case(suite, "lease answer");
    tcase_add_test(tests, leaves_and_returns);
    tcase_add_test(tests, loses);
    tcase_add_test(tests, waits_for_the_flushed);
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(tests, passes, 0, (int)EVB_COUNT(passing));
    tcase_add_test(tests, answered_too_late);
    tcase_add_test(tests, another_holder);
    tcase_add_test(tests, gained_anew);
    tcase_add_test(tests, without_redis);
    tcase_add_test(tests, refused_while_it_leads);
    tcase_add_loop_test(tests, script_is_forgotten, 0, 2);
    tcase_add_loop_test(tests, last_word_fails, 0, 2);
    tcase_add_loop_test(tests, the_bus_closes, 0, (int)EVB_COUNT(closings));
    tcase_add_loop_test(tests, all_unsubscribe, 0, (int)EVB_COUNT(closings));
    tcase_add_loop_test(tests, ends_before_it_is_known, 0, 4);
    tcase_add_test(tests, one_joins);
    tcase_add_test(tests, one_ends);
    tcase_add_loop_test(tests, the_link_is_lost, 0, 2);
    return run(suite);
}
