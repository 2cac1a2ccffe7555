/* test_fifo.c - bounds in events and bytes, to the byte; what is dropped, and that it is counted.
 */
#include "config.h"
#include "fifo.h"
#include "unit.h"
#include <evbus.h>

enum { KINDS = 40 }; /* events of KINDS sizes; told apart by their address */

static evbus_event *events[KINDS];
static int64_t base; /* size of an event without data */
static const evbus_event *dropped[4096];
static int drops;

static void drop(struct evb_fifo_item *item)
{
    ck_assert_int_lt(drops, (int)EVB_COUNT(dropped));
    dropped[drops++] = item->event;
    evbus_event_unref(item->event);
}

static void setup(void)
{
    drops = 0;
    for (int i = 0; i < KINDS; i++)
        events[i] = event_of("t", (size_t)i);
    base = events[0]->size;
    ck_assert_uint_eq(events[7]->size, (uint32_t)base + 7);
}

/* Every reference that was given came back. */
static void teardown(void)
{
    for (int i = 0; i < KINDS; i++) {
        ck_assert_int_eq(atomic_load(&events[i]->refs), 1);
        evbus_event_unref(events[i]);
    }
}

static int push(struct evb_fifo *fifo, int kind)
{
    return evb_fifo_push(fifo, (struct evb_fifo_item){.event = evbus_event_ref(events[kind])});
}

/* The kind of the oldest, taken out; -1: empty. */
static int pop(struct evb_fifo *fifo)
{
    struct evb_fifo_item item;
    if (evb_fifo_pop(fifo, &item, 1) == 0)
        return -1;
    int64_t kind = item.event->size - base;
    evbus_event_unref(item.event);
    return (int)kind;
}

static const struct {
    const char *what;
    int full;
    int64_t max_events, extra; /* max_bytes: that many bare events and so many bytes */
    int bare;
    int in[8], out[8]; /* kinds, ended by -1 */
    int dropped, peak;
} cases[] = {
    {"all fit", EVB_FULL_DROP_OLDEST, 3, 6, 3, {1, 2, 3, -1}, {1, 2, 3, -1}, 0, 3},
    {"a byte too many", EVB_FULL_DROP_OLDEST, 3, 5, 3, {1, 2, 3, -1}, {2, 3, -1}, 1, 2},
    {"oldest go by events", EVB_FULL_DROP_OLDEST, 2, 99, 9, {1, 2, 3, 4, -1}, {3, 4, -1}, 2, 2},
    {"newest go by events", EVB_FULL_DROP_NEWEST, 2, 99, 9, {1, 2, 3, 4, -1}, {1, 2, -1}, 2, 2},
    {"newest go by bytes", EVB_FULL_DROP_NEWEST, 9, 9, 2, {4, 6, 5, 1, -1}, {4, 5, -1}, 2, 2},
    {"several for a big one", EVB_FULL_DROP_OLDEST, 9, 12, 3, {4, 4, 4, 12, -1}, {4, 12, -1}, 2, 3},
    {"one of one", EVB_FULL_DROP_OLDEST, 1, 9, 9, {1, 2, 3, -1}, {3, -1}, 2, 1},
    {"exactly the bound", EVB_FULL_DROP_OLDEST, 9, 20, 1, {20, -1}, {20, -1}, 0, 1},
    {"too big for the queue", EVB_FULL_DROP_OLDEST, 9, 20, 1, {3, 21, -1}, {3, -1}, 1, 1},
    {"too big, newest", EVB_FULL_DROP_NEWEST, 9, 20, 1, {3, 21, -1}, {3, -1}, 1, 1},
    {"no room at all", EVB_FULL_DROP_OLDEST, 0, 20, 1, {3, -1}, {-1}, 1, 0},
};

START_TEST(policies)
{
    struct evb_fifo fifo;
    int counted = 0;
    evb_fifo_init(&fifo, cases[_i].max_events, cases[_i].bare * base + cases[_i].extra,
                  cases[_i].full, drop);
    for (const int *kind = cases[_i].in; *kind >= 0; kind++)
        counted += push(&fifo, *kind);
    ck_assert_msg(fifo.dropped == cases[_i].dropped, "%s: %d dropped", cases[_i].what,
                  (int)fifo.dropped);
    ck_assert_int_eq(counted, cases[_i].dropped);
    ck_assert_int_eq(drops, cases[_i].dropped);
    ck_assert_msg(fifo.peak == cases[_i].peak, "%s: peak %d", cases[_i].what, (int)fifo.peak);
    for (const int *kind = cases[_i].out; *kind >= 0; kind++)
        ck_assert_msg(pop(&fifo) == *kind, "%s: no %d", cases[_i].what, *kind);
    ck_assert_int_eq(pop(&fifo), -1);
    ck_assert_int_eq(fifo.bytes, 0);
    ck_assert_int_eq(fifo.peak, cases[_i].peak);
    evb_fifo_fini(&fifo);
}
END_TEST

START_TEST(end_drops_uncounted)
{
    struct evb_fifo fifo;
    evb_fifo_init(&fifo, 100, 1 << 20, EVB_FULL_DROP_OLDEST, drop);
    for (int i = 0; i < 30; i++)
        push(&fifo, i);
    evb_fifo_fini(&fifo);
    ck_assert_int_eq(drops, 30);
    for (int i = 0; i < drops; i++)
        ck_assert_ptr_eq(dropped[i], events[i]);
    ck_assert_int_eq(fifo.dropped, 0);
    ck_assert_int_eq(fifo.bytes, 0);
    evb_fifo_fini(&fifo); /* again is fine */
    ck_assert_int_eq(drops, 30);
}
END_TEST

START_TEST(many_at_once)
{
    struct evb_fifo fifo;
    struct evb_fifo_item items[64];
    int next_in = 0, next_out = 0;
    evb_fifo_init(&fifo, 1000, 1 << 20, EVB_FULL_DROP_OLDEST, drop);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 23; i++)
            push(&fifo, next_in++ % KINDS);
        int most = round * 7 % 64, n = evb_fifo_pop(&fifo, items, most);
        ck_assert_int_le(n, most);
        ck_assert(n == most || fifo.count == 0);
        for (int i = 0; i < n; i++, next_out++) {
            ck_assert_ptr_eq(items[i].event, events[next_out % KINDS]);
            evbus_event_unref(items[i].event);
        }
    }
    ck_assert_uint_eq(fifo.count, (uint32_t)(next_in - next_out));
    evb_fifo_fini(&fifo);
    ck_assert_int_eq(drops, next_in - next_out);
}
END_TEST

/* A whole chunk in one step, mixed with single ones, keeps order and accounts. */
START_TEST(by_the_chunk)
{
    struct evb_fifo fifo;
    int next_in = 0, next_out = 0;
    evb_fifo_init(&fifo, 10000, 1 << 30, EVB_FULL_DROP_OLDEST, drop);
    ck_assert_ptr_null(evb_fifo_take(&fifo));
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < round % 71; i++)
            push(&fifo, next_in++ % KINDS);
        if (round % 3 == 0 && pop(&fifo) >= 0)
            next_out++;
        struct evb_chunk *chunk = evb_fifo_take(&fifo);
        if (!chunk)
            continue;
        ck_assert_uint_lt(chunk->first, chunk->end);
        for (uint32_t i = chunk->first; i < chunk->end; i++, next_out++) {
            ck_assert_ptr_eq(chunk->items[i].event, events[next_out % KINDS]);
            evbus_event_unref(chunk->items[i].event);
        }
        evb_fifo_give(chunk);
        ck_assert_int_eq(fifo.count, next_in - next_out);
    }
    while (pop(&fifo) == next_out % KINDS)
        next_out++;
    ck_assert_int_eq(next_out, next_in);
    ck_assert_int_eq(fifo.bytes, 0);
    evb_fifo_fini(&fifo);
}
END_TEST

/* The same queue, written down plainly. */
struct model {
    int kinds[64], count, dropped, peak;
    int64_t bytes, max_events, max_bytes;
    bool oldest;
};

static void model_pop(struct model *m)
{
    m->bytes -= base + m->kinds[0];
    memmove(m->kinds, m->kinds + 1, (size_t)--m->count * sizeof m->kinds[0]);
}

static void model_push(struct model *m, int kind)
{
    int64_t size = base + kind;
    while (m->oldest && size <= m->max_bytes && m->count &&
           (m->count == m->max_events || m->bytes + size > m->max_bytes)) {
        model_pop(m);
        m->dropped++;
    }
    if (m->count == m->max_events || m->bytes + size > m->max_bytes) {
        m->dropped++;
        return;
    }
    m->kinds[m->count++] = kind;
    m->bytes += size;
    m->peak = m->count > m->peak ? m->count : m->peak;
}

START_TEST(as_the_model_does)
{
    uint32_t dice = 77 + (uint32_t)_i;
    struct model m = {.max_events = 1 + roll(&dice) % 50, .oldest = _i % 2};
    struct evb_fifo fifo;
    m.max_bytes = base * (1 + roll(&dice) % 40) + roll(&dice) % 60;
    evb_fifo_init(&fifo, m.max_events, m.max_bytes,
                  m.oldest ? EVB_FULL_DROP_OLDEST : EVB_FULL_DROP_NEWEST, drop);
    for (int step = 0; step < 3000; step++) {
        if (roll(&dice) % 5 < 3) {
            int kind = (int)(roll(&dice) % KINDS), before = m.dropped;
            model_push(&m, kind);
            ck_assert_int_eq(push(&fifo, kind), m.dropped - before);
        } else {
            int want = m.count ? m.kinds[0] : -1;
            if (m.count)
                model_pop(&m);
            ck_assert_int_eq(pop(&fifo), want);
        }
        ck_assert_uint_eq(fifo.count, (uint32_t)m.count);
        ck_assert_int_eq(fifo.bytes, m.bytes);
        ck_assert_int_eq(fifo.dropped, m.dropped);
        ck_assert_int_eq(fifo.peak, m.peak);
        ck_assert(fifo.count <= fifo.max_events && fifo.bytes <= fifo.max_bytes);
    }
    evb_fifo_fini(&fifo);
}
END_TEST

/* What finds no memory is dropped and counted; what waits is not touched. */
static void fill(bool fails)
{
    struct evb_fifo fifo;
    int lost = 0, next = 0;
    drops = 0;
    evb_fifo_init(&fifo, 1000, 1 << 20, EVB_FULL_DROP_OLDEST, drop);
    for (int i = 0; i < 100; i++)
        if (push(&fifo, i % KINDS))
            lost = i + 1;
    ck_assert_int_eq(fifo.dropped, fails && memory_failed());
    ck_assert_int_eq(drops, (int)fifo.dropped);
    ck_assert_uint_eq(fifo.count, (uint32_t)(100 - drops));
    for (int kind; (kind = pop(&fifo)) >= 0; next++) {
        next += lost && next == lost - 1;
        ck_assert_int_eq(kind, next % KINDS);
    }
    evb_fifo_fini(&fifo);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(fill), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fifo");
    TCase *tests = unit_case(suite, "fifo");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, policies, 0, (int)EVB_COUNT(cases));
    tcase_add_test(tests, end_drops_uncounted);
    tcase_add_test(tests, many_at_once);
    tcase_add_test(tests, by_the_chunk);
    tcase_add_loop_test(tests, as_the_model_does, 0, 40);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
