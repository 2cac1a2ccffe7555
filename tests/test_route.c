/* test_route.c - an event's way: what is accepted, in which order it is delivered, what comes from
 * Redis and what is let go. */
#include "bus_fixture.h"
#include "list.h"
#include <sys/mman.h>
#include <unistd.h>

/* ---- order ---- */

static int chain(evbus_sub *sub, evbus_event *event, void *user)
{
    static const struct {
        const char *type, *effects[3];
    } causes[] = {{"a", {"b", "c"}}, {"b", {"d", "e"}}, {"d", {"f"}}};
    (void)user;
    (void)sub;
    for (size_t i = 0; i < EVB_COUNT(causes); i++)
        for (int k = 0; !strcmp(causes[i].type, evbus_event_type(event)) && causes[i].effects[k];
             k++)
            ck_assert_int_eq(evbus_publish(bus, causes[i].effects[k], NULL), EVBUS_SENT_LOCAL);
    return 0;
}

START_TEST(effects_follow_their_causes)
{
    bus = open_on(false, NULL);
    evbus_sub *subs[] = {subscribe(">", "deliver=inline", "1"),
                         evbus_subscribe(bus, ">", "deliver=inline", chain, NULL),
                         subscribe(">", "deliver=inline", "2"), subscribe(">", NULL, "L")};
    ck_assert_int_eq(evbus_publish(bus, "a", NULL), EVBUS_SENT_LOCAL);
    expect("1a 2a 1b 2b 1c 2c 1d 2d 1e 2e 1f 2f "); /* breadth first, all before publish returns */
    turn();
    expect("La Lb Lc Ld Le Lf ");
    for (size_t i = 0; i < EVB_COUNT(subs); i++)
        evbus_unsubscribe(subs[i]);
}
END_TEST

/* ---- the bound on what waits for a handler's return ---- */

static evbus_event *left_over;
static int accepted;

static int flood(evbus_sub *sub, evbus_event *event, void *user)
{
    const size_t *size = user;
    char *data = malloc(*size + 3);
    (void)sub;
    (void)event;
    memset(data, '1', *size + 2);
    for (accepted = 0;; accepted++) {
        evbus_event *next = evbus_event_new("flood");
        if (*size)
            ck_assert_int_eq(evbus_event_set_json(next, data, *size), 0);
        int rc = evbus_publish_event(bus, next, 0);
        if (rc < 0) {
            ck_assert_int_eq(rc, EVBUS_EFULL);
            left_over = next;
            break;
        }
        evbus_event_unref(next);
    }
    free(data);
    return 0;
}

START_TEST(too_many_effects)
{
    size_t size = _i ? 1000000 : 0;
    bus = open_on(false, NULL);
    evbus_sub *cause = evbus_subscribe(bus, "cause", "deliver=inline", flood, &size);
    evbus_sub *effect = evbus_subscribe(bus, "flood", "deliver=inline", on_event, NULL);
    evbus_publish(bus, "cause", NULL);
    ck_assert_int_eq(accepted, _i ? 67 : 65536); /* 64 MiB */
    ck_assert_int_eq(evbus_sub_stat(effect, "delivered"), accepted);
    ck_assert_int_eq(evbus_stat(bus, "publish_errors"), 1);
    /* the one that was refused is as new */
    ck_assert_int_eq(evbus_event_set_source(left_over, "again"), 0);
    ck_assert_int_eq(evbus_publish_event(bus, left_over, 0), EVBUS_SENT_LOCAL);
    ck_assert_int_eq(evbus_sub_stat(effect, "delivered"), accepted + 1);
    evbus_event_unref(left_over);
    evbus_unsubscribe(cause);
    evbus_unsubscribe(effect);
}
END_TEST

/* ---- what is accepted ---- */

static const struct {
    bool redis;
    const char *check, *mode;
    int flags;
    const char *json;
    int answer;
} accepts[] = {
    {false, "remote", "auto", 0, "{}", EVBUS_SENT_LOCAL},
    {false, "remote", "auto", 0, "{bad", EVBUS_SENT_LOCAL}, /* never serialised: not looked at */
    {false, "always", "auto", 0, "{bad", EVBUS_EINVAL},
    {false, "never", "auto", 0, "{bad", EVBUS_SENT_LOCAL},
    {true, "remote", "hybrid", 0, "{}", EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX},
    {true, "remote", "hybrid", 0, "{bad", EVBUS_EINVAL},
    {true, "remote", "hybrid", EVBUS_LOCAL_ONLY, "{bad", EVBUS_SENT_LOCAL},
    {true, "remote", "hybrid", EVBUS_REDIS_ONLY, "{bad", EVBUS_EINVAL},
    {true, "always", "hybrid", EVBUS_LOCAL_ONLY, "{bad", EVBUS_EINVAL},
    {true, "never", "hybrid", 0, "{bad", EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX},
    {true, "remote", "hybrid", EVBUS_REDIS_ONLY, "{}", EVBUS_SENT_OUTBOX},
    {true, "remote", "hybrid", EVBUS_LOCAL_ONLY, "{}", EVBUS_SENT_LOCAL},
    {true, "remote", "redis-only", 0, "{}", EVBUS_SENT_OUTBOX},
    {true, "remote", "redis-only", EVBUS_LOCAL_ONLY, "{}", EVBUS_SENT_LOCAL},
    {true, "remote", "redis-only", EVBUS_REDIS_ONLY, "{}", EVBUS_SENT_OUTBOX},
    {true, "remote", "local-only", 0, "{bad", EVBUS_SENT_LOCAL},
    {true, "remote", "local-only", EVBUS_REDIS_ONLY, "{}", EVBUS_EAWAY},
    {false, "remote", "auto", EVBUS_REDIS_ONLY, "{}", EVBUS_EAWAY},
    {true, "remote", "hybrid", EVBUS_LOCAL_ONLY | EVBUS_REDIS_ONLY, "{}", EVBUS_EINVAL},
    {true, "remote", "hybrid", 16, "{}", EVBUS_EINVAL},
    {true, "remote", "hybrid", -1, "{}", EVBUS_EINVAL},
    {false, "remote", "auto", 0, NULL, EVBUS_SENT_LOCAL},
    {true, "always", "hybrid", 0, NULL, EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX},
    {false, "always", "auto", 0, "0123456789012345678901234567890", EVBUS_ETOOBIG},
    {false, "always", "auto", 0, "1234567890123456789012345678901", EVBUS_ETOOBIG},
    {false, "always", "auto", 0, "123456789012345678901234567890", EVBUS_SENT_LOCAL},
};

START_TEST(accepts_or_not)
{
    bus = open_on(accepts[_i].redis, "event.check", accepts[_i].check, "bus.mode", accepts[_i].mode,
                  "event.max.bytes", "30", NULL);
    evbus_event *event = evbus_event_new("t");
    if (accepts[_i].json)
        evbus_event_set_json(event, accepts[_i].json, strlen(accepts[_i].json));
    int rc = evbus_publish_event(bus, event, accepts[_i].flags);
    ck_assert_msg(rc == accepts[_i].answer, "%d: %s", rc, evbus_last_error());
    /* frozen when it was accepted, and only then */
    ck_assert_int_eq(evbus_event_set_source(event, "s"), rc < 0 ? 0 : EVBUS_EINVAL);
    ck_assert_int_eq(evbus_stat(bus, "publish_errors"), rc < 0);
    if (rc > 0)
        ck_assert_int_eq(evbus_publish_event(bus, event, accepts[_i].flags), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), rc > 0 && rc & EVBUS_SENT_OUTBOX);
    evbus_event_unref(event);
}
END_TEST

/* A full outbox refuses; the event is as new and may still go to the local subscribers. */
START_TEST(refused_is_not_published)
{
    bus = open_on(true, "outbox.full", "reject", "outbox.events", "2", NULL);
    evbus_event *event = evbus_event_new("t");
    evbus_publish(bus, "t", NULL);
    evbus_publish(bus, "t", NULL);
    ck_assert_int_eq(evbus_publish_report(bus, event, 0, on_report, NULL), EVBUS_EFULL);
    ck_assert_int_eq(evbus_event_set_json(event, "1", 1), 0);
    ck_assert_int_eq(evbus_publish_report(bus, event, EVBUS_LOCAL_ONLY, on_report, NULL),
                     EVBUS_SENT_LOCAL);
    ck_assert_int_eq(evbus_publish_event(bus, event, EVBUS_LOCAL_ONLY), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 2);
    expect(""); /* never from inside publish */
    turn();
    expect("l:t ");
    evbus_event_unref(event);
}
END_TEST

START_TEST(longest_time_to_live)
{
    bus = open_on(true, NULL);
    evbus_event *event = evbus_event_new("t");
    ck_assert_int_eq(evbus_event_set_ttl(event, INT64_MAX), 0);
    ck_assert_int_gt(evbus_publish_report(bus, event, 0, on_report, NULL), 0);
    await("a:t ");
    evbus_event_unref(event);
}
END_TEST

/* ---- what comes from Redis ---- */

#define OTHER "\"node\":\"00000000000000aa\",\"local\":true,\"seq\":"
static const struct {
    const char *channel, *payload;
    const char *story;
    const char *counter; /* this one counts it */
} messages[] = {
    {"evbus:events:t", "{\"data\":1}", "t ", "received"},
    {"evbus:events:t", "no json", "t ", "received"},
    {"evbus:events:t", "", "t ", "received"},
    {"evbus:events:t", "{" OTHER "               7,\"data\":1}", "t ", "received"},
    {"evbus:events:t", "{" OTHER "               5,\"data\":1}", "", "duplicates"},
    {"evbus:events:t", "{\"eventId\":\"one\",\"data\":1}", "t ", "received"},
    {"evbus:events:t", "{\"eventId\":\"known\",\"data\":1}", "", "duplicates"},
    {"evbus:events:t", "{\"data\":1", "", "decode_errors"},
    {"evbus:events:", "{}", "", "decode_errors"},
    {"evbus:events:a b", "{}", "", "decode_errors"},
    {"evbus:events:evbus.mode", "{}", "", "decode_errors"},
    {"evbus:event", "{}", "", "decode_errors"},
    {"other", "{}", "", "decode_errors"},
};

START_TEST(received)
{
    int64_t before;
    bus = open_on(true, NULL);
    evbus_sub *sub = subscribe(">", "scope=redis", "");
    ck_assert_str_eq(messages[_i].counter ? "" : "x", "");
    await_mode(EVBUS_MODE_HYBRID);
    char known[] = "{" OTHER "               5,\"data\":1}",
         id[] = "{\"eventId\":\"known\",\"data\":1}";
    scripted_publish(server, "evbus:events:t", known, strlen(known));
    scripted_publish(server, "evbus:events:t", id, strlen(id));
    await("t t ");
    story[0] = '\0';
    before = evbus_stat(bus, messages[_i].counter);
    char frame[512];
    snprintf(frame, sizeof frame,
             "*4\r\n$8\r\npmessage\r\n$14\r\nevbus:events:*\r\n$%zu\r\n%s\r\n"
             "$%zu\r\n%s\r\n",
             strlen(messages[_i].channel), messages[_i].channel, strlen(messages[_i].payload),
             messages[_i].payload);
    scripted_send(server, SCRIPTED_SUBSCRIBER, frame, strlen(frame));
    scripted_publish(server, "evbus:events:end", "{\"data\":1}", 10);
    await("end ");
    tell(".");
    char want[64];
    snprintf(want, sizeof want, "%send .", messages[_i].story);
    expect(want);
    ck_assert_int_eq(evbus_stat(bus, messages[_i].counter) - before,
                     1 + !strcmp(messages[_i].counter, "received"));
    evbus_unsubscribe(sub);
}
END_TEST

/* This bus's mark: its echo, what it sent for itself, and what it never sent. */
START_TEST(own_mark)
{
    char payload[200];
    bus = open_on(true, NULL);
    evbus_sub *sub = subscribe("t", "scope=redis", "");
    await_mode(EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_publish(bus, "t", "1"), EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS);
    evbus_event *event = evbus_event_new("t");
    ck_assert_int_eq(evbus_publish_report(bus, event, EVBUS_REDIS_ONLY, on_report, NULL),
                     EVBUS_SENT_REDIS);
    await("a:t ");
    turn();
    ck_assert_ptr_nonnull(strstr(story, "t "));
    ck_assert_int_eq(evbus_stat(bus, "echoes"), 1);
    ck_assert_int_eq(evbus_stat(bus, "received"), 1);
    static const char *const forged[] = {"true,\"seq\":               3",
                                         "true,\"seq\":               0",
                                         "false,\"seq\":              99", "true"};
    for (size_t i = 0; i < EVB_COUNT(forged); i++) {
        snprintf(payload, sizeof payload, "{\"node\":\"%s\",\"local\":%s,\"data\":1}",
                 evbus_node(bus), forged[i]);
        scripted_publish(server, "evbus:events:t", payload, strlen(payload));
    }
    story[0] = '\0';
    scripted_publish(server, "evbus:events:t", "{\"data\":2}", 10);
    await("t ");
    expect("t ");
    ck_assert_int_eq(evbus_stat(bus, "forged"), 4);
    evbus_event_unref(event);
    evbus_unsubscribe(sub);
}
END_TEST

/* Foreign, without an id: a copy by each name that was asked for, one to each subscription. */
START_TEST(two_names_one_event)
{
    bus = open_on(true, "wire.foreign", _i ? "drop" : "deliver", NULL);
    evbus_sub *exact = subscribe("a.b", NULL, "x"), *words = subscribe("a.*", NULL, "w");
    await_mode(EVBUS_MODE_HYBRID);
    scripted_publish(server, "evbus:events:a.b", "plain", 5);
    scripted_publish(server, "evbus:events:a.b", "{\"data\":1}", 10);
    scripted_publish(server, "evbus:events:a.b", "{\"eventId\":\"1\",\"data\":1}", 24);
    scripted_publish(server, "evbus:events:a.c", "{\"data\":1}", 10);
    await("wa.c ");
    ck_assert_int_eq(evbus_sub_stat(exact, "delivered"), _i ? 2 : 3);
    ck_assert_int_eq(evbus_sub_stat(words, "delivered"), _i ? 3 : 4);
    ck_assert_int_eq(evbus_stat(bus, "foreign_dropped"), _i ? 2 : 0);
    ck_assert_int_eq(evbus_stat(bus, "duplicates"), 1);
    evbus_unsubscribe(exact);
    evbus_unsubscribe(words);
}
END_TEST

/* Every n-th allocation of a publish fails: ENOMEM and as new, or accepted and reported. */
/* Above what an event can hold at all: the error is that, and the sentence with it. */
START_TEST(above_all_bounds)
{
    const size_t part = 64 << 20, parts = 33; /* one part of memory, seen so often */
    bus = open_on(false, NULL);
    int fd = memfd_create("part", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(fd, (off_t)part), 0);
    char *json = mmap(NULL, part * parts + 1, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(json, MAP_FAILED);
    for (size_t i = 0; i < parts; i++)
        ck_assert_ptr_ne(
            mmap(json + i * part, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
            MAP_FAILED);
    memset(json, '1', part);
    ck_assert_int_eq(evbus_publish(bus, "t", json), EVBUS_ETOOBIG);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETOOBIG);
    munmap(json, part * parts + 1);
    close(fd);
}
END_TEST

START_TEST(no_memory)
{
    bool failed = true;
    bus = open_on(true, "event.check", "always", NULL);
    evbus_sub *sub = subscribe("t", "deliver=inline", "");
    await_mode(EVBUS_MODE_HYBRID);
    for (long n = 0; failed; n++) {
        char type[32];
        ck_assert_int_lt(n, 60);
        snprintf(type, sizeof type, "t%ld", n); /* another type: another snapshot */
        story[0] = '\0';
        evbus_event *event = evbus_event_new(type);
        failing_at(n, _i);
        int rc = evbus_publish_report(bus, event, 0, on_report, NULL);
        failed = failing_off();
        ck_assert_msg(rc == EVBUS_ENOMEM || rc > 0, "%d", rc);
        if (rc < 0) {
            ck_assert_int_eq(evbus_stat(bus, "outbox_events"), 0);
            ck_assert_int_eq(evbus_event_set_source(event, "s"), 0);
            ck_assert_int_gt(evbus_publish_report(bus, event, 0, on_report, NULL), 0);
        }
        await("a:t");
        evbus_event_unref(event);
    }
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route");
    TCase *tests = tcase_create("route");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, effects_follow_their_causes);
    tcase_add_loop_test(tests, too_many_effects, 0, 2);
    tcase_add_loop_test(tests, accepts_or_not, 0, (int)EVB_COUNT(accepts));
    tcase_add_test(tests, refused_is_not_published);
    tcase_add_test(tests, longest_time_to_live);
    tcase_add_loop_test(tests, received, 0, (int)EVB_COUNT(messages));
    tcase_add_test(tests, own_mark);
    tcase_add_loop_test(tests, two_names_one_event, 0, 2);
    tcase_add_test(tests, above_all_bounds);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    return run(suite);
}
