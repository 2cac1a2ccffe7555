/* test_redis_heart.c - heartbeats on a clock of the test's own: what proves life, what proves
 * death. */
#include "clock.h"
#include "redis_heart.h"
#include "unit.h"
#include <stdio.h>

static struct evb_heart heart;
static struct evb_link publisher = {.name = "publisher"}, subscriber = {.name = "subscriber"};
static struct evb_subs subs;
static int64_t now_us;
static char why[200];

static int64_t clock_now(void)
{
    return now_us;
}

static void setup(void)
{
    now_us = 1000000;
    evb_clock_set(clock_now, clock_now);
    evb_heart_init(&heart, "evbus:inbox:1");
    why[0] = '\0';
}

static struct evb_reply reply_of(enum evb_reply_kind kind, long long integer, const char *text)
{
    return (struct evb_reply){
        .kind = kind, .integer = integer, .text = text, .length = strlen(text)};
}

static int answered(enum evb_reply_kind kind, long long integer)
{
    struct evb_reply reply = reply_of(kind, integer, "NOPERM no");
    return evb_heart_answered(&heart, &reply, why, sizeof why);
}

static bool arrived(const char *text)
{
    struct evb_reply reply = reply_of(EVB_REPLY_STRING, 0, text);
    return evb_heart_arrived(&heart, &reply);
}

static enum evb_verdict judge(void)
{
    return evb_heart_judge(&heart, &publisher, &subscriber, 2000, why, sizeof why);
}

START_TEST(replies_belong_by_their_place)
{
    evb_heart_hello(&heart, 2);
    evb_heart_fence(&heart, &publisher, 0);
    ck_assert(evb_heart_beat(&heart, &publisher, &subs, 5));
    static const struct {
        uint64_t answered;
        enum evb_control kind;
    } order[] = {{0, EVB_CONTROL_HELLO},
                 {0, EVB_CONTROL_HELLO},
                 {0, EVB_CONTROL_FENCE},
                 {5, EVB_CONTROL_ROLE},
                 {5, EVB_CONTROL_FENCE}};
    for (size_t i = 0; i < EVB_COUNT(order); i++) {
        ck_assert(!evb_heart_expects(&heart, order[i].answered + 1));
        ck_assert(evb_heart_expects(&heart, order[i].answered));
        ck_assert_int_eq(evb_heart_take(&heart), order[i].kind);
    }
    ck_assert(!evb_heart_expects(&heart, 5));
}
END_TEST

START_TEST(unanswered_beats_do_not_pile_up)
{
    int beats = 0;
    while (evb_heart_beat(&heart, &publisher, &subs, 0))
        ck_assert_int_lt(++beats, 10);
    ck_assert_int_ge(beats, 3);
    evb_heart_take(&heart);
    evb_heart_take(&heart);
    ck_assert(evb_heart_beat(&heart, &publisher, &subs, 0));
}
END_TEST

START_TEST(only_the_last_fence_proves)
{
    evb_heart_fence(&heart, &publisher, 0);
    int64_t first_us = heart.fence.sent_us;
    ck_assert(!arrived("fence:0"));
    ck_assert(!arrived("fence:11"));
    ck_assert(!arrived(""));
    ck_assert(arrived("fence:1"));
    ck_assert_int_eq(heart.fence.proven_us, first_us);
    now_us += 5000000;
    evb_heart_fence(&heart, &publisher, 0);
    ck_assert(!heart.fence.arrived);
    ck_assert(!arrived("fence:1"));
    ck_assert_int_eq(heart.fence.proven_us, first_us);
    evb_heart_reset(&heart);
    ck_assert_int_eq(heart.fence.proven_us, first_us); /* the gap begins there */
    evb_heart_fence(&heart, &publisher, 0);
    ck_assert(!arrived("fence:2")); /* of the connection before */
    ck_assert(arrived("fence:3"));
}
END_TEST

START_TEST(answers)
{
    evb_heart_fence(&heart, &publisher, 0);
    now_us += 1234;
    ck_assert_int_eq(answered(EVB_REPLY_INTEGER, 1), 0);
    ck_assert_int_eq(heart.rtt_us, 1234);
    ck_assert_int_eq(answered(EVB_REPLY_INTEGER, 0), EVBUS_EAWAY);
    ck_assert_ptr_nonnull(strstr(why, "same server"));
    ck_assert_int_eq(answered(EVB_REPLY_STATUS, 0), EVBUS_EPARSE);
    ck_assert(!heart.fence.refused);
    ck_assert_int_eq(answered(EVB_REPLY_ERROR, 0), 0);
    ck_assert(heart.fence.refused);
}
END_TEST

START_TEST(verdicts)
{
    evb_heart_beat(&heart, &publisher, &subs, 0);
    int64_t beat_us = heart.beat_us;
    now_us += 2000000;
    publisher.last_read_us = subscriber.last_read_us = beat_us - 1;
    ck_assert_int_eq(judge(), EVB_DEAD);
    ck_assert_str_eq(why, "publisher connection: no answer for 2001 ms"); /* whole ones */
    publisher.last_read_us = beat_us + 5;
    ck_assert_int_eq(judge(), EVB_DEAD);
    ck_assert_ptr_nonnull(strstr(why, "subscriber"));
    subscriber.last_read_us = beat_us + 5;
    ck_assert_int_eq(judge(), EVB_WAIT); /* a backlog stands in front of the fence's PUBLISH */
    answered(EVB_REPLY_INTEGER, 1);
    ck_assert_int_eq(judge(), EVB_WAIT);
    now_us += 1999000;
    ck_assert_int_eq(judge(), EVB_WAIT);
    now_us += 1000;
    ck_assert_int_eq(judge(), EVB_DEAD);
    ck_assert_ptr_nonnull(strstr(why, "does not arrive"));
    arrived("fence:1");
    ck_assert_int_eq(judge(), EVB_ALIVE);
}
END_TEST

START_TEST(without_the_right_to_a_fence)
{
    heart.fence.refused = true;
    ck_assert(evb_heart_beat(&heart, &publisher, &subs, 0));
    ck_assert_uint_eq(heart.fence.number, 0);
    publisher.last_read_us = subscriber.last_read_us = heart.beat_us;
    now_us += 60000000;
    ck_assert_int_eq(judge(), EVB_ALIVE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis heart");
    TCase *tests = unit_case(suite, "heart");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, replies_belong_by_their_place);
    tcase_add_test(tests, unanswered_beats_do_not_pile_up);
    tcase_add_test(tests, only_the_last_fence_proves);
    tcase_add_test(tests, answers);
    tcase_add_test(tests, verdicts);
    tcase_add_test(tests, without_the_right_to_a_fence);
    return unit_run(suite);
}
