/* test_redis_hello.c - what is said first on a connection, and every answer that Redis has to it.
 */
#include "list.h"
#include "redis_hello.h"
#include "harness/check.h"
#include <event2/event.h>
#include <evbus.h>
#include "harness/scripted.h"
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET "s3cr3t-CANARY"

static struct evb_reply *parse(redisReader *reader, const char *bytes)
{
    void *reply = NULL;
    redisReaderFeed(reader, bytes, strlen(bytes));
    ck_assert_int_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
    ck_assert_ptr_nonnull(reply);
    return reply;
}

static const struct {
    const char *reply;
    int code;
    const char *why; /* part of it */
    const char *version, *role, *mode;
} reads[] = {
    {"*6\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$4\r\nmode\r\n$"
     "7\r\ncluster"
     "\r\n",
     0, NULL, "7.2.4", "master", "cluster"},
    {"*2\r\n+role\r\n+master\r\n", 0, NULL, "", "master", ""},
    {"*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n*0\r\n", 0, NULL, "", "master",
     ""},
    {"*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$4\r\nrole\r\n:1\r\n", 0, NULL, "", "master", ""},
    {"*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nversion\r\n"
     "$40\r\n1234567890123456789012345678901234567890\r\n",
     0, NULL, "1234567890123456789012345678901", "master", ""},
    {"*2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", EVBUS_EAWAY, "the server is a replica", "", "replica",
     ""},
    {"*0\r\n", EVBUS_EAWAY, "server without a role", "", "", ""},
    {"*2\r\n:1\r\n$-1\r\n", EVBUS_EAWAY, "server without a role", "", "", ""},
    {"*2\r\n$4\r\nrole\r\n:1\r\n", EVBUS_EAWAY, "server without a role", "", "", ""},
    {"*4\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$4\r\nrole\r\n$6\r\nmaster\r\n", EVBUS_ENOTSUP,
     "this is a Sentinel", "", "master", "sentinel"},
    {"*1\r\n$4\r\nrole\r\n", EVBUS_EPARSE, "protocol error", NULL, NULL, NULL},
    {"+OK\r\n", EVBUS_EPARSE, "protocol error", NULL, NULL, NULL},
    {":1\r\n", EVBUS_EPARSE, "protocol error", NULL, NULL, NULL},
    {"$-1\r\n", EVBUS_EPARSE, "protocol error", NULL, NULL, NULL},
    {"-WRONGPASS invalid username-password pair or user is disabled.\r\n", EVBUS_EAUTH,
     "check redis.username and redis.password", NULL, NULL, NULL},
    {"-NOAUTH HELLO must be called with the client already authenticated\r\n", EVBUS_EAUTH,
     "set redis.password", NULL, NULL, NULL},
    {"-NOPERM User x has no permissions to run the 'hello' command\r\n", EVBUS_EDENIED,
     "needs +hello", NULL, NULL, NULL},
    {"-ERR unknown command `HELLO`\r\n", EVBUS_ENOTSUP, "Redis 6.0", NULL, NULL, NULL},
    {"-ERR max number of clients reached\r\n", EVBUS_EAWAY, "maxclients", NULL, NULL, NULL},
    {"-LOADING Redis is loading the dataset in memory\r\n", EVBUS_EAWAY, "reads its data", NULL,
     NULL, NULL},
    {"-ERR something new\r\n", EVBUS_EREMOTE, "something new", NULL, NULL, NULL},
    {"-\r\n", EVBUS_EREMOTE, "server's log", NULL, NULL, NULL},
};

START_TEST(hello_read)
{
    struct evb_gate gate;
    struct evb_server server = {.version = "old", .role = "master"};
    char why[200] = "";
    redisReader *reader = redisReaderCreate();
    evb_gate_init(&gate, 10000);
    evb_gate_attach(&gate, reader);
    struct evb_reply *reply = parse(reader, reads[_i].reply);
    ck_assert_int_eq(evb_hello_read(reply, &server, why, sizeof why), reads[_i].code);
    if (reads[_i].why)
        ck_assert_msg(strstr(why, reads[_i].why) != NULL, "%s", why);
    ck_assert_str_eq(server.version, reads[_i].version ? reads[_i].version : "old");
    if (reads[_i].role)
        ck_assert_str_eq(server.role, reads[_i].role);
    if (reads[_i].mode)
        ck_assert_str_eq(server.mode, reads[_i].mode);
    char little[8]; /* cut, not overrun */
    evb_hello_read(reply, &server, little, sizeof little);
    redisReaderFree(reader);
    evb_gate_fini(&gate);
}
END_TEST

#define MASTER "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
static const struct {
    bool select;
    const char *replies[4];
    int code; /* of the last */
    const char *why;
} dialogues[] = {
    {false, {MASTER, "+OK\r\n"}, 0, NULL},
    {false, {MASTER, "-ERR bad name\r\n"}, 0, NULL}, /* SETNAME: only a pity */
    {false, {MASTER, "-NOPERM x\r\n"}, 0, NULL},
    {true, {MASTER, "+OK\r\n", "+OK\r\n"}, 0, NULL},
    {true, {MASTER, "-ERR x\r\n", "+OK\r\n"}, 0, NULL},
    {true,
     {MASTER, "+OK\r\n", "-ERR DB index is out of range\r\n"},
     EVBUS_EREMOTE,
     "SELECT refused"},
    {true,
     {MASTER, "+OK\r\n", "-NOPERM x\r\n"},
     EVBUS_EDENIED,
     "SELECT refused (the user needs +select)"},
    {false, {"-NOAUTH x\r\n"}, EVBUS_EAUTH, "HELLO refused"},
    {true, {"-NOAUTH x\r\n"}, EVBUS_EAUTH, "HELLO refused"},
    {false, {"-ERR no room for sesame\r\n"}, EVBUS_EREMOTE, "may repeat the password"},
    {false,
     {"-ERR unknown command 'HELLO', with args beginning with: '2' 'AUTH' 'default' 'ses\r\n"},
     EVBUS_ENOTSUP,
     "(Redis 6.0 or later is needed): its words may repeat the password"},
};

START_TEST(dialogue)
{
    struct evb_gate gate;
    struct evb_server server;
    static const struct evb_login login = {
        .username = "", .password = "sesame", .password_file = "", .client_name = "test"};
    struct evb_hello hello = {
        .login = &login, .select = dialogues[_i].select, .left = 2 + dialogues[_i].select};
    char why[200] = "";
    int code = 0;
    redisReader *reader = redisReaderCreate();
    evb_gate_init(&gate, 10000);
    evb_gate_attach(&gate, reader);
    for (int i = 0; dialogues[_i].replies[i]; i++) {
        ck_assert_int_eq(code, 0);
        code = evb_hello_reply(&hello, parse(reader, dialogues[_i].replies[i]), &server, why,
                               sizeof why);
    }
    ck_assert_int_eq(code, dialogues[_i].code);
    ck_assert(code != 0 || hello.left == 0);
    const char *named = dialogues[_i].replies[1];
    ck_assert_int_eq(hello.unnamed, named && !strncmp(named, "-NOPERM", 7));
    ck_assert(!dialogues[_i].why || strstr(why, dialogues[_i].why));
    redisReaderFree(reader);
    evb_gate_fini(&gate);
}
END_TEST

/* ---- what is sent ---- */

static const struct {
    struct evb_login login;
    const char *hello, *setname, *select; /* "" not sent */
} logins[] = {
    {{"", "", "", "app", 0, true, NULL, false}, "HELLO 2", "CLIENT SETNAME app", ""},
    {{"", SECRET, "", "app", 0, true, NULL, false},
     "HELLO 2 AUTH default " SECRET,
     "CLIENT SETNAME app",
     ""},
    {{"joe", SECRET, "", "app", 3, true, NULL, false},
     "HELLO 2 AUTH joe " SECRET,
     "CLIENT SETNAME app",
     "SELECT 3"},
    {{"joe", "", "", "a\r\nb", 2147483647, true, NULL, false},
     "HELLO 2 AUTH joe ",
     "CLIENT SETNAME a\r\nb",
     "SELECT 2147483647"},
};

struct connection {
    struct event_base *base;
    struct scripted *server;
    struct evb_loop loop;
    struct evb_metrics metrics;
    struct evb_link link;
    struct evb_hello hello;
    const struct evb_login *login;
    char told[600];
    bool over;
};

static void on_up(struct evb_link *link, void *user)
{
    struct connection *c = user;
    evb_hello_send(&c->hello, link, c->login);
}

static void on_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    struct connection *c = user;
    struct evb_server server;
    (void)link;
    c->over = evb_hello_reply(&c->hello, reply, &server, c->told, sizeof c->told) != 0 ||
              c->hello.left == 0;
}

static void on_down(struct evb_link *link, int error, const char *why, void *user)
{
    struct connection *c = user;
    (void)link;
    (void)error;
    snprintf(c->told, sizeof c->told, "%s", why);
    c->over = true;
}

static bool is_over(void *arg)
{
    return ((struct connection *)arg)->over;
}

static void meet(struct connection *c, const struct evb_login *login, const char *answer)
{
    static const struct evb_link_hooks hooks = {on_up, on_reply, on_down};
    memset(c, 0, sizeof *c);
    c->login = login;
    c->base = event_base_new();
    c->server = scripted_start(c->base);
    ck_assert_int_eq(evb_loop_init(&c->loop, c->base), 0);
    evb_metrics_init(&c->metrics);
    evb_link_init(&c->link, &c->loop, &c->metrics, "publisher", 1 << 20, &hooks, c);
    if (answer)
        scripted_answer(c->server, "HELLO", answer, 0);
    struct evb_address address = {.path = scripted_path(c->server)};
    ck_assert_int_eq(evb_link_open(&c->link, &address, NULL), 0);
    ck_assert(run_until(c->base, is_over, c, 5000));
}

static void part(struct connection *c)
{
    evb_link_close(&c->link);
    scripted_free(c->server);
    evb_loop_fini(&c->loop);
    event_base_free(c->base);
}

START_TEST(sent)
{
    struct connection c;
    meet(&c, &logins[_i].login, NULL);
    ck_assert_str_eq(scripted_last(c.server, "HELLO"), logins[_i].hello);
    ck_assert_str_eq(scripted_last(c.server, "CLIENT"), logins[_i].setname);
    ck_assert_str_eq(scripted_last(c.server, "SELECT"), logins[_i].select);
    ck_assert_str_eq(c.told, "");
    part(&c);
}
END_TEST

/* Whatever Redis says of a login, the password is not in the sentence. */
START_TEST(secret)
{
    static const char *const answers[] = {"-WRONGPASS x\r\n", "-NOAUTH x\r\n",
                                          "-ERR x\r\n",       "+OK\r\n",
                                          "HTTP/1.1 400\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"};
    struct connection c;
    for (size_t i = 0; i < EVB_COUNT(answers); i++) {
        meet(&c, &logins[2].login, answers[i]);
        ck_assert_str_ne(c.told, "");
        ck_assert_ptr_null(strstr(c.told, SECRET));
        part(&c);
    }
}
END_TEST

static const struct {
    const char *version;
    bool enough; /* for 6.2 */
} versions[] = {{"6.0.16", false}, {"5.0", false}, {"6.2.0", true}, {"6.10.1", true},
                {"7.0.15", true},  {"10.0", true}, {"", true},      {"unstable", true}};

START_TEST(compares_versions)
{
    struct evb_server of = {.version = ""};
    snprintf(of.version, sizeof of.version, "%s", versions[_i].version);
    ck_assert_int_eq(evb_server_is(&of, 6, 2), versions[_i].enough);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis hello");
    TCase *tests = tcase_create("redis hello");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, compares_versions, 0, (int)EVB_COUNT(versions));
    tcase_add_loop_test(tests, hello_read, 0, (int)EVB_COUNT(reads));
    tcase_add_loop_test(tests, dialogue, 0, (int)EVB_COUNT(dialogues));
    tcase_add_loop_test(tests, sent, 0, (int)EVB_COUNT(logins));
    tcase_add_test(tests, secret);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
