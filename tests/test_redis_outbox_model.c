/*
 * test_redis_outbox_model.c - random operations on an outbox beside a model of what was promised:
 * accepted = acked + failed + unknown + evicted + expired + owed, each event one report, a flush
 * after all that was before it, and no event that Redis answered hidden from those who heard a
 * higher number. EVB_TEST_SEED=<n> plays one game again.
 */
#include "clock.h"
#include "config.h"
#include "harness/failing.h"
#include "pool.h"
#include "redis_answer.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 4000, STEPS = 3000, GAMES = 1000 };

enum fate { NOWHERE, OWED, REPORTED };

struct entry { /* an event or a flush, in the order of acceptance */
    bool mark;
    enum fate fate;
    int outcome;
    bool written;  /* ever */
    bool executed; /* Redis ran it, whether or not the answer came */
    bool heard;    /* a receiver took it */
    int64_t ends_ms;
};

static struct game {
    struct entry entry[EVENTS];
    int count;
    int wire[EVENTS], wire_head, wire_count; /* this connection's, unanswered */
    uint64_t wire_seq[EVENTS];
    uint64_t last_seq;  /* on this connection */
    uint64_t heard_seq; /* the receiver's mark */
    int64_t accepted, refused, outcomes[8];
    int number;
    unsigned seed;
} game;

/* ck_assert() tells Check where it stands every time: too slow for millions. */
#define MUST(condition)                                                                            \
    ((condition) ? (void)0                                                                         \
                 : ck_abort_msg("game %d, line %d: %s", game.number, __LINE__, #condition))

static struct evb_metrics metrics;
static struct evb_outbox outbox;
static int64_t now_ms;

static int64_t test_clock(void)
{
    return now_ms * 1000;
}

static unsigned dice(unsigned sides)
{
    return (unsigned)rand_r(&game.seed) % sides;
}

static void on_water(bool high, void *user)
{
    (void)user;
    MUST(high == outbox.high);
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct entry *entry = &game.entry[(intptr_t)user];
    (void)event;
    (void)error;
    (void)receivers;
    MUST(entry->fate == OWED);
    entry->fate = REPORTED;
    entry->outcome = outcome;
    game.outcomes[outcome]++;
    if (entry->written)
        MUST(outcome != EVBUS_EVICTED && outcome != EVBUS_EXPIRED);
    else
        MUST(outcome != EVBUS_ACKED && outcome != EVBUS_UNKNOWN);
    MUST(outcome != EVBUS_EXPIRED || now_ms >= entry->ends_ms);
    if (outcome == EVBUS_ACKED)
        MUST(entry->heard);
}

static void on_mark(int result, void *user)
{
    struct entry *mark = &game.entry[(intptr_t)user];
    (void)result;
    MUST(mark->fate == OWED);
    mark->fate = REPORTED;
    for (struct entry *entry = game.entry; entry < mark; entry++)
        MUST(entry->fate != OWED);
}

static struct evb_item *make(int id, size_t size)
{
    static const char head[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$16\r\n";
    struct evb_item *made = evb_pool_take(sizeof *made + sizeof head + 32);
    MUST(made);
    evb_item_init(made);
    made->bytes = (char *)(made + 1);
    made->seq_slot = made->bytes + sizeof head - 1;
    made->length = sizeof head - 1 + 16;
    memcpy(made->bytes, head, sizeof head);
    memset(made->seq_slot, ' ', 16);
    made->size = size;
    made->user = (void *)(intptr_t)id;
    made->accepted_ms = now_ms;
    return made;
}

/* ---- the moves ---- */

static void publish(void)
{
    size_t size = 1 + dice(40);
    int id = game.count;
    struct evb_item *item;
    bool full = atomic_load(&outbox.events) >= outbox.max_events * 9 / 8 + 1 ||
                atomic_load(&outbox.bytes) + (int64_t)size > outbox.max_bytes * 9 / 8;
    if (evb_outbox_admit(&outbox, size) != EVB_ADMIT) {
        game.refused++;
        return;
    }
    MUST(!full);
    game.entry[game.count++] = (struct entry){.fate = OWED, .ends_ms = INT64_MAX};
    game.accepted++;
    item = make(id, size);
    item->report = on_report;
    if (dice(3) == 0)
        item->expires_ms = now_ms + 1 + dice(50);
    game.entry[id].ends_ms = now_ms + outbox.max_age_ms;
    if (item->expires_ms < game.entry[id].ends_ms)
        game.entry[id].ends_ms = item->expires_ms;
    evb_outbox_take(&outbox, item);
}

static void flush(void)
{
    int id = game.count;
    game.entry[game.count++] = (struct entry){.fate = OWED, .mark = true};
    struct evb_item *item = make(id, 0);
    item->mark = on_mark;
    evb_outbox_take(&outbox, item);
}

static struct evb_item *next_item(void)
{
    struct evb_item *item;
    return evb_outbox_next(&outbox, &item, 1) ? item : NULL;
}

static void write_some(void)
{
    struct evb_item *item;
    for (unsigned n = dice(6); n && (item = next_item()); n--) {
        int id = (int)(intptr_t)item->user;
        uint64_t seq = strtoul(item->seq_slot, NULL, 10);
        MUST(seq > game.last_seq);
        MUST(seq == item->seq);
        MUST(game.entry[id].written || now_ms < game.entry[id].ends_ms);
        MUST(game.entry[id].fate == OWED);
        game.last_seq = seq;
        game.entry[id].written = true;
        int at = (game.wire_head + game.wire_count++) % EVENTS;
        game.wire[at] = id;
        game.wire_seq[at] = seq;
    }
}

/* Redis runs the command: the receiver takes it, unless it heard a higher number. */
static void execute(int at)
{
    game.entry[game.wire[at]].executed = true;
    if (game.wire_seq[at] <= game.heard_seq)
        return;
    game.heard_seq = game.wire_seq[at];
    game.entry[game.wire[at]].heard = true;
}

static void answer(void)
{
    static const char *const pass[] = {"BUSY x", "LOADING x", "OOM x"};
    if (game.wire_count == 0)
        return;
    int at = game.wire_head, id = game.wire[at];
    unsigned kind = dice(10);
    game.wire_head = (at + 1) % EVENTS;
    game.wire_count--;
    if (kind < 6) {
        execute(at);
        MUST(evb_answer_ok(&outbox, 1));
        MUST(game.entry[id].outcome == EVBUS_ACKED);
    } else if (kind < 7) {
        MUST(evb_answer_error(&outbox, "NOPERM x"));
        MUST(game.entry[id].outcome == EVBUS_FAILED);
    } else {
        MUST(evb_answer_error(&outbox, pass[kind - 7]));
        MUST(game.entry[id].fate == OWED);
        /* not executed: as if never written, unless an earlier connection may have done it */
        game.entry[id].written = game.entry[id].executed || game.entry[id].outcome == -1;
    }
}

static void drop(void)
{
    for (int n = (int)dice((unsigned)game.wire_count + 1), i = 0; i < n; i++)
        execute((game.wire_head + i) % EVENTS); /* the answers are lost */
    for (int i = 0; i < game.wire_count; i++)
        game.entry[game.wire[(game.wire_head + i) % EVENTS]].outcome = -1; /* in doubt */
    int64_t unknown = game.outcomes[EVBUS_UNKNOWN], lost = game.wire_count;
    evb_outbox_link_lost(&outbox);
    MUST(game.outcomes[EVBUS_UNKNOWN] - unknown == (outbox.may_resend ? 0 : lost));
    game.wire_count = 0;
    game.last_seq = 0;
}

static void expire(void)
{
    now_ms += dice(20);
    int64_t next_ms = evb_outbox_next_expiry_ms(&outbox);
    int64_t before = game.outcomes[EVBUS_EXPIRED];
    evb_outbox_expire(&outbox);
    if (next_ms > now_ms)
        MUST(game.outcomes[EVBUS_EXPIRED] == before);
    MUST(evb_outbox_next_expiry_ms(&outbox) > now_ms);
}

static void retry(void)
{
    if (!evb_list_empty(&outbox.again) && evb_outbox_settled(&outbox))
        evb_outbox_retry(&outbox);
}

/* ---- the judge ---- */

static void check(void)
{
    int64_t owed = 0, reported = 0;
    for (int i = EVBUS_ACKED; i <= EVBUS_UNKNOWN; i++)
        reported += game.outcomes[i];
    for (int i = 0; i < game.count; i++)
        owed += !game.entry[i].mark && game.entry[i].fate == OWED;
    MUST(evb_outbox_owed(&outbox) == owed);
    MUST(game.accepted == owed + reported);
    MUST(evb_outbox_settled(&outbox) == (game.wire_count == 0));
    MUST(evb_metrics_read(&metrics, EVB_COUNT_acked) == game.outcomes[EVBUS_ACKED]);
    MUST(evb_metrics_read(&metrics, EVB_COUNT_evicted) == game.outcomes[EVBUS_EVICTED]);
    MUST(evb_metrics_read(&metrics, EVB_COUNT_expired) == game.outcomes[EVBUS_EXPIRED]);
    MUST(evb_metrics_read(&metrics, EVB_COUNT_failed_redis) == game.outcomes[EVBUS_FAILED]);
    MUST(evb_metrics_read(&metrics, EVB_COUNT_unknown) == game.outcomes[EVBUS_UNKNOWN]);
    MUST(outbox.with_ttl >= 0);
}

static void new_game(int number)
{
    memset(&game, 0, sizeof game);
    memset(&outbox, 0, sizeof outbox);
    game.number = number;
    game.seed = 7919u * (unsigned)number + 1;
    evb_metrics_init(&metrics);
    evb_outbox_init(&outbox, &metrics, on_water, NULL);
    outbox.full = number % 4;
    outbox.max_events = 1 + dice(40);
    outbox.max_bytes = 40 + dice(1000);
    outbox.max_age_ms = 1 + dice(200);
    outbox.may_resend = number / 4 % 2;
    atomic_store(&outbox.up, 1);
}

static void drain(void)
{
    for (int i = 0; atomic_load(&outbox.events) > 0; i++) {
        MUST(i < 100000);
        write_some();
        answer();
        retry();
    }
    for (int i = 0; i < game.count; i++)
        MUST(game.entry[i].fate == REPORTED);
}

static void play(int number)
{
    static void (*const moves[])(void) = {publish,    publish, publish, publish, flush, write_some,
                                          write_some, answer,  answer,  retry,   expire};
    new_game(number);
    for (int i = 0; i < STEPS && game.count < EVENTS; i++) {
        if (dice(60) == 0)
            drop();
        else
            moves[dice(EVB_COUNT(moves))]();
        if (i % 16 == 0)
            check();
    }
    check();
    if (number % 3 == 0)
        evb_outbox_abandon(&outbox, EVBUS_ECLOSED);
    else
        drain();
    check();
    MUST(evb_outbox_owed(&outbox) == 0);
    MUST(atomic_load(&outbox.bytes) == 0);
    MUST(outbox.with_ttl == 0);
    MUST(evb_list_empty(&outbox.resend) && evb_list_empty(&outbox.waiting) &&
         evb_list_empty(&outbox.written) && evb_list_empty(&outbox.again));
}

START_TEST(games)
{
    const char *fixed = getenv("EVB_TEST_SEED");
    int first = fixed ? atoi(fixed) : 0, last = fixed ? first : GAMES;
    failing_install();
    now_ms = 1000000;
    evb_clock_set(NULL, test_clock);
    play(1);
    long live = failing_live();
    for (int number = first; number <= last; number++) {
        if (number == first)
            fprintf(stderr, "outbox games with seed %d...", number);
        play(number);
        ck_assert_int_eq(failing_live(), live);
    }
    fprintf(stderr, "%d\n", last);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis outbox model");
    TCase *tests = tcase_create("redis outbox model");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, games);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
