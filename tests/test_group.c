/* test_group.c - a bus's groups against a script: what is asked of Redis, what becomes of each
 * answer, and of a lack of memory anywhere on the way. */
#include "group_fixture.h"

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
    answer_script(MEMBER, "*4\r\n:0\r\n:1\r\n$3\r\n9-1\r\n:12\r\n", 0);
    evbus_sub *gap = evbus_subscribe(bus, "evbus.gap", NULL, on_rolled_back, NULL);
    evbus_sub *sub = join(&ok);
    await_reads(1);
    answer_script(MEMBER, "*4\r\n:1\r\n:0\r\n$3\r\n8-1\r\n:7\r\n", 0);
    scripted_close(server, SCRIPTED_PUBLISHER);
    ck_assert(run_until(base, has_gap, NULL, 20000));
    ck_assert_int_eq(gaps, 1);
    evbus_unsubscribe(sub);
    evbus_unsubscribe(gap);
}
END_TEST

static const struct {
    const char *answer;
    int error;
    const char *why;
} refusals[] = {
    {"-NOPERM no\r\n", EVBUS_EDENIED, "NOPERM no (~evbus:group:{0}*"},
    {"-WRONGTYPE x\r\n", EVBUS_EREMOTE, "WRONGTYPE x"},
    {"+OK\r\n", EVBUS_EREMOTE, "no answer of the script"},
};

START_TEST(refused)
{
    int ok = 0;
    answer_script(MEMBER, refusals[_i].answer, 0);
    evbus_sub *sub = join(&ok);
    expect_refused(sub, refusals[_i].error, refusals[_i].why);
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

static bool has_rung(void *times)
{
    return scripted_count(server, "XADD") >= *(int *)times;
}

static const struct {
    const char *ring, *pending;
} last_ones[] = {
    {"$3\r\n1-1\r\n", "*0\r\n"}, /* the command that waits is answered, and brings one */
    {"-OOM no\r\n", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:0\r\n:1\r\n"},
};

/* What Redis gives out in the last moment goes back, too, and the consumer goes after that. */
START_TEST(closes_while_it_reads)
{
    int closed = 0, once = 1;
    join_queue(NULL, "group=g");
    scripted_answer(server, "XADD", last_ones[_i].ring, 0);
    scripted_answer(server, "XPENDING", last_ones[_i].pending, 1);
    ck_assert_int_eq(evbus_close_async(bus, -1, on_closed, &closed), 0);
    ck_assert(run_until(base, has_rung, &once, suite_patience(20000)));
    if (_i == 0) {
        run_for(base, 5);
        ck_assert_int_eq(closed, 0);
        bus->groups->link.state = EVB_BLOCKING_IDLE;
        evb_group_link_hooks.answer(reply_of(ENTRY("1-1", GOOD)), bus->groups);
    }
    ck_assert(run_until(base, is_closed, &closed, suite_patience(20000)));
    ck_assert_str_eq(called, "tell:1-1:0 takeover:2147483647:1:me ");
    evbus_queue_free(own_queue);
    evbus_unsubscribe(mine);
    if (reader)
        redisReaderFree(reader);
    evb_gate_fini(&gate);
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
    tcase_add_test(all, the_stream_has_gone);
    tcase_add_test(all, the_stream_is_older);
    tcase_add_loop_test(all, refused, 0, (int)EVB_COUNT(refusals));
    tcase_add_loop_test(all, closes, 0, 2);
    tcase_add_loop_test(all, closes_while_it_reads, 0, (int)EVB_COUNT(last_ones));
    tcase_add_test(all, no_memory);
    suite_add_tcase(suite, all);
    return run(suite);
}
