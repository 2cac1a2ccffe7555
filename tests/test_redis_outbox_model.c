/*
 * test_redis_outbox_model.c - random operations on an outbox beside a model of what was promised:
 * accepted = acked + failed + unknown + evicted + expired + owed, each event one report, a flush
 * after all that was before it, and each event that Redis answered heard once: those that are
 * published alone, early or late, and those that the history's script publishes in the order of
 * acceptance. EVB_TEST_SEED=<n> plays one game again.
 */
#include "clock.h"
#include "config.h"
#include "harness/failing.h"
#include "pool.h"
#include "redis_answer.h"
#include "seen.h"
#include "harness/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 4000, STEPS = 3000, GAMES = 1000, CALL = 5 };

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

struct command {
    bool scripted;
    uint64_t after; /* a call's: the last number before it, 0: not told */
    uint64_t told;  /* a call's: of what is up to that number the script need not tell again */
    int count, id[CALL];
    uint64_t seq[CALL];
};

static struct game {
    struct entry entry[EVENTS];
    int count;
    struct command wire[EVENTS]; /* this connection's, unanswered */
    int wire_head, wire_count;
    uint64_t last_seq;       /* on this connection, of those scripted */
    struct evb_seen seen;    /* the receiver's */
    int heard_id;            /* the last that the script published */
    uint64_t done;           /* the script's mark of this bus */
    uint64_t untold[EVENTS]; /* the script's, beside its mark: numbers to tell again */
    int untold_count;
    uint64_t sent_seq; /* of the last call on this connection */
    bool alone;        /* the next call is to be the only one */
    bool busy;         /* the last command was refused for now, and so may be the next */
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
    struct evb_item *made = evb_pool_take(sizeof *made + sizeof head + 32, NULL);
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
    bool full = evb_outbox_events(&outbox) >= outbox.max_events * 9 / 8 + 1 ||
                evb_outbox_bytes(&outbox) + (int64_t)size > outbox.max_bytes * 9 / 8;
    if (evb_outbox_admit(&outbox, size) != EVB_ADMIT) {
        game.refused++;
        return;
    }
    MUST(!full);
    game.entry[game.count++] = (struct entry){.fate = OWED, .ends_ms = INT64_MAX};
    game.accepted++;
    item = make(id, size);
    item->report = on_report;
    item->history = dice(5) > 0;
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

static void note_written(struct command *command, struct evb_item *const items[])
{
    for (int i = 0; i < command->count; i++) {
        int id = (int)(intptr_t)items[i]->user;
        uint64_t seq = strtoul(items[i]->seq_slot, NULL, 10);
        MUST(items[i]->scripted == command->scripted);
        MUST((int)items[i]->call == (i == 0 ? command->count : 0));
        MUST(seq == items[i]->seq);
        MUST(!command->scripted || seq > game.last_seq);
        MUST(i == 0 || seq == command->seq[i - 1] + 1);
        MUST(game.entry[id].written || now_ms < game.entry[id].ends_ms);
        MUST(game.entry[id].fate == OWED);
        game.last_seq = command->scripted ? seq : game.last_seq;
        game.entry[id].written = true;
        command->id[i] = id;
        command->seq[i] = seq;
    }
}

static void write_some(void)
{
    struct evb_item *items[CALL];
    size_t count;
    for (unsigned n = dice(6); n && (count = evb_outbox_next(&outbox, items, 1 + dice(CALL)));
         n--) {
        struct command *command = &game.wire[(game.wire_head + game.wire_count++) % EVENTS];
        *command = (struct command){.scripted = items[0]->scripted, .count = (int)count};
        MUST(count == 1 || command->scripted);
        note_written(command, items);
        if (!command->scripted)
            continue;
        MUST(outbox.history && !outbox.hold);
        command->after = game.alone ? 0 : game.sent_seq;
        command->told = evb_outbox_told(&outbox, items[0]);
        game.sent_seq = command->seq[count - 1];
        outbox.hold = game.alone;
        game.alone = false;
    }
}

/* Redis publishes it: the receiver takes it, unless it had it. What a script publishes has a position. */
static void execute_one(const struct command *command, int i)
{
    struct entry *entry = &game.entry[command->id[i]];
    entry->executed = true;
    if (!evb_seen_seq(&game.seen, "0123456789abcdef", command->seq[i], command->scripted, now_ms))
        return;
    MUST(!entry->heard);
    if (command->scripted) {
        MUST(command->id[i] > game.heard_id);
        game.heard_id = command->id[i];
    }
    entry->heard = true;
}

static bool was_refused(uint64_t seq)
{
    for (int i = 0; i < game.untold_count; i++)
        if (game.untold[i] == seq)
            return true;
    return false;
}

static void forget_told(uint64_t told)
{
    int kept = 0;
    for (int i = 0; i < game.untold_count; i++)
        if (game.untold[i] > told)
            game.untold[kept++] = game.untold[i];
    game.untold_count = kept;
}

/* Those that are refused, a bit each: some of `may` now, others before. */
static unsigned refuse_some(const struct command *command, unsigned may)
{
    unsigned bits = 0;
    for (int i = 0; i < command->count; i++) {
        bool again = command->seq[i] <= game.done;
        if (again ? was_refused(command->seq[i]) : may & 1U << i)
            bits |= 1U << i;
    }
    return bits;
}

/* False: the script finds that one before these is missing. Bits of `skip` are refused. */
static bool execute(const struct command *command, unsigned skip)
{
    if (command->scripted && command->after > game.done)
        return false;
    forget_told(command->scripted ? command->told : 0);
    for (int i = 0; i < command->count; i++) {
        bool again = command->scripted && command->seq[i] <= game.done;
        if (!again && !(skip & 1U << i))
            execute_one(command, i);
        else if (!again && command->scripted)
            game.untold[game.untold_count++] = command->seq[i];
    }
    if (command->scripted && command->seq[command->count - 1] > game.done)
        game.done = command->seq[command->count - 1];
    return true;
}

static void not_executed(const struct command *command)
{
    for (int i = 0; i < command->count; i++) {
        struct entry *entry = &game.entry[command->id[i]];
        MUST(entry->fate == OWED);
        /* as if never written, unless an earlier connection may have done it */
        entry->written = entry->executed || entry->outcome == -1;
    }
}

static const char *const pass[] = {"BUSY x", "LOADING x", "OOM x"};

static void answer_publish(const struct command *command)
{
    const struct entry *entry = &game.entry[command->id[0]];
    unsigned kind = dice(10);
    game.busy = kind >= 7;
    if (kind < 6) {
        execute(command, 0);
        MUST(evb_answer_ok(&outbox, 1));
        MUST(entry->outcome == EVBUS_ACKED);
    } else if (kind < 7) {
        MUST(evb_answer_error(&outbox, "NOPERM x"));
        MUST(entry->outcome == EVBUS_FAILED);
    } else {
        MUST(evb_answer_error(&outbox, pass[kind - 7]));
        not_executed(command);
    }
}

static void refuse_call(const struct command *command, const char *error, bool for_good)
{
    evb_answer_refused(&outbox, error);
    not_executed(command);
    game.alone = true;
    game.busy = strncmp(error, "BUSY", 4) == 0;
    outbox.hold = false;
    outbox.history = outbox.history && !for_good;
}

static unsigned any_or_none(void)
{
    return dice(4) == 0 ? 1U << dice(CALL) : 0;
}

static void answer_call(const struct command *command)
{
    struct evb_reply ms = {.kind = EVB_REPLY_STRING, .text = "5", .length = 1},
                     n = {.kind = EVB_REPLY_INTEGER}, result[CALL], *items[CALL + 2] = {&ms, &n},
                     reply = {.kind = EVB_REPLY_ARRAY, .item = items};
    unsigned kind = dice(20), skip;
    const char *keep;
    if (kind >= 16) {
        refuse_call(command, pass[kind % 3], kind == 19);
        return;
    }
    skip = refuse_some(command, any_or_none());
    for (int i = 0; i < command->count; i++) {
        bool again = command->seq[i] <= game.done;
        result[i] = (struct evb_reply){.kind = EVB_REPLY_INTEGER, .integer = again ? -1 : 1};
        if (skip & 1U << i)
            result[i] = (struct evb_reply){.kind = EVB_REPLY_STRING, .text = "ERR x", .length = 5};
        items[i + 2] = &result[i];
    }
    reply.count = (size_t)command->count + 2;
    if (!execute(command, skip)) {
        refuse_call(command, "ORDER x", false);
        return;
    }
    game.busy = false;
    MUST(evb_answer_call(&outbox, &reply, &keep));
    outbox.hold = false;
    for (int i = 0; i < command->count; i++)
        MUST(game.entry[command->id[i]].outcome == (skip & 1U << i ? EVBUS_FAILED : EVBUS_ACKED));
}

static void answer(void)
{
    if (game.wire_count == 0)
        return;
    const struct command *command = &game.wire[game.wire_head];
    game.wire_head = (game.wire_head + 1) % EVENTS;
    game.wire_count--;
    MUST(evb_answer_is_call(&outbox) == command->scripted);
    if (command->scripted)
        answer_call(command);
    else
        answer_publish(command);
}

/* The link goes, some answers with it; calls among those, or some of their events, may have been
 * refused. */
static void drop(void)
{
    int64_t unknown = game.outcomes[EVBUS_UNKNOWN], lost = 0;
    for (int n = (int)dice((unsigned)game.wire_count + 1), i = 0; i < game.wire_count; i++) {
        const struct command *command = &game.wire[(game.wire_head + i) % EVENTS];
        game.busy = game.busy ? dice(3) : !dice(6);
        if (i < n && !game.busy && (!command->scripted || dice(8)))
            execute(command, command->scripted ? refuse_some(command, any_or_none()) : 0);
        for (int k = 0; k < command->count; k++, lost++)
            game.entry[command->id[k]].outcome = -1; /* in doubt */
    }
    evb_outbox_link_lost(&outbox);
    MUST(game.outcomes[EVBUS_UNKNOWN] - unknown == (outbox.may_resend ? 0 : lost));
    game.busy = false;
    game.wire_count = 0;
    game.last_seq = 0;
    game.alone = true;
    outbox.hold = false;
    outbox.history = dice(4) > 0;
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
    if (evb_list_empty(&outbox.again) || !evb_outbox_settled(&outbox))
        return;
    evb_outbox_retry(&outbox);
    game.last_seq = 0; /* a call keeps its numbers */
    game.busy = false;
}

/* ---- the judge ---- */

static void check(void)
{
    int64_t owed = 0, reported = 0;
    for (int i = EVBUS_ACKED; i <= EVBUS_UNKNOWN; i++)
        reported += game.outcomes[i];
    for (int i = 0; i < game.count; i++)
        owed += !game.entry[i].mark && game.entry[i].fate == OWED;
    MUST(atomic_load(&outbox.owed.events) == owed);
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
    outbox.history = number % 8 != 0;
    game.alone = true;
    game.heard_id = -1;
    MUST(evb_seen_init(&game.seen, 0, 0) == 0);
}

static void drain(void)
{
    for (int i = 0; evb_outbox_events(&outbox) > 0; i++) {
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
    MUST(atomic_load(&outbox.owed.events) == 0);
    MUST(evb_outbox_bytes(&outbox) == 0);
    MUST(outbox.with_ttl == 0);
    MUST(evb_list_empty(&outbox.resend) && evb_list_empty(&outbox.waiting) &&
         evb_list_empty(&outbox.written) && evb_list_empty(&outbox.again));
    evb_seen_fini(&game.seen);
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
