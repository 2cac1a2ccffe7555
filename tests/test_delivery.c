/* test_delivery.c - an event in somebody's hand: the first answer counts, whoever gives it, and
 * silence is an answer. */
#include "delivery.h"
#include "bus_fixture.h"

static struct evb_node hand;
static struct evb_hold *hold;
static evbus_event *event;

static void answered(struct evb_hold *of)
{
    tell("%s:%lld%s ", of->entry, (long long)of->delay_ms,
         of->answer == EVB_ANSWER_HANDLED  ? "ok"
         : of->answer == EVB_ANSWER_FAILED ? of->event ? "failed" : "dropped"
                                           : "idle");
    evb_list_remove(&of->node);
    evb_hold_unref(of);
}

static void give(void)
{
    event = evbus_event_new("job");
    hold = evb_hold_new(bus, event, "1-1", 3, answered);
    ck_assert_ptr_nonnull(hold);
    evb_list_push(&hand, &hold->node);
}

static void setup_hold(void)
{
    setup();
    bus = open_on(0, NULL);
    evb_list_init(&hand);
    give();
}

START_TEST(the_first_answer_counts)
{
    ck_assert_int_eq(evbus_event_attempt(event), 3);
    ck_assert(event->delivery->door->begin(event->delivery));
    ck_assert(!event->delivery->door->begin(event->delivery));
    ck_assert(!evb_hold_take_back(hold, false));
    ck_assert_int_eq(evbus_event_ack(event), 0);
    ck_assert_int_eq(evbus_event_nack(event, 0), EVBUS_ENOENT);
    ck_assert_msg(strstr(evbus_last_error(), "answered already"), "%s", evbus_last_error());
    expect("");
    turn();
    expect("1-1:0ok ");
    evbus_event_unref(event);
    turn();
    expect("");
}
END_TEST

START_TEST(failures_keep_the_event)
{
    ck_assert_int_eq(evbus_event_nack(event, -2), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_event_nack(event, 70), 0);
    evbus_event_unref(event);
    turn();
    expect("1-1:70failed ");
}
END_TEST

/* Let go of without a word: not begun, it is nobody's try. */
START_TEST(silence)
{
    if (_i)
        event->delivery->door->begin(event->delivery);
    evbus_event_unref(event);
    turn();
    expect(_i ? "1-1:-1dropped " : "1-1:0idle ");
}
END_TEST

START_TEST(taken_back)
{
    ck_assert(!evb_hold_has_begun(hold));
    ck_assert(evb_hold_take_back(hold, false));
    ck_assert(!event->delivery->door->begin(event->delivery));
    ck_assert_int_eq(evbus_event_ack(event), EVBUS_ENOENT);
    ck_assert_msg(strstr(evbus_last_error(), "given back"), "%s", evbus_last_error());
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
    evbus_event_unref(event);
    turn();
    expect("");
}
END_TEST

/* It outlives its bus. */
START_TEST(the_bus_has_gone)
{
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
    evbus_free(bus);
    bus = NULL;
    ck_assert_int_eq(evbus_event_ack(event), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_event_nack(event, 0), EVBUS_ECLOSED);
    ck_assert_int_eq(evbus_event_attempt(event), 3);
    evbus_event_unref(event);
}
END_TEST

/* The answer is on its way when the bus ends. */
START_TEST(the_bus_goes)
{
    ck_assert_int_eq(_i ? evbus_event_ack(event) : evbus_event_nack(event, 0), 0);
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
    evbus_event_unref(event);
    evbus_free(bus);
    bus = NULL;
    expect("");
}
END_TEST

START_TEST(others)
{
    evbus_event *plain = evbus_event_new("job");
    ck_assert_int_eq(evbus_event_attempt(plain), 1);
    ck_assert_int_eq(evbus_event_attempt(NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_event_ack(plain), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_event_nack(NULL, 0), EVBUS_EINVAL);
    evbus_event_unref(plain);
    failing_at(0, false);
    ck_assert_ptr_null(evb_hold_of(bus, "2-2"));
    ck_assert(failing_off());
    evbus_event_unref(event);
    turn();
    story[0] = '\0';
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("delivery");
    TCase *all = tcase_create("delivery");
    tcase_add_checked_fixture(all, setup_hold, teardown);
    tcase_add_test(all, the_first_answer_counts);
    tcase_add_test(all, failures_keep_the_event);
    tcase_add_loop_test(all, silence, 0, 2);
    tcase_add_test(all, taken_back);
    tcase_add_test(all, the_bus_has_gone);
    tcase_add_loop_test(all, the_bus_goes, 0, 2);
    tcase_add_test(all, others);
    suite_add_tcase(suite, all);
    return run(suite);
}
