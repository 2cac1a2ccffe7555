/* test_redis_fault.c - one thread tells, another reads: never half of one and half of the other. */
#include "redis_fault.h"
#include "unit.h"
#include <stdio.h>

static struct evb_fault fault;
static atomic_int over;

static void *tell(void *user)
{
    char text[EVB_FAULT_TEXT];
    (void)user;
    for (int i = 1; i <= 20000; i++) {
        memset(text, 'a' + i % 26, sizeof text - 1);
        text[1 + i % 200] = '\0';
        evb_fault_set(&fault, i % 26, text);
    }
    atomic_store(&over, 1);
    return NULL;
}

START_TEST(words_and_code_fit)
{
    pthread_t thread;
    char text[EVB_FAULT_TEXT];
    evb_fault_init(&fault);
    ck_assert_int_eq(evb_fault_read(&fault, text, sizeof text), 0);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(pthread_create(&thread, NULL, tell, NULL), 0);
    while (!atomic_load(&over)) {
        int code = evb_fault_read(&fault, text, sizeof text);
        for (const char *c = text; *c; c++)
            ck_assert_int_eq(*c, 'a' + code);
    }
    pthread_join(thread, NULL);
    evb_fault_fini(&fault);
}
END_TEST

START_TEST(long_words_are_cut)
{
    char longer[2 * EVB_FAULT_TEXT], text[EVB_FAULT_TEXT], small[4];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    evb_fault_init(&fault);
    evb_fault_set(&fault, -3, longer);
    ck_assert_int_eq(evb_fault_read(&fault, text, sizeof text), -3);
    ck_assert_uint_eq(strlen(text), EVB_FAULT_TEXT - 1);
    ck_assert_int_eq(evb_fault_read(&fault, small, sizeof small), -3);
    ck_assert_str_eq(small, "xxx");
    evb_fault_set(&fault, 0, "");
    ck_assert_int_eq(evb_fault_read(&fault, text, sizeof text), 0);
    evb_fault_fini(&fault);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_fault");
    TCase *tests = unit_case(suite, "redis_fault");
    tcase_add_test(tests, words_and_code_fit);
    tcase_add_test(tests, long_words_are_cut);
    return unit_run(suite);
}
