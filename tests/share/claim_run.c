/* claim_run.c - the run: a server, members, a publisher, kills by the dice, and the table at the end. */
#include "harness/bus.h"
#include "harness/child.h"
#include "harness/recorder.h"
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "share/claim.h"
#include "soak/dice.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIVES_MOST = 1000, DONE_MS = 120000, RECENT_US = 3000000, ID_ROOM = 40 };

struct life {
    char book[120], node[40];
    size_t read; /* bytes of the book that are in `calls` */
    bool over;
};

struct share {
    const struct share_plan *plan;
    struct server *server;
    evbus *bus;
    struct dice dice;
    struct child child[SHARE_MEMBERS];
    int life_of[SHARE_MEMBERS];
    struct life life[LIVES_MOST];
    int lives, killed, published;
    struct share_calls calls;
    char (*ids)[ID_ROOM]; /* owned: of each event, as a handler had it */
    int lost_leases;      /* handlers that ran without one when they were killed */
    long long counters[6];
};

static const char *const counter_names[] = {"claims_won",    "claims_lost", "claims_taken_over",
                                            "claims_lapsed", "dropped",     "gaps"};

/* ---- books ---- */

static struct share_call *open_call(struct share *share, int life, int event)
{
    for (size_t i = share->calls.count; i > 0; i--) {
        struct share_call *call = &share->calls.call[i - 1];
        if (call->life == life && call->event == event && !call->end_us)
            return call;
    }
    ck_abort_msg("event %d ends without a begin", event);
    return NULL;
}

static void take_line(struct share *share, int life, const char *line)
{
    int event, rc;
    long long at, value;
    char text[40];
    if (sscanf(line, "B %d %39s %lld", &event, text, &at) == 3) {
        ck_assert(event >= 1 && event <= share->plan->events);
        share_add(&share->calls, (struct share_call){event, life, at, 0, 0, 0});
        snprintf(share->ids[event], ID_ROOM, "%s", text);
    } else if (sscanf(line, "E %d %lld %d", &event, &at, &rc) == 3) {
        struct share_call *call = open_call(share, life, event);
        call->end_us = at;
        call->rc = rc;
    } else if (sscanf(line, "S %39s %lld", text, &value) == 2) {
        for (size_t i = 0; i < sizeof counter_names / sizeof counter_names[0]; i++)
            if (!strcmp(counter_names[i], text))
                share->counters[i] += value;
    }
}

/* What has been written since. */
static void read_book(struct share *share, int number)
{
    struct life *life = &share->life[number];
    char line[200];
    FILE *book = fopen(life->book, "r");
    ck_assert_ptr_nonnull(book);
    ck_assert_int_eq(fseek(book, (long)life->read, SEEK_SET), 0);
    while (fgets(line, sizeof line, book) && strchr(line, '\n')) {
        take_line(share, number, line);
        life->read += strlen(line);
    }
    fclose(book);
}

/* ---- lives and deaths ---- */

static void start_member(struct share *share, int member)
{
    static char program[200];
    char seed[20], number[20];
    ck_assert_int_lt(share->lives, LIVES_MOST);
    struct life *life = &share->life[share->lives];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt(length, 0);
    program[length] = '\0';
    snprintf(life->book, sizeof life->book, "%s/book%d", suite_folder(), share->lives);
    snprintf(seed, sizeof seed, "%u", share->plan->seed + (unsigned)share->lives);
    snprintf(number, sizeof number, "%d", share->lives);
    const char *const words[] = {program, "share-member", life->book, share->server->socket,
                                 seed,    number,         NULL};
    child_start(&share->child[member], words);
    share->life_of[member] = share->lives++;
}

static void await_member(struct share *share, int member)
{
    const char *node = child_line(&share->child[member]);
    ck_assert_msg(node != NULL, "member %d did not begin", member);
    snprintf(share->life[share->life_of[member]].node, 40, "%s", node);
}

static bool may_be_held(const struct share_call *call, int life, int64_t now_us)
{
    return call->life == life && (!call->end_us || call->end_us > now_us - RECENT_US);
}

/* A line for each of these events: how long the dead one's lease on it lasts, 0 without one. At one
 * moment, for others take over what has run out; the caller frees it. */
static char *leases_of_dead(struct share *share, int number, int64_t now_us)
{
    static const char script[] =
        "local left = {}\n"
        "for id in string.gmatch(ARGV[2], '%S+') do\n"
        "  local key = 'evbus:claim:share:' .. id\n"
        "  local holder = redis.call('GET', key) or ''\n"
        "  local its_own = string.sub(holder, 1, #ARGV[1]) == ARGV[1]\n"
        "  left[#left + 1] = tostring(its_own and redis.call('PTTL', key) or 0)\n"
        "end\n"
        "return left\n";
    char *ids = NULL;
    size_t length;
    FILE *out = open_memstream(&ids, &length);
    for (size_t i = 0; i < share->calls.count; i++)
        if (may_be_held(&share->calls.call[i], number, now_us))
            fprintf(out, "%s ", share->ids[share->calls.call[i].event]);
    fclose(out);
    char *left = server_text(share->server, "EVAL %s 0 %s %s", script, share->life[number].node,
                             length ? ids : "none");
    free(ids);
    return left;
}

/* What it had in hand, and what it had not told Redis yet, is held until then. */
static void look_at_dead(struct share *share, int number)
{
    int64_t now_us = share_now_us();
    char *left = leases_of_dead(share, number, now_us), *rest = left;
    for (size_t i = 0; i < share->calls.count; i++) {
        struct share_call *call = &share->calls.call[i];
        if (!may_be_held(call, number, now_us))
            continue;
        long long left_ms = strtoll(rest, &rest, 10);
        call->free_us = left_ms > 0 ? now_us + left_ms * 1000 : 0;
        share->lost_leases += !call->end_us && !call->free_us;
    }
    free(left);
}

static void kill_member(struct share *share, int member)
{
    int number = share->life_of[member];
    child_kill(&share->child[member]);
    read_book(share, number);
    look_at_dead(share, number);
    share->life[number].over = true;
    share->killed++;
}

static bool is_in_handler(const struct share *share, int member)
{
    for (size_t i = 0; i < share->calls.count; i++)
        if (share->calls.call[i].life == share->life_of[member] && !share->calls.call[i].end_us)
            return true;
    return false;
}

/* Whoever the dice says, three times of four the next one that is in a handler. */
static int choose_victim(struct share *share)
{
    int first = dice_roll(&share->dice, SHARE_MEMBERS);
    bool any = dice_roll(&share->dice, 4) == 0;
    for (int i = 0; i < SHARE_MEMBERS && !any; i++) {
        int member = (first + i) % SHARE_MEMBERS;
        read_book(share, share->life_of[member]);
        if (is_in_handler(share, member))
            return member;
    }
    return first;
}

/* One, or now and then two at a time; new ones take their place. */
static void kill_some(struct share *share)
{
    int first = choose_victim(share), second = -1;
    if (share->plan->kills - share->killed > 1 && dice_roll(&share->dice, 5) == 0)
        second = (first + 1 + dice_roll(&share->dice, SHARE_MEMBERS - 1)) % SHARE_MEMBERS;
    kill_member(share, first);
    if (second >= 0)
        kill_member(share, second);
    start_member(share, first);
    if (second >= 0)
        start_member(share, second);
    await_member(share, first);
    if (second >= 0)
        await_member(share, second);
}

/* ---- the run ---- */

static int next_kill(struct share *share)
{
    int step = share->plan->kills ? share->plan->events / (share->plan->kills + 1) : 0;
    return share->killed >= share->plan->kills
               ? share->plan->events + 1
               : (share->killed + 1) * step + dice_roll(&share->dice, step / 2 + 1) - step / 4;
}

static void publish_all(struct share *share)
{
    int64_t begun_us = now_us();
    int at = next_kill(share);
    for (int n = 1; n <= share->plan->events; n++) {
        int64_t due_us = begun_us + (int64_t)n * 1000000 / share->plan->rate;
        while (publish_numbered(share->bus, "share.work", 0, n) < 0)
            nap_us(1000);
        if (now_us() < due_us)
            nap_us(due_us - now_us());
        else if (now_us() > due_us + 500000) /* who was held up does not make up for it */
            begun_us += now_us() - due_us;
        while (n >= at) {
            kill_some(share);
            at = next_kill(share);
        }
    }
    ck_assert_int_eq(evbus_flush(share->bus, suite_patience(60000)), 0);
}

static void read_all(struct share *share)
{
    for (int i = 0; i < share->lives; i++)
        if (!share->life[i].over)
            read_book(share, i);
}

/* Every event has a call that returned 0. */
static bool all_handled(void *arg)
{
    struct share *share = arg;
    read_all(share);
    struct share_calls copy = {0};
    for (size_t i = 0; i < share->calls.count; i++)
        share_add(&copy, share->calls.call[i]);
    struct share_verdict verdict = share_judge(&copy, share->plan->events);
    free(copy.call);
    if (verdict.unhandled)
        nap_us(100000);
    return verdict.unhandled == 0;
}

static void print(const struct share *share, const struct share_verdict *verdict)
{
    printf("share: %s\n", share->plan->command);
    printf("share: events=%d processes=%d lives=%d kills=%d lease=%dms\n", share->plan->events,
           SHARE_MEMBERS, share->lives, share->killed, SHARE_LEASE_MS);
    printf("share: calls=%d handled=%d failed=%d unfinished=%d again=%d\n", verdict->calls,
           verdict->handled, verdict->failed, verdict->unfinished, verdict->again);
    if (verdict->soonest_us != INT64_MAX)
        printf("share: after a death the next call came %.1f to %.1f ms after the lease's end\n",
               (double)verdict->soonest_us / 1000, (double)verdict->latest_us / 1000);
    printf("share: of those that live:");
    for (size_t i = 0; i < sizeof counter_names / sizeof counter_names[0]; i++)
        printf(" %s=%lld", counter_names[i], share->counters[i]);
    printf("\nshare: unhandled=%d overlapping=%d doubled=%d early=%d without_lease=%d\n",
           verdict->unhandled, verdict->overlapping, verdict->doubled, verdict->early,
           share->lost_leases);
    fflush(stdout);
}

void share_run(const struct share_plan *plan)
{
    struct share *share = calloc(1, sizeof *share);
    ck_assert_ptr_nonnull(share);
    share->plan = plan;
    share->dice = dice_of(plan->seed, 0);
    share->ids = calloc((size_t)plan->events + 1, sizeof *share->ids);
    share->server = server_start(NULL);
    share->bus = server_bus(share->server, "bus.name", "publisher", NULL);
    expect_connected(share->bus, 20000);
    for (int i = 0; i < SHARE_MEMBERS; i++)
        start_member(share, i);
    for (int i = 0; i < SHARE_MEMBERS; i++)
        await_member(share, i);
    publish_all(share);
    until(all_handled, share, DONE_MS);
    for (int i = 0; i < SHARE_MEMBERS; i++)
        ck_assert_int_eq(child_wait(&share->child[i]), 0);
    read_all(share);
    struct share_verdict verdict = share_judge(&share->calls, plan->events);
    print(share, &verdict);
    ck_assert(share_is_clean(&verdict));
    ck_assert_int_eq(share->lost_leases, 0);
    ck_assert_int_eq(share->counters[3], 0);
    bus_end(share->bus);
    server_free(share->server);
    free(share->calls.call);
    free(share->ids);
    free(share);
}
