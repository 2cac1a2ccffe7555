/* keeper.c - a history in memory, by the rules of the library's scripts. */
#include "harness/keeper.h"
#include "harness/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 4096, NODES = 4 };

struct keeper {
    struct scripted *server;
    struct {
        long ms;
        int n;
        char *channel, *envelope; /* owned */
    } entry[ENTRIES];             /* [first, end) are there */
    int first, end;
    long now_ms, last_ms, gone_ms, behind_ms;
    int epoch, last, begun; /* last: entries ever, of this epoch */
    int gone;               /* n of the newest that was trimmed */
    bool exists;
    struct {
        char name[80];
        long done;
    } mark[NODES];
    char owner[80], place[80], place_epoch[80]; /* of a durable subscription */
    char leader[80], led_place[160];            /* of a leader */
    long long fence;
    struct {
        bool known;
        char *bytes; /* owned; NULL: it is run */
        int times, count;
        void (*after)(void *user);
        void *user;
        char last[1000];
    } script[KEEPER_SCRIPTS];
};

/* ---- entries ---- */

static int add(struct keeper *keeper, long ms, const char *channel, const char *envelope)
{
    int at = keeper->end++;
    ck_assert_int_lt(at, ENTRIES);
    if (!keeper->exists)
        keeper->begun = keeper->last;
    keeper->exists = true;
    keeper->entry[at].ms = keeper->last_ms = ms;
    keeper->entry[at].channel = strdup(channel);
    keeper->entry[at].envelope = strdup(envelope);
    return keeper->entry[at].n = ++keeper->last;
}

int keeper_put(struct keeper *keeper, const char *channel, const char *envelope)
{
    return add(keeper, ++keeper->now_ms, channel, envelope);
}

static int publish(struct keeper *keeper, const char *channel, const char *envelope, long ms, int n)
{
    char *text;
    int length = asprintf(&text, "%.*s,\"position\":\"%ld-%d\"}", (int)strlen(envelope) - 1,
                          envelope, ms, n);
    ck_assert_int_gt(length, 0);
    int receivers = scripted_publish(keeper->server, channel, text, (size_t)length);
    free(text);
    return receivers;
}

int keeper_add(struct keeper *keeper, const char *channel, const char *envelope)
{
    int n = keeper_put(keeper, channel, envelope);
    publish(keeper, channel, envelope, keeper->now_ms, n);
    return n;
}

void keeper_be_behind(struct keeper *keeper, long ms)
{
    keeper->behind_ms = ms;
}

static void let_go(struct keeper *keeper, int at)
{
    free(keeper->entry[at].channel);
    free(keeper->entry[at].envelope);
}

static void drop(struct keeper *keeper, int left)
{
    while (keeper->end - keeper->first > left)
        let_go(keeper, keeper->first++);
}

void keeper_trim(struct keeper *keeper, int left)
{
    drop(keeper, left);
    bool some = keeper_length(keeper) > 0;
    keeper->gone = some ? keeper->entry[keeper->first].n - 1 : keeper->last;
    keeper->gone_ms = some ? keeper->entry[keeper->first].ms : keeper->last_ms;
}

void keeper_delete(struct keeper *keeper)
{
    drop(keeper, 0);
    keeper->exists = false;
    keeper->begun = keeper->last;
}

void keeper_flush(struct keeper *keeper)
{
    keeper_delete(keeper);
    keeper->epoch++;
    keeper->last = keeper->begun = keeper->gone = 0;
    keeper->last_ms = keeper->gone_ms = 0;
    memset(keeper->mark, 0, sizeof keeper->mark);
}

void keeper_roll_back(struct keeper *keeper, int count)
{
    ck_assert_int_le(count, keeper->end - keeper->first);
    while (count--) {
        let_go(keeper, --keeper->end);
        keeper->last--;
    }
    keeper->last_ms = keeper_length(keeper) ? keeper->entry[keeper->end - 1].ms : 0;
}

void keeper_count_back(struct keeper *keeper, int count)
{
    keeper->last -= count;
}

int keeper_length(const struct keeper *keeper)
{
    return keeper->end - keeper->first;
}

/* ---- the scripts: words from the first key on ---- */

static void put_word(FILE *out, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ck_assert_int_lt(length, (int)sizeof text);
    fprintf(out, "$%d\r\n%s\r\n", length, text);
}

static long *mark_of(struct keeper *keeper, const char *name)
{
    int i = 0;
    while (keeper->mark[i].name[0] && strcmp(keeper->mark[i].name, name) != 0)
        i++;
    ck_assert_int_lt(i, NODES);
    snprintf(keeper->mark[i].name, sizeof keeper->mark[i].name, "%s", name);
    return &keeper->mark[i].done;
}

static void append(struct keeper *keeper, FILE *out, char **word, int count)
{
    long *done = mark_of(keeper, word[2]), first = atol(word[6]);
    int events = (count - 12) / 2;
    ck_assert_str_eq(word[11], "0"); /* none is special */
    if (atol(word[5]) > *done) {
        fputs("-ORDER an event before these is missing\r\n", out);
        return;
    }
    fprintf(out, "*%d\r\n", events + 2);
    put_word(out, "%ld", ++keeper->now_ms);
    fprintf(out, ":%d\r\n", keeper->last);
    for (int i = 0; i < events; i++) {
        const char *channel = word[12 + 2 * i];
        char *envelope;
        int receivers = -1;
        ck_assert_int_gt(asprintf(&envelope, "%s}", word[13 + 2 * i]), 0);
        if (first + i > *done) {
            int n = add(keeper, keeper->now_ms, channel, envelope);
            receivers = publish(keeper, channel, envelope, keeper->now_ms, n);
        }
        free(envelope);
        fprintf(out, ":%d\r\n", receivers);
    }
    if (first + events - 1 > *done)
        *done = first + events - 1;
}

static void fence(struct keeper *keeper, FILE *out, char **word)
{
    int at = keeper->end - 1;
    fprintf(out, "*8\r\n:%d\r\n",
            scripted_publish(keeper->server, word[3], word[4], strlen(word[4])));
    put_word(out, "%d.5", keeper->epoch);
    put_word(out, "%ld-%d", keeper->last_ms, keeper->last);
    if (at >= keeper->first)
        put_word(out, "%ld-%d", keeper->entry[keeper->first].ms, keeper->entry[keeper->first].n);
    else
        put_word(out, "");
    fprintf(out, ":%d\r\n:%ld\r\n:%d\r\n", keeper->exists ? keeper_length(keeper) : -1,
            keeper->now_ms - keeper->behind_ms, keeper->begun);
    put_word(out, "%ld-%d", keeper->gone_ms, keeper->gone);
}

/* Is it behind the beginning of a range, "(1-2" or "1-2"? */
static bool is_behind(const char *from, long ms, int n)
{
    bool open = *from == '(';
    long from_ms = 0, from_n = 0;
    ck_assert_int_eq(sscanf(from + open, "%ld-%ld", &from_ms, &from_n), 2);
    return ms > from_ms || (ms == from_ms && n >= from_n + open);
}

static void read_on(struct keeper *keeper, FILE *out, char **word)
{
    int most = atoi(word[5]), at = keeper->first, end, before = 0;
    ck_assert_str_eq(word[3], "1"); /* forward is all that is needed here */
    ck_assert_str_eq(word[4], "+");
    ck_assert_int_gt(most, 0);
    while (at < keeper->end && !is_behind(word[2], keeper->entry[at].ms, keeper->entry[at].n))
        at++;
    end = keeper->end - at > most ? at + most : keeper->end;
    sscanf(word[2], "%*[^-]-%d", &before);
    int next = at < end ? keeper->entry[at].n : keeper->last + 1;
    fprintf(out, "*%d\r\n", (end - at) * 3 + 4);
    put_word(out, end - at == most ? "more" : "end");
    put_word(out, "%d.5", keeper->epoch);
    put_word(out, "%ld-%d", keeper->last_ms, keeper->last);
    fprintf(out, ":%d\r\n", next == before + 1 ? 0 : keeper->begun);
    for (; at < end; at++) {
        put_word(out, "%ld-%d", keeper->entry[at].ms, keeper->entry[at].n);
        put_word(out, "%s", keeper->entry[at].channel);
        put_word(out, "%s", keeper->entry[at].envelope);
    }
}

static void cursor(struct keeper *keeper, FILE *out, char **word)
{
    bool leaves = !strcmp(word[4], "leave");
    if (keeper->owner[0] && strcmp(keeper->owner, word[1]) != 0) {
        fputs("*3\r\n:0\r\n", out);
        put_word(out, "%s", keeper->owner);
        put_word(out, "1000");
        return;
    }
    if (word[2][0])
        keeper_place(keeper, word[2], word[3]);
    snprintf(keeper->owner, sizeof keeper->owner, "%s", leaves ? "" : word[1]);
    fputs("*3\r\n:1\r\n", out);
    put_word(out, "%s", keeper->place);
    put_word(out, "%s", keeper->place_epoch);
}

/* Words from the first key on: keys, owner, mode, ttl, idle, above, channel, notice, places. */
static void lease(struct keeper *keeper, FILE *out, char **word, int count)
{
    bool mine = !strcmp(keeper->leader, word[2]), leaves = !strcmp(word[3], "leave");
    if (!mine && (keeper->leader[0] || leaves || !strcmp(word[3], "look"))) {
        fputs("*4\r\n:0\r\n", out);
        put_word(out, "%s", keeper->leader);
        fprintf(out, ":%lld\r\n:1000\r\n", keeper->fence);
        return;
    }
    if (!mine && ++keeper->fence <= atoll(word[6]))
        keeper->fence = atoll(word[6]) + 1;
    snprintf(keeper->leader, sizeof keeper->leader, "%s", leaves ? "" : word[2]);
    fprintf(out, "*%d\r\n:%d\r\n:%lld\r\n:0\r\n", 3 + (count - 9) / 2, mine ? 1 : 2, keeper->fence);
    for (int i = 9; i < count; i += 2) {
        if (mine && word[i + 1][0])
            snprintf(keeper->led_place, sizeof keeper->led_place, "%s", word[i + 1]);
        put_word(out, "%s", keeper->led_place);
    }
}

static void note(struct keeper *keeper, int script, char **word, int count)
{
    char *last = keeper->script[script].last;
    keeper->script[script].count++;
    snprintf(last, sizeof keeper->script[script].last, "%s", word[0]);
    for (int i = 2; i < count; i++)
        snprintf(last + strlen(last), sizeof keeper->script[script].last - strlen(last), " %s",
                 word[i]);
}

static void run(struct keeper *keeper, FILE *out, int script, char **word, int count)
{
    bool whole = !strcmp(word[0], "EVAL");
    if (!whole && !keeper->script[script].known) {
        fputs("-NOSCRIPT No matching script. Please use EVAL.\r\n", out);
        return;
    }
    keeper->script[script].known = true;
    if (script == KEEPER_APPEND)
        append(keeper, out, word + 3, count - 3);
    else if (script == KEEPER_CURSOR)
        cursor(keeper, out, word + 3);
    else if (script == KEEPER_LEASE)
        lease(keeper, out, word + 3, count - 3);
    else if (script == KEEPER_FENCE)
        fence(keeper, out, word + 3);
    else
        read_on(keeper, out, word + 3);
}

static char *on_eval(char **word, int count, void *user)
{
    struct keeper *keeper = user;
    int keys = atoi(word[2]);
    static const int by_keys[] = {KEEPER_CURSOR, KEEPER_READ, KEEPER_FENCE, -1, KEEPER_APPEND};
    char *reply;
    size_t length;
    FILE *out = open_memstream(&reply, &length);
    ck_assert(out && keys >= 1 && keys <= 5 && keys != 4);
    int script = strstr(word[3], "leader:") ? KEEPER_LEASE : by_keys[keys - 1];
    note(keeper, script, word, count);
    if (keeper->script[script].bytes) {
        fputs(keeper->script[script].bytes, out);
        if (keeper->script[script].times && --keeper->script[script].times == 0)
            keeper_answer(keeper, script, NULL, 0);
    } else {
        run(keeper, out, script, word, count);
        void (*after)(void *) = keeper->script[script].after;
        keeper->script[script].after = NULL;
        if (after)
            after(keeper->script[script].user);
    }
    ck_assert_int_eq(fclose(out), 0);
    return reply;
}

/* ---- the test's side ---- */

struct keeper *keeper_start(struct scripted *server)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    ck_assert_ptr_nonnull(keeper);
    keeper->server = server;
    keeper->now_ms = KEEPER_MS;
    keeper->epoch = 1;
    scripted_eval(server, on_eval, keeper);
    return keeper;
}

void keeper_free(struct keeper *keeper)
{
    scripted_eval(keeper->server, NULL, NULL);
    drop(keeper, 0);
    for (int script = 0; script < KEEPER_SCRIPTS; script++)
        free(keeper->script[script].bytes);
    free(keeper);
}

void keeper_forget(struct keeper *keeper)
{
    for (int script = 0; script < KEEPER_SCRIPTS; script++)
        keeper->script[script].known = false;
}

void keeper_answer(struct keeper *keeper, int script, const char *bytes, int times)
{
    free(keeper->script[script].bytes);
    keeper->script[script].bytes = bytes ? strdup(bytes) : NULL;
    keeper->script[script].times = times;
}

void keeper_after(struct keeper *keeper, int script, void (*fn)(void *user), void *user)
{
    keeper->script[script].after = fn;
    keeper->script[script].user = user;
}

void keeper_place(struct keeper *keeper, const char *place, const char *epoch)
{
    snprintf(keeper->place, sizeof keeper->place, "%s", place);
    snprintf(keeper->place_epoch, sizeof keeper->place_epoch, "%s", epoch);
}

void keeper_lease(struct keeper *keeper, const char *owner, long long fence, const char *place)
{
    snprintf(keeper->leader, sizeof keeper->leader, "%s", owner);
    snprintf(keeper->led_place, sizeof keeper->led_place, "%s", place);
    keeper->fence = fence;
}

int keeper_count(const struct keeper *keeper, int script)
{
    return keeper->script[script].count;
}

const char *keeper_last(const struct keeper *keeper, int script)
{
    return keeper->script[script].last;
}
