/* test_redis_lease.c - the lease's script, on a real server; and the answers that are none. */
#include "redis_lease.h"
#include "list.h"
#include "script_fixture.h"
#include <inttypes.h>

enum { DAY_MS = 86400000 };

/* "a" asks for 60 s, with one place. */
#define LEASE(owner, mode, above, place)                                                           \
    run(EVB_SCRIPT_LEADER, "2", "lease", "waiting", owner, mode, "60000", "86400000", above,       \
        "inbox:" owner, "gone", "t.*", place, NULL)

static int64_t server_ms(void)
{
    return server_command(server, "EVAL %s 0",
                          "local t = redis.call('TIME') "
                          "return t[1] * 1000 + math.floor(t[2] / 1000)");
}

/* "{2 1763712345678 0 5-5 e}": which, and the number behind it. */
static int outcome(const char *reply, int64_t *fence)
{
    int which = -1;
    *fence = 0;
    ck_assert_msg(sscanf(reply, "{%d %" SCNd64, &which, fence) == 2, "%s", reply);
    return which;
}

static void expire_lease(void)
{
    server_command(server, "HSET lease until 1");
}

/* The first: number is the server's time, nothing was kept. */
START_TEST(first)
{
    int64_t before_ms = server_ms(), fence, again;
    const char *reply = LEASE("a", "take", "0", "");
    ck_assert_int_eq(outcome(reply, &fence), EVB_LEASE_GAINED);
    ck_assert_int_ge(fence, before_ms);
    ck_assert_int_le(fence, server_ms());
    ck_assert_str_eq(strrchr(reply, ' '), " }");
    ck_assert_int_eq(outcome(LEASE("a", "stay", "0", "5-5 e"), &again), EVB_LEASE_GOES_ON);
    ck_assert_int_eq(again, fence);
    ck_assert_str_eq(ask("HGET lease %s", "place:t.*"), "5-5 e");
    reply = LEASE("a", "stay", "0", "");
    ck_assert_msg(strstr(reply, " 5-5 e}") != NULL, "%s", reply);
    ck_assert_int_gt(server_command(server, "PTTL lease"), DAY_MS - 60000);
}
END_TEST

START_TEST(others)
{
    int64_t fence, other;
    char owner[20] = "";
    outcome(LEASE("a", "take", "0", ""), &fence);
    LEASE("a", "stay", "0", "5-5 e");
    const char *reply = LEASE("b", "take", "0", "9-9 e");
    int64_t left = 0;
    ck_assert_int_eq(sscanf(reply, "{0 %19s %" SCNd64 " %" SCNd64, owner, &other, &left), 3);
    ck_assert_str_eq(owner, "a");
    ck_assert_int_eq(other, fence);
    ck_assert_int_gt(left, 50000);
    ck_assert_int_le(left, 60000);
    ck_assert_str_eq(ask("HGET lease %s", "place:t.*"), "5-5 e");
    ck_assert_str_eq(ask("ZRANGE waiting 0 -1%s", ""), "inbox:b\n");
    expire_lease();
    reply = LEASE("b", "careful", "0", "9-9 e"); /* nobody's, but known: it may */
    ck_assert_int_eq(outcome(reply, &other), EVB_LEASE_GAINED);
    ck_assert_int_gt(other, fence);
    ck_assert_msg(strstr(reply, " 5-5 e}") != NULL, "%s", reply); /* not what it says itself */
    int64_t renewed = 0;
    ck_assert_int_eq(sscanf(reply, "{2 %*d %" SCNd64, &renewed), 1);
    ck_assert_int_gt(renewed, server_ms() - 60000);
}
END_TEST

/* Whose lease ended without anybody in between goes on; with somebody, it is a new beginning. */
START_TEST(ended)
{
    int64_t fence, again;
    outcome(LEASE("a", "take", "0", ""), &fence);
    expire_lease();
    ck_assert_int_eq(outcome(LEASE("a", "stay", "0", "6-6 e"), &again), EVB_LEASE_GOES_ON);
    ck_assert_int_eq(again, fence);
    expire_lease();
    outcome(LEASE("b", "take", "0", ""), &again);
    expire_lease();
    ck_assert_int_eq(outcome(LEASE("a", "stay", "0", "9-9 e"), &fence), EVB_LEASE_GAINED);
    ck_assert_int_gt(fence, again);
    ck_assert_str_eq(ask("HGET lease %s", "place:t.*"), "6-6 e");
}
END_TEST

START_TEST(leaves)
{
    int64_t fence, next;
    outcome(LEASE("a", "take", "0", ""), &fence);
    LEASE("b", "take", "0", "");
    LEASE("c", "take", "0", "");
    LEASE("b", "leave", "0", "9-9 e");
    ck_assert_str_eq(ask("HGET lease %s", "owner"), "a"); /* only its own */
    ck_assert_int_eq(server_command(server, "ZCARD waiting"), 2);
    ck_assert_int_eq(outcome(LEASE("a", "leave", "0", "7-7 e"), &next), EVB_LEASE_GOES_ON);
    ck_assert_str_eq(ask("HGET lease %s", "place:t.*"), "7-7 e");
    ck_assert_int_eq(server_command(server, "EXISTS waiting"), 0);
    ck_assert_int_eq(outcome(LEASE("c", "careful", "0", ""), &next), EVB_LEASE_GAINED);
    ck_assert_int_gt(next, fence);
}
END_TEST

/* Who looks takes nothing but what is its own. */
START_TEST(looks)
{
    int64_t fence, again;
    outcome(LEASE("a", "take", "0", ""), &fence);
    ck_assert_int_eq(outcome(LEASE("a", "look", "0", ""), &again), EVB_LEASE_GOES_ON);
    ck_assert_int_eq(strncmp(LEASE("b", "look", "0", ""), "{0 a ", 5), 0);
    ck_assert_int_eq(server_command(server, "ZCARD waiting"), 1);
    expire_lease();
    const char *reply = LEASE("b", "look", "0", "");
    ck_assert_int_eq(strncmp(reply, "{0  ", 4), 0);
    ck_assert_ptr_nonnull(strstr(reply, " 60000}"));
    ck_assert_int_eq(outcome(LEASE("b", "take", "0", ""), &again), EVB_LEASE_GAINED);
    ck_assert_int_gt(again, fence);
}
END_TEST

/* Redis has forgotten all: who held it goes on, who had heard of one waits, who had not takes it;
 * and the number rises above all that any of them knows. */
START_TEST(flushed)
{
    int64_t fence, next;
    char far[32];
    outcome(LEASE("a", "take", "0", ""), &fence);
    snprintf(far, sizeof far, "%" PRId64, fence + 1000000);
    server_command(server, "FLUSHALL");
    ck_assert_str_eq(LEASE("b", "careful", "0", ""), "{0  0 60000}");
    ck_assert_int_eq(server_command(server, "EXISTS lease"), 0);
    ck_assert_str_eq(LEASE("b", "leave", "0", ""), "{0  0 0}");
    ck_assert_int_eq(outcome(LEASE("a", "stay", far, "8-8 e"), &next), EVB_LEASE_GOES_ON);
    ck_assert_int_eq(next, fence + 1000001);
    ck_assert_str_eq(ask("HGET lease %s", "place:t.*"), "8-8 e");
    server_command(server, "FLUSHALL");
    ck_assert_int_eq(outcome(LEASE("b", "take", "0", ""), &next), EVB_LEASE_GAINED);
    ck_assert_int_ge(next, fence);
}
END_TEST

/* ---- answers ---- */

static struct evb_reply word(const char *text)
{
    bool number = *text == ':';
    return (struct evb_reply){.kind = number ? EVB_REPLY_INTEGER : EVB_REPLY_STRING,
                              .integer = number ? strtoll(text + 1, NULL, 10) : 0,
                              .text = text,
                              .length = strlen(text)};
}

static const struct {
    const char *words; /* integers begin with a colon */
    size_t places;
    bool good;
} answers[] = {
    {":1 :7 :0", 0, true},      {":2 :7 :5 1-1", 1, true},   {":0 a :7 :50", 0, true},
    {":0 a :7 :50", 3, true},   {":1 :7 :0", 1, false},      {":1 :7 :0 1-1 2-2", 1, false},
    {":1 :0 :0", 0, false},     {":1 :-7 :0", 0, false},     {":3 :7 :0", 0, false},
    {":-1 :7 :0", 0, false},    {"1 :7 :0", 0, false},       {":1 7 :0", 0, false},
    {":1 :7 0", 0, false},      {":1 :7 :0 :1", 1, false},   {":0 a :7", 0, false},
    {":0 :1 :7 :50", 0, false}, {":0 a 7 :50", 0, false},    {":0 a :7 50", 0, false},
    {":0 a :7 :-1", 0, false},  {":0 a :7 :50 x", 0, false}, {":1", 0, false},
    {":0 a", 0, false},
};

START_TEST(reads)
{
    char text[80], *rest = NULL;
    struct evb_reply items[8], *list[8], reply = {.kind = EVB_REPLY_ARRAY, .item = list};
    struct evb_lease_answer answer;
    snprintf(text, sizeof text, "%s", answers[_i].words);
    for (char *at = strtok_r(text, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) {
        items[reply.count] = word(at);
        list[reply.count] = &items[reply.count];
        reply.count++;
    }
    ck_assert_msg(evb_lease_read(&reply, answers[_i].places, &answer) == answers[_i].good, "%s",
                  answers[_i].words);
    reply.kind = EVB_REPLY_STATUS;
    ck_assert(!evb_lease_read(&reply, 0, &answer));
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis_lease");
    TCase *tests = tcase_create("script"), *pure = tcase_create("answers");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, first);
    tcase_add_test(tests, others);
    tcase_add_test(tests, ended);
    tcase_add_test(tests, leaves);
    tcase_add_test(tests, looks);
    tcase_add_test(tests, flushed);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(pure, reads, 0, (int)EVB_COUNT(answers));
    suite_add_tcase(suite, pure);
    return suite_run(suite, argc, argv);
}
