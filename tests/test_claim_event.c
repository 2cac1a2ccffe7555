/* test_claim_event.c - the bounds of what waits for its claim: who gives way, what is counted. */
#include "claim_fixture.h"
#include "bus.h"
#include "claim_event.h"

static evbus_sub *sub;
static int rc;

static int on_claimed(evbus_sub *one, evbus_event *event, void *user)
{
    (void)one;
    (void)user;
    tell("%s ", evbus_event_type(event));
    return rc;
}

static void claim(const char *options)
{
    sub = evbus_subscribe(bus, "t.*", options, on_claimed, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
}

static void finish(void)
{
    evbus_unsubscribe(sub);
    sub = NULL;
    end();
}

static const struct {
    const char *options, *story;
    int dropped;
} bounds[] = {
    {"claim=c size=3 full=drop-oldest", "t.c t.d t.e ", 2},
    {"claim=c size=3 full=drop-newest", "t.a t.b t.c ", 2},
    {"claim=c size=3 full=lag", "t.c t.d t.e ", 2}, /* without history that is drop-oldest */
    {"claim=c size=5", "t.a t.b t.c t.d t.e ", 0},
    {"claim=c bytes=1", "", 5},
};

START_TEST(bounded)
{
    static const char *const types[] = {"t.a", "t.b", "t.c", "t.d", "t.e"};
    char last[] = "claims_won=5";
    begin();
    claim(bounds[_i].options);
    for (size_t i = 0; i < EVB_COUNT(types); i++)
        publish_id(types[i]);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 5 - bounds[_i].dropped);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), bounds[_i].dropped);
    ck_assert_int_le(evbus_sub_stat(sub, "peak"), 5 - bounds[_i].dropped);
    last[strlen(last) - 1] = (char)('5' - bounds[_i].dropped);
    await_stat(last);
    run_for(base, 5);
    expect(bounds[_i].story);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    finish();
}
END_TEST

/* What somebody else has in progress gives way first. */
START_TEST(others_give_way)
{
    char last[] = "t.d ";
    begin();
    claim("claim=c size=3 full=drop-oldest");
    set_key("evbus:claim:c:t.b", "other");
    publish_id("t.b");
    run_for(base, 10);
    publish_id("t.a");
    publish_id("t.c");
    publish_id("t.d");
    await(last);
    set_key("evbus:claim:c:t.b", "");
    run_for(base, 100);
    expect("t.a t.c t.d ");
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 1);
    finish();
}
END_TEST

/* While it is in progress elsewhere it takes its room: the subscription is slow, until it is well. */
START_TEST(slow)
{
    char won[] = "claims_won=2";
    begin();
    claim("claim=c size=2 full=drop-newest");
    set_key("evbus:claim:c:t.a", "other");
    set_key("evbus:claim:c:t.b", "other");
    publish_id("t.a");
    publish_id("t.b");
    publish_id("t.c");
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 1);
    run_for(base, 10);
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 1);
    set_key("evbus:claim:c:t.a", "");
    set_key("evbus:claim:c:t.b", "");
    await_stat(won);
    run_for(base, 5);
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 0);
    finish();
}
END_TEST

/* The order of those that go back is that in which they came. */
START_TEST(order)
{
    struct evb_claim *a, *b;
    begin();
    claim("claim=c");
    struct evb_claim_sub *claims = sub->claims;
    publish_id("t.a");
    publish_id("t.b");
    publish_id("t.c");
    a = evb_claim_take(claims, &claims->fresh, EVB_CLAIM_ASKED);
    b = evb_claim_take(claims, &claims->fresh, EVB_CLAIM_ASKED);
    ck_assert_int_eq(claims->hand_count, 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 3); /* they wait yet */
    evb_claim_move_back(b);
    evb_claim_move_back(a);
    ck_assert_int_eq(claims->hand_count, 0);
    ck_assert_ptr_eq(evb_claim_take(claims, &claims->fresh, EVB_CLAIM_PARKED), a);
    ck_assert_ptr_eq(evb_claim_take(claims, &claims->fresh, EVB_CLAIM_PARKED), b);
    evb_claim_unpark(claims);
    ck_assert_int_eq(evb_claim_state_of(a), EVB_CLAIM_FRESH);
    ck_assert_ptr_null(evb_claim_take_due(claims, INT64_MAX));
    ck_assert_int_eq(evb_claim_next_due_ms(claims), INT64_MAX);
    char last[] = "t.c ";
    await(last);
    expect("t.a t.b t.c ");
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claim_event");
    TCase *tests = tcase_create("claim_event");
    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_loop_test(tests, bounded, 0, (int)EVB_COUNT(bounds));
    tcase_add_test(tests, others_give_way);
    tcase_add_test(tests, slow);
    tcase_add_test(tests, order);
    return run(suite);
}
