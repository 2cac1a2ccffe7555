/* test_group_read.c - the command that waits for entries of all groups: for whom it asks, who is
 * woken, what becomes of its answers and of its connection. */
#include "group_fixture.h"

enum { GROUPS = 130, STREAMS = 128, GUESS = 16 * 1024 };

static evbus_sub *sub[GROUPS]; /* of types "t0", "t1", ... */

static void end(void)
{
    for (int i = 0; i < GROUPS && sub[i]; i++)
        evbus_unsubscribe(sub[i]);
    teardown_group();
}

static struct evb_group *group_at(int index)
{
    struct evb_node *node = bus->groups->list.next;
    while (index--)
        node = node->next;
    return evb_container(node, struct evb_group, node);
}

static bool has_looked(void *count)
{
    int looked = 0;
    EVB_LIST_EACH(&bus->groups->list, node)
    looked += evb_container(node, struct evb_group, node)->looked;
    return looked == *(int *)count;
}

/* So many groups that may be read, with these sizes in turn; nothing is read meanwhile. */
static struct evb_groups *join_many(int count, const char *const sizes[], int kinds)
{
    for (int i = 0; i < count; i++) {
        char type[16], options[40];
        snprintf(type, sizeof type, "t%d", i);
        snprintf(options, sizeof options, "group=g size=%s", sizes[i % kinds]);
        sub[i] = evbus_subscribe(bus, type, options, on_event, NULL);
        ck_assert_ptr_nonnull(sub[i]);
        go_round();
        bus->groups->stopping = true;
    }
    ck_assert(run_until(base, has_looked, &count, suite_patience(20000)));
    bus->groups->stopping = false;
    return bus->groups;
}

/* "<types> <COUNT> <BLOCK>" of the command that is sent now */
static const char *command(struct evb_groups *all)
{
    static char text[200];
    char words[512], block[20], most[20], *rest;
    int before = scripted_count(server, "XREADGROUP");
    all->link.state = EVB_BLOCKING_IDLE;
    evb_group_go(all);
    ck_assert_int_eq(all->link.state, EVB_BLOCKING_READING);
    await_reads(before + 1);
    snprintf(words, sizeof words, "%s", scripted_last(server, "XREADGROUP"));
    ck_assert_int_eq(sscanf(strstr(words, "COUNT"), "COUNT %19s BLOCK %19s", most, block), 2);
    text[0] = '\0';
    for (char *word = strtok_r(strstr(words, "STREAMS"), " ", &rest); word;
         word = strtok_r(NULL, " ", &rest))
        if (strstr(word, "events:"))
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s ",
                     strstr(word, "events:") + 7);
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s %s", most, block);
    return text;
}

/* ---- for whom it asks ---- */

static const struct {
    int64_t affordable; /* entries of the largest kind in one answer */
    const char *first, *second, *third;
} plans[] = {
    {256, "t0 t1 t2 10 5000", "t0 t1 t2 10 5000", "t0 t1 t2 10 5000"},
    {20, "t0 t1 t2 6 5000", "t0 t1 t2 6 5000", "t0 t1 t2 6 5000"},
    {3, "t0 t1 t2 1 5000", "t0 t1 t2 1 5000", "t0 t1 t2 1 5000"},
    {2, "t0 t1 1 100", "t2 t0 1 100", "t1 t2 1 100"},
    {1, "t0 1 100", "t1 1 100", "t2 1 100"},
    {0, "t0 1 100", "t1 1 100", "t2 1 100"},
};

START_TEST(as_many_as_one_answer_holds)
{
    static const char *const sizes[] = {"300", "10", "20"};
    struct evb_groups *all = join_many(3, sizes, 3);
    int64_t budget = (int64_t)bus->redis.set.max_frame / 4;
    all->largest = plans[_i].affordable ? budget / plans[_i].affordable : 2 * budget;
    ck_assert_str_eq(command(all), plans[_i].first);
    ck_assert_str_eq(command(all), plans[_i].second);
    ck_assert_str_eq(command(all), plans[_i].third);
}
END_TEST

static const struct {
    const char *size, *command;
} counts[] = {{"1", "t0 1 5000"}, {"256", "t0 256 5000"}, {"1000", "t0 256 5000"}};

START_TEST(no_more_than_there_is_room_for)
{
    struct evb_groups *all = join_many(1, &counts[_i].size, 1);
    all->largest = 1;
    ck_assert_str_eq(command(all), counts[_i].command);
}
END_TEST

/* Who may not be read, is not; nor is anybody where none may. */
START_TEST(only_those_that_may)
{
    static const char *const sizes[] = {"10"};
    struct evb_groups *all = join_many(4, sizes, 1);
    evb_group_enter(group_at(0), EVB_GROUP_OPEN, 0, NULL);
    group_at(1)->looked = false;
    group_at(2)->leaving = true;
    ck_assert_str_eq(command(all), "t3 10 5000");
    evb_container(group_at(3)->members.next, struct evb_member, node)->full = true;
    all->link.state = EVB_BLOCKING_IDLE;
    evb_group_go(all);
    ck_assert_int_eq(all->link.state, EVB_BLOCKING_IDLE);
}
END_TEST

static int listed(const struct evb_groups *all)
{
    int count = 0;
    EVB_LIST_EACH(&all->list, node)
    count += evb_container(node, struct evb_group, node)->listed;
    return count;
}

/* More than one command has room for: those that were left out come first then. */
START_TEST(in_turn)
{
    static const char *const sizes[] = {"1"};
    struct evb_groups *all = join_many(GROUPS, sizes, 1);
    struct evb_group *late = group_at(STREAMS), *last = group_at(GROUPS - 1);
    scripted_deafen(server, SCRIPTED_PUBLISHER, true); /* commands are longer than it reads */
    all->largest = 1;
    all->link.state = EVB_BLOCKING_IDLE;
    evb_group_go(all);
    ck_assert_int_eq(listed(all), STREAMS);
    ck_assert(!late->listed && !last->listed);
    ck_assert_ptr_eq(group_at(0), late);
    all->link.state = EVB_BLOCKING_IDLE;
    evb_group_go(all);
    ck_assert_int_eq(listed(all), STREAMS);
    ck_assert(late->listed && last->listed);
}
END_TEST

/* ---- who is woken ---- */

static bool has_rung(void *times)
{
    return scripted_count(server, "XADD") >= *(int *)times;
}

/* One that the command under way does not know of: it is woken once. */
START_TEST(rings)
{
    static const char *const sizes[] = {"10"};
    char want[200];
    int once = 1;
    struct evb_groups *all = join_many(3, sizes, 1);
    group_at(1)->looked = group_at(2)->looked = false;
    ck_assert_str_eq(command(all), "t0 10 5000");
    evb_group_go(all);
    ck_assert(!all->rung);
    group_at(1)->looked = true;
    evb_group_go(all);
    ck_assert(all->rung);
    group_at(2)->looked = true;
    evb_group_go(all);
    go_round();
    ck_assert(run_until(base, has_rung, &once, suite_patience(20000)));
    snprintf(want, sizeof want, "XADD evbus:group:{0}@%s MAXLEN 1 * e ", evbus_node(bus));
    ck_assert_str_eq(scripted_last(server, "XADD"), want);
    ck_assert_str_eq(command(all), "t0 t1 t2 10 5000");
    ck_assert(!all->rung);
    ck_assert_int_eq(scripted_count(server, "XADD"), 1);
}
END_TEST

/* Nothing more is read for one without members: while the command that waits may bring it something,
 * that one is woken, once. */
START_TEST(stops_reading)
{
    static const char *const sizes[] = {"10"};
    int once = 1;
    struct evb_groups *all = join_many(2, sizes, 1);
    group_at(1)->looked = false;
    ck_assert_str_eq(command(all), "t0 10 5000");
    ck_assert(evb_group_stop_reading(group_at(1)));
    ck_assert(!all->rung);
    ck_assert(!evb_group_stop_reading(group_at(0)));
    ck_assert(all->rung);
    ck_assert(!evb_group_stop_reading(group_at(0)));
    go_round();
    ck_assert(run_until(base, has_rung, &once, suite_patience(20000)));
    all->link.state = EVB_BLOCKING_IDLE;
    ck_assert(evb_group_stop_reading(group_at(0)));
    group_at(0)->looked = false;
    group_at(1)->looked = true;
    ck_assert_str_eq(command(all), "t1 10 5000");
    ck_assert(evb_group_stop_reading(group_at(0)));
    ck_assert_int_eq(scripted_count(server, "XADD"), 1);
}
END_TEST

/* One without room wakes nobody, nor does anybody while the bus closes or reading fails. */
START_TEST(does_not_ring)
{
    static const char *const sizes[] = {"10"};
    struct evb_groups *all = join_many(2, sizes, 1);
    struct evb_member *member = evb_container(group_at(1)->members.next, struct evb_member, node);
    member->full = true;
    ck_assert_str_eq(command(all), "t0 10 5000");
    evb_group_go(all);
    ck_assert(!all->rung);
    member->full = false;
    all->stopping = true;
    evb_group_go(all);
    all->stopping = false;
    all->errors = 2;
    evb_group_go(all);
    ck_assert(!all->rung);
    all->link.state = EVB_BLOCKING_PAUSED;
    all->errors = 0;
    evb_group_go(all);
    ck_assert(!all->rung);
    ck_assert_int_eq(all->link.state, EVB_BLOCKING_PAUSED);
    all->link.state = EVB_BLOCKING_READING;
}
END_TEST

/* ---- answers ---- */

static void bring(const char *bytes)
{
    struct evb_groups *all = bus->groups;
    all->link.state = EVB_BLOCKING_IDLE;
    evb_group_link_hooks.answer(reply_of(bytes), all);
}

#define BELL_ENTRIES(entries) "*1\r\n*2\r\n$%zu\r\n%s\r\n" entries

START_TEST(bells_are_settled)
{
    char bytes[400], want[] = "bell:1-1:2-1 ";
    struct evb_group *group = join_queue(NULL, "group=g");
    const char *bell = group->all->wire.bell;
    snprintf(bytes, sizeof bytes,
             BELL_ENTRIES("*4\r\n" ONE("1-1", "0\r\n") ":5\r\n" ONE("2-1", "0\r\n") "*0\r\n"),
             strlen(bell), bell);
    bring(bytes);
    await_call(want);
    ck_assert_str_eq(called, want);
    snprintf(bytes, sizeof bytes, BELL_ENTRIES("*1\r\n:5\r\n"), strlen(bell), bell);
    bring(bytes);
    bring(bytes);
    await_reads(4);
    ck_assert_str_eq(called, want);
}
END_TEST

/* The rest is settled with the next ring; there is one at most where Redis is sane. */
START_TEST(bells_without_end)
{
    enum { RINGS = 1000 };
    struct evb_group *group = join_queue(NULL, "group=g");
    const char *bell = group->all->wire.bell;
    char *bytes = calloc(RINGS + 1, 40);
    sprintf(bytes, "*1\r\n*2\r\n$%zu\r\n%s\r\n*%d\r\n", strlen(bell), bell, RINGS);
    for (int i = 0; i < RINGS; i++)
        strcat(bytes, ONE("1-1", "0\r\n"));
    scripted_deafen(server, SCRIPTED_PUBLISHER, true); /* the command is longer than it reads */
    bring(bytes);
    ck_assert_int_eq(bus->redis.asks.count, 1);
    free(bytes);
}
END_TEST

static const char *const strange[] = {
    "*-1\r\n",
    "*0\r\n",
    "+OK\r\n",
    "*1\r\n:5\r\n",
    "*1\r\n*1\r\n$1\r\nx\r\n",
    "*1\r\n*2\r\n:1\r\n*0\r\n",
    "*1\r\n*2\r\n$34\r\n" KEY "\r\n$1\r\nx\r\n",
    "*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n:5\r\n",
    "*1\r\n*2\r\n$5\r\nother\r\n*1\r\n" ONE("1-1", GOOD),
};

/* It reads on. */
START_TEST(nothing_to_take)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    group->all->errors = 1;
    bring(strange[_i]);
    ck_assert_int_eq(group->all->errors, 0);
    await_reads(2);
    ck_assert(evb_group_is_empty(group));
    ck_assert_str_eq(called, "");
}
END_TEST

START_TEST(each_goes_to_its_group)
{
    static const char *const sizes[] = {"10"};
    char last[] = "t0 ";
    join_many(2, sizes, 1);
    bring("*2\r\n*2\r\n$33\r\nevbus:group:{0}:g:evbus:events:t1\r\n*2\r\n" ONE("1-1", GOOD) ONE(
        "2-1", GOOD) "*2\r\n$33\r\nevbus:group:{0}:g:evbus:events:t0\r\n*1\r\n" ONE("3-1", GOOD));
    await(last);
    expect("t1 t1 t0 ");
}
END_TEST

/* The largest one that came counts, less with every answer. */
START_TEST(sizes_are_remembered)
{
    enum { LARGE = 64 * 1024 };
    struct evb_group *group = join_queue("bytes=10MiB", "group=g");
    struct evb_groups *all = group->all;
    char *bytes = calloc(1, LARGE + 200);
    int head = sprintf(bytes,
                       "*1\r\n*2\r\n$34\r\n" KEY "\r\n*2\r\n:5\r\n*2\r\n$3\r\n1-1\r\n*2\r\n"
                       "$1\r\ne\r\n$%d\r\n",
                       LARGE);
    memset(bytes + head, ' ', LARGE);
    memcpy(bytes + head, "{}", 2);
    strcat(bytes, "\r\n");
    bring(bytes);
    ck_assert_int_eq(all->largest, LARGE);
    bring(ENTRY("2-1", GOOD));
    ck_assert_int_eq(all->largest, LARGE - LARGE / 64);
    all->largest = GUESS + 1;
    bring(ENTRY("3-1", GOOD));
    ck_assert_int_eq(all->largest, GUESS);
    free(bytes);
}
END_TEST

/* ---- errors ---- */

START_TEST(refused)
{
    int ok = 0;
    scripted_answer(server, "XREADGROUP", "-NOPERM no\r\n", 0);
    evbus_sub *one = join(&ok);
    expect_refused(one, EVBUS_EDENIED, "XREADGROUP is refused: NOPERM no");
    evbus_unsubscribe(one);
}
END_TEST

static const char *const gone[] = {"-NOGROUP No such key\r\n",
                                   "-UNBLOCKED the stream key no longer exists\r\n"};

/* Each announces itself anew; with the second error in a row that waits for the next beat. */
START_TEST(streams_have_gone)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    for (int i = 1; i <= 2; i++) {
        bring(gone[_i]);
        ck_assert_int_eq(group->state, EVB_GROUP_ASKED - (i > 1));
        ck_assert_int_eq(group->all->errors, i);
        await_answers(group);
        ck_assert_int_eq(group->state, i == 1 ? EVB_GROUP_STANDS : EVB_GROUP_OPEN);
    }
    ck_assert_int_eq(members, 2);
}
END_TEST

/* An error of other kinds is theirs who were asked for; the others announce themselves. */
START_TEST(whose_error_it_is)
{
    static const char *const sizes[] = {"10"};
    join_many(3, sizes, 1);
    group_at(0)->listed = true;
    group_at(1)->listed = group_at(2)->listed = false;
    evb_group_enter(group_at(2), EVB_GROUP_REFUSED, EVBUS_EREMOTE, "of old");
    bus->groups->errors = 1;
    bring("-WRONGTYPE x\r\n");
    ck_assert_int_eq(group_at(0)->state, EVB_GROUP_REFUSED);
    ck_assert_str_eq(group_at(0)->why, "XREADGROUP is refused: WRONGTYPE x");
    ck_assert_int_eq(group_at(1)->state, EVB_GROUP_OPEN);
    ck_assert_str_eq(group_at(2)->why, "of old");
}
END_TEST

/* ---- its connection ---- */

/* What an earlier one was given goes back before anything is read. */
START_TEST(comes_up)
{
    static const char *const sizes[] = {"10"};
    struct evb_groups *all = join_many(2, sizes, 1);
    int before = scripted_count(server, "XPENDING");
    evb_group_enter(group_at(1), EVB_GROUP_REFUSED, EVBUS_EREMOTE, "x");
    evb_group_link_hooks.up(all);
    ck_assert(!group_at(0)->looked && group_at(0)->looking);
    ck_assert(!group_at(1)->looked && !group_at(1)->looking);
    await_answers(group_at(0));
    ck_assert(group_at(0)->looked && !group_at(1)->looked);
    ck_assert_int_eq(scripted_count(server, "XPENDING"), before + 1);
}
END_TEST

/* After a frame that was too large entries come one by one. */
START_TEST(goes_down)
{
    static const char *const sizes[] = {"10"};
    struct evb_groups *all = join_many(2, sizes, 1);
    evb_group_link_hooks.down(EVBUS_EAWAY, "x", all);
    ck_assert_int_eq(all->largest, GUESS);
    evb_group_link_hooks.down(EVBUS_EPARSE, "x", all);
    ck_assert_str_eq(command(all), "t0 1 100");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group read");
    TCase *all = tcase_create("read");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, end);
    tcase_add_loop_test(all, as_many_as_one_answer_holds, 0, (int)EVB_COUNT(plans));
    tcase_add_loop_test(all, no_more_than_there_is_room_for, 0, (int)EVB_COUNT(counts));
    tcase_add_test(all, only_those_that_may);
    tcase_add_test(all, in_turn);
    tcase_add_test(all, rings);
    tcase_add_test(all, stops_reading);
    tcase_add_test(all, does_not_ring);
    tcase_add_test(all, bells_are_settled);
    tcase_add_test(all, bells_without_end);
    tcase_add_loop_test(all, nothing_to_take, 0, (int)EVB_COUNT(strange));
    tcase_add_test(all, each_goes_to_its_group);
    tcase_add_test(all, sizes_are_remembered);
    tcase_add_test(all, refused);
    tcase_add_loop_test(all, streams_have_gone, 0, (int)EVB_COUNT(gone));
    tcase_add_test(all, whose_error_it_is);
    tcase_add_test(all, comes_up);
    tcase_add_test(all, goes_down);
    suite_add_tcase(suite, all);
    return run(suite);
}
