/* test_group_hand_dead.c - which entries end as dead letters, and what becomes of them until Redis
 * has those. */
#include "group_fixture.h"

static const struct {
    const char *queue, *options, *entry;
    bool nacked;
    const char *reason, *attempts;
} deaths[] = {
    {"", "group=g retries=0 ack=call", ONE("1-1", GOOD), true, "its handler failed", "1"},
    {"", "group=g retries=1 ack=call", TRIED("1-1", GOOD, "1"), true, "its handler failed", "2"},
    {"", "group=g retries=1", TRIED("1-1", GOOD, "2"), false,
     "it was given out as often as it may be", "2"},
    {"bytes=1", "group=g", ONE("1-1", GOOD), false, "larger than the subscription's bytes=", "0"},
    {NULL, "group=g bytes=1", TRIED("1-1", GOOD, "1"), false,
     "larger than the subscription's bytes=", "1"},
    {NULL, "group=g bytes=1 deliver=workers", ONE("1-1", GOOD), false,
     "larger than the subscription's bytes=", "0"},
};

static struct evb_group *die(int i)
{
    struct evb_group *group = deaths[i].queue ? join_queue(deaths[i].queue, deaths[i].options)
                                              : join_handler(deaths[i].options, on_event, NULL);
    take(deaths[i].entry);
    if (deaths[i].nacked) {
        pull();
        answer(nack);
    }
    ck_assert_int_eq(member()->in_hand, 0);
    return group;
}

static bool has_died(void *unused)
{
    (void)unused;
    return evbus_stat(bus, "group_dead") == 1;
}

/* It settles the entry, which stays in hand until then. */
START_TEST(dies)
{
    char want[100];
    struct evb_group *group = die(_i);
    live += mine->workers != NULL; /* a thread's record stays */
    ck_assert(first_in(&group->hand)->dead);
    go_round();
    ck_assert(run_until(base, has_died, NULL, suite_patience(20000)));
    ck_assert(evb_group_is_empty(group));
    ck_assert_str_eq(called, "letter:1-1 ");
    ck_assert_msg(strstr(letter, deaths[_i].reason), "%s", letter);
    snprintf(want, sizeof want, "\"dead.attempts\":\"%s\"", deaths[_i].attempts);
    ck_assert_msg(strstr(letter, want), "%s", letter);
    expect("");
}
END_TEST

static bool is_put_off(void *group)
{
    return first_in(&((struct evb_group *)group)->hand)->due_ms != 0;
}

/* Refused by Redis, or no room to keep it: it goes round once more, and dies again. */
START_TEST(no_letter_now)
{
    char back[] = "tell:1-1:0 ";
    int64_t now_ms;
    if (_i) {
        bus->redis.outbox.full = EVB_FULL_REJECT;
        bus->redis.outbox.max_events = 0;
    }
    answer_script(LETTER, "*3\r\n$4\r\n1000\r\n:1\r\n$9\r\nNOPERM no\r\n", 1);
    now_ms = stop_clock();
    struct evb_group *group = die(2);
    go_round();
    ck_assert(run_until(base, is_put_off, group, suite_patience(20000)));
    struct evb_hold *hold = first_in(&group->hand);
    ck_assert(!hold->dead);
    ck_assert_int_eq(hold->due_ms, now_ms + 5000);
    ck_assert_int_eq(group->all->due_at_ms, now_ms + 5000);
    ck_assert_int_eq(evbus_stat(bus, "group_dead"), 0);
    called[0] = '\0';
    evb_group_due(group, now_ms + 5000);
    await_call(back);
    ck_assert_str_eq(called, back);
}
END_TEST

static const struct {
    int death;
    char back[20];
} tries[] = {{0, "tell:1-1:1 "},
             {1, "tell:1-1:1 "},
             {2, "tell:1-1:0 "},
             {3, "tell:1-1:0 "},
             {4, "tell:1-1:0 "}};

/* Nobody had it in hand meanwhile but who had when it died. */
START_TEST(no_letter_is_no_try)
{
    answer_script(LETTER, "*3\r\n$4\r\n1000\r\n:1\r\n$9\r\nNOPERM no\r\n", 1);
    struct evb_group *group = die(tries[_i].death);
    char back[20];
    snprintf(back, sizeof back, "%s", tries[_i].back);
    go_round();
    ck_assert(run_until(base, is_put_off, group, suite_patience(20000)));
    called[0] = '\0';
    evb_group_due(group, INT64_MAX);
    await_call(back);
}
END_TEST

/* A member that allows more retries had it, and answered: nothing says that nobody did. */
START_TEST(dies_with_another)
{
    char first[] = "tell:1-1:1 ", sent[] = "letter:2-1 ";
    join_queue("", "group=g retries=5 ack=call");
    take(ONE("1-1", GOOD));
    pull();
    answer(nack);
    await_call(first);
    evbus_unsubscribe(mine);
    mine = evbus_queue_subscribe(own_queue, "job", "group=g retries=0", 0);
    await_reads(2);
    take(TRIED("2-1", GOOD, "1"));
    await_call(sent);
    ck_assert_msg(strstr(letter, "given out as often as it may be"), "%s", letter);
}
END_TEST

/* The bus ends while a letter is under way: the entry is somebody else's. */
START_TEST(no_answer_to_a_letter)
{
    char sent[] = "letter:1-1 ";
    answer_script(LETTER, "", 1);
    struct evb_group *group = die(2);
    await_call(sent);
    evb_group_give_back(group, NULL, true);
    ck_assert_int_eq(length_of(&group->hand), 1);
    ck_assert(evb_list_empty(&group->backs));
    if (_i)
        evb_group_drop_all(group);
}
END_TEST

static bool is_acked(void *unused)
{
    (void)unused;
    return evbus_stat(bus, "acked") == 1;
}

/* The answer comes when nobody waits for it any more. */
START_TEST(answer_to_nobody)
{
    struct evb_group *group = die(2);
    go_round();
    evb_group_drop_all(group);
    ck_assert(run_until(base, is_acked, NULL, suite_patience(20000)));
    ck_assert_str_eq(called, "letter:1-1 ");
    ck_assert_int_eq(evbus_stat(bus, "group_dead"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group hand, dead letters");
    TCase *all = tcase_create("dead");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_loop_test(all, dies, 0, (int)EVB_COUNT(deaths));
    tcase_add_loop_test(all, no_letter_now, 0, 2);
    tcase_add_loop_test(all, no_letter_is_no_try, 0, (int)EVB_COUNT(tries));
    tcase_add_test(all, dies_with_another);
    tcase_add_loop_test(all, no_answer_to_a_letter, 0, 2);
    tcase_add_test(all, answer_to_nobody);
    suite_add_tcase(suite, all);
    return run(suite);
}
