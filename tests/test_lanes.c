/* test_lanes.c - events by key: in order within one, side by side otherwise, and the bounds. */
#include "config.h"
#include "lanes.h"
#include "unit.h"
#include <evbus.h>

enum { KEYS = 7, STEPS = 20000, IN_HAND = 5 };

static struct evb_lanes *lanes;
static bool ready;

static void open_lanes(const char *key, int64_t max_events, int full)
{
    lanes = evb_lanes_new(key, max_events, 1 << 20, full);
    ck_assert_ptr_nonnull(lanes);
}

static void close_lanes(void)
{
    evb_lanes_free(lanes);
    lanes = NULL;
}

/* A numbered event of a numbered key; how many were dropped. */
static int push(int number, uint64_t key)
{
    evbus_event *event = event_of("t", 0);
    event->seq = (uint64_t)number;
    return evb_lanes_push(lanes, event, key, &ready);
}

/* Its number; 0: none. */
static int take(struct evb_lane_item **item)
{
    *item = evb_lanes_take(lanes);
    return *item ? (int)(*item)->event->seq : 0;
}

/* True: several can be taken that could not before. */
static bool done(struct evb_lane_item *item)
{
    evbus_event_unref(item->event);
    return evb_lanes_done(lanes, item);
}

/* ---- keys ---- */

static evbus_event *keyed(const char *type, const char *correlation, const char *source,
                          const char *user)
{
    evbus_event *event = evbus_event_new(type);
    ck_assert_int_eq(evbus_event_set_correlation(event, correlation), 0);
    if (source)
        ck_assert_int_eq(evbus_event_set_source(event, source), 0);
    if (user)
        ck_assert_int_eq(evbus_event_set_attr(event, "userId", user), 0);
    return event;
}

/* Which of four events have one key: events of a letter do. */
static const struct {
    const char *key, *letters;
} choices[] = {
    {NULL, "aabb"},          {"type", "aabb"},       {"correlation", "abca"}, {"source", "abaa"},
    {"attr:userId", "abba"}, {"attr:other", "aaaa"}, {"all", "aaaa"},         {"TYPE", "aabb"},
};

START_TEST(events_of_a_key)
{
    evbus_event *events[] = {
        keyed("t.a", "x", NULL, "u1"),
        keyed("t.a", "y", "s1", "u2"),
        keyed("t.b", "z", NULL, "u2"),
        keyed("t.b", "x", NULL, "u1"),
    };
    open_lanes(choices[_i].key, 10, EVB_FULL_DROP_OLDEST);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            ck_assert_int_eq(evb_lanes_key(lanes, events[a]) == evb_lanes_key(lanes, events[b]),
                             choices[_i].letters[a] == choices[_i].letters[b]);
    for (int i = 0; i < 4; i++)
        evbus_event_unref(events[i]);
    close_lanes();
}
END_TEST

START_TEST(no_attribute_is_one_key)
{
    evbus_event *without = keyed("t", "x", NULL, NULL), *other = keyed("u", "y", NULL, NULL),
                *with = keyed("t", "x", NULL, "u1"), *empty = keyed("t", "x", NULL, "");
    open_lanes("attr:userId", 10, EVB_FULL_DROP_OLDEST);
    ck_assert_uint_eq(evb_lanes_key(lanes, without), evb_lanes_key(lanes, other));
    ck_assert_uint_eq(evb_lanes_key(lanes, without), evb_lanes_key(lanes, empty));
    ck_assert_uint_ne(evb_lanes_key(lanes, without), evb_lanes_key(lanes, with));
    evbus_event_unref(without);
    evbus_event_unref(other);
    evbus_event_unref(with);
    evbus_event_unref(empty);
    close_lanes();
}
END_TEST

START_TEST(bad_key)
{
    static const char *const bad[] = {"",      "typ",     "types",      "attr",
                                      "attr:", "user id", "type,source"};
    char longest[300] = "attr:";
    memset(longest + 5, 'n', 256);
    for (size_t i = 0; i < EVB_COUNT(bad); i++) {
        ck_assert_ptr_null(evb_lanes_new(bad[i], 10, 10, EVB_FULL_DROP_OLDEST));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
        ck_assert_ptr_nonnull(strstr(evbus_last_error(), "attr:"));
    }
    ck_assert_ptr_null(evb_lanes_new(longest, 10, 10, EVB_FULL_DROP_OLDEST));
    longest[5 + 255] = '\0';
    open_lanes(longest, 10, EVB_FULL_DROP_OLDEST);
    close_lanes();
}
END_TEST

/* ---- taking ---- */

START_TEST(one_of_a_key_at_a_time)
{
    struct evb_lane_item *a, *b, *none;
    open_lanes("type", 10, EVB_FULL_DROP_OLDEST);
    push(1, 'a');
    ck_assert(ready);
    push(2, 'a');
    ck_assert(!ready);
    push(3, 'b');
    ck_assert(ready);
    ck_assert_int_eq(take(&a), 1);
    ck_assert_int_eq(take(&b), 3);
    ck_assert_int_eq(take(&none), 0);
    push(4, 'b'); /* its key is busy */
    ck_assert(!ready);
    ck_assert_int_eq(take(&none), 0);
    done(b);
    ck_assert_int_eq(take(&b), 4);
    done(a);
    ck_assert_int_eq(take(&a), 2);
    ck_assert_int_eq(take(&none), 0);
    done(a);
    done(b);
    ck_assert_int_eq(lanes->count, 0);
    ck_assert_int_eq(lanes->peak, 3);
    ck_assert_uint_eq(lanes->key_count, 0);
    push(5, 'a'); /* forgotten, so it is first again */
    ck_assert(ready);
    close_lanes();
}
END_TEST

START_TEST(keys_in_turn)
{
    static const int wanted[] = {1, 4, 2, 5, 3, 6};
    struct evb_lane_item *item;
    open_lanes("type", 10, EVB_FULL_DROP_OLDEST);
    for (int i = 1; i <= 6; i++)
        push(i, i <= 3 ? 'a' : 'b');
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(take(&item), wanted[i]);
        done(item);
    }
    close_lanes();
}
END_TEST

START_TEST(no_keys)
{
    struct evb_lane_item *items[10];
    open_lanes("none", 10, EVB_FULL_DROP_OLDEST);
    for (int i = 1; i <= 10; i++) {
        push(i, 0);
        ck_assert(ready);
    }
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(take(&items[i]), i + 1); /* all at once */
    for (int i = 9; i >= 0; i--)
        done(items[i]);
    for (int i = 1; i <= 12; i++)
        ck_assert_int_eq(push(i, 0), i > 10);
    ck_assert_int_eq(take(&items[0]), 3);
    done(items[0]);
    close_lanes();
}
END_TEST

/* ---- bounds ---- */

START_TEST(drops_the_oldest)
{
    struct evb_lane_item *a, *b;
    open_lanes("type", 3, EVB_FULL_DROP_OLDEST);
    push(1, 'a');
    push(2, 'b');
    push(3, 'a');
    ck_assert_int_eq(push(4, 'b'), 1); /* 1: 3 is in its place */
    ck_assert_int_eq(take(&a), 3);
    ck_assert_int_eq(push(5, 'a'), 0); /* what is in hand does not count */
    ck_assert_int_eq(take(&b), 2);
    ck_assert_int_eq(push(6, 'b'), 0);
    ck_assert_int_eq(push(7, 'b'), 1); /* 4, behind the one in hand */
    ck_assert_int_eq(push(8, 'a'), 1); /* 5: then a waits for nothing but 8 */
    ck_assert_int_eq(lanes->count, 3);
    done(b);
    ck_assert_int_eq(take(&b), 6);
    done(a);
    ck_assert_int_eq(take(&a), 8);
    done(a);
    done(b);
    ck_assert_int_eq(take(&b), 7);
    done(b);
    ck_assert_int_eq(lanes->count, 0);
    ck_assert_int_eq(lanes->bytes, 0);
    close_lanes();
}
END_TEST

START_TEST(drops_the_newest)
{
    struct evb_lane_item *item;
    open_lanes("type", 2, EVB_FULL_DROP_NEWEST);
    ck_assert_int_eq(push(1, 'a') + push(2, 'b'), 0);
    ck_assert_int_eq(push(3, 'c'), 1);
    ck_assert(!ready);
    ck_assert_int_eq(take(&item), 1);
    done(item);
    ck_assert_int_eq(push(4, 'c'), 0);
    ck_assert_int_eq(take(&item), 2);
    done(item);
    ck_assert_int_eq(take(&item), 4);
    done(item);
    close_lanes();
}
END_TEST

START_TEST(counts_bytes)
{
    evbus_event *large = event_of("t", 2000);
    struct evb_lane_item *item;
    open_lanes("type", 1000, EVB_FULL_DROP_OLDEST);
    lanes->max_bytes = large->size - 1;
    push(1, 'a');
    push(2, 'a');
    int64_t each = lanes->bytes / 2;
    ck_assert_int_eq(evb_lanes_push(lanes, large, 'a', &ready), 1); /* the others may stay */
    ck_assert_int_eq(lanes->count, 2);
    lanes->max_bytes = 3 * each;
    ck_assert_int_eq(push(3, 'b'), 0);
    ck_assert_int_eq(push(4, 'b'), 1);
    ck_assert_int_eq(lanes->bytes, 3 * each);
    ck_assert_int_eq(take(&item), 2);
    done(item);
    close_lanes();
}
END_TEST

START_TEST(closed)
{
    struct evb_lane_item *item;
    open_lanes("type", 2, EVB_FULL_DROP_OLDEST);
    push(1, 'a');
    push(2, 'b');
    lanes->closed = true;
    ck_assert_int_eq(push(3, 'c'), 1); /* none of those that wait */
    ck_assert_int_eq(take(&item), 1);
    ck_assert_int_eq(push(4, 'c'), 1);
    done(item);
    ck_assert_int_eq(lanes->count, 1);
    close_lanes();
}
END_TEST

/* ---- against a model: an array of what waits, and the keys in hand ---- */

struct model {
    struct {
        int number, key;
    } waiting[64];
    int count;
    bool busy[KEYS];
};

static void model_remove(struct model *model, int at)
{
    memmove(&model->waiting[at], &model->waiting[at + 1],
            (size_t)(model->count - at - 1) * sizeof model->waiting[0]);
    model->count--;
}

static void model_push(struct model *model, int number, int key, bool oldest)
{
    bool is_full = model->count == (int)lanes->max_events;
    ck_assert_int_eq(push(number, (uint64_t)key * 16), is_full); /* all keys in one bucket */
    if (is_full && !oldest)
        return;
    if (is_full)
        model_remove(model, 0);
    model->waiting[model->count].number = number;
    model->waiting[model->count++].key = key;
}

/* What was taken is the oldest of its key, which was free; nothing means that no key was. */
static struct evb_lane_item *model_take(struct model *model)
{
    struct evb_lane_item *item;
    int number = take(&item), at = 0;
    for (; number && model->waiting[at].number != number; at++)
        ck_assert_int_lt(at, model->count);
    int key = number ? model->waiting[at].key : -1;
    for (int i = 0; i < (number ? at : model->count); i++)
        ck_assert(number ? model->waiting[i].key != key : model->busy[model->waiting[i].key]);
    if (!number)
        return NULL;
    ck_assert(!model->busy[key]);
    model->busy[key] = true;
    model_remove(model, at);
    return item;
}

static void model_step(struct model *model, struct evb_lane_item *hands[IN_HAND], int number,
                       bool oldest, uint32_t *dice)
{
    struct evb_lane_item **hand = &hands[roll(dice) % IN_HAND];
    if (roll(dice) % 5 < 3) {
        model_push(model, number, (int)(roll(dice) % KEYS), oldest);
    } else if (*hand) {
        model->busy[(*hand)->key / 16] = false;
        done(*hand);
        *hand = NULL;
    } else {
        *hand = model_take(model);
    }
    ck_assert_int_eq(lanes->count, model->count);
}

START_TEST(as_the_model)
{
    struct evb_lane_item *hands[IN_HAND] = {NULL};
    struct model model = {.count = 0};
    uint32_t dice = 0x9e3779b9u + (uint32_t)_i;
    bool oldest = _i % 2;
    open_lanes("type", 3 + _i * 4, oldest ? EVB_FULL_DROP_OLDEST : EVB_FULL_DROP_NEWEST);
    for (int n = 1; n <= STEPS; n++)
        model_step(&model, hands, n, oldest, &dice);
    for (int i = 0; i < IN_HAND; i++)
        if (hands[i])
            done(hands[i]);
    close_lanes();
}
END_TEST

/* ---- one alone ---- */

static bool push_alone(int number)
{
    evbus_event *event = event_of("alone", 0);
    event->seq = (uint64_t)number;
    return evb_lanes_push_alone(lanes, event);
}

/* Whatever comes beside it, as many keys as it may have, waits until it is done. */
START_TEST(alone)
{
    struct evb_lane_item *item, *first, *second;
    open_lanes("type", 2, EVB_FULL_DROP_OLDEST);
    for (int others = 0; others < 4; others++) {
        ck_assert(push_alone(10));
        ck_assert_int_eq(push(1, 100), 0);
        ck_assert(!ready); /* nobody need come for it */
        ck_assert_int_eq(take(&item), 10);
        for (int i = 2; i <= others; i++)
            ck_assert_int_eq(push(i, (uint64_t)(i % 2)), i > 2);
        ck_assert(!ready);
        ck_assert_int_eq(take(&first), 0);
        ck_assert_int_eq(done(item), others > 1);
        ck_assert_int_eq(take(&first), others > 2 ? 2 : 1);
        ck_assert_int_eq(take(&second), others > 1 ? others : 0);
        ck_assert(!done(first));
        ck_assert(!second || !done(second));
        ck_assert_int_eq(push(4, 0), 0);
        ck_assert(ready);
        ck_assert_int_eq(take(&first), 4);
        done(first);
    }
    ck_assert_int_eq(lanes->count + lanes->bytes + (int64_t)lanes->key_count, 0);
    ck_assert_int_eq(lanes->peak, 2);
    ck_assert(push_alone(11)); /* waits when all ends */
    close_lanes();
}
END_TEST

START_TEST(alone_when_closed)
{
    open_lanes("type", 2, EVB_FULL_DROP_OLDEST);
    lanes->closed = true;
    ck_assert(!push_alone(1));
    ck_assert_ptr_null(lanes->alone);
    close_lanes();
}
END_TEST

/* ---- memory ---- */

static evbus_event *shared;

static void many(bool fails)
{
    enum { MANY = 200 };
    struct evb_lane_item *item;
    int dropped = 0, taken = 0;
    lanes = evb_lanes_new("attr:userId", 1000, 1 << 20, EVB_FULL_DROP_OLDEST);
    if (!lanes) {
        ck_assert(fails);
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
        return;
    }
    for (uint64_t i = 0; i < MANY; i++)
        dropped += evb_lanes_push(lanes, evbus_event_ref(shared), i, &ready);
    while ((item = evb_lanes_take(lanes))) {
        done(item);
        taken++;
    }
    ck_assert_int_eq(taken + dropped, MANY);
    ck_assert(fails || dropped == 0);
    close_lanes();
}

static void one_alone(bool fails)
{
    struct evb_lane_item *item;
    lanes = evb_lanes_new("none", 1000, 1 << 20, EVB_FULL_DROP_OLDEST);
    if (!lanes)
        return;
    bool taken = evb_lanes_push_alone(lanes, evbus_event_ref(shared));
    ck_assert(taken || fails);
    item = evb_lanes_take(lanes);
    ck_assert_int_eq(item != NULL, taken);
    if (item)
        done(item);
    close_lanes();
}

START_TEST(no_memory)
{
    shared = event_of("t", 0);
    ck_assert_int_gt(memory_fail_each(many), 10);
    ck_assert_int_eq(memory_fail_each(one_alone), 3);
    evbus_event_unref(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanes");
    TCase *tests = unit_case(suite, "lanes");
    tcase_add_loop_test(tests, events_of_a_key, 0, EVB_COUNT(choices));
    tcase_add_test(tests, no_attribute_is_one_key);
    tcase_add_test(tests, bad_key);
    tcase_add_test(tests, one_of_a_key_at_a_time);
    tcase_add_test(tests, keys_in_turn);
    tcase_add_test(tests, no_keys);
    tcase_add_test(tests, drops_the_oldest);
    tcase_add_test(tests, drops_the_newest);
    tcase_add_test(tests, counts_bytes);
    tcase_add_test(tests, closed);
    tcase_add_loop_test(tests, as_the_model, 0, 6);
    tcase_add_test(tests, alone);
    tcase_add_test(tests, alone_when_closed);
    tcase_add_test(tests, no_memory);
    return unit_run(suite);
}
