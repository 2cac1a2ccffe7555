/* test_redis_script.c - the server-side scripts, run by a real redis-server: what they do, answer,
 * refuse and let go. */
#include "script_fixture.h"
#include "list.h"

/* What follows the server's time in the reply to a call. */
static const char *results(const char *reply)
{
    char *end;
    unsigned long long ms = strtoull(reply + 1, &end, 10);
    ck_assert_msg(*reply == '{' && ms > 1700000000000 && *end == ' ', "%s", reply);
    return end + 1;
}

/* Of all that is in the stream, a word each: "n=channel/event ". */
static const char *entries(void)
{
    static char text[4000];
    char *got = server_text(server, "XRANGE s - +"), *rest, *line;
    text[0] = '\0';
    for (line = strtok_r(got, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *added = strstr(line, ",\"position\":\"");
        if (added) /* it is the entry's own */
            memcpy(added, "}", 2);
        char *dash = strchr(line, '-');
        size_t at = strlen(text);
        if (dash && strspn(line, "0123456789-") == strlen(line))
            snprintf(text + at, sizeof text - at, "%s=", dash + 1);
        else if (strcmp(line, "c") != 0 && strcmp(line, "e") != 0)
            snprintf(text + at, sizeof text - at, "%s%s", line, *line == '{' ? " " : "/");
    }
    free(got);
    return text;
}

/* ---- commands ---- */

/* Redis calls a script by the digest of its text: ours is the one that it finds, too. */
START_TEST(digests)
{
    for (int script = 0; script < EVB_SCRIPTS; script++) {
        struct evb_buf words, load;
        evb_buf_init(&words);
        evb_script_begin(&scripts, &words, (enum evb_script)script, false, 1);
        evb_script_number(&words, 0);
        ck_assert_int_eq(strncmp(words.data, "*3\r\n$7\r\nEVALSHA\r\n$40\r\n", 22), 0);
        ck_assert_int_eq(strncmp(send_words(&words), "!NOSCRIPT ", 10), 0);

        evb_buf_init(&words);
        evb_script_begin(&scripts, &words, (enum evb_script)script, true, 1);
        ck_assert_int_eq(strncmp(words.data, "*3\r\n$4\r\nEVAL\r\n$", 15), 0);
        evb_buf_init(&load);
        evb_buf_text(&load, "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n");
        evb_buf_text(&load, words.data + 14);
        ck_assert_str_eq(send_words(&load), scripts.digest[script]);
        evb_buf_fini(&words);
    }
}
END_TEST

START_TEST(without_sha1)
{
    struct evb_scripts none;
    struct evb_buf words;
    memset(&none, 0, sizeof none);
    evb_buf_init(&words);
    evb_script_begin(&none, &words, EVB_SCRIPT_READ, false, 1);
    ck_assert_int_eq(strncmp(words.data, "*3\r\n$4\r\nEVAL\r\n$", 15), 0);
    evb_buf_fini(&words);
}
END_TEST

START_TEST(words_are_bytes)
{
    struct evb_buf words;
    evb_buf_init(&words);
    evb_script_word(&words, "a\0\r\n", 4);
    evb_script_number(&words, INT64_MIN);
    evb_script_word(&words, "", 0);
    static const char want[] = "$4\r\na\0\r\n\r\n$20\r\n-9223372036854775808\r\n$0\r\n\r\n";
    ck_assert_uint_eq(words.length, sizeof want - 1);
    ck_assert_int_eq(memcmp(words.data, want, words.length), 0);
    evb_buf_fini(&words);
}
END_TEST

/* ---- append ---- */

START_TEST(appends_once)
{
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{1", "b", "{2")), "0 0 0}");
    ck_assert_str_eq(results(APPEND("2", "3", "a", "{3")), "2 0}");
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{1", "b", "{2")), "3 -1 -1}"); /* again */
    ck_assert_str_eq(results(APPEND("0", "3", "a", "{3", "a", "{4")), "3 -1 0}");
    ck_assert_str_eq(entries(), "1=a/{1} 2=b/{2} 3=a/{3} 4=a/{4} ");
    ck_assert_str_eq(ask("GET m", NULL), "4");
    ck_assert_str_eq(results(APPEND("4", "9", "a", "{5")), "4 0}"); /* 5 to 8 went by PUBLISH */
    ck_assert_int_gt(server_command(server, "PTTL m"), 0);
    ck_assert_int_le(server_command(server, "PTTL m"), 60000);
}
END_TEST

START_TEST(never_before_what_is_missing)
{
    ck_assert_str_eq(APPEND("1", "2", "a", "{2"), "!ORDER an event before these is missing");
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{1")), "0 0}");
    ck_assert_str_eq(APPEND("2", "3", "a", "{3"), "!ORDER an event before these is missing");
    ck_assert_str_eq(results(APPEND("1", "2", "a", "{2")), "1 0}");
    server_command(server, "DEL m"); /* somebody else did */
    ck_assert_str_eq(APPEND("2", "3", "a", "{3"), "!ORDER an event before these is missing");
    ck_assert_str_eq(entries(), "1=a/{1} 2=a/{2} ");
}
END_TEST

/* A connection that has subscribed to channel a; `wire` stays the other one. */
static int listen_to_a(void)
{
    int mouth = wire, ear;
    dial();
    ear = wire;
    ck_assert_int_eq(write(ear, "SUBSCRIBE a\r\n", 13), 13);
    story[0] = '\0';
    take_reply();
    wire = mouth;
    return ear;
}

static void expect_heard(int ear, const char *envelope)
{
    char want[200];
    int mouth = wire;
    snprintf(want, sizeof want, "{message a %s}", envelope);
    story[0] = '\0';
    wire = ear;
    take_reply();
    wire = mouth;
    ck_assert_str_eq(story, want);
}

START_TEST(publishes_with_the_position)
{
    int ear = listen_to_a();
    char want[200];
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{\"x\":1", "b", "{", "a", "{\"x\":3")),
                     "0 1 0 1}");
    long long ms = strtoll(story + 1, NULL, 10);
    for (int n = 1; n <= 3; n += 2) {
        snprintf(want, sizeof want, "{\"x\":%d,\"position\":\"%lld-%d\"}", n, ms, n);
        expect_heard(ear, want);
    }
    for (int n = 2; n <= 3; n++) {
        snprintf(want, sizeof want, "%lld-%d", ms, n);
        ck_assert_str_eq(ask("HGET l %s", n == 3 ? "a" : "b"), want);
    }
    close(ear);
}
END_TEST

START_TEST(one_is_refused)
{
    server_command(server, "ACL SETUSER default resetchannels &a");
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{1", "b", "{2", "a", "{3")),
                     "0 0 ERR The user executing the script can't publish to the channel mentioned "
                     "in the command 0}");
    ck_assert_str_eq(entries(), "1=a/{1} 2=a/{3} ");
}
END_TEST

#define NOT_B                                                                                      \
    "ERR The user executing the script can't publish to the channel mentioned in the command"

/* The answer is lost, and whoever asks again may publish there now: what was refused is not done
 * for all that, until its answer has come. */
START_TEST(a_refusal_is_told_again)
{
    server_command(server, "ACL SETUSER default resetchannels &a");
    APPEND("0", "1", "a", "{1", "b", "{2", "a", "{3");
    ck_assert_str_eq(ask("GET m", NULL), "3|2,|" NOT_B);
    APPEND("3", "4", "b", "{4"); /* sent behind it, without waiting */
    server_command(server, "ACL SETUSER default allchannels");
    ck_assert_str_eq(results(APPEND("4", "5", "a", "{5")), "2 0}");
    ck_assert_str_eq(
        results(APPEND("0", "1", "a", "{1", "b", "{2", "a", "{3", "b", "{4", "a", "{5", "b", "{6")),
        "3 -1 " NOT_B " -1 " NOT_B " -1 0}");
    ck_assert_str_eq(results(APPEND_TOLD("0", "3", "2", "a", "{3", "b", "{4")), "4 -1 " NOT_B "}");
    ck_assert_str_eq(ask("GET m", NULL), "6|4,|" NOT_B);
    ck_assert_str_eq(results(APPEND_TOLD("6", "7", "6", "a", "{7")), "4 0}");
    ck_assert_str_eq(ask("GET m", NULL), "7");
    ck_assert_int_gt(server_command(server, "PTTL m"), 0);
    ck_assert_str_eq(entries(), "1=a/{1} 2=a/{3} 3=a/{5} 4=b/{6} 5=a/{7} ");
}
END_TEST

/* Published, but not kept: the call is done for all that. No two events share a position. */
START_TEST(cannot_keep)
{
    int ear = listen_to_a();
    server_command(server, "SET s x");
    server_command(server, "HSET t last 99999999999999-5");
    const char *reply =
        results(APPEND("0", "1", "a", "{\"x\":1", "a", "{\"x\":2", "a", "{\"x\":3"));
    ck_assert_int_eq(strncmp(reply, "5 KEEP WRONGTYPE ", 17), 0);
    const char *second = strstr(reply + 5, "KEEP WRONGTYPE ");
    ck_assert(second && strstr(second + 5, "KEEP WRONGTYPE "));
    expect_heard(ear, "{\"x\":1,\"position\":\"99999999999999-6\"}");
    expect_heard(ear, "{\"x\":2}");
    expect_heard(ear, "{\"x\":3}");
    close(ear);
    ck_assert_str_eq(ask("GET m", NULL), "3");
    ck_assert_str_eq(ask("HGET t last", NULL), "99999999999999-5");
    ck_assert_int_eq(server_command(server, "EXISTS l"), 0);
}
END_TEST

static const struct {
    const char *denied; /* rules of the access list */
    const char *says;
} rights[] = {
    {"-evalsha -eval", "NOPERM"},
    {"-set", "The user executing the script can't run this command"},
    {"-get", "The user executing the script can't run this command"},
    {"-hmget", "The user executing the script can't run this command"},
    {"-time", "The user executing the script can't run this command"},
    {"resetkeys ~s ~t ~l", "NOPERM"},
};

/* Refused as a whole, before anything has happened. */
START_TEST(lacks_a_right)
{
    char rules[200];
    snprintf(rules, sizeof rules, "ACL SETUSER default %s", rights[_i].denied);
    ck_assert_str_eq(ask(rules, NULL), "OK");
    const char *reply = APPEND("0", "1", "a", "{1");
    ck_assert_msg(*reply == '!' && strstr(reply, rights[_i].says), "%s", reply);
    close(wire);
    server_command(server, "ACL SETUSER default allkeys +@all");
    dial();
    ck_assert_str_eq(entries(), "");
    ck_assert_int_eq(server_command(server, "EXISTS m"), 0);
}
END_TEST

START_TEST(out_of_memory)
{
    server_command(server, "CONFIG SET maxmemory 1");
    ck_assert_int_eq(strncmp(APPEND("0", "1", "a", "{1"), "!OOM ", 5), 0);
    ck_assert_int_eq(server_command(server, "EXISTS m s t l"), 0);
    server_command(server, "CONFIG SET maxmemory 0");
    ck_assert_str_eq(results(APPEND("0", "1", "a", "{1")), "0 0}");
}
END_TEST

/* The state is gone, the stream is not; the clock went back. */
/* A part of a call that was cut off by a kill: entries are there, and the state does not know. */
START_TEST(fence_finds_what_the_state_missed)
{
    APPEND("0", "1", "a", "{1");
    char *last = strdup(ask("HGET t last", NULL));
    APPEND("1", "2", "a", "{2", "a", "{3");
    server_command(server, "HSET t last %s", last);
    free(last);
    ck_assert_ptr_nonnull(strstr(FENCE("60000"), "-3 "));
    ck_assert_ptr_nonnull(strstr(ask("HGET t last", NULL), "-3"));
    ck_assert_ptr_nonnull(strstr(APPEND("3", "4", "a", "{4"), " 3 0}"));
    ck_assert_str_eq(entries(), "1=a/{1} 2=a/{2} 3=a/{3} 4=a/{4} ");
}
END_TEST

START_TEST(goes_on_behind_what_is_there)
{
    server_command(server, "XADD s 99999999999999-41 c a e {}");
    ck_assert_str_eq(APPEND("0", "1", "a", "{1"), "{99999999999999 41 0}");
    ck_assert_str_eq(APPEND("1", "2", "a", "{2"), "{99999999999999 42 0}");
    ck_assert_str_eq(ask("HGET t last", NULL), "99999999999999-43");
}
END_TEST

/* ---- fence ---- */

START_TEST(tells_what_there_is)
{
    ck_assert_str_eq(facts("60000"), "heard 0, last 0, first none, -1 there, 0 before");
    char *epoch = server_text(server, "HGET t epoch");
    for (int i = 1; i <= 3; i++) {
        char first[12];
        snprintf(first, sizeof first, "%d", i);
        APPEND("0", first, "a", "{");
    }
    ck_assert_str_eq(facts("60000"), "heard 0, last 3, first 1, 3 there, 0 before");
    char *last = server_text(server, "HGET t last");
    server_command(server, "XTRIM s MAXLEN 1");
    ck_assert_str_eq(facts("60000"), "heard 0, last 3, first 3, 1 there, 0 before");
    server_command(server, "DEL s");
    ck_assert_str_eq(facts("60000"), "heard 0, last 3, first none, -1 there, 3 before");
    APPEND("3", "4", "a", "{");
    ck_assert_str_eq(facts("60000"), "heard 0, last 4, first 4, 1 there, 3 before");
    ck_assert_str_eq(ask("HGET t epoch", NULL), epoch);
    ck_assert_str_ne(ask("HGET t last", NULL), last);
    server_command(server, "FLUSHALL");
    ck_assert_str_eq(facts("60000"), "heard 0, last 0, first none, -1 there, 0 before");
    ck_assert_str_ne(ask("HGET t epoch", NULL), epoch);
    free(epoch);
    free(last);
}
END_TEST

START_TEST(fence_is_refused)
{
    server_command(server, "ACL SETUSER default resetchannels");
    ck_assert_int_eq(strncmp(FENCE("1000"), "{ERR The user executing the script can't publish", 45),
                     0);
    static const char *const needed[] = {"xadd", "set", "get", "xinfo|stream", "memory|usage"};
    for (size_t i = 0; i < EVB_COUNT(needed); i++) {
        char rules[100], want[100];
        snprintf(rules, sizeof rules, "ACL SETUSER default allchannels +@all -%s", needed[i]);
        server_command(server, rules);
        snprintf(want, sizeof want, "!NOPERM the user needs +%s for s", needed[i]);
        ck_assert_str_eq(FENCE("1000"), want);
    }
}
END_TEST

/* ---- read ---- */

static void fill(int count)
{
    char id[40], event[20];
    for (int i = 1; i <= count; i++) {
        snprintf(id, sizeof id, "1000-%d", i);
        snprintf(event, sizeof event, "{%d}", i);
        server_command(server, "XADD s %s c a e %s", id, event);
    }
    server_command(server, "HSET t epoch E last 1000-%d", count);
}

#define HEAD "E 1000-3 0"
static const struct {
    const char *from, *back, *till, *most, *bytes, *reply;
} pages[] = {
    {"-", "1", "+", "9", "1000", "{end " HEAD " 1000-1 a {1} 1000-2 a {2} 1000-3 a {3}}"},
    {"(1000-1", "1", "+", "9", "1000", "{end " HEAD " 1000-2 a {2} 1000-3 a {3}}"},
    {"1000-2", "1", "+", "9", "1000", "{end " HEAD " 1000-2 a {2} 1000-3 a {3}}"},
    {"(1000-3", "1", "+", "9", "1000", "{end " HEAD "}"},
    {"-", "1", "1000-2", "9", "1000", "{end " HEAD " 1000-1 a {1} 1000-2 a {2}}"},
    {"+", "-1", "-", "9", "1000", "{end  0-0 0 1000-3 a {3} 1000-2 a {2} 1000-1 a {1}}"},
    {"(1000-3", "-1", "1000-2", "9", "1000", "{end  0-0 0 1000-2 a {2}}"},
    {"-", "1", "+", "2", "1000", "{more " HEAD " 1000-1 a {1} 1000-2 a {2}}"},
    {"-", "1", "+", "3", "1000", "{more " HEAD " 1000-1 a {1} 1000-2 a {2} 1000-3 a {3}}"},
    {"-", "1", "+", "9", "1", "{more " HEAD " 1000-1 a {1}}"}, /* one at least */
    {"-", "1", "+", "9", "69", "{more " HEAD " 1000-1 a {1} 1000-2 a {2}}"},
};

START_TEST(reads)
{
    ck_assert_str_eq(READ("-", "1", "+", "9", "1000"), "{end  0-0 0}"); /* nothing is there */
    fill(3);
    ck_assert_str_eq(
        READ(pages[_i].from, pages[_i].back, pages[_i].till, pages[_i].most, pages[_i].bytes),
        pages[_i].reply);
}
END_TEST

/* How many there were before the stream: where the first one is not the next, and Redis knows. */
START_TEST(reads_what_is_behind_a_hole)
{
    fill(5);
    server_command(server, "XTRIM s MAXLEN 2");
    ck_assert_str_eq(READ("(1000-3", "1", "+", "1", "1000"), "{more E 1000-5 0 1000-4 a {4}}");
    ck_assert_str_eq(READ("(1000-1", "1", "+", "1", "1000"), "{more E 1000-5 0 1000-4 a {4}}");
    server_command(server, "DEL s");
    ck_assert_str_eq(READ("(1000-5", "1", "+", "9", "1000"), "{end E 1000-5 0}");
    ck_assert_str_eq(READ("(1000-1", "1", "+", "9", "1000"), "{end E 1000-5 5}");
    server_command(server, "XADD s 1000-6 c a e {6}");
    server_command(server, "HSET t last 1000-6");
    ck_assert_str_eq(READ("(1000-1", "1", "+", "9", "1000"), "{end E 1000-6 5 1000-6 a {6}}");
    ck_assert_str_eq(READ("(1000-5", "1", "+", "9", "1000"), "{end E 1000-6 0 1000-6 a {6}}");
    ck_assert_str_eq(READ("+", "-1", "-", "9", "1000"), "{end  0-0 0 1000-6 a {6}}");
}
END_TEST

/* Read in pieces inside: none is left out or comes twice, either way. */
START_TEST(reads_many)
{
    static const char *const heads[] = {"{more E 1000-100 0 ", "{more  0-0 0 "};
    fill(100);
    for (int back = 0; back < 2; back++) {
        const char *head = heads[back];
        READ(back ? "+" : "-", back ? "-1" : "1", back ? "-" : "+", "80", "1000000");
        ck_assert_int_eq(strncmp(story, head, strlen(head)), 0);
        char *rest, *word = strtok_r(story + strlen(head), " ", &rest);
        for (int i = 1; i <= 80; i++) {
            ck_assert_ptr_nonnull(word);
            ck_assert_int_eq(atoi(strchr(word, '-') + 1), back ? 101 - i : i);
            strtok_r(NULL, " ", &rest);
            strtok_r(NULL, " ", &rest);
            word = strtok_r(NULL, " ", &rest);
        }
        ck_assert_ptr_null(word);
    }
}
END_TEST

/* Somebody else's entries, and somebody else's key. */
START_TEST(reads_strange_things)
{
    server_command(server, "XADD s 5-1 x y");
    server_command(server, "XADD s 5-2 c a e {} z 1");
    ck_assert_str_eq(READ("-", "1", "+", "9", "1000"), "{end  0-0 0 5-1 y  5-2 a {}}");
    server_command(server, "SET s x");
    ck_assert_int_eq(strncmp(READ("-", "1", "+", "9", "1000"), "!WRONGTYPE ", 11), 0);
}
END_TEST

/* ---- lease ---- */

#define LEASE(verb, owner, ms) run(EVB_SCRIPT_LEASE, "1", "k", verb, owner, ms, NULL)

START_TEST(lease)
{
    ck_assert_str_eq(LEASE("take", "a", "5000"), "{1  0}");
    ck_assert_str_eq(LEASE("take", "a", "6000"), "{1 a 0}");
    ck_assert_int_gt(server_command(server, "PTTL k"), 5000);
    ck_assert_int_eq(strncmp(LEASE("take", "b", "9000"), "{0 a ", 5), 0);
    ck_assert_int_gt(strtol(story + 5, NULL, 10), 5000);
    ck_assert_int_eq(strncmp(LEASE("done", "b", "9000"), "{0 a ", 5), 0);
    ck_assert_int_eq(strncmp(LEASE("release", "b", "9000"), "{0 a ", 5), 0);
    ck_assert_str_eq(LEASE("release", "a", "0"), "{1 a 0}");
    ck_assert_int_eq(server_command(server, "EXISTS k"), 0);
    ck_assert_str_eq(LEASE("done", "a", "9000"), "{1  0}");
    ck_assert_int_eq(strncmp(LEASE("take", "b", "1"), "{2 done ", 8), 0);
    server_command(server, "SET k 1");
    ck_assert_str_eq(LEASE("take", "b", "1"), "{0 1 -1}");
    server_command(server, "DEL k");
    server_command(server, "HSET k f 1");
    ck_assert_ptr_nonnull(strstr(LEASE("take", "b", "1"), "WRONGTYPE"));
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis script");
    TCase *tests = tcase_create("redis script");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(30));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, digests);
    tcase_add_test(tests, without_sha1);
    tcase_add_test(tests, words_are_bytes);
    tcase_add_test(tests, appends_once);
    tcase_add_test(tests, never_before_what_is_missing);
    tcase_add_test(tests, publishes_with_the_position);
    tcase_add_test(tests, one_is_refused);
    tcase_add_test(tests, a_refusal_is_told_again);
    tcase_add_test(tests, cannot_keep);
    tcase_add_loop_test(tests, lacks_a_right, 0, (int)EVB_COUNT(rights));
    tcase_add_test(tests, out_of_memory);
    tcase_add_test(tests, fence_finds_what_the_state_missed);
    tcase_add_test(tests, goes_on_behind_what_is_there);
    tcase_add_test(tests, tells_what_there_is);
    tcase_add_test(tests, fence_is_refused);
    tcase_add_loop_test(tests, reads, 0, (int)EVB_COUNT(pages));
    tcase_add_test(tests, reads_what_is_behind_a_hole);
    tcase_add_test(tests, reads_many);
    tcase_add_test(tests, reads_strange_things);
    tcase_add_test(tests, lease);
    return suite_run(suite, argc, argv);
}
