/* test_group_own.c - what Redis says that this bus has in hand: what never came goes back. */
#include "group_fixture.h"

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

START_TEST(refused)
{
    int ok = 0;
    scripted_answer(server, "XPENDING", "-NOPERM no\r\n", 0);
    evbus_sub *sub = join(&ok);
    expect_refused(sub, EVBUS_EDENIED, "XPENDING is refused: NOPERM no");
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group own");
    TCase *all = tcase_create("own");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown);
    tcase_add_test(all, lost_on_the_way);
    tcase_add_test(all, refused);
    suite_add_tcase(suite, all);
    return run(suite);
}
