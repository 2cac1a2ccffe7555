/* test_redis_reply.c - frames through hiredis's reader and the gate: whole, byte by byte, broken.
 */
#include "alloc.h"
#include "harness/failing.h"
#include "list.h"
#include "redis_reply.h"
#include "harness/check.h"
#include <evbus.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO                                                                                      \
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:2\r\n"  \
    "$2\r\nid\r\n:9\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"          \
    "$7\r\nmodules\r\n*1\r\n*8\r\n$4\r\nname\r\n$2\r\nbf\r\n$3\r\nver\r\n:1\r\n$4\r\npath\r\n"     \
    "$1\r\n/\r\n$4\r\nargs\r\n*0\r\n"

enum { MAX = 100000 };

struct feed {
    struct evb_gate gate;
    redisReader *reader;
};

static void feed_init(struct feed *feed, bool pushes)
{
    evb_gate_init(&feed->gate, MAX);
    feed->gate.pushes = pushes;
    feed->reader = redisReaderCreate();
    ck_assert_ptr_nonnull(feed->reader);
    evb_gate_attach(&feed->gate, feed->reader);
}

static void feed_fini(struct feed *feed)
{
    redisReaderFree(feed->reader);
    evb_gate_fini(&feed->gate);
}

/* A line of text for a reply: s(message) t(OK) e(ERR x) i(7) nil [s(a) i(1)] */
static void show(const struct evb_reply *reply, char *out, size_t room)
{
    size_t at = strlen(out);
    if (reply->kind <= EVB_REPLY_ERROR) {
        snprintf(out + at, room - at, "%c(%s)", "ste"[reply->kind], reply -> text);
    } else if (reply->kind == EVB_REPLY_INTEGER) {
        snprintf(out + at, room - at, "i(%lld)", reply->integer);
    } else if (reply->kind == EVB_REPLY_NIL) {
        snprintf(out + at, room - at, "nil");
    } else {
        snprintf(out + at, room - at, "[");
        for (size_t i = 0; i < reply->count; i++) {
            show(reply->item[i], out, room);
            at = strlen(out);
            snprintf(out + at, room - at, "%s", i + 1 < reply->count ? " " : "");
        }
        at = strlen(out);
        snprintf(out + at, room - at, "]");
    }
}

/* All replies that the bytes hold; "!" and what the gate (or hiredis) says at the end when they do
 * not pass. `step` bytes a time. */
static const char *run(const char *bytes, size_t length, bool pushes, size_t step)
{
    static char text[4096];
    struct feed feed;
    feed_init(&feed, pushes);
    text[0] = '\0';
    for (size_t at = 0; at < length; at += step) {
        struct evb_reply *reply = NULL;
        size_t n = length - at < step ? length - at : step;
        ck_assert_int_eq(redisReaderFeed(feed.reader, bytes + at, n), REDIS_OK);
        while (redisReaderGetReply(feed.reader, (void **)&reply) == REDIS_OK && reply) {
            show(reply, text, sizeof text);
            evb_gate_reset(&feed.gate);
        }
        if (feed.reader->err) {
            strcat(text, "!");
            strcat(text, feed.gate.error ? feed.gate.error : feed.reader->errstr);
            break;
        }
    }
    feed_fini(&feed);
    return text;
}

/* refused, and these words say why */
#define DEEP  "!nested too deep"
#define LONG  "!a length that Redis does not send"
#define RESP3 "!a RESP3 type"
#define BARE  "!a number or nil on a subscribing"
static const struct {
    const char *bytes;
    bool pushes;
    const char *want; /* the whole line, or "!" and words of the error */
} frames[] = {
    {"+OK\r\n", false, "t(OK)"},
    {"+OK\r\n-ERR no\r\n:-7\r\n", false, "t(OK)e(ERR no)i(-7)"},
    {"$-1\r\n", false, "nil"},
    {"*-1\r\n", false, "nil"},
    {"$0\r\n\r\n", false, "s()"},
    {"*0\r\n", false, "[]"},
    {":9223372036854775807\r\n", false, "i(9223372036854775807)"},
    {"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", false, "[s(a) [i(1) nil]]"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", false, "[[[[i(1)]]]]"},
    {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", true, "[s(message) s(c) s(hi)]"},
    {"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$2\r\nhi\r\n", true,
     "[s(pmessage) s(*) s(c) s(hi)]"},
    {"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", true, "[s(subscribe) s(c) i(1)]"},
    {"*2\r\n$4\r\npong\r\n$0\r\n\r\n+PONG\r\n-ERR x\r\n", true, "[s(pong) s()]t(PONG)e(ERR x)"},
    {HELLO, false, NULL},
    /* nested too deep, or not at all where pushes come */
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", false, DEEP},
    {"*2\r\n*2\r\n", true, LONG},
    /* counts */
    {"*4097\r\n", false, "!"},
    {"*4294967295\r\n", false, "!"},
    {"*4294967296\r\n", false, "!"},
    {"*9223372036854775807\r\n", false, "!"},
    {"*99999999999999999999\r\n", false, "!"},
    {"*-2\r\n", false, "!"},
    {"*1\r\n", true, LONG},
    {"*0\r\n", true, LONG},
    {"*5\r\n", true, LONG},
    /* lengths */
    {"$-2\r\n", false, "!"},
    {"$9223372036854775808\r\n", false, "!"},
    {"$99999999999999999999\r\n", false, "!"},
    {"$x\r\n", false, "!"},
    {"$ 3\r\nabc\r\n", false, "!"},
    {"$+3\r\nabc\r\n", false, "!"},
    {":12a\r\n", false, "!"},
    {":\r\n", false, "!"},
    {":9223372036854775808\r\n", false, "!"},
    /* what a subscribing connection never says */
    {":1\r\n", true, BARE},
    {"$-1\r\n", true, BARE},
    {"*-1\r\n", true, BARE},
    /* RESP3 */
    {"%1\r\n+a\r\n:1\r\n", false, RESP3},
    {"~1\r\n+a\r\n", false, RESP3},
    {">1\r\n+a\r\n", false, RESP3},
    {">2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", true, RESP3},
    {",1.5\r\n", false, RESP3},
    {",inf\r\n", false, RESP3},
    {"#t\r\n", false, RESP3},
    {"(123456789012345678901234567890\r\n", false, RESP3},
    {"=7\r\ntxt:abc\r\n", false, RESP3},
    {"*1\r\n#t\r\n", false, RESP3},
    {"*2\r\n$1\r\na\r\n%0\r\n", false, RESP3},
    /* no RESP at all */
    {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false, "!"},
    {"\r\n", false, "!"},
    {"?1\r\n", false, "!"},
    {"|1\r\n+a\r\n:1\r\n", false, "!"},
};

static void expect(const char *bytes, size_t length, bool pushes, size_t step, const char *want)
{
    const char *got = run(bytes, length, pushes, step);
    const char *error = strchr(got, '!');
    bool good = want[0] == '!' ? error && strstr(error + 1, want + 1) : !strcmp(got, want);
    ck_assert_msg(good, "%s, %zu at a time: %s", bytes, step, got);
}

START_TEST(frame)
{
    const char *bytes = frames[_i].bytes, *want = frames[_i].want;
    size_t length = strlen(bytes), step;
    if (!want)
        want = "[s(server) s(redis) s(version) s(7.2.4) s(proto) i(2) s(id) i(9) s(mode) "
               "s(standalone) s(role) s(master) s(modules) [[s(name) s(bf) s(ver) i(1) s(path) "
               "s(/) s(args) []]]]";
    for (step = 1; length && step <= length; step++)
        expect(bytes, length, frames[_i].pushes, step, want);
}
END_TEST

/* Three million arrays, one in the other, and as many elements announced: no memory, no stack. */
START_TEST(endless)
{
    enum { TIMES = 3000000 };
    static const char *const again[] = {"*1\r\n", "*64\r\n", "*2\r\n"};
    size_t unit = strlen(again[_i]);
    char *bytes = malloc(unit * TIMES);
    for (size_t i = 0; i < TIMES; i++)
        memcpy(bytes + i * unit, again[_i], unit);
    ck_assert_ptr_nonnull(strstr(run(bytes, unit * TIMES, _i == 2, unit * TIMES), "!"));
    ck_assert_ptr_nonnull(strstr(run(bytes, unit * TIMES, false, 16384), &DEEP[1]));
    free(bytes);
}
END_TEST

/* Many small parts are as large as one large: the sum counts. */
START_TEST(frame_size)
{
    static char bytes[80000 * 2 + 100];
    struct feed feed;
    struct evb_reply *reply;
    feed_init(&feed, true);
    for (int i = 0; i < 2; i++) { /* just under the limit, again and again: the arena is reused */
        int n = snprintf(bytes, sizeof bytes, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n", 80000);
        memset(bytes + n, 'x', 80000);
        memcpy(bytes + n + 80000, "\r\n", 2);
        redisReaderFeed(feed.reader, bytes, (size_t)n + 80002);
        ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_OK);
        ck_assert_ptr_nonnull(reply);
        ck_assert_uint_eq(reply->item[2]->length, 80000);
        ck_assert_int_eq(reply->item[2]->text[80000], '\0');
        evb_gate_reset(&feed.gate);
    }
    int n = snprintf(bytes, sizeof bytes, "*3\r\n$7\r\nmessage\r\n$60000\r\n");
    memset(bytes + n, 'x', 60000);
    n += 60000 + snprintf(bytes + n + 60000, 40, "\r\n$60000\r\n");
    memset(bytes + n, 'x', 60000);
    memcpy(bytes + n + 60000, "\r\n", 2);
    redisReaderFeed(feed.reader, bytes, (size_t)n + 60002);
    ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_ERR);
    ck_assert_ptr_nonnull(feed.gate.error);
    ck_assert_str_eq(feed.gate.error, "a frame is larger than this bus takes");
    feed_fini(&feed);
}
END_TEST

/* What a big frame took is given back with the next one; a small one's block stays. */
START_TEST(arena)
{
    struct feed feed;
    struct evb_reply *reply;
    static char bytes[50000];
    failing_install();
    feed_init(&feed, false);
    for (int i = 0; i < 100; i++) {
        redisReaderFeed(feed.reader, "*2\r\n$3\r\nabc\r\n:1\r\n", 17);
        ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_OK);
        evb_gate_reset(&feed.gate);
        ck_assert_int_eq(failing_live(), 1);
    }
    for (int i = 0; i < 5; i++) {
        int n = snprintf(bytes, sizeof bytes, "*5\r\n");
        for (int k = 0; k < 5; k++)
            n += snprintf(bytes + n, sizeof bytes - (size_t)n, "$5000\r\n%05000d\r\n", k);
        redisReaderFeed(feed.reader, bytes, (size_t)n);
        ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_OK);
        for (int k = 0; k < 5; k++)
            ck_assert_int_eq(reply->item[k]->text[4999], '0' + k);
        ck_assert_int_gt(failing_live(), 1);
        evb_gate_reset(&feed.gate);
        ck_assert_int_eq(failing_live(), 1);
    }
    feed_fini(&feed);
    ck_assert_int_eq(failing_live(), 0);
    /* a first frame that is big: its block is no block to keep */
    feed_init(&feed, false);
    int n = snprintf(bytes, sizeof bytes, "$20000\r\n%020000d\r\n", 0);
    redisReaderFeed(feed.reader, bytes, (size_t)n);
    ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_OK);
    evb_gate_reset(&feed.gate);
    ck_assert_int_le(failing_live(), 1);
    feed_fini(&feed);
    ck_assert_int_eq(failing_live(), 0);
}
END_TEST

START_TEST(no_memory)
{
    static const char bytes[] = HELLO "$6000\r\n";
    char tail[6002];
    bool failed = true;
    failing_install();
    memset(tail, 'x', 6000);
    memcpy(tail + 6000, "\r\n", 2);
    for (long n = 0; failed; n++) {
        struct feed feed;
        struct evb_reply *reply;
        int rc;
        feed_init(&feed, false);
        failing_at(n, false);
        redisReaderFeed(feed.reader, bytes, sizeof bytes - 1);
        redisReaderFeed(feed.reader, tail, sizeof tail);
        for (int i = 0; i < 2; i++)
            rc = redisReaderGetReply(feed.reader, (void **)&reply);
        failed = failing_off();
        ck_assert_int_eq(rc == REDIS_ERR, failed);
        ck_assert(!failed || (feed.gate.error && !strcmp(feed.gate.error, "out of memory")));
        feed_fini(&feed);
        ck_assert_int_eq(failing_live(), 0);
    }
}
END_TEST

static const struct {
    const char *bytes, *kind;
    bool is;
} pushes[] = {
    {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n", "message", true},
    {"*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$0\r\n\r\n", "pmessage", true},
    {"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "subscribe", true},
    {"*3\r\n$10\r\npsubscribe\r\n$1\r\nc\r\n:1\r\n", "psubscribe", true},
    {"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", "unsubscribe", true},
    {"*3\r\n$12\r\npunsubscribe\r\n$1\r\nc\r\n:0\r\n", "punsubscribe", true},
    {"*2\r\n$4\r\npong\r\n$0\r\n\r\n", "pong", true},
    {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n", "pmessage", false},
    {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:1\r\n", "message", false},
    {"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n", "message", false},
    {"*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", "message", false},
    {"*4\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nc\r\n$1\r\nc\r\n", "message", false},
    {"*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n", "subscribe", false},
    {"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n$1\r\n1\r\n", "subscribe", false},
    {"*3\r\n:1\r\n:2\r\n:3\r\n", "subscribe", false},
    {"*3\r\n+message\r\n$1\r\nc\r\n$0\r\n\r\n", "message", false},
    {"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n", "smessage", false},
    {"+message\r\n", "message", false},
};

START_TEST(push)
{
    struct feed feed;
    struct evb_reply *reply = NULL;
    feed_init(&feed, true);
    redisReaderFeed(feed.reader, pushes[_i].bytes, strlen(pushes[_i].bytes));
    ck_assert_int_eq(redisReaderGetReply(feed.reader, (void **)&reply), REDIS_OK);
    ck_assert_ptr_nonnull(reply);
    ck_assert_int_eq(evb_reply_is_push(reply, pushes[_i].kind), pushes[_i].is);
    feed_fini(&feed);
}
END_TEST

/* Valid frames with bytes changed, cut and doubled: any answer, no crash, no memory left. */
START_TEST(mutations)
{
    static const char *const seeds[] = {
        HELLO, "*3\r\n$7\r\nmessage\r\n$5\r\na.b.c\r\n$14\r\n{\"node\":\"abcd\"\r\n",
        "*4\r\n$8\r\npmessage\r\n$3\r\na.*\r\n$3\r\na.b\r\n$2\r\n{}\r\n:3\r\n-ERR x\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"};
    static const char alphabet[] = "*$:+-%~>#,(=_|0123456789\r\n\0\xff{x";
    const char *fixed = getenv("EVB_TEST_SEED");
    unsigned seed = fixed ? (unsigned)atol(fixed) : 20240607u + (unsigned)_i;
    char bytes[1024];
    for (int round = 0; round < 20000; round++) {
        size_t length = strlen(seeds[round % 4]);
        memcpy(bytes, seeds[round % 4], length);
        for (int i = rand_r(&seed) % 4; i >= 0; i--) {
            size_t at = (size_t)rand_r(&seed) % length, n = (size_t)rand_r(&seed) % (length - at);
            switch (rand_r(&seed) % 4) {
            case 0: /* cut */
                memmove(bytes + at, bytes + at + n, length - at - n);
                length -= n < length ? n : 0;
                break;
            case 1: /* double */
                n = n < sizeof bytes - length ? n : 0;
                memmove(bytes + at + n, bytes + at, length - at);
                length += n;
                break;
            default:
                bytes[at] = alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)];
            }
            length = length ? length : 1;
        }
        size_t step = (size_t)rand_r(&seed) % length + 1;
        run(bytes, length, round & 1, step);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis reply");
    TCase *tests = tcase_create("redis reply");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, frame, 0, (int)EVB_COUNT(frames));
    tcase_add_loop_test(tests, endless, 0, 3);
    tcase_add_test(tests, frame_size);
    tcase_add_test(tests, arena);
    tcase_add_test(tests, no_memory);
    tcase_add_loop_test(tests, push, 0, (int)EVB_COUNT(pushes));
    tcase_add_loop_test(tests, mutations, 0, 4);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
