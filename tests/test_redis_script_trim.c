/* test_redis_script_trim.c - what the scripts let go of, by number, bytes and age, and what they
 * note of it; by a real redis-server. */
#include "script_fixture.h"
#include "list.h"

START_TEST(trims)
{
    server_command(server, "CONFIG SET stream-node-max-entries 10");
    for (int i = 1; i <= 150; i++) {
        char first[12];
        snprintf(first, sizeof first, "%d", i);
        APPEND("0", first, "a", "{");
    }
    ck_assert_int_ge(server_command(server, "XLEN s"), 100);
    ck_assert_int_le(server_command(server, "XLEN s"), 110 + 16);
}
END_TEST

static const struct {
    int size, count, least; /* of events; how many are there in the end */
} sizes[] = {{4000, 300, 12}, {100, 1500, 300}, {12000, 60, 4}};

/* It never takes much more than it may, whatever the size of events. */
START_TEST(trims_by_bytes)
{
    enum { MOST = 65536 };
    char large[12001];
    long long peak = 0;
    memset(large, 'x', sizeof large), large[sizes[_i].size] = '\0';
    for (int i = 1; i <= sizes[_i].count; i++) {
        char first[12];
        snprintf(first, sizeof first, "%d", i);
        run(EVB_SCRIPT_APPEND, "5", "s", "t", "m", "l", "g", "0", first, "0", "60000", "9999",
            "65536", "0", "a", large, NULL);
        long long bytes = server_command(server, "MEMORY USAGE s");
        peak = bytes > peak ? bytes : peak;
    }
    printf("figure: %d events of %d bytes: at most %lld of %d bytes\n", sizes[_i].count,
           sizes[_i].size, peak, MOST);
    ck_assert_int_gt(peak, MOST * 3 / 4);
    ck_assert_int_le(peak, MOST * 5 / 4);
    ck_assert_int_ge(server_command(server, "XLEN s"), sizes[_i].least);
}
END_TEST

START_TEST(trims_by_age_and_keeps_alive)
{
    APPEND("0", "1", "a", "{", "b", "{");
    server_command(server, "XADD s 99999999999999-3 c a e {}");
    server_command(server, "HSET l a 99999999999999-3");
    server_command(server, "PEXPIRE s 100000000");
    ck_assert_str_eq(facts("-60000"), "heard 0, last 3, first 3, 1 there, 0 before");
    ck_assert_str_eq(ask("HGET l b", NULL), ""); /* its event is gone */
    ck_assert_str_ne(ask("HGET l a", NULL), "");
    for (size_t i = 0; i < 3; i++) {
        char command[] = "PTTL s";
        command[5] = "stl"[i];
        ck_assert_int_gt(server_command(server, command), 0);
        ck_assert_int_le(server_command(server, command), 60000);
    }
}
END_TEST

/* What is let go is noted: by age to the entry, else to the number, and the time of the one behind
 * it. */
START_TEST(notes_what_it_trimmed)
{
    char want[60];
    server_command(server, "CONFIG SET stream-node-max-entries 10");
    for (int i = 1; i <= 3; i++)
        server_command(server, "XADD s 1000-%d c a e {}", i);
    server_command(server, "HSET t last 1000-3");
    APPEND("0", "1", "a", "{");
    ck_assert_str_eq(facts("1000000"), "heard 0, last 4, first 4, 1 there, 0 before");
    ck_assert_str_eq(gone, "1000-3");
    facts("1000000");
    ck_assert_str_eq(gone, "1000-3");
    for (int i = 5; i <= 200; i++) {
        snprintf(want, sizeof want, "%d", i);
        APPEND("0", want, "a", "{");
    }
    facts("1000000");
    char *oldest = server_text(server, "XRANGE s - + COUNT 1");
    snprintf(want, sizeof want, "%.14s%d", oldest, atoi(oldest + 14) - 1);
    ck_assert_int_gt(atoi(oldest + 14), 50);
    ck_assert_str_eq(gone, want);
    free(oldest);
    facts("-60000"); /* all */
    ck_assert_str_eq(gone, ask("HGET t last", NULL));
}
END_TEST

/* The one event is more than there may be. */
START_TEST(notes_that_all_is_trimmed)
{
    static char large[70001];
    memset(large, 'x', 70000);
    run(EVB_SCRIPT_APPEND, "5", "s", "t", "m", "l", "g", "0", "1", "0", "60000", "9999", "65536",
        "0", "a", large, NULL);
    ck_assert_str_eq(facts("60000"), "heard 0, last 1, first none, 0 there, 0 before");
    ck_assert_str_eq(gone, ask("HGET t last", NULL));
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis script trim");
    TCase *tests = tcase_create("redis script trim");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(30));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, trims);
    tcase_add_loop_test(tests, trims_by_bytes, 0, (int)EVB_COUNT(sizes));
    tcase_add_test(tests, trims_by_age_and_keeps_alive);
    tcase_add_test(tests, notes_what_it_trimmed);
    tcase_add_test(tests, notes_that_all_is_trimmed);
    return suite_run(suite, argc, argv);
}
