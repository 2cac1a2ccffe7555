/* test_group_hand.c - what becomes of each entry that a member is given, and of each answer. */
#include "group_fixture.h"

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

int main(void)
{
    Suite *suite = suite_create("group hand");
    TCase *all = tcase_create("hand");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown);
    tcase_add_loop_test(all, what_is_told, 0, (int)EVB_COUNT(given));
    suite_add_tcase(suite, all);
    return run(suite);
}
