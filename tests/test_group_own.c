/* test_group_own.c - what Redis holds for this bus: it is renewed, and what never came here goes
 * back. */
#include "group_fixture.h"

/* What an earlier connection could not bring goes back before anything is read. */
START_TEST(lost_on_the_way)
{
    int ok = 0;
    char back[] = "tell:1-1:1:2-1:1 ";
    scripted_answer(server, "XPENDING",
                    "*2\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1\r\n:1\r\n"
                    "*4\r\n$3\r\n2-1\r\n$1\r\nc\r\n:1\r\n:1\r\n",
                    1);
    evbus_sub *sub = join(&ok);
    await_call(back);
    await_reads(1);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(refused)
{
    int ok = 0;
    scripted_answer(server, "XPENDING", "-NOPERM no\r\n", 0);
    evbus_sub *sub = join(&ok);
    expect_refused(sub, EVBUS_EDENIED, "XPENDING is refused: NOPERM no");
    evbus_unsubscribe(sub);
}
END_TEST

#define IDLE(id, ms) "*4\r\n$3\r\n" id "\r\n$1\r\nc\r\n:" ms "\r\n:1\r\n"
#define ROW(id)      IDLE(id, "20000")

/* ---- renewing ---- */

START_TEST(renews)
{
    char want[200];
    struct evb_group *group = join_queue(NULL, "group=g");
    evb_group_renew_all(group);
    ck_assert_int_eq(group->asks, 0);
    evb_group_take(group, reply_of(ONE("1-1", GOOD)));
    evb_group_take(group, reply_of(ONE("2-1", GOOD)));
    evb_group_renew_all(group);
    ck_assert_int_eq(group->asks, 1);
    await_answers(group);
    snprintf(want, sizeof want, "XCLAIM " KEY " evbus %s 0 1-1 2-1 JUSTID", evbus_node(bus));
    ck_assert_str_eq(scripted_last(server, "XCLAIM"), want);
    ck_assert_int_eq(length_of(&group->hand), 2);
}
END_TEST

static const struct {
    int entries, commands;
} batches[] = {{1, 1}, {255, 1}, {256, 1}, {257, 2}, {512, 2}, {513, 3}};

START_TEST(renews_in_batches)
{
    char entry[EVB_ENTRY_ID];
    struct evb_group *group = join_queue(NULL, "group=g");
    for (int i = 1; i <= batches[_i].entries; i++) {
        snprintf(entry, sizeof entry, "%d-1", i);
        put_hold(&group->hand, entry);
    }
    scripted_deafen(server, SCRIPTED_PUBLISHER, true); /* commands are longer than it reads */
    evb_group_renew_all(group);
    ck_assert_int_eq(group->asks, batches[_i].commands);
}
END_TEST

START_TEST(nobody_to_ask)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    put_hold(&group->hand, "1-1");
    cut();
    evb_group_renew_all(group);
    evb_group_look(group, 0);
    ck_assert_int_eq(group->asks, 0);
    ck_assert(!group->looking);
    ck_assert_int_eq(scripted_count(server, "XCLAIM"), 0);
}
END_TEST

/* ---- looking ---- */

/* Of those that this bus knows of none goes back a second time, wherever they stand. */
static const struct {
    size_t list;
    const char *called;
} known[] = {
    {offsetof(struct evb_group, hand), "tell:3-1:0 "},
    {offsetof(struct evb_group, acks), "tell:1-1:2-1 tell:3-1:0 "},
    {offsetof(struct evb_group, backs), "tell:1-1:0:2-1:0:3-1:0 "},
    {offsetof(struct evb_group, told_acks), "tell:3-1:0 "},
    {offsetof(struct evb_group, told_backs), "tell:3-1:0 "},
};

START_TEST(known_ones_stay)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    struct evb_node *list = (struct evb_node *)(void *)((char *)group + known[_i].list);
    put_hold(list, "1-1");
    put_hold(list, "2-1");
    scripted_answer(server, "XPENDING", "*3\r\n" ROW("2-1") ROW("3-1") ROW("1-1"), 1);
    evb_group_look(group, 20000);
    ck_assert(group->looking);
    await_answers(group);
    ck_assert(!group->looking);
    ck_assert_str_eq(called, known[_i].called);
}
END_TEST

/* What was given out since the command that waits was asked is in its answer, which may come later
 * than this one, on its own connection. */
START_TEST(on_its_way)
{
    struct evb_group *group = join_queue(NULL, "group=g ack=call");
    int64_t now_ms = stop_clock();
    group->all->link.asked_ms = now_ms - 1000;
    scripted_answer(server, "XPENDING",
                    "*3\r\n" IDLE("1-1", "0") IDLE("2-1", "1000") IDLE("3-1", "1002"), 1);
    evb_group_look(group, 0);
    await_answers(group);
    ck_assert(group->looked);
    ck_assert_str_eq(called, "tell:3-1:0 ");
    take(ONE("1-1", GOOD));
    pull();
    answer(evbus_event_ack);
    await_answers(group);
    ck_assert_str_eq(called, "tell:3-1:0 tell:1-1 ");
    group->listed = false;
    scripted_answer(server, "XPENDING", "*1\r\n" IDLE("2-1", "1000"), 1);
    evb_group_look(group, 0);
    await_answers(group);
    ck_assert_str_eq(called, "tell:3-1:0 tell:1-1 tell:2-1:0 ");
}
END_TEST

/* What comes after the first look was lost by this process, and is nobody's try. */
START_TEST(only_the_first_counts_tries)
{
    char first[] = "tell:1-1:1 ", later[] = "tell:2-1:0 ", want[200];
    scripted_answer(server, "XPENDING", "*1\r\n" ROW("1-1"), 1);
    struct evb_group *group = join_queue(NULL, "group=g");
    await_call(first);
    scripted_answer(server, "XPENDING", "*1\r\n" ROW("2-1"), 1);
    evb_group_look(group, 14000);
    await_call(later);
    snprintf(want, sizeof want, "XPENDING " KEY " evbus IDLE 14000 - + 4096 %s", evbus_node(bus));
    ck_assert_str_eq(scripted_last(server, "XPENDING"), want);
    ck_assert_str_eq(called, "tell:1-1:1 tell:2-1:0 ");
}
END_TEST

static const char *const no_rows[] = {":1\r\n", "*0\r\n", "*1\r\n:5\r\n", "*1\r\n*-1\r\n",
                                      "$1\r\nx\r\n"};

START_TEST(rows_that_are_none)
{
    char bytes[200], back[] = "tell:4-1:1 ";
    snprintf(bytes, sizeof bytes, "*2\r\n%s%s", no_rows[_i], ROW("4-1"));
    scripted_answer(server, "XPENDING", bytes, 1);
    struct evb_group *group = join_queue(NULL, "group=g");
    await_call(back);
    ck_assert(group->looked && group->looked_once);
    ck_assert_str_eq(called, back);
}
END_TEST

/* Nothing is read before it is known what was lost. */
START_TEST(no_answer_of_that_kind)
{
    int ok = 0;
    scripted_answer(server, "XPENDING", "+OK\r\n", 0);
    evbus_sub *sub = join(&ok);
    expect_refused(sub, EVBUS_EREMOTE, "XPENDING is refused: ?");
    ck_assert(!the_group()->looked && !the_group()->looking);
    ck_assert_int_eq(scripted_count(server, "XREADGROUP"), 0);
    evbus_unsubscribe(sub);
}
END_TEST

static bool is_looking(void *unused)
{
    (void)unused;
    return bus->groups && the_group()->looking;
}

/* It looks again with the next connection. */
START_TEST(answer_is_lost)
{
    int ok = 0;
    scripted_answer(server, "XPENDING", "", 0);
    evbus_sub *sub = join(&ok);
    ck_assert(run_until(base, is_looking, NULL, suite_patience(20000)));
    cut();
    ck_assert(!the_group()->looking && !the_group()->looked && !the_group()->looked_once);
    ck_assert_int_eq(the_group()->asks, 0);
    scripted_answer(server, "XPENDING", "*0\r\n", 0);
    scripted_listen(server, true);
    await_reads(1);
    ck_assert(the_group()->looked);
    evbus_unsubscribe(sub);
}
END_TEST

/* What there is no memory for stays pending in Redis; the others go back. */
START_TEST(no_memory)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    struct evb_node *asks = &bus->redis.asks.list;
    scripted_answer(server, "XPENDING", "", 1);
    evb_group_look(group, 0);
    ck_assert(!evb_list_empty(asks));
    const struct evb_reply *rows = reply_of("*2\r\n" ROW("1-1") ROW("2-1"));
    failing_at(0, false);
    evb_asks_answer(&bus->redis.asks, rows);
    ck_assert(failing_off());
    ck_assert(group->looked);
    await_answers(group);
    ck_assert_str_eq(called, "tell:2-1:0 ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group own");
    TCase *all = tcase_create("own");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_test(all, lost_on_the_way);
    tcase_add_test(all, refused);
    tcase_add_test(all, renews);
    tcase_add_loop_test(all, renews_in_batches, 0, (int)EVB_COUNT(batches));
    tcase_add_test(all, nobody_to_ask);
    tcase_add_loop_test(all, known_ones_stay, 0, (int)EVB_COUNT(known));
    tcase_add_test(all, on_its_way);
    tcase_add_test(all, only_the_first_counts_tries);
    tcase_add_loop_test(all, rows_that_are_none, 0, (int)EVB_COUNT(no_rows));
    tcase_add_test(all, no_answer_of_that_kind);
    tcase_add_test(all, answer_is_lost);
    tcase_add_test(all, no_memory);
    suite_add_tcase(suite, all);
    return run(suite);
}
