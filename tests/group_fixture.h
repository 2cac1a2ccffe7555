/*
 * group_fixture.h - bus_fixture.h with a Redis that runs the scripts of groups: it notes what they
 * are called with, and answers as where all is well until it is told other answers. Included by one
 * program's only file.
 */
#ifndef GROUP_FIXTURE_H
#define GROUP_FIXTURE_H
#include "bus_fixture.h"
#include "clock.h"
#include "group.h"
#include "list.h"
#include <hiredis/hiredis.h>

#define KEY            "evbus:group:{0}:g:evbus:events:job"
#define ONE(id, event) "*2\r\n$3\r\n" id "\r\n*2\r\n$1\r\ne\r\n$" event "\r\n"
#define TRIED(id, event, n)                                                                        \
    "*2\r\n$3\r\n" id "\r\n*4\r\n$1\r\ne\r\n$" event "\r\n$1\r\na\r\n$1\r\n" n "\r\n"
#define ENTRY(id, event) "*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n" ONE(id, event)
#define GOOD             "7\r\n{\"x\":1}"

enum script { MEMBER, TELL, TAKEOVER, BELL, LETTER, SCRIPTS };

static int members;       /* calls of the script */
static char called[2000]; /* scripts, "tell:1-1 takeover:60000:256: bell:1-1 letter:1-1 " */
static char letter[2000]; /* the last dead letter */
static evbus_queue *own_queue;
static evbus_sub *mine;     /* of join_queue() or join_handler() */
static evbus_event *pulled; /* of pull() */
static int64_t still_us;    /* of stop_clock() */
static struct evb_gate gate;
static redisReader *reader; /* of reply_of() */
static struct {
    const char *bytes;
    int left; /* 0: always */
} answers[SCRIPTS];

static inline void answer_script(enum script script, const char *bytes, int times)
{
    answers[script].bytes = bytes;
    answers[script].left = times;
}

static inline char *answer_of(enum script script)
{
    static const char *const usual[] = {[MEMBER] = "*4\r\n:0\r\n:1\r\n$3\r\n0-0\r\n:0\r\n",
                                        [TELL] = ":1\r\n",
                                        [TAKEOVER] = "*2\r\n:0\r\n:0\r\n",
                                        [BELL] = ":1\r\n",
                                        [LETTER] = "*3\r\n$4\r\n1000\r\n:1\r\n:0\r\n"};
    const char *bytes = answers[script].bytes;
    if (bytes && answers[script].left && --answers[script].left == 0)
        answers[script].bytes = NULL;
    return strdup(bytes ? bytes : usual[script]);
}

__attribute__((format(printf, 1, 2))) static inline void note_call(const char *format, ...)
{
    size_t at = strlen(called);
    va_list args;
    va_start(args, format);
    vsnprintf(called + at, sizeof called - at, format, args);
    va_end(args);
}

static inline void note_words(const char *name, char **word, int count)
{
    note_call("%s", name);
    for (int i = 0; i < count; i++)
        note_call(":%s", word[i]);
    note_call(" ");
}

/* By the arguments' number: the history is off, so that all are of groups. */
static inline char *on_eval(char **word, int count, void *user)
{
    (void)user;
    if (!strcmp(word[2], "3")) {
        members++;
        return answer_of(MEMBER);
    }
    if (!strcmp(word[2], "5")) { /* one event, which settles an entry */
        ck_assert_int_eq(count, 21);
        note_words("letter", word + 18, 1);
        snprintf(letter, sizeof letter, "%s", word[20]);
        return answer_of(LETTER);
    }
    if (strstr(word[3], "@")) {
        note_words("bell", word + 4, count - 4);
        return answer_of(BELL);
    }
    if (count == 7 && strspn(word[4], "0123456789") == strlen(word[4])) {
        char me[] = "me", *words[] = {word[4], word[5], *word[6] ? me : word[6]};
        note_words("takeover", words, 3);
        return answer_of(TAKEOVER);
    }
    note_words("tell", word + 4, count - 4);
    return answer_of(TELL);
}

static inline int handle(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    tell("%s:%d ", evbus_event_data(event, NULL), evbus_event_attempt(event));
    return *(int *)user;
}

static inline void setup_group(void)
{
    setup();
    scripted_eval(server, on_eval, NULL);
    scripted_answer(server, "XPENDING", "*0\r\n", 0);
    scripted_answer(server, "XREADGROUP", "", 0);
    bus = open_on(1, "history.enabled", "no", "group.retry.delay", "0", "log.level", "none",
                  "workers", "1", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static inline void teardown_group(void)
{
    if (mine)
        evbus_unsubscribe(mine);
    if (own_queue)
        evbus_queue_free(own_queue);
    if (reader)
        redisReaderFree(reader);
    evb_gate_fini(&gate);
    if (still_us)
        evb_clock_set(NULL, NULL);
    mine = NULL;
    own_queue = NULL;
    reader = NULL;
    teardown();
}

static inline evbus_sub *join(int *answer)
{
    evbus_sub *sub = evbus_subscribe(bus, "job", "group=g retries=1", handle, answer);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return sub;
}

/* What the test has done outside the loop goes on its way. */
static inline void go_round(void)
{
    evb_loop_begin(&bus->loop);
    evb_loop_end(&bus->loop);
}

static inline bool has_called(void *what)
{
    return strstr(called, what) != NULL;
}

static inline void await_call(char *what)
{
    go_round();
    ck_assert_msg(run_until(base, has_called, what, suite_patience(20000)), "%s: %s", what, called);
}

static inline bool has_read(void *times)
{
    return scripted_count(server, "XREADGROUP") >= *(int *)times;
}

static inline void await_reads(int times)
{
    go_round();
    ck_assert(run_until(base, has_read, &times, suite_patience(20000)));
}

/* The bus's first one. */
static inline struct evb_group *the_group(void)
{
    ck_assert(bus->groups && !evb_list_empty(&bus->groups->list));
    return evb_container(bus->groups->list.next, struct evb_group, node);
}

static inline bool has_no_asks(void *group)
{
    return ((struct evb_group *)group)->asks == 0;
}

/* All that it has asked is answered. */
static inline void await_answers(struct evb_group *group)
{
    go_round();
    ck_assert(run_until(base, has_no_asks, group, suite_patience(20000)));
}

/* It reads, and nothing else is under way. */
static inline struct evb_group *stands(void)
{
    await_reads(1);
    await_answers(the_group());
    return the_group();
}

static inline struct evb_group *join_handler(const char *options, evbus_event_fn fn, void *user)
{
    mine = evbus_subscribe(bus, "job", options, fn, user);
    ck_assert_msg(mine != NULL, "%s", evbus_last_error());
    return stands();
}

/* What it is given waits until the test pulls it. */
static inline struct evb_group *join_queue(const char *queue_options, const char *options)
{
    own_queue = evbus_queue_open(bus, queue_options);
    mine = evbus_queue_subscribe(own_queue, "job", options, 0);
    ck_assert_msg(mine != NULL, "%s", evbus_last_error());
    return stands();
}

static inline void cut(void)
{
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_mode(EVBUS_MODE_DEGRADED);
}

/* In a list of the group, as if it had been given. */
static inline struct evb_hold *put_hold(struct evb_node *list, const char *entry)
{
    struct evb_hold *hold = evb_hold_of(bus, entry);
    ck_assert_ptr_nonnull(hold);
    hold->group = the_group();
    evb_list_push(list, &hold->node);
    return hold;
}

static inline int length_of(const struct evb_node *list)
{
    int length = 0;
    EVB_LIST_EACH(list, node)
    length++;
    return length;
}

/* As Redis would say it; valid until the next. */
static inline const struct evb_reply *reply_of(const char *bytes)
{
    void *reply = NULL;
    if (!reader) {
        evb_gate_init(&gate, 1 << 20);
        gate.max_depth = 5;
        reader = redisReaderCreate();
        evb_gate_attach(&gate, reader);
    }
    evb_gate_reset(&gate);
    ck_assert_int_eq(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
    ck_assert_int_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
    ck_assert_ptr_nonnull(reply);
    return reply;
}

static inline int64_t stand_still(void)
{
    return still_us;
}

/* From now on it stands still, but for what is added to still_us. Its milliseconds. */
static inline int64_t stop_clock(void)
{
    still_us = evb_clock_mono_ms() * 1000;
    evb_clock_set(NULL, stand_still);
    return still_us / 1000;
}

static inline void take(const char *entry)
{
    evb_group_take(the_group(), reply_of(entry));
}

static inline void pull(void)
{
    ck_assert_int_eq(evbus_queue_next(own_queue, 0, &pulled, NULL), 1);
}

/* It says so, and nobody holds it any more. */
static inline void answer(int (*how)(evbus_event *one))
{
    ck_assert_int_eq(how(pulled), 0);
    evbus_event_unref(pulled);
    go_round();
}

static inline int nack(evbus_event *one)
{
    return evbus_event_nack(one, -1);
}

static inline struct evb_member *member(void)
{
    return mine->member;
}

static inline struct evb_hold *first_in(const struct evb_node *list)
{
    ck_assert(!evb_list_empty(list));
    return evb_container(list->next, struct evb_hold, node);
}

static inline bool is_refused(void *sub)
{
    int rc = evbus_sub_wait(sub, 0);
    return rc == EVBUS_EDENIED || rc == EVBUS_EREMOTE;
}

/* Who waits for it is told so, and not before it is known. */
static inline void expect_refused(evbus_sub *sub, int error, const char *why)
{
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    ck_assert(run_until(base, is_refused, sub, suite_patience(20000)));
    ck_assert_int_eq(evbus_sub_wait(sub, 0), error);
    ck_assert_msg(strstr(evbus_last_error(), why), "%s", evbus_last_error());
}

#endif
