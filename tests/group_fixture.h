/*
 * group_fixture.h - bus_fixture.h with a Redis that runs the scripts of groups: it notes what they
 * are called with, and answers as where all is well until it is told other answers. Included by one
 * program's only file.
 */
#ifndef GROUP_FIXTURE_H
#define GROUP_FIXTURE_H
#include "bus_fixture.h"
#include "group.h"
#include "list.h"

#define KEY "evbus:group:{0}:g:evbus:events:job"
#define ENTRY(id, event)                                                                           \
    "*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n*2\r\n$3\r\n" id "\r\n*2\r\n$1\r\ne\r\n$" event "\r\n"
#define GOOD "7\r\n{\"x\":1}"

enum script { MEMBER, TELL, TAKEOVER, SCRIPTS };

static int members;       /* calls of the script */
static char called[2000]; /* scripts, "tell:1-1 takeover " */
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
                                        [TAKEOVER] = "*2\r\n:0\r\n:0\r\n"};
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

/* By the arguments' number: the history is off, so that all are of groups. */
static inline char *on_eval(char **word, int count, void *user)
{
    (void)user;
    if (!strcmp(word[2], "3")) {
        members++;
        return answer_of(MEMBER);
    }
    if (strstr(word[3], "@"))
        return strdup(":1\r\n");
    bool takeover = count == 7 && strspn(word[4], "0123456789") == strlen(word[4]);
    note_call("%s", takeover ? "takeover" : "tell");
    for (int i = 4; i < count && !takeover; i++)
        note_call(":%s", word[i]);
    note_call(" ");
    return answer_of(takeover ? TAKEOVER : TELL);
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
    bus = open_on(1, "history.enabled", "no", "group.retry.delay", "0", "log.level", "none", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static inline evbus_sub *join(int *answer)
{
    evbus_sub *sub = evbus_subscribe(bus, "job", "group=g retries=1", handle, answer);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return sub;
}

static inline bool has_called(void *what)
{
    return strstr(called, what) != NULL;
}

static inline void await_call(char *what)
{
    ck_assert_msg(run_until(base, has_called, what, suite_patience(20000)), "%s: %s", what, called);
}

static inline bool has_read(void *times)
{
    return scripted_count(server, "XREADGROUP") >= *(int *)times;
}

static inline void await_reads(int times)
{
    ck_assert(run_until(base, has_read, &times, suite_patience(20000)));
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
