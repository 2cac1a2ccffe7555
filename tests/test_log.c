/* test_log.c - who gets which line, what may stand in one, and changing it while others log. */
#include "log.h"
#include "unit.h"

static struct {
    int level, lines;
    void *user;
    char text[2048];
} last;

static void keep(int level, const char *line, void *user)
{
    last.level = level;
    last.lines++;
    last.user = user;
    ck_assert_uint_lt(strlen(line), sizeof last.text);
    strcpy(last.text, line);
}

static void setup(void)
{
    memset(&last, 0, sizeof last);
    ck_assert_int_eq(evb_log_set_default(-1, NULL, NULL), 0);
}

START_TEST(levels)
{
    struct evb_log log;
    evb_log_init(&log, "bus", _i);
    ck_assert_int_eq(evb_log_set(&log, _i, keep, &log), 0);
    for (int level = EVBUS_LOG_ERROR; level <= EVBUS_LOG_DEBUG; level++) {
        int before = last.lines;
        evb_log(&log, level, "line %d", level);
        ck_assert_int_eq(last.lines - before, level <= _i);
        if (level <= _i) {
            ck_assert_int_eq(last.level, level);
            ck_assert_ptr_eq(last.user, &log);
        }
    }
    evb_log_fini(&log);
}
END_TEST

START_TEST(silent_without_a_function)
{
    struct evb_log log;
    evb_log_init(&log, "bus", EVBUS_LOG_DEBUG);
    evb_log(&log, EVBUS_LOG_ERROR, "to nobody");
    ck_assert_int_eq(evb_log_set(&log, EVBUS_LOG_DEBUG, keep, NULL), 0);
    evb_log(&log, EVBUS_LOG_ERROR, "heard");
    ck_assert_int_eq(evb_log_set(&log, EVBUS_LOG_DEBUG, NULL, NULL), 0);
    evb_log(&log, EVBUS_LOG_ERROR, "to nobody again");
    ck_assert_int_eq(last.lines, 1);
    ck_assert_str_eq(last.text, "bus: heard");
    evb_log_fini(&log);
}
END_TEST

static const struct {
    const char *said, *line;
} texts[] = {
    {"plain", "bus: plain"},
    {"", "bus: "},
    {"two\nlines\r\n", "bus: two?lines??"},
    {"\x1b[31mred\x7f", "bus: ?[31mred?"},
    {"\t\x01\x1f ~", "bus: ??? ~"},
    {"gr\xc3\xbc\xc3\x9f", "bus: gr\xc3\xbc\xc3\x9f"},
    {"100%s", "bus: 100%s"},
};

START_TEST(one_line_whatever_peers_say)
{
    struct evb_log log;
    evb_log_init(&log, "bus", EVBUS_LOG_INFO);
    ck_assert_int_eq(evb_log_set(&log, -1, keep, NULL), 0);
    evb_log(&log, EVBUS_LOG_INFO, "%s", texts[_i].said);
    ck_assert_str_eq(last.text, texts[_i].line);
    evb_log_fini(&log);
}
END_TEST

START_TEST(long_lines_and_names_are_cut)
{
    struct evb_log log;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    evb_log_init(&log, text, EVBUS_LOG_INFO);
    ck_assert_int_eq(evb_log_set(&log, -1, keep, NULL), 0);
    evb_log(&log, EVBUS_LOG_INFO, "%s", text);
    ck_assert_uint_gt(strlen(last.text), 900);
    ck_assert_uint_lt(strlen(last.text), 1100);
    const char *colon = strstr(last.text, ": ");
    ck_assert_ptr_nonnull(colon);
    ck_assert_int_eq((int)(colon - last.text), (int)sizeof log.name - 1);
    evb_log_fini(&log);
}
END_TEST

START_TEST(a_level_that_is_none)
{
    struct evb_log log;
    evb_log_init(&log, "bus", EVBUS_LOG_WARNING);
    ck_assert_int_eq(evb_log_set(&log, EVBUS_LOG_ERROR, keep, NULL), 0);
    ck_assert_int_eq(evb_log_set(&log, EVBUS_LOG_DEBUG + 1, NULL, NULL), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "log level 5"));
    evb_log(&log, EVBUS_LOG_ERROR, "as before");
    evb_log(&log, EVBUS_LOG_WARNING, "as before");
    ck_assert_int_eq(last.lines, 1);
    evb_log_fini(&log);
}
END_TEST

/* evbus.h: -1 for the setting log.level. */
START_TEST(back_to_the_setting)
{
    struct evb_log log;
    evb_log_init(&log, "bus", EVBUS_LOG_WARNING);
    ck_assert_int_eq(evb_log_set(&log, EVBUS_LOG_DEBUG, keep, NULL), 0);
    ck_assert_int_eq(evb_log_set(&log, -1, keep, NULL), 0);
    evb_log(&log, EVBUS_LOG_INFO, "too much");
    ck_assert_int_eq(last.lines, 0);
    evb_log(&log, EVBUS_LOG_WARNING, "as set");
    ck_assert_int_eq(last.lines, 1);
    evb_log_fini(&log);
}
END_TEST

START_TEST(what_later_buses_begin_with)
{
    struct evb_log log;
    ck_assert_int_eq(evb_log_set_default(EVBUS_LOG_DEBUG, keep, &log), 0);
    evb_log_init(&log, "loud", EVBUS_LOG_ERROR);
    evb_log(&log, EVBUS_LOG_DEBUG, "detail");
    ck_assert_str_eq(last.text, "loud: detail");
    ck_assert_ptr_eq(last.user, &log);
    evb_log_fini(&log);
    ck_assert_int_eq(evb_log_set_default(-1, keep, &log), 0); /* each bus's setting again */
    evb_log_init(&log, "set", EVBUS_LOG_ERROR);
    evb_log(&log, EVBUS_LOG_WARNING, "too much");
    ck_assert_int_eq(last.lines, 1);
    evb_log(&log, EVBUS_LOG_ERROR, "enough");
    ck_assert_str_eq(last.text, "set: enough");
    evb_log_fini(&log);
    ck_assert_int_eq(evb_log_set_default(-1, NULL, NULL), 0);
    evb_log_init(&log, "bus", EVBUS_LOG_DEBUG);
    evb_log(&log, EVBUS_LOG_ERROR, "to nobody");
    ck_assert_int_eq(last.lines, 2);
    evb_log_fini(&log);
}
END_TEST

static atomic_int heard, mixed, talking;
static int first_user, second_user;
static atomic_bool over;

static void first(int level, const char *line, void *user)
{
    atomic_fetch_add(&heard, 1);
    atomic_fetch_add(&mixed, user != &first_user || level != EVBUS_LOG_INFO || strlen(line) != 10);
}

static void second(int level, const char *line, void *user)
{
    atomic_fetch_add(&heard, 1);
    atomic_fetch_add(&mixed, user != &second_user || level != EVBUS_LOG_INFO || strlen(line) != 10);
}

static void *talk(void *log)
{
    atomic_fetch_add(&talking, 1);
    while (!atomic_load(&over))
        evb_log(log, EVBUS_LOG_INFO, "%s", "hello");
    return NULL;
}

/* A function never gets the other's user. */
START_TEST(changed_while_others_log)
{
    struct evb_log log;
    pthread_t threads[4];
    evb_log_init(&log, "bus", EVBUS_LOG_INFO);
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(talk, &log);
    await_count(&talking, 4);
    for (int i = 0; i < 3000; i++)
        ck_assert_int_eq(i % 2 ? evb_log_set(&log, EVBUS_LOG_INFO, first, &first_user)
                               : evb_log_set(&log, EVBUS_LOG_DEBUG, second, &second_user),
                         0);
    await_count(&heard, 1000);
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(atomic_load(&mixed), 0);
    evb_log_fini(&log);
}
END_TEST

static void set_some(bool fails)
{
    struct evb_log log;
    evb_log_init(&log, "bus", EVBUS_LOG_ERROR);
    int rc = evb_log_set(&log, EVBUS_LOG_DEBUG, keep, &log);
    ck_assert_int_eq(rc, fails && memory_failed() ? EVBUS_ENOMEM : 0);
    int before = last.lines;
    evb_log(&log, EVBUS_LOG_ERROR, "x");
    evb_log(&log, EVBUS_LOG_DEBUG, "x");
    ck_assert_int_eq(last.lines - before, rc == 0 ? 2 : 0);
    evb_log_fini(&log);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_eq(memory_fail_each(set_some), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = unit_case(suite, "log");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, levels, 0, EVBUS_LOG_DEBUG + 1);
    tcase_add_test(tests, silent_without_a_function);
    tcase_add_loop_test(tests, one_line_whatever_peers_say, 0, (int)EVB_COUNT(texts));
    tcase_add_test(tests, long_lines_and_names_are_cut);
    tcase_add_test(tests, a_level_that_is_none);
    tcase_add_test(tests, back_to_the_setting);
    tcase_add_test(tests, what_later_buses_begin_with);
    tcase_add_test(tests, changed_while_others_log);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
