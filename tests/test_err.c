/* test_err.c - codes, sentences, and whose they are. */
#include "err.h"
#include "unit.h"
#include <errno.h>
#include <evbus.h>
#include <limits.h>

START_TEST(every_code_has_a_sentence)
{
    for (int code = EVBUS_ESYS; code <= EVBUS_OK; code++) {
        const char *text = evbus_strerror(code);
        ck_assert_str_ne(text, "unknown error");
        ck_assert_str_ne(text, "");
        for (int other = EVBUS_ESYS; other < code; other++)
            ck_assert_str_ne(text, evbus_strerror(other));
    }
}
END_TEST

static const int strangers[] = {1, 2, EVBUS_ESYS - 1, INT_MIN, INT_MAX};

START_TEST(unknown_codes)
{
    ck_assert_str_eq(evbus_strerror(strangers[_i]), "unknown error");
}
END_TEST

START_TEST(kept_until_the_next)
{
    ck_assert_int_eq(evb_fail(EVBUS_EFULL, "%s of %d", "room", 7), EVBUS_EFULL);
    ck_assert_int_eq(evbus_last_code(), EVBUS_EFULL);
    ck_assert_str_eq(evbus_last_error(), "room of 7");
    ck_assert_int_eq(evb_fail_memory(), EVBUS_ENOMEM);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    ck_assert_str_eq(evbus_last_error(), "out of memory");
}
END_TEST

START_TEST(names_the_system_call)
{
    errno = ENOENT;
    ck_assert_int_eq(evb_fail_errno("open x"), EVBUS_ESYS);
    ck_assert_str_eq(evbus_last_error(), "open x: No such file or directory");
    errno = 98765;
    ck_assert_int_eq(evb_fail_errno("y"), EVBUS_ESYS);
    ck_assert_str_eq(evbus_last_error(), "y: Unknown error 98765");
}
END_TEST

START_TEST(long_sentences_are_cut)
{
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    evb_fail(EVBUS_EINVAL, "%s", text);
    size_t length = strlen(evbus_last_error());
    ck_assert_uint_gt(length, 400);
    ck_assert_uint_lt(length, sizeof text - 1);
    ck_assert(!strncmp(evbus_last_error(), text, length));
}
END_TEST

static void *fails_alone(void *arg)
{
    ck_assert_int_eq(evbus_last_code(), 0);
    ck_assert_str_eq(evbus_last_error(), "");
    evb_fail(EVBUS_EAUTH, "thread %d", *(int *)arg);
    return NULL;
}

START_TEST(a_threads_own)
{
    int number = 1;
    evb_fail(EVBUS_EFULL, "mine");
    for (; number < 4; number++)
        thread_join(thread_start(fails_alone, &number));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EFULL);
    ck_assert_str_eq(evbus_last_error(), "mine");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("err");
    TCase *tests = unit_case(suite, "err");
    tcase_add_test(tests, every_code_has_a_sentence);
    tcase_add_loop_test(tests, unknown_codes, 0, (int)EVB_COUNT(strangers));
    tcase_add_test(tests, kept_until_the_next);
    tcase_add_test(tests, names_the_system_call);
    tcase_add_test(tests, long_sentences_are_cut);
    tcase_add_test(tests, a_threads_own);
    return unit_run(suite);
}
