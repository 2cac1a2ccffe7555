/* test_group_read.c - the command that waits for entries of all groups, and its answers. */
#include "group_fixture.h"

START_TEST(refused)
{
    int ok = 0;
    scripted_answer(server, "XREADGROUP", "-NOPERM no\r\n", 0);
    evbus_sub *sub = join(&ok);
    expect_refused(sub, EVBUS_EDENIED, "XREADGROUP is refused: NOPERM no");
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group read");
    TCase *all = tcase_create("read");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup_group, teardown);
    tcase_add_test(all, refused);
    suite_add_tcase(suite, all);
    return run(suite);
}
