/* test_group_member.c - a subscription as a member of a group: what may be one, what its handler's
 * answers mean, and who waits for it. */
#include "dead.h"
#include "err.h"
#include "group_fixture.h"
#include "harness/until.h"
#include <pthread.h>

/* ---- what may be one ---- */

static const struct {
    const char *type, *options, *why;
} refusals[] = {
    {"job", "group=a/b", "group=a/b: letters, digits and . _ - make its name"},
    {"job", "group=a:b", "group=a:b: letters, digits and . _ - make its name"},
    {"job", "group=\303\244", "letters, digits and . _ - make its name"},
    {"job.*", "group=g", "group with the pattern job.*: a group has one exact type"},
    {">", "group=g", "group with the pattern >: a group has one exact type"},
    {"evbus.gap", "group=g", "group: evbus.gap never leaves this process"},
};

START_TEST(may_not_be_one)
{
    const char *type = refusals[_i].type, *options = refusals[_i].options;
    ck_assert_ptr_null(evbus_subscribe(bus, type, options, on_event, NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), refusals[_i].why), "%s", evbus_last_error());
}
END_TEST

/* Its dead letters' type has to be one, too. */
START_TEST(how_long_a_type)
{
    char type[EVB_TYPE_MAX + 1];
    size_t most = EVB_TYPE_MAX - strlen(EVB_DEAD_SUFFIX);
    memset(type, 'x', sizeof type);
    type[most + 1] = '\0';
    ck_assert_ptr_null(evbus_subscribe(bus, type, "group=g", on_event, NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), ".dead have 255 bytes at most"), "%s",
                  evbus_last_error());
    type[most] = '\0';
    mine = evbus_subscribe(bus, type, "group=g", on_event, NULL);
    ck_assert_msg(mine != NULL, "%s", evbus_last_error());
}
END_TEST

/* Of a queue there is no handler. */
START_TEST(plans)
{
    evbus_sub *sub = evb_sub_new();
    evbus_event_fn fn = _i ? on_event : NULL;
    sub->fn = fn;
    ck_assert_int_eq(evb_group_plan(sub, "job", "A-z.0_9", 3, 64, _i), 0);
    ck_assert_ptr_eq(sub->member->sub, sub);
    ck_assert_str_eq(sub->member->group, "A-z.0_9");
    ck_assert_int_eq(sub->member->retries, 3);
    ck_assert_int_eq(sub->member->size, 64);
    ck_assert_int_eq(sub->member->by_hand, _i);
    ck_assert_ptr_null(sub->member->of);
    ck_assert(sub->member->fn == fn);
    ck_assert_int_eq(sub->fn != NULL, _i);
    ck_assert(sub->fn != on_event);
    ck_assert_int_eq(sub->scope, EVB_FROM_GROUP);
    ck_assert(sub->guarded);
    evb_group_free(sub->member);
    evb_group_free(NULL);
    evb_sub_unref(sub);
}
END_TEST

/* The n-th allocation fails: nothing is changed. */
START_TEST(no_memory)
{
    evbus_sub *sub = evb_sub_new();
    long before = failing_live();
    sub->fn = on_event;
    failing_at(_i, false);
    ck_assert_int_eq(evb_group_plan(sub, "job", "g", 3, 64, false), EVBUS_ENOMEM);
    ck_assert(failing_off());
    ck_assert_ptr_null(sub->member);
    ck_assert(sub->fn == on_event);
    ck_assert(!sub->guarded);
    ck_assert_int_eq(failing_live(), before);
    evb_sub_unref(sub);
}
END_TEST

/* ---- its handler ---- */

static struct evb_node hand;
static evbus_event *event;

static int call(evbus_sub *sub, evbus_event *of, void *user)
{
    (void)sub;
    (void)of;
    tell("called ");
    return *(int *)user;
}

static void answered(struct evb_hold *hold)
{
    if (hold->answer == EVB_ANSWER_FAILED)
        tell("%s:%lld ", hold->event ? "failed" : "dropped", (long long)hold->delay_ms);
    else
        tell("%s ", hold->answer == EVB_ANSWER_HANDLED ? "handled" : "not-called");
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
}

static struct evb_hold *give(void)
{
    event = evbus_event_new("job");
    struct evb_hold *hold = evb_hold_new(bus, event, "1-1", 1, answered);
    ck_assert_ptr_nonnull(hold);
    evb_list_init(&hand);
    evb_list_push(&hand, &hold->node);
    return hold;
}

static const struct {
    const char *options;
    int before, answer, result;
    const char *story, *later; /* when nobody holds the event any more */
} answers_of[] = {
    {"group=g", 0, 0, 0, "called handled ", ""},
    {"group=g", 0, 7, EVB_CALL_FAILED, "called failed:-1 ", ""},
    {"group=g", 0, -7, EVB_CALL_FAILED, "called failed:-1 ", ""},
    {"group=g", 0, EVB_CALL_NONE, EVB_CALL_FAILED, "called failed:-1 ", ""},
    {"group=g", 0, EVBUS_LATER, 0, "called ", "dropped:-1 "},
    {"group=g limit=2", 1, 0, 0, "called handled ", ""},
    {"group=g limit=2", 1, EVB_CALL_NONE, EVB_CALL_FAILED, "called failed:-1 ", ""},
    {"group=g limit=2", 1, EVBUS_LATER, 0, "called ", "dropped:-1 "},
    {"group=g limit=2", 2, 0, EVB_CALL_NONE, "not-called ", ""}, /* another member's */
};

START_TEST(what_its_answer_means)
{
    int rc = 0;
    join_handler(answers_of[_i].options, call, &rc);
    for (int i = 0; i < answers_of[_i].before; i++) {
        give();
        mine->fn(mine, event, mine->user);
        evbus_event_unref(event);
        go_round();
    }
    story[0] = '\0';
    rc = answers_of[_i].answer;
    give();
    ck_assert_int_eq(mine->fn(mine, event, mine->user), answers_of[_i].result);
    go_round();
    expect(answers_of[_i].story);
    evbus_event_unref(event);
    go_round();
    expect(answers_of[_i].later);
}
END_TEST

/* What was taken back meanwhile is somebody else's. */
START_TEST(too_late)
{
    int rc = 0;
    join_handler("group=g", call, &rc);
    struct evb_hold *hold = give();
    ck_assert(evb_hold_take_back(hold, false));
    ck_assert_int_eq(mine->fn(mine, event, mine->user), EVB_CALL_NONE);
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
    evbus_event_unref(event);
    go_round();
    expect("");
}
END_TEST

START_TEST(of_no_group)
{
    int rc = 0;
    join_handler("group=g", call, &rc);
    event = evbus_event_new("job");
    ck_assert_int_eq(mine->fn(mine, event, mine->user), EVB_CALL_NONE);
    evbus_event_unref(event);
    expect("");
}
END_TEST

/* ---- who waits ---- */

static const struct {
    enum evb_group_state state;
    int error;
    const char *why;
    int result;
    const char *sentence;
} waits[] = {
    {EVB_GROUP_STANDS, 0, NULL, 0, NULL},
    {EVB_GROUP_OPEN, 0, NULL, EVBUS_ETIMEDOUT,
     "group g of job: no answer of Redis within 0 ms (hybrid)"},
    {EVB_GROUP_ASKED, 0, NULL, EVBUS_ETIMEDOUT,
     "group g of job: no answer of Redis within 0 ms (hybrid)"},
    {EVB_GROUP_REFUSED, EVBUS_EDENIED, "NOPERM x", EVBUS_EDENIED, "group g of job: NOPERM x"},
    {EVB_GROUP_REFUSED, EVBUS_ENOTSUP, "y", EVBUS_ENOTSUP, "group g of job: y"},
};

START_TEST(waits_for_it)
{
    int rc = 0;
    evb_group_enter(join_handler("group=g", call, &rc), waits[_i].state, waits[_i].error,
                    waits[_i].why);
    ck_assert_int_eq(evb_group_wait(mine, 0), waits[_i].result);
    if (waits[_i].sentence)
        ck_assert_str_eq(evbus_last_error(), waits[_i].sentence);
}
END_TEST

START_TEST(has_failed)
{
    int rc = 0;
    join_handler("group=g", call, &rc);
    evb_member_fail(mine->member, EVBUS_ENOMEM, "out of memory");
    ck_assert_int_eq(evb_group_wait(mine, -1), EVBUS_ENOMEM);
    ck_assert_str_eq(evbus_last_error(), "group g of job: out of memory");
    evb_member_show(mine->member); /* as its group is */
    ck_assert_int_eq(evb_group_wait(mine, -1), 0);
}
END_TEST

START_TEST(is_over)
{
    int rc = 0;
    evb_group_enter(join_handler("group=g", call, &rc), _i, 0, NULL);
    evb_sub_end(mine);
    ck_assert_int_eq(evb_group_wait(mine, -1), EVBUS_ECLOSED);
    ck_assert_str_eq(evbus_last_error(), "the subscription is over");
}
END_TEST

static atomic_int waiting;

static void *wait_long(void *result)
{
    atomic_fetch_add(&waiting, 1);
    *(int *)result = evb_group_wait(mine, -1);
    return NULL;
}

static void stand(struct evb_group *group)
{
    evb_group_enter(group, EVB_GROUP_STANDS, 0, NULL);
}

static void refuse(struct evb_group *group)
{
    evb_group_enter(group, EVB_GROUP_ASKED, 0, NULL);
    evb_group_enter(group, EVB_GROUP_REFUSED, EVBUS_EDENIED, "x");
}

static void lack(struct evb_group *group)
{
    (void)group;
    evb_member_fail(mine->member, EVBUS_ENOMEM, "x");
}

static void finish(struct evb_group *group)
{
    (void)group;
    evb_sub_end(mine);
}

static const struct {
    void (*does)(struct evb_group *group);
    int result;
} wakes[] = {{stand, 0}, {refuse, EVBUS_EDENIED}, {lack, EVBUS_ENOMEM}, {finish, EVBUS_ECLOSED}};

/* However many wait. */
START_TEST(wakes_who_waits)
{
    enum { WAITERS = 4 };
    int rc = 0, result[WAITERS];
    pthread_t thread[WAITERS];
    struct evb_group *group = join_handler("group=g", call, &rc);
    evb_group_enter(group, EVB_GROUP_OPEN, 0, NULL);
    for (int i = 0; i < WAITERS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, wait_long, &result[i]), 0);
    ck_assert(until_count(&waiting, WAITERS, 20000));
    wakes[_i].does(group);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(result[i], wakes[_i].result);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group member");
    TCase *all = tcase_create("member");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown_group);
    tcase_add_loop_test(all, may_not_be_one, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(all, how_long_a_type);
    tcase_add_loop_test(all, plans, 0, 2);
    tcase_add_loop_test(all, no_memory, 0, 2);
    tcase_add_loop_test(all, what_its_answer_means, 0, (int)EVB_COUNT(answers_of));
    tcase_add_test(all, too_late);
    tcase_add_test(all, of_no_group);
    tcase_add_loop_test(all, waits_for_it, 0, (int)EVB_COUNT(waits));
    tcase_add_test(all, has_failed);
    tcase_add_loop_test(all, is_over, 0, EVB_GROUP_REFUSED + 1);
    tcase_add_loop_test(all, wakes_who_waits, 0, (int)EVB_COUNT(wakes));
    suite_add_tcase(suite, all);
    return run(suite);
}
