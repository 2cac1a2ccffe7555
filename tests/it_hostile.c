/* it_hostile.c - hostile messages on real channels: counted, reported, never fatal; the next good
 * event comes. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000 };

static const char channel[] = "evbus:events:t";
static struct server *server;
static evbus *bus;
static atomic_int log_lines;

static struct {
    pthread_mutex_t lock;
    char *raw;          /* under lock, owned: an envelope that the bus put on the wire */
    atomic_int count;   /* events that came to the handler */
    atomic_int strange; /* of them, those with data that is not what it should be */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int look(evbus_sub *sub, evbus_event *event, void *user)
{
    size_t length = 0;
    const char *data = evbus_event_data(event, &length);
    (void)sub;
    (void)user;
    if (data && data[length] != '\0')
        atomic_fetch_add(&seen.strange, 1);
    atomic_fetch_add(&seen.count, 1);
    return 0;
}

static void log_line(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    if (strchr(line, '\n'))
        atomic_fetch_add(&log_lines, 1000000);
    atomic_fetch_add(&log_lines, 1);
}

static void open_all(void)
{
    server = server_start("proto-max-bulk-len 64mb");
    bus = server_bus(server, NULL);
    evbus_set_log(bus, EVBUS_LOG_WARNING, log_line, NULL);
    evbus_sub *sub = bus_subscribe(bus, "t", "scope=redis", look, NULL);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
}

static void send_bytes(const void *bytes, size_t length)
{
    ck_assert_int_eq(server_publish(server, channel, bytes, length), 1);
}

static void send_text(const char *text)
{
    send_bytes(text, strlen(text));
}

/* A good event comes through. */
static void expect_next_good(void)
{
    int before = atomic_load(&seen.count);
    send_text("{\"data\":{\"good\":true}}");
    expect_count(&seen.count, before + 1, SOON);
}

static void close_all(void)
{
    ck_assert_int_eq(atomic_load(&seen.strange), 0);
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    ck_assert_int_eq(evbus_stat(bus, "protocol_errors"), 0);
    ck_assert_int_lt(atomic_load(&log_lines), 1000);
    bus_end(bus);
    server_free(server);
}

/* ---- broken objects ---- */

static const char *const broken[] = {
    "{",
    "{\"data\":",
    "{\"data\":1",
    "{\"data\":1}}",
    "{\"data\":1} x",
    "{\"data\":1,}",
    "{data:1}",
    "{'data':1}",
    "{\"data\":nul}",
    "{\"data\":01}",
    "{\"data\":+1}",
    "{\"data\":1e}",
    "{\"data\":\"\\x\"}",
    "{\"data\":\"\\ud800\"}",
    "{\"data\":\"a\nb\"}",
    "{\"data\":[1,2}",
    "{\"data\":1,\"data\":2}",
    "{\"eventId\":\"a\",\"eventId\":\"b\",\"data\":1}",
    "{\"eventId\":{},\"data\":1}",
    "{\"type\":7,\"data\":1}",
    "{\"attrs\":[],\"data\":1}",
    "{\"seq\":\"seven\",\"data\":1}",
    "{\"data\":1,\"dataBase64\":\"AAAA\"}",
    "{\"dataBase64\":\"not base64!\"}",
    "{\"data\":\"\xff\xfe\"}",
    "{\"data\":\"\xc0\xaf\"}",
    "{\"data\":\"\xed\xa0\x80\"}",
    "{\"\xff\":1,\"data\":1}",
};

START_TEST(broken_objects)
{
    int count = (int)(sizeof broken / sizeof broken[0]), before = 0;
    open_all();
    for (int i = 0; i < count; i++) {
        send_text(broken[i]);
        struct wait wait = wait_for(SOON);
        while (evbus_stat(bus, "decode_errors") + atomic_load(&seen.count) <= i && wait_more(&wait))
            ;
        if (atomic_load(&seen.count) > before)
            printf("delivered as something: %s\n", broken[i]);
        before = atomic_load(&seen.count);
    }
    ck_assert_int_eq(evbus_stat(bus, "decode_errors"), count);
    ck_assert_int_eq(atomic_load(&seen.count), 0);
    expect_next_good();
    ck_assert_int_gt(atomic_load(&log_lines), 0);
    close_all();
}
END_TEST

/* Lenient where leniency harms nobody. */
static const char *const odd[] = {
    " {\"data\":1} ",
    "{}",
    "{\"data\":null}",
    "{\"eventId\":null,\"data\":1}",
    "{\"unknown\":{\"deep\":[1,2,3]},\"data\":1}",
    "{\"data\":123456789012345678901234567890e999}",
    "{\"data\":\"\\u0000\"}",
    "{\"status\":\"x\",\"status\":\"y\"}",
    "{\"type\":\"other.type\",\"data\":1}",
    "{\"timestamp\":\"yesterday\",\"data\":1}",
    "{\"node\":\"shorter\",\"seq\":5,\"data\":1}",
    "[1,2,3]",
    "[[[[",
    "\xff\xfe\x00",
    "",
};

START_TEST(odd_but_harmless)
{
    int count = (int)(sizeof odd / sizeof odd[0]);
    open_all();
    for (int i = 0; i < count; i++) {
        send_text(odd[i]);
        struct wait wait = wait_for(SOON);
        while (evbus_stat(bus, "decode_errors") + evbus_stat(bus, "duplicates") +
                       evbus_stat(bus, "forged") + atomic_load(&seen.count) <=
                   i &&
               wait_more(&wait))
            ;
        ck_assert_msg(atomic_load(&seen.count) == i + 1, "not delivered: %s", odd[i]);
    }
    expect_next_good();
    close_all();
}
END_TEST

START_TEST(bytes_with_nul)
{
    static const char inside[] = "{\"data\":\"a\0b\"}", behind[] = "{\"data\":1}\0{\"data\":2}";
    static const char plain[] = "a\0b\r\n\0";
    open_all();
    send_bytes(inside, sizeof inside - 1);
    send_bytes(behind, sizeof behind - 1);
    expect_stat(bus, "decode_errors", 2, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 0);
    send_bytes(plain, sizeof plain - 1); /* no JSON object: bytes */
    expect_count(&seen.count, 1, SOON);
    expect_next_good();
    close_all();
}
END_TEST

static char *nested(int depth, const char *open, const char *close, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    fputs("{\"data\":", out);
    for (int i = 0; i < depth; i++)
        fputs(open, out);
    fputs("1", out);
    for (int i = 0; i < depth; i++)
        fputs(close, out);
    fputs("}", out);
    fclose(out);
    return text;
}

static void send_nested(int depth, const char *open, const char *close)
{
    size_t length;
    char *text = nested(depth, open, close, &length);
    send_bytes(text, length);
    free(text);
}

/* 2,000 levels cost nothing and pass; beyond jansson's 2,048, which everybody else reads with, they
 * do not. */
START_TEST(nested_deep)
{
    open_all();
    send_nested(2000, "[", "]");
    send_nested(2000, "{\"a\":", "}");
    expect_count(&seen.count, 2, SOON);
    for (int depth = 2100; depth < 300000; depth *= 4) {
        send_nested(depth, "[", "]");
        send_nested(depth, "{\"a\":", "}");
        send_nested(depth, "[", "");
    }
    expect_stat(bus, "decode_errors", 12, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 2);
    expect_next_good();
    close_all();
}
END_TEST

START_TEST(ten_megabytes)
{
    size_t length = 10 << 20;
    char *text = malloc(length);
    open_all();
    long before = process_rss_kib();
    for (int kind = 0; kind < 3; kind++) { /* an object, a string without end, noise */
        memset(text, kind == 2 ? '\x80' : 'x', length);
        memcpy(text, kind == 2 ? "no" : "{\"data\":\"", kind == 2 ? 2 : 9);
        if (kind == 0)
            memcpy(text + length - 2, "\"}", 2);
        for (int i = 1; i <= 5; i++) { /* one by one: Redis cuts off whose output exceeds 32 MB */
            send_bytes(text, length);
            expect_stat(bus, "decode_errors", kind * 5 + i, SOON);
        }
    }
    ck_assert_int_eq(atomic_load(&seen.count), 0);
    expect_next_good();
    printf("figure: 15 messages of 10 MiB: RSS %+ld KiB\n", process_rss_kib() - before);
    if (!suite_sanitized())
        ck_assert_int_lt(process_rss_kib() - before, 48 * 1024);
    free(text);
    close_all();
}
END_TEST

/* ---- forged marks ---- */

/* What the bus itself writes, overheard on the channel. */
static void *overhear(void *user)
{
    redisContext *context = user;
    redisReply *reply = NULL;
    if (redisGetReply(context, (void **)&reply) == REDIS_OK && reply->elements == 3) {
        pthread_mutex_lock(&seen.lock);
        seen.raw = strdup(reply->element[2]->str);
        pthread_mutex_unlock(&seen.lock);
    }
    freeReplyObject(reply);
    return NULL;
}

static char *own_envelope(void)
{
    pthread_t thread;
    redisContext *context = redisConnectUnix(server->socket);
    redisReply *reply = redisCommand(context, "SUBSCRIBE %s", channel);
    ck_assert_ptr_nonnull(reply);
    freeReplyObject(reply);
    pthread_create(&thread, NULL, overhear, context);
    bus_publish(bus, "t", "{\"n\":1}");
    pthread_join(thread, NULL);
    redisFree(context);
    ck_assert_ptr_nonnull(seen.raw);
    return seen.raw;
}

static void set_seq(char *envelope, long long seq)
{
    char slot[17];
    char *at = strstr(envelope, "\"seq\":");
    snprintf(slot, sizeof slot, "%16lld", seq);
    memcpy(at + 6, slot, 16);
}

START_TEST(forged_marks)
{
    open_all();
    char *envelope = own_envelope();
    expect_stat(bus, "echoes", 1, SOON);
    ck_assert_int_eq(evbus_stat(bus, "forged"), 0);
    send_text(envelope); /* a true copy is one more echo */
    expect_stat(bus, "echoes", 2, SOON);
    set_seq(envelope, 999999);
    send_text(envelope);
    expect_stat(bus, "forged", 1, SOON);
    set_seq(envelope, 0);
    send_text(envelope);
    expect_stat(bus, "forged", 2, SOON);
    set_seq(envelope, 9999999999999999);
    send_text(envelope);
    expect_stat(bus, "forged", 3, SOON);
    /* as if not delivered here, and with another order of keys */
    char other[256];
    snprintf(other, sizeof other, "{\"data\":1,\"seq\":77777,\"local\":false,\"node\":\"%s\"}",
             evbus_node(bus));
    send_text(other);
    expect_stat(bus, "forged", 4, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 0);
    expect_next_good();
    bus_publish(bus, "t", "{\"n\":2}"); /* the bus's own numbering was not disturbed */
    expect_stat(bus, "echoes", 3, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 1);
    free(envelope);
    close_all();
}
END_TEST

/* A forger with another node's mark can at worst be taken for that node: its own copy comes once.
 */
START_TEST(forged_marks_of_another_node)
{
    open_all();
    const char *text = "{\"node\":\"0123456789abcdef\",\"local\":true,\"seq\":               5,"
                       "\"eventId\":\"x\",\"type\":\"t\",\"version\":\"1.0\",\"data\":1}";
    for (int i = 0; i < 5; i++)
        send_text(text);
    expect_stat(bus, "duplicates", 4, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 1);
    expect_next_good();
    close_all();
}
END_TEST

/* ---- strange channels ---- */

START_TEST(strange_channels)
{
    static const char *const names[] = {
        "evbus:events:",     "evbus:events:a..b", "evbus:events:evbus.mode", "evbus:events:a b",
        "evbus:events:\xff", "evbus:events:x*",   "evbus:events:evbus.gap"};
    int count = (int)(sizeof names / sizeof names[0]);
    open_all();
    evbus_sub *all = bus_subscribe(bus, ">", "scope=redis", look, NULL);
    ck_assert_int_eq(evbus_sub_wait(all, suite_patience(SOON)), 0);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(server_publish(server, names[i], "{\"data\":1}", 10), 1);
    char *inbox = NULL, *long_name = NULL;
    ck_assert_int_gt(asprintf(&inbox, "evbus:inbox:%s", evbus_node(bus)), 0);
    ck_assert_int_gt(asprintf(&long_name, "evbus:events:%0*d", 70000, 0), 0);
    server_publish(server, inbox, "fence:99999999999999999999", 26);
    server_publish(server, inbox, "\xff\x00garbage", 9);
    ck_assert_int_eq(server_publish(server, long_name, "{\"data\":1}", 10), 1);
    expect_stat(bus, "decode_errors", count + 1, SOON);
    ck_assert_int_eq(atomic_load(&seen.count), 0);
    ck_assert_int_eq(server_publish(server, "evbus:events:good", "{\"data\":1}", 10), 1);
    expect_count(&seen.count, 1, SOON);
    free(inbox);
    free(long_name);
    close_all();
}
END_TEST

/* A storm of noise: seeded, so that it can be repeated. */
START_TEST(noise)
{
    unsigned seed =
        getenv("EVB_TEST_SEED") ? (unsigned)strtoul(getenv("EVB_TEST_SEED"), NULL, 10) : 7;
    char text[300];
    int count = suite_scaled(20000);
    open_all();
    redisContext *context = redisConnectUnix(server->socket);
    for (int i = 0; i < count; i++) {
        const char *from = broken[(unsigned)rand_r(&seed) % (sizeof broken / sizeof broken[0])];
        size_t length = strlen(from);
        memcpy(text, from, length);
        for (int flips = rand_r(&seed) % 4; flips >= 0 && length; flips--)
            text[(unsigned)rand_r(&seed) % length] = (char)rand_r(&seed);
        redisAppendCommand(context, "PUBLISH %s %b", channel, text, length);
    }
    for (int i = 0; i < count; i++) {
        void *reply = NULL;
        ck_assert_int_eq(redisGetReply(context, &reply), REDIS_OK);
        freeReplyObject(reply);
    }
    redisFree(context);
    struct wait wait = wait_for(SOON);
    while (evbus_stat(bus, "decode_errors") + evbus_stat(bus, "received") +
                   evbus_stat(bus, "duplicates") + evbus_stat(bus, "forged") <
               count &&
           wait_more(&wait))
        ;
    printf("figure: noise (EVB_TEST_SEED=%s): %d messages, %lld refused, %lld delivered\n",
           getenv("EVB_TEST_SEED") ? getenv("EVB_TEST_SEED") : "7", count,
           (long long)evbus_stat(bus, "decode_errors"), (long long)evbus_stat(bus, "received"));
    ck_assert_int_eq(evbus_stat(bus, "decode_errors") + evbus_stat(bus, "received") +
                         evbus_stat(bus, "duplicates") + evbus_stat(bus, "forged"),
                     count);
    expect_next_good();
    close_all();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("hostile");
    suite_add(suite, "broken_objects", broken_objects, 40);
    suite_add(suite, "odd_but_harmless", odd_but_harmless, 40);
    suite_add(suite, "bytes_with_nul", bytes_with_nul, 30);
    suite_add(suite, "nested_deep", nested_deep, 30);
    suite_add(suite, "ten_megabytes", ten_megabytes, 40);
    suite_add(suite, "forged_marks", forged_marks, 30);
    suite_add(suite, "forged_marks_of_another_node", forged_marks_of_another_node, 30);
    suite_add(suite, "strange_channels", strange_channels, 30);
    suite_add(suite, "noise", noise, 40);
    return suite_run(suite, argc, argv);
}
