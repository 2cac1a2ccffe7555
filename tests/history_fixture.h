/*
 * history_fixture.h - redis_fixture.h with a history on the server: what is read, held back, lost
 * is told in the same line. "e3" entry 3 read, "h3" held back, "m3" came live, "gap:<cause>:<at
 * most>", "live". Included by one program's only file.
 */
#ifndef HISTORY_FIXTURE_H
#define HISTORY_FIXTURE_H
#include "redis_fixture.h"
#include "codec.h"
#include "harness/keeper.h"

#define NODE "0123456789abcdef"

static struct keeper *keeper;
static int64_t since_ms;        /* for evb_recovery_ready() */
static struct evb_gap last_gap; /* without its texts */
static char last_reason[300];

static inline void on_entry(struct evb_position at, const struct evb_reply *channel,
                            const struct evb_reply *envelope, void *user)
{
    (void)user;
    ck_assert_int_gt((int)channel->length, 0);
    ck_assert_int_gt((int)envelope->length, 0);
    tell("e%d ", (int)at.n);
}

static inline void on_held(evbus_event *event, void *user)
{
    (void)user;
    tell("h%d ", (int)event->position.n);
}

static inline void on_gap(const struct evb_gap *gap, void *user)
{
    (void)user;
    last_gap = *gap;
    snprintf(last_reason, sizeof last_reason, "%s", gap->reason);
    tell("gap:%s:%d ", gap->cause, (int)gap->count);
}

static inline void on_answers(void *user)
{
    (void)user;
}

static inline void on_live(void *user)
{
    (void)user;
    tell("live ");
}

static inline evbus_event *event_of(const struct evb_reply *payload)
{
    evbus_event *event = NULL;
    const char *why = "";
    ck_assert_msg(
        evb_codec_read(payload->text, payload->length, "a", 1, 1000000, 0, &event, &why) == 0, "%s",
        why);
    return event;
}

/* As route.c does. */
static inline void on_positioned(const struct evb_reply *channel, const struct evb_reply *payload,
                                 const struct evb_reply *pattern, void *user)
{
    evbus_event *event = event_of(payload);
    (void)channel;
    (void)pattern;
    (void)user;
    if (evb_position_is_none(event->position))
        tell("plain ");
    else if (!evb_recovery_takes(&redis.recovery, event))
        tell("m%d ", (int)event->position.n);
    evbus_event_unref(event);
}

static inline void recover(void)
{
    evb_recovery_ready(&redis.recovery, since_ms);
    since_ms = 0;
}

static inline void setup_history(void)
{
    setup();
    keeper = keeper_start(server);
    hooks.message = on_positioned;
    hooks.recovery = (struct evb_recovery_hooks){on_entry, on_held, on_gap, on_live, on_answers};
    when_ready = recover;
    set.stream = (struct evb_stream_settings){.enabled = true,
                                              .key_prefix = "evbus:",
                                              .node = NODE,
                                              .ttl_ms = 3600000,
                                              .max_events = 5000,
                                              .max_bytes = 70000};
    set.recovery = (struct evb_recovery_settings){.max_events = 100000, .max_ms = 60000};
}

static inline void teardown_history(void)
{
    stop();
    keeper_free(keeper);
    teardown();
}

static inline void expect_story(const char *want)
{
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

/* An event of somebody else's, as a node would write it. */
static inline const char *envelope(void)
{
    static char text[200];
    static int seq;
    snprintf(text, sizeof text,
             "{\"node\":\"fedcba9876543210\",\"local\":true,\"seq\":%17d,\"eventId\":\"x\","
             "\"type\":\"a\",\"version\":\"1.0\",\"data\":1}",
             ++seq);
    return text;
}

static int published; /* the n of the last one */

/* Missed by those who are away, or heard. */
static inline void others_publish(int count, bool heard)
{
    while (count--)
        published =
            heard ? keeper_add(keeper, "a", envelope()) : keeper_put(keeper, "a", envelope());
}

/* What becomes of the history, a word each: "p3" three more, "t2" all but two are let go, "d" the
 * stream is deleted, "f" all keys are, "r1" the newest one was never there. */
static inline void happen(const char *words)
{
    for (const char *word = words; *word; word += strcspn(word, " "), word += *word == ' ') {
        int count = atoi(word + 1);
        ck_assert_ptr_nonnull(strchr("ptdfrb", *word));
        if (*word == 'p')
            others_publish(count, false);
        else if (*word == 't')
            keeper_trim(keeper, count);
        else if (*word == 'd')
            keeper_delete(keeper);
        else if (*word == 'f')
            keeper_flush(keeper);
        else if (*word == 'b')
            keeper_count_back(keeper, count);
        else
            keeper_roll_back(keeper, count);
    }
}

static inline void come_up_keeping(void)
{
    ck_assert_int_eq(open_redis(), 0);
    want("a", false);
    start();
    await(EVB_REDIS_READY);
    ck_assert_msg(strstr(story, "ready live ") != NULL, "%s", story);
    story[0] = '\0';
}

/* The link goes, this happens, it is back: what followed READY is the story. */
static inline void drop_and_come_back(const char *meanwhile)
{
    char backoff[] = "backoff ", ready[] = "ready ";
    scripted_listen(server, false);
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    await_story(backoff);
    happen(meanwhile);
    story[0] = '\0';
    scripted_listen(server, true);
    await_story(ready);
    const char *behind = strstr(story, ready) + strlen(ready);
    memmove(story, behind, strlen(behind) + 1);
}

#endif
