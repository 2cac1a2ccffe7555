/* test_group_hand_tell.c - what Redis is told of what members had in hand: in which commands, and
 * what becomes of it where Redis does not take it now. */
#include "group_fixture.h"

static const struct kind { /* of what is to be told */
    size_t list, told;
    const char *call;
} kinds[] = {
    {offsetof(struct evb_group, acks), offsetof(struct evb_group, told_acks), "tell:1-1:2-1 "},
    {offsetof(struct evb_group, backs), offsetof(struct evb_group, told_backs),
     "tell:1-1:0:2-1:3 "},
};

enum { KINDS = 2 };

static struct evb_node *list_at(size_t offset)
{
    return (struct evb_node *)(void *)((char *)the_group() + offset);
}

/* Two that are to be told. */
static void put_two(const struct kind *kind)
{
    put_hold(list_at(kind->list), "1-1");
    put_hold(list_at(kind->list), "2-1")->more = 3;
}

static const struct {
    const char *answer;
    bool settled, again;
    int error;
} answers_to[] = {
    {":2\r\n", true, false, 0},
    {":0\r\n", true, false, 0}, /* somebody has taken them over */
    {"-NOSCRIPT No matching script\r\n", false, true, 0},
    {"-BUSY Redis is busy\r\n", false, false, 0},
    {"-NOPERM no\r\n", false, false, EVBUS_EDENIED},
    {"-WRONGTYPE x\r\n", false, false, EVBUS_EREMOTE},
    {"+OK\r\n", false, false, 0},
};

/* What is not settled is told again, in its order: at once where that helps. */
START_TEST(tells)
{
    const struct kind *kind = &kinds[_i % KINDS];
    int i = _i / KINDS;
    struct evb_group *group = join_queue(NULL, "group=g");
    answer_script(TELL, answers_to[i].answer, 1);
    put_two(kind);
    evb_group_send(group);
    ck_assert_int_eq(length_of(list_at(kind->told)), 2);
    await_answers(group);
    ck_assert_int_eq(group->error, answers_to[i].error);
    if (!answers_to[i].settled && !answers_to[i].again) {
        ck_assert_int_eq(length_of(list_at(kind->list)), 2);
        ck_assert_str_eq(called, kind->call);
        evb_group_send(group);
        await_answers(group);
    }
    ck_assert_int_eq(strncmp(called, kind->call, strlen(kind->call)), 0);
    ck_assert_str_eq(called + strlen(kind->call), answers_to[i].settled ? "" : kind->call);
    ck_assert(evb_group_is_empty(group));
    ck_assert_int_eq(evbus_stat(bus, "group_acks"), _i % KINDS ? 0 : 2);
}
END_TEST

static void on_done(void *user)
{
    (void)user;
    tell("done ");
}

static const struct {
    const char *answer;
    bool again;
} last_answers[] = {{":2\r\n", false}, {"-NOPERM no\r\n", false}, {"-NOSCRIPT x\r\n", true}};

/* Who closes the bus does not wait for a right, but for an answer. */
START_TEST(tells_at_the_end)
{
    char done[] = "done ";
    const struct kind *kind = &kinds[_i % KINDS];
    int i = _i / KINDS;
    struct evb_group *group = join_queue(NULL, "group=g");
    answer_script(TELL, last_answers[i].answer, 1);
    put_two(kind);
    group->all->link.state = EVB_BLOCKING_IDLE;
    group->leaving = true; /* it waits for nothing else */
    group->all->done = on_done;
    evb_group_send(group);
    evb_group_send_soon(group->all);
    expect("");
    await(done);
    ck_assert(evb_group_is_empty(group));
    ck_assert_str_eq(called + strlen(kind->call), last_answers[i].again ? kind->call : "");
    ck_assert_int_eq(evbus_stat(bus, "group_acks"), kind == kinds && i != 1 ? 2 : 0);
}
END_TEST

static const struct {
    int entries, commands;
} batches[] = {{255, 1}, {256, 1}, {257, 2}, {513, 3}};

START_TEST(tells_in_batches)
{
    char entry[EVB_ENTRY_ID];
    const struct kind *kind = &kinds[_i % KINDS];
    struct evb_group *group = join_queue(NULL, "group=g");
    for (int i = 1; i <= batches[_i / KINDS].entries; i++) {
        snprintf(entry, sizeof entry, "%d-1", i);
        put_hold(list_at(kind->list), entry);
    }
    scripted_deafen(server, SCRIPTED_PUBLISHER, true); /* commands are longer than it reads */
    evb_group_send(group);
    ck_assert_int_eq(group->asks, batches[_i / KINDS].commands);
    ck_assert_int_eq(length_of(list_at(kind->told)), batches[_i / KINDS].entries);
}
END_TEST

/* The answer is lost with the connection: Redis may or may not have done it, and is told again. */
START_TEST(answer_is_lost)
{
    const struct kind *kind = &kinds[_i];
    char call[40];
    snprintf(call, sizeof call, "%s", kind->call);
    struct evb_group *group = join_queue(NULL, "group=g");
    answer_script(TELL, "", 1);
    put_two(kind);
    evb_group_send(group);
    await_call(call);
    cut();
    ck_assert_int_eq(group->asks, 0);
    ck_assert_int_eq(length_of(list_at(kind->list)), 2);
    called[0] = '\0';
    evb_group_send(group); /* nobody is there */
    ck_assert_int_eq(group->asks, 0);
    ck_assert_int_eq(length_of(list_at(kind->list)), 2);
    scripted_listen(server, true);
    await_call(call);
    await_answers(group);
    ck_assert_str_eq(called, call);
    ck_assert(evb_group_is_empty(group));
}
END_TEST

/* Who closes the bus waits no longer then; what may not have been told is kept for what comes. */
START_TEST(answer_is_lost_at_the_end)
{
    const struct kind *kind = &kinds[_i];
    struct evb_group *group = join_queue(NULL, "group=g");
    answer_script(TELL, "", 1);
    put_two(kind);
    group->all->done = on_done;
    evb_group_send(group);
    cut();
    go_round();
    expect("done ");
    ck_assert_int_eq(length_of(list_at(kind->list)), 2);
}
END_TEST

/* The connection is there, but not what comes first on it. */
START_TEST(not_yet)
{
    const struct kind *kind = &kinds[_i];
    struct evb_group *group = join_queue(NULL, "group=g");
    put_two(kind);
    atomic_store(&bus->redis.state, EVB_REDIS_HANDSHAKE);
    evb_group_send(group);
    ck_assert_int_eq(group->asks, 0);
    ck_assert_int_eq(length_of(list_at(kind->list)), 2);
    atomic_store(&bus->redis.state, EVB_REDIS_READY);
}
END_TEST

/* The n-th allocation fails: it stays to be told, and is told on this connection or the next. */
START_TEST(no_memory_to_tell)
{
    const struct kind *kind = &kinds[_i % KINDS];
    char call[40];
    snprintf(call, sizeof call, "%s", kind->call);
    struct evb_group *group = join_queue(NULL, "group=g");
    put_two(kind);
    failing_at(_i / KINDS, false);
    evb_group_send(group);
    ck_assert(failing_off());
    ck_assert_int_eq(group->asks, 0);
    ck_assert_int_eq(length_of(list_at(kind->list)), 2);
    evb_group_send_soon(group->all);
    await_call(call);
    await_answers(group);
    ck_assert(evb_group_is_empty(group));
}
END_TEST

/* What several answers of one round bring goes in one command. */
START_TEST(once_a_round)
{
    char call[] = "tell:1-1:2-1 ";
    struct evb_group *group = join_queue(NULL, "group=g");
    put_hold(&group->acks, "1-1");
    evb_group_send_soon(group->all);
    ck_assert(bus->group_send_posted);
    put_hold(&group->acks, "2-1");
    evb_group_send_soon(group->all);
    ck_assert_str_eq(called, "");
    await_call(call);
    await_answers(group);
    ck_assert_str_eq(called, call);
    ck_assert(!bus->group_send_posted);
}
END_TEST

/* The bus ends first. */
START_TEST(nobody_is_left)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    put_two(&kinds[_i]);
    evb_group_send_soon(group->all);
    evbus_free(bus);
    bus = NULL;
    ck_assert_str_eq(called, "");
}
END_TEST

/* One that begins to read, or waits for room, is looked at with the same job. */
START_TEST(reads_on)
{
    struct evb_group *group = join_queue(NULL, "group=g");
    group->all->link.state = EVB_BLOCKING_IDLE;
    evb_group_send_soon(group->all);
    await_reads(2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group hand, telling");
    TCase *all = tcase_create("tell");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_loop_test(all, tells, 0, KINDS * (int)EVB_COUNT(answers_to));
    tcase_add_loop_test(all, tells_at_the_end, 0, KINDS * (int)EVB_COUNT(last_answers));
    tcase_add_loop_test(all, tells_in_batches, 0, KINDS * (int)EVB_COUNT(batches));
    tcase_add_loop_test(all, answer_is_lost, 0, KINDS);
    tcase_add_loop_test(all, answer_is_lost_at_the_end, 0, KINDS);
    tcase_add_loop_test(all, not_yet, 0, KINDS);
    tcase_add_loop_test(all, no_memory_to_tell, 0, 2 * KINDS);
    tcase_add_test(all, once_a_round);
    tcase_add_loop_test(all, nobody_is_left, 0, KINDS);
    tcase_add_test(all, reads_on);
    suite_add_tcase(suite, all);
    return run(suite);
}
