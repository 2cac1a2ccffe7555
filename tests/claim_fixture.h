/*
 * claim_fixture.h - bus_fixture.h with a Redis that runs the script of leases on keys in memory,
 * until it is told other answers. Its keys do not run out. Included by one program's only file.
 */
#ifndef CLAIM_FIXTURE_H
#define CLAIM_FIXTURE_H
#include "bus_fixture.h"
#include "harness/until.h"
#include "list.h"

enum { KEYS = 64 };

static struct {
    char key[200], value[100];
} keys[KEYS];
static char *answers; /* owned: instead of running it; NULL: none */
static int answers_left;
static bool script_known;
static int script_calls;
static char last_call[400];    /* "take evbus:claim:k owner 1000" */
static char last_publish[400]; /* before that call */
static char all_calls[8192];   /* the same of all, a line each; the first ones */

static inline int find_key(const char *key)
{
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(keys[i].key, key))
            return i;
    return -1;
}

static inline const char *value_of(const char *key)
{
    int i = find_key(key);
    return i < 0 ? "" : keys[i].value;
}

static inline void set_key(const char *key, const char *value)
{
    int i = find_key(key);
    if (i < 0)
        i = find_key("");
    ck_assert_int_ge(i, 0);
    snprintf(keys[i].key, sizeof keys[i].key, "%s", *value ? key : "");
    snprintf(keys[i].value, sizeof keys[i].value, "%s", value);
}

/* From now on these bytes are the answer; "" is silence; `times` 0: always; NULL: as Redis does. */
static inline void answer_with(const char *bytes, int times)
{
    free(answers);
    answers = bytes ? strdup(bytes) : NULL;
    answers_left = times;
}

static inline char *run_lease(char **word)
{
    const char *key = word[3], *verb = word[4], *owner = word[5], *there = value_of(key);
    char *reply;
    bool others = *there && strcmp(there, owner) != 0, done = !strcmp(there, "done");
    ck_assert_int_gt(asprintf(&reply, "*3\r\n:%d\r\n$%zu\r\n%s\r\n:%d\r\n",
                              !others ? 1
                              : done  ? 2
                                      : 0,
                              strlen(there), there, others ? 500 : 0),
                     0);
    if (!others)
        set_key(key, !strcmp(verb, "release") ? "" : !strcmp(verb, "done") ? "done" : owner);
    return reply;
}

static inline char *on_eval(char **word, int count, void *user)
{
    (void)user;
    ck_assert_int_eq(count, 7);
    script_calls++;
    snprintf(last_call, sizeof last_call, "%s %s %s %s", word[4], word[3], word[5], word[6]);
    snprintf(last_publish, sizeof last_publish, "%s", scripted_last(server, "PUBLISH"));
    snprintf(all_calls + strlen(all_calls), sizeof all_calls - strlen(all_calls), "%s\n",
             last_call);
    if (answers) {
        char *reply = strdup(answers);
        if (answers_left && --answers_left == 0)
            answer_with(NULL, 0);
        return reply;
    }
    if (!strcmp(word[0], "EVALSHA") && !script_known)
        return strdup("-NOSCRIPT No matching script. Please use EVAL.\r\n");
    script_known = true;
    return run_lease(word);
}

static inline evbus *open_claiming(const char *key, const char *value)
{
    evbus *made =
        open_on(1, "history.enabled", "no", "reconnect.backoff", "1ms", "reconnect.backoff.max",
                "5ms", "lease.ttl", "1s", "workers", "1", key, value, NULL);
    return made;
}

static inline void begin_with(const char *key, const char *value)
{
    setup();
    memset(keys, 0, sizeof keys);
    script_known = false;
    script_calls = 0;
    all_calls[0] = '\0';
    scripted_eval(server, on_eval, NULL);
    bus = open_claiming(key, value);
    await_mode(EVBUS_MODE_HYBRID);
}

static inline void begin(void)
{
    begin_with(NULL, NULL);
}

static inline void end(void)
{
    evbus_free(bus);
    bus = NULL;
    answer_with(NULL, 0);
    teardown();
}

static inline bool has_stat(void *what) /* "claims_won=2" */
{
    char name[40];
    long long want;
    return sscanf(what, "%39[a-z_]=%lld", name, &want) == 2 && evbus_stat(bus, name) == want;
}

static inline void await_stat(char *what)
{
    ck_assert_msg(run_until(base, has_stat, what, suite_patience(10000)), "%s", what);
}

static inline bool is_called(void *words)
{
    return strstr(all_calls, words) != NULL;
}

static inline void await_call(char *words)
{
    ck_assert_msg(run_until(base, is_called, words, suite_patience(10000)), "%s: %s", words,
                  all_calls);
}

/* An event of this type, whose id is the type, too. */
static inline void publish_id(const char *type)
{
    evbus_event *event = evbus_event_new(type);
    ck_assert_int_eq(evbus_event_set_id(event, type), 0);
    ck_assert_int_gt(evbus_publish_event(bus, event, 0), 0);
    evbus_event_unref(event);
}

/* Somebody else's. */
static inline void send_id(const char *type)
{
    char channel[60], json[200];
    snprintf(channel, sizeof channel, "evbus:events:%s", type);
    int length = snprintf(json, sizeof json, "{\"eventId\":\"%s\",\"data\":1}", type);
    scripted_publish(server, channel, json, (size_t)length);
}

#endif
