/* test_group_hand.c - what becomes of each entry that a member is given, and of each answer.
 */
#include "group_fixture.h"
#include "queue.h"

/* ---- what it is given ---- */

static const struct {
    const char *entry;
    int answer;
    const char *call, *story;
} given[] = {
    {ENTRY("1-1", GOOD), 7, "tell:1-1:1 ", "{\"x\":1}:1 "},
    {ENTRY("1-1", "3\r\n{\"x"), 0, "tell:1-1 ", ""}, /* no event: never to be had */
    {"*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n", 0, "tell:1-1 ", ""},
    {"*1\r\n*2\r\n$34\r\n" KEY
     "\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\ne\r\n$7\r\n{\"x\":1}\r\n$1\r\na\r\n$1\r\n1\r\n",
     0, "tell:1-1 ", "{\"x\":1}:2 "},
};

START_TEST(what_is_told)
{
    int answer = given[_i].answer;
    char call[40];
    snprintf(call, sizeof call, "%s", given[_i].call);
    scripted_answer(server, "XREADGROUP", given[_i].entry, 1);
    evbus_sub *sub = join(&answer);
    await_call(call);
    ck_assert_str_eq(story, given[_i].story);
    evbus_unsubscribe(sub);
}
END_TEST

static const char *const nothing[] = {":1\r\n", "*0\r\n", "*2\r\n:1\r\n*0\r\n", "*-1\r\n"};

/* Without an id there is nothing to settle. */
START_TEST(no_entry)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    take(nothing[_i]);
    ck_assert(evb_group_is_empty(group));
}
END_TEST

START_TEST(counts_what_it_gives)
{
    struct evb_group *group = join_queue(NULL, "group=g ack=call");
    take(ONE("1-1", GOOD));
    take(TRIED("2-1", GOOD, "1"));
    ck_assert_int_eq(member()->in_hand, 2);
    ck_assert_int_eq(length_of(&group->hand), 2);
    ck_assert_int_eq(evbus_stat(bus, "group_deliveries"), 2);
    ck_assert_int_eq(evbus_stat(bus, "group_redeliveries"), 1);
    pull();
    member()->full = true; /* until it has answered one */
    answer(evbus_event_ack);
    await_answers(group);
    ck_assert(!member()->full);
    ck_assert_int_eq(member()->in_hand, 1);
    ck_assert_int_eq(length_of(&group->hand), 1);
    ck_assert_int_eq(evbus_stat(bus, "group_acks"), 1);
    ck_assert_str_eq(called, "tell:1-1 ");
}
END_TEST

static void make_full(struct evb_member *one)
{
    one->full = true;
}

static void fill_hand(struct evb_member *one)
{
    one->in_hand = one->size;
}

static void end_it(struct evb_member *one)
{
    evb_sub_end(one->sub);
}

static void (*const lacks[])(struct evb_member *one) = {make_full, fill_hand, end_it};

/* Each in turn, but for those who can have none; what nobody can have goes back. */
START_TEST(whose_turn)
{
    int64_t tag[3];
    char back[] = "tell:4-1:0 ";
    join_queue("size=10", "group=g");
    evbus_sub *other = evbus_queue_subscribe(own_queue, "job", "group=g", 1);
    go_round();
    take(ONE("1-1", GOOD));
    take(ONE("2-1", GOOD));
    lacks[_i](member());
    take(ONE("3-1", GOOD));
    lacks[_i](other->member);
    take(ONE("4-1", GOOD));
    for (int i = 0; i < 3 - (_i == 2); i++) { /* what waits for one that ended is gone */
        ck_assert_int_eq(evbus_queue_next(own_queue, 0, &pulled, &tag[i]), _i < 2);
        if (_i < 2)
            evbus_event_unref(pulled);
    }
    if (_i < 2)
        ck_assert(tag[0] == 0 && tag[1] == 1 && tag[2] == 1);
    await_call(back);
    member()->in_hand = other->member->in_hand = 0;
    evbus_unsubscribe(other);
}
END_TEST

static const struct {
    const char *options;
    int64_t in_hand, begun, room;
    bool full, ended;
} rooms[] = {
    {"group=g size=10", 0, 0, 10, false, false},
    {"group=g size=10", 3, 0, 7, false, false},
    {"group=g size=10", 10, 0, 0, false, false},
    {"group=g size=10", 11, 0, 0, false, false},
    {"group=g size=10", 0, 0, 0, true, false},
    {"group=g size=10", 0, 0, 0, false, true},
    {"group=g size=10 limit=5", 0, 0, 5, false, false},
    {"group=g size=10 limit=5", 2, 1, 2, false, false},
    {"group=g size=10 limit=5", 2, 3, 0, false, false},
    {"group=g size=10 limit=5", 3, 3, 0, false, false},
    {"group=g size=10 limit=12", 0, 5, 7, false, false},
    {"group=g size=10 limit=50", 3, 3, 7, false, false},
};

START_TEST(room)
{
    struct evb_group *group = join_handler(rooms[_i].options, on_event, NULL);
    member()->in_hand = rooms[_i].in_hand;
    member()->full = rooms[_i].full;
    if (mine->limit)
        atomic_store(&mine->limit->begun, rooms[_i].begun);
    if (rooms[_i].ended)
        evb_sub_end(mine);
    ck_assert_int_eq(evb_group_room(group), rooms[_i].room);
    evbus_sub *other = evbus_subscribe(bus, "job", "group=g size=20", on_event, NULL);
    go_round();
    ck_assert_int_eq(evb_group_room(group), rooms[_i].room + 20);
    evbus_unsubscribe(other);
}
END_TEST

/* The queue of a member may hold others' events, too. */
START_TEST(no_room_after_all)
{
    char back[] = "tell:2-1:0 ";
    struct evb_group *group = join_queue("size=10", "group=g");
    take(ONE("1-1", GOOD));
    own_queue->fifo.max_bytes = own_queue->fifo.bytes + 1;
    take(ONE("2-1", GOOD));
    ck_assert(member()->full);
    ck_assert_int_eq(member()->in_hand, 1);
    ck_assert_int_eq(evbus_stat(bus, "group_deliveries"), 1);
    await_call(back);
    pull(); /* then there is some */
    go_round();
    ck_assert(!member()->full);
    ck_assert_int_gt(evb_group_room(group), 0);
    evbus_event_unref(pulled);
}
END_TEST

enum { NO_EVENT = 4 };

static const struct {
    const char *entry;
    bool full;
    int64_t bytes;
    const char *call;
} scarce[] = {
    {ONE("1-1", GOOD), false, 1000, "tell:1-1 "},
    {ONE("1-1", GOOD), true, 1000, "tell:1-1:0 "},
    {ONE("1-1", GOOD), false, 1, "letter:1-1 "},
    {TRIED("1-1", GOOD, "9"), false, 1000, "letter:1-1 "},
    [NO_EVENT] = {ONE("1-1", "3\r\n{\"x"), false, 1000, "tell:1-1 "},
};

/* Whatever allocation fails, it is given, goes back, or stays pending in Redis. */
START_TEST(no_memory_to_take)
{
    char call[40];
    struct evb_group *group = join_queue(NULL, "group=g ack=call");
    bool failed = true;
    snprintf(call, sizeof call, "%s", scarce[_i].call);
    own_queue->fifo.max_bytes = scarce[_i].bytes;
    for (long n = 0; failed; n++) {
        const struct evb_reply *entry = reply_of(scarce[_i].entry);
        called[0] = '\0';
        member()->full = scarce[_i].full;
        failing_at(n, false);
        evb_group_take(group, entry);
        failed = failing_off();
        bool got = evbus_queue_next(own_queue, 0, &pulled, NULL) == 1;
        if (got)
            answer(evbus_event_ack);
        evb_group_due(group, INT64_MAX); /* a letter that was put off */
        await_answers(group);
        ck_assert_msg(got || _i == NO_EVENT || strcmp(called, "tell:1-1 ") != 0, "%ld: lost", n);
        ck_assert_int_eq(member()->in_hand, 0);
    }
    await_call(call);
    ck_assert_str_eq(called, call);
}
END_TEST

/* ---- what goes back ---- */

START_TEST(returns)
{
    char call[] = "tell:2-1:3 ";
    struct evb_group *group = join_queue(NULL, "group=g");
    failing_at(0, false);
    evb_group_return(group, "1-1", 3);
    ck_assert(failing_off());
    ck_assert(evb_group_is_empty(group));
    evb_group_return(group, "2-1", 3);
    await_call(call);
    ck_assert_str_eq(called, call);
}
END_TEST

static const size_t lists[] = {offsetof(struct evb_group, hand), offsetof(struct evb_group, acks),
                               offsetof(struct evb_group, backs),
                               offsetof(struct evb_group, told_acks),
                               offsetof(struct evb_group, told_backs)};

START_TEST(is_empty)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    ck_assert(evb_group_is_empty(group));
    put_hold((struct evb_node *)(void *)((char *)group + lists[_i]), "1-1");
    ck_assert(!evb_group_is_empty(group));
    evb_group_drop_all(group);
    ck_assert(evb_group_is_empty(group));
}
END_TEST

/* Who was given it can do nothing for it any more, and has room again. */
START_TEST(drops)
{
    struct evb_group *group = join_queue(NULL, "group=g ack=call");
    take(ONE("1-1", GOOD));
    pull();
    evb_group_drop_all(group);
    ck_assert_int_eq(member()->in_hand, 0);
    ck_assert_int_eq(evbus_event_ack(pulled), EVBUS_ENOENT);
    evbus_event_unref(pulled);
}
END_TEST

/* What is due goes back; of the others, the first one is waited for. */
START_TEST(what_is_due)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    const int64_t due_ms[] = {0, 300, 100, 200, 99};
    for (size_t i = 0; i < EVB_COUNT(due_ms); i++)
        put_hold(&group->hand, "1-1")->due_ms = due_ms[i];
    group->all->due_at_ms = INT64_MAX;
    evb_group_due(group, 98);
    ck_assert_int_eq(group->all->due_at_ms, 99);
    ck_assert(evb_list_empty(&group->backs));
    group->all->due_at_ms = INT64_MAX;
    evb_group_due(group, 100);
    ck_assert_int_eq(group->all->due_at_ms, 200);
    ck_assert_int_eq(length_of(&group->backs), 2);
    ck_assert_int_eq(first_in(&group->backs)->due_ms, 0);
}
END_TEST

/* ---- answers ---- */

static const struct {
    int64_t setting_ms;
    const char *entry;
    int said_ms;
    int64_t delay_ms; /* 0: at once */
} delays[] = {
    {0, ONE("1-1", GOOD), -1, 0},
    {1000, ONE("1-1", GOOD), 0, 0},
    {1000, ONE("1-1", GOOD), -1, 1000},
    {1000, TRIED("1-1", GOOD, "1"), -1, 2000},
    {1000, TRIED("1-1", GOOD, "3"), -1, 8000},
    {1000, TRIED("1-1", GOOD, "3"), 70, 70},
    {0, ONE("1-1", GOOD), 70, 70},
    {1000000, TRIED("1-1", GOOD, "1"), -1, 2000000},
    {1000000, TRIED("1-1", GOOD, "2"), -1, 3600000},
    {1000000, TRIED("1-1", GOOD, "9"), -1, 3600000},
    {86400000, ONE("1-1", GOOD), -1, 3600000},
    {1, "*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\ne\r\n$" GOOD "\r\n$1\r\na\r\n$2\r\n99\r\n", -1, 3600000},
};

START_TEST(fails_for_a_while)
{
    char back[] = "tell:1-1:1 ";
    struct evb_group *group = join_queue(NULL, "group=g retries=100 ack=call");
    group->all->delay_ms = delays[_i].setting_ms;
    int64_t now_ms = stop_clock(), due_ms = now_ms + delays[_i].delay_ms;
    take(delays[_i].entry);
    pull();
    ck_assert_int_eq(evbus_event_nack(pulled, delays[_i].said_ms), 0);
    evbus_event_unref(pulled);
    go_round();
    ck_assert_int_eq(evb_list_empty(&group->hand), delays[_i].delay_ms == 0);
    if (delays[_i].delay_ms) {
        ck_assert_int_eq(first_in(&group->hand)->due_ms, due_ms);
        ck_assert_int_eq(group->all->due_at_ms, due_ms);
        ck_assert_int_eq(member()->in_hand, 1);
        evb_group_due(group, due_ms - 1);
        go_round();
        ck_assert_str_eq(called, "");
        evb_group_due(group, due_ms);
    }
    await_call(back);
    ck_assert_int_eq(member()->in_hand, 0);
}
END_TEST

/* While the bus closes, all goes back at once. */
START_TEST(fails_while_it_closes)
{
    char back[] = "tell:1-1:1 ";
    struct evb_group *group =
        join_queue(NULL, _i ? "group=g retries=0 ack=call" : "group=g retries=9 ack=call");
    group->all->delay_ms = 1000;
    take(ONE("1-1", GOOD));
    pull();
    group->all->stopping = true;
    answer(nack);
    ck_assert(evb_list_empty(&group->hand));
    await_call(back);
    ck_assert_str_eq(called, back);
}
END_TEST

/* Who has it lets it go without a word: pulled, that is a try, and there is nothing to bury. */
START_TEST(let_go)
{
    char back[] = "tell:1-1:1 ", idle[] = "tell:1-1:0 ";
    struct evb_group *group = join_queue(NULL, "group=g retries=0 ack=call");
    group->all->delay_ms = 1000;
    take(ONE("1-1", GOOD));
    if (_i) {
        pull();
        evbus_event_unref(pulled);
    } else {
        evbus_queue_free(own_queue);
        own_queue = NULL;
    }
    go_round();
    ck_assert(evb_list_empty(&group->hand));
    await_call(_i ? back : idle);
    ck_assert_str_eq(called, _i ? back : idle);
}
END_TEST

/* A member leaves: what it has not begun goes back, others keep theirs, and what it has pulled is
 * still its to answer, if nobody's retries count any more. */
START_TEST(a_member_leaves)
{
    struct evb_group *group = join_queue(NULL, "group=g ack=call retries=0");
    struct evb_hold *dead = put_hold(&group->hand, "5-1");
    dead->dead = true;
    dead->member = member();
    group->all->delay_ms = 1000;
    take(ONE("1-1", GOOD));
    take(ONE("2-1", GOOD));
    take(ONE("3-1", GOOD));
    evbus_sub *other = evbus_queue_subscribe(own_queue, "job", "group=g", 1);
    go_round();
    member()->full = true;
    take(ONE("4-1", GOOD));
    pull();
    evbus_event *first = pulled;
    pull();
    member()->retries = 1;
    answer(nack); /* 2-1, for later */
    member()->retries = 0;
    evb_group_give_back(group, member(), false);
    ck_assert_int_eq(length_of(&group->backs), 2);
    ck_assert_int_eq(length_of(&group->hand), 3);
    ck_assert_ptr_null(evb_container(dead->node.next, struct evb_hold, node)->member);
    ck_assert_int_eq(other->member->in_hand, 1);
    ck_assert_ptr_eq(dead->member, member());
    pulled = first;
    answer(_i ? nack : evbus_event_ack);
    evb_group_due(group, INT64_MAX);
    await_answers(group);
    ck_assert_ptr_nonnull(strstr(called, "2-1:1"));
    ck_assert_ptr_nonnull(strstr(called, "3-1:0"));
    ck_assert_ptr_nonnull(strstr(called, _i ? "1-1:1" : "tell:1-1 "));
    ck_assert_ptr_null(strstr(called, "4-1"));
    dead->member = NULL;
    evbus_unsubscribe(other);
}
END_TEST

/* All of it, at the bus's end: what was begun counts as a try, an answer on its way stays one. */
START_TEST(all_is_given_back)
{
    struct evb_group *group = join_queue(NULL, "group=g ack=call");
    take(ONE("1-1", GOOD));
    take(ONE("2-1", GOOD));
    take(ONE("3-1", GOOD));
    go_round();
    pull();
    ck_assert_int_eq(evbus_event_ack(pulled), 0);
    evbus_event_unref(pulled);
    pull();
    evb_group_give_back(group, NULL, true);
    ck_assert_int_eq(length_of(&group->backs), 2);
    await_answers(group);
    ck_assert_str_eq(called, "tell:1-1 tell:2-1:1:3-1:0 ");
    ck_assert_int_eq(member()->in_hand, 0);
    ck_assert_int_eq(evbus_event_ack(pulled), EVBUS_ENOENT);
    evbus_event_unref(pulled);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group hand");
    TCase *all = tcase_create("hand");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_loop_test(all, what_is_told, 0, (int)EVB_COUNT(given));
    tcase_add_loop_test(all, no_entry, 0, (int)EVB_COUNT(nothing));
    tcase_add_test(all, counts_what_it_gives);
    tcase_add_loop_test(all, whose_turn, 0, (int)EVB_COUNT(lacks));
    tcase_add_loop_test(all, room, 0, (int)EVB_COUNT(rooms));
    tcase_add_test(all, no_room_after_all);
    tcase_add_loop_test(all, no_memory_to_take, 0, (int)EVB_COUNT(scarce));
    tcase_add_test(all, returns);
    tcase_add_loop_test(all, is_empty, 0, (int)EVB_COUNT(lists));
    tcase_add_test(all, drops);
    tcase_add_test(all, what_is_due);
    tcase_add_loop_test(all, fails_for_a_while, 0, (int)EVB_COUNT(delays));
    tcase_add_loop_test(all, fails_while_it_closes, 0, 2);
    tcase_add_loop_test(all, let_go, 0, 2);
    tcase_add_loop_test(all, a_member_leaves, 0, 2);
    tcase_add_test(all, all_is_given_back);
    suite_add_tcase(suite, all);
    return run(suite);
}
