/* test_group.c - a bus's groups against a script: what is asked of Redis, what becomes of each
 * answer, and of a lack of memory anywhere on the way. */
#include "bus_fixture.h"
#include "list.h"

#define KEY  "evbus:group:{0}:g:evbus:events:job"
#define NONE "*-1\r\n"
#define ENTRY(id, event)                                                                           \
    "*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n*2\r\n$3\r\n" id "\r\n*2\r\n$1\r\ne\r\n$" event "\r\n"
#define GOOD "7\r\n{\"x\":1}"

static int members;       /* calls of the script */
static char called[2000]; /* scripts, "settle:1-1 " */
static const char *member_answer;

/* By the arguments' number: the history is off, so that all are of groups. */
static char *on_eval(char **word, int count, void *user)
{
    (void)user;
    if (!strcmp(word[2], "3")) {
        members++;
        return strdup(member_answer);
    }
    if (strstr(word[3], "@"))
        return strdup(":1\r\n");
    bool takeover = count == 7 && strspn(word[4], "0123456789") == strlen(word[4]);
    size_t at = strlen(called);
    snprintf(called + at, sizeof called - at, "%s", takeover ? "takeover" : "tell");
    for (int i = 4; i < count && !takeover; i++)
        snprintf(called + strlen(called), sizeof called - strlen(called), ":%s", word[i]);
    snprintf(called + strlen(called), sizeof called - strlen(called), " ");
    return strdup(takeover ? "*2\r\n:0\r\n:0\r\n" : ":1\r\n");
}

static int handle(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    tell("%s:%d ", evbus_event_data(event, NULL), evbus_event_attempt(event));
    return *(int *)user;
}

static void setup_group(void)
{
    setup();
    members = 0;
    called[0] = '\0';
    member_answer = "*4\r\n:0\r\n:1\r\n$3\r\n0-0\r\n:0\r\n";
    scripted_eval(server, on_eval, NULL);
    scripted_answer(server, "XPENDING", "*0\r\n", 0);
    scripted_answer(server, "XREADGROUP", "", 0);
    bus = open_on(1, "history.enabled", "no", "group.retry.delay", "0", "log.level", "none", NULL);
    await_mode(EVBUS_MODE_HYBRID);
}

static evbus_sub *join(int *answer)
{
    evbus_sub *sub = evbus_subscribe(bus, "job", "group=g retries=1", handle, answer);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return sub;
}

static bool has_called(void *what)
{
    return strstr(called, what) != NULL;
}

static void await_call(char *what)
{
    ck_assert_msg(run_until(base, has_called, what, 20000), "%s: %s", what, called);
}

static bool has_read(void *times)
{
    return scripted_count(server, "XREADGROUP") >= *(int *)times;
}

static void await_reads(int times)
{
    ck_assert(run_until(base, has_read, &times, 20000));
}

START_TEST(asks)
{
    int ok = 0;
    char settled[] = "tell:1-1 ", want[200];
    scripted_answer(server, "XREADGROUP", ENTRY("1-1", GOOD), 1);
    evbus_sub *sub = join(&ok);
    await_call(settled);
    ck_assert_str_eq(story, "{\"x\":1}:1 ");
    snprintf(want, sizeof want, "XPENDING " KEY " evbus IDLE 0 - + 4096 %s", evbus_node(bus));
    ck_assert_str_eq(scripted_last(server, "XPENDING"), want);
    snprintf(want, sizeof want,
             "XREADGROUP GROUP evbus %s COUNT 63 BLOCK 5000 STREAMS " KEY " evbus:group:{0}@%s > >",
             evbus_node(bus), evbus_node(bus));
    scripted_answer(server, "XREADGROUP", NULL, 0);
    ck_assert_str_eq(scripted_last(server, "XREADGROUP"), want);
    ck_assert_int_eq(members, 1);
    ck_assert_int_eq((int)evbus_stat(bus, "group_deliveries"), 1);
    evbus_unsubscribe(sub);
}
END_TEST

static const struct {
    const char *entry;
    int answer;
    const char *call, *story;
} given[] = {
    {ENTRY("1-1", GOOD), 7, "tell:1-1:1 ", "{\"x\":1}:1 "},
    {ENTRY("1-1", "3\r\n{\"x"), 0, "tell:1-1 ", ""}, /* no event: never to be had */
    {"*1\r\n*2\r\n$34\r\n" KEY "\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n", 0, "tell:1-1 ", ""},
    {"*1\r\n*2\r\n$34\r\n" KEY
     "\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\ne\r\n$7\r\n{\"x\":1}\r\n$1\r\na\r\n$1\r\n1\r\n",
     0, "tell:1-1 ", "{\"x\":1}:2 "},
};

START_TEST(what_is_told)
{
    int answer = given[_i].answer;
    char call[40];
    snprintf(call, sizeof call, "%s", given[_i].call);
    scripted_answer(server, "XREADGROUP", given[_i].entry, 1);
    evbus_sub *sub = join(&answer);
    await_call(call);
    ck_assert_str_eq(story, given[_i].story);
    evbus_unsubscribe(sub);
}
END_TEST

/* What an earlier connection could not bring goes back before anything is read. */
START_TEST(lost_on_the_way)
{
    int ok = 0;
    char back[] = "tell:1-1:1:2-1:1 ";
    scripted_answer(server, "XPENDING",
                    "*2\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1\r\n:1\r\n"
                    "*4\r\n$3\r\n2-1\r\n$1\r\nc\r\n:1\r\n:1\r\n",
                    1);
    evbus_sub *sub = join(&ok);
    await_call(back);
    await_reads(1);
    evbus_unsubscribe(sub);
}
END_TEST

static int gaps;

static int on_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    gaps += strstr(evbus_event_data(event, NULL), "\"cause\":\"flushed\"") != NULL;
    return 0;
}

static bool has_gap(void *unused)
{
    (void)unused;
    return gaps > 0;
}

START_TEST(the_stream_has_gone)
{
    int ok = 0;
    gaps = 0;
    scripted_answer(server, "XREADGROUP", "-NOGROUP No such key\r\n", 1);
    evbus_sub *gap = evbus_subscribe(bus, "evbus.gap", NULL, on_gap, NULL);
    evbus_sub *sub = join(&ok);
    ck_assert(run_until(base, has_gap, NULL, 20000));
    await_reads(2);
    ck_assert_int_eq(members, 2);
    ck_assert_int_eq(gaps, 1);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(gap);
}
END_TEST

static int on_rolled_back(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    const char *data = evbus_event_data(event, NULL);
    gaps += strstr(data, "\"cause\":\"rolled-back\"") && strstr(data, "\"count\":5");
    return 0;
}

/* It was announced with more entries than there are now. */
START_TEST(the_stream_is_older)
{
    int ok = 0;
    gaps = 0;
    member_answer = "*4\r\n:0\r\n:1\r\n$3\r\n9-1\r\n:12\r\n";
    evbus_sub *gap = evbus_subscribe(bus, "evbus.gap", NULL, on_rolled_back, NULL);
    evbus_sub *sub = join(&ok);
    await_reads(1);
    member_answer = "*4\r\n:1\r\n:0\r\n$3\r\n8-1\r\n:7\r\n";
    scripted_close(server, SCRIPTED_PUBLISHER);
    ck_assert(run_until(base, has_gap, NULL, 20000));
    ck_assert_int_eq(gaps, 1);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(gap);
}
END_TEST

static const struct {
    const char *command, *answer;
    int error;
    const char *why;
} refusals[] = {
    {"EVAL", "-NOPERM no\r\n", EVBUS_EDENIED, "NOPERM no (~evbus:group:{0}*"},
    {"EVAL", "-WRONGTYPE x\r\n", EVBUS_EREMOTE, "WRONGTYPE x"},
    {"EVAL", "+OK\r\n", EVBUS_EREMOTE, "no answer of the script"},
    {"XREADGROUP", "-NOPERM no\r\n", EVBUS_EDENIED, "XREADGROUP is refused: NOPERM no"},
    {"XPENDING", "-NOPERM no\r\n", EVBUS_EDENIED, "XPENDING is refused: NOPERM no"},
};

static bool is_refused(void *sub)
{
    return evbus_sub_wait(sub, 0) == refusals[0].error || evbus_last_code() == EVBUS_EREMOTE;
}

START_TEST(refused)
{
    int ok = 0;
    if (strcmp(refusals[_i].command, "EVAL") != 0)
        scripted_answer(server, refusals[_i].command, refusals[_i].answer, 0);
    else
        member_answer = refusals[_i].answer;
    evbus_sub *sub = join(&ok);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ETIMEDOUT);
    ck_assert(run_until(base, is_refused, sub, 20000));
    ck_assert_int_eq(evbus_sub_wait(sub, 0), refusals[_i].error);
    ck_assert_msg(strstr(evbus_last_error(), refusals[_i].why), "%s", evbus_last_error());
    evbus_unsubscribe(sub);
}
END_TEST

static void on_closed(int result, void *user)
{
    *(int *)user = result == 0 ? 1 : -1;
}

static bool is_closed(void *closed)
{
    return *(int *)closed != 0;
}

static char *refuse_all(char **word, int count, void *user)
{
    (void)word;
    (void)count;
    (void)user;
    return strdup("-NOPERM no\r\n");
}

/* What was not begun is given back; one who may not say so does not wait for ever. */
START_TEST(closes)
{
    int closed = 0;
    char back[] = "tell:1-1:0 ";
    scripted_answer(server, "XREADGROUP", ENTRY("1-1", GOOD), 1);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, "job", "group=g", 0);
    await_reads(2);
    if (_i)
        scripted_eval(server, refuse_all, NULL);
    ck_assert_int_eq(evbus_close_async(bus, -1, on_closed, &closed), 0);
    ck_assert(run_until(base, is_closed, &closed, 20000));
    ck_assert_int_eq(closed, 1);
    ck_assert_int_eq(strstr(called, back) != NULL, _i == 0);
    evbus_event *none;
    ck_assert_int_eq(evbus_queue_next(queue, 0, &none, NULL), EVBUS_ECLOSED);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
}
END_TEST

/* Whatever allocation fails: nothing crashes, nothing leaks, and in the end it is handled. */
START_TEST(no_memory)
{
    int ok = 0;
    for (long n = 0;; n++) {
        char settled[] = "tell:1-1 ";
        called[0] = story[0] = '\0';
        scripted_answer(server, "XREADGROUP", ENTRY("1-1", GOOD), 1);
        failing_at(n, false);
        evbus_sub *sub = evbus_subscribe(bus, "job", "group=g", handle, &ok);
        run_for(base, 3);
        bool failed = failing_off();
        if (!failed)
            await_call(settled);
        if (sub)
            evbus_unsubscribe(sub);
        evbus_free(bus);
        turn();
        if (!failed)
            break;
        bus = open_on(1, "history.enabled", "no", "log.level", "none", NULL);
        await_mode(EVBUS_MODE_HYBRID);
    }
    bus = NULL;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group");
    TCase *all = tcase_create("group");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown);
    tcase_add_test(all, asks);
    tcase_add_loop_test(all, what_is_told, 0, (int)EVB_COUNT(given));
    tcase_add_test(all, lost_on_the_way);
    tcase_add_test(all, the_stream_has_gone);
    tcase_add_test(all, the_stream_is_older);
    tcase_add_loop_test(all, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(all, closes, 0, 2);
    tcase_add_test(all, no_memory);
    suite_add_tcase(suite, all);
    return run(suite);
}
