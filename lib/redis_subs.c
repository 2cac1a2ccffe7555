/* redis_subs.c - channels and patterns of one connection. Loop only. */
#include "redis_subs.h"
#include "alloc.h"
#include "buf.h"
#include "err.h"
#include "match.h"
#include <evbus.h>
#include <stdio.h>
#include <string.h>

enum ask_kind { ASK_SUBSCRIBE, ASK_UNSUBSCRIBE, ASK_PING };

struct ask {
    struct evb_node node;
    enum ask_kind kind;
    struct evb_topic *topic; /* NULL: PING */
};

static const char *const commands[][2] = {
    /* by kind, by pattern */
    [ASK_SUBSCRIBE] = {"subscribe", "psubscribe"},
    [ASK_UNSUBSCRIBE] = {"unsubscribe", "punsubscribe"},
    [ASK_PING] = {"pong", "pong"},
};

void evb_subs_init(struct evb_subs *subs,
                   void (*decided)(const struct evb_topic *topic, void *user),
                   void (*lacks)(enum evb_lack lack, void *user), void *user)
{
    memset(subs, 0, sizeof *subs);
    evb_map_init(&subs->channels);
    evb_map_init(&subs->patterns);
    evb_list_init(&subs->asks);
    subs->decided = decided;
    subs->lacks = lacks;
    subs->user = user;
}

static void clear_asks(struct evb_subs *subs)
{
    EVB_LIST_EACH(&subs->asks, node)
    {
        evb_list_remove(node);
        evb_free(evb_container(node, struct ask, node));
    }
}

void evb_subs_fini(struct evb_subs *subs)
{
    clear_asks(subs);
    evb_map_fini(&subs->channels, evb_free);
    evb_map_fini(&subs->patterns, evb_free);
}

static struct evb_map *map_of(struct evb_subs *subs, bool pattern)
{
    return pattern ? &subs->patterns : &subs->channels;
}

static void send(struct evb_subs *subs, enum ask_kind kind, const struct evb_topic *topic)
{
    struct evb_buf buf;
    const char *command = topic ? commands[kind][topic->pattern] : "ping";
    evb_buf_init(&buf);
    evb_buf_printf(&buf, "*%d\r\n$%zu\r\n%s\r\n", topic ? 2 : 1, strlen(command), command);
    if (topic) {
        evb_buf_printf(&buf, "$%zu\r\n", topic->length);
        evb_buf_add(&buf, topic->name, topic->length);
        evb_buf_text(&buf, "\r\n");
    }
    if (buf.failed)
        subs->link->gate.error = "out of memory";
    else
        evb_link_send(subs->link, buf.data, buf.length);
    evb_buf_fini(&buf);
}

static int ask(struct evb_subs *subs, enum ask_kind kind, struct evb_topic *topic)
{
    struct ask *entry = evb_alloc(sizeof *entry);
    if (!entry) {
        subs->link->gate.error = "out of memory"; /* the replies could not be told apart */
        return evb_fail_memory();
    }
    entry->kind = kind;
    entry->topic = topic;
    evb_list_push(&subs->asks, &entry->node);
    if (topic)
        topic->asked++;
    send(subs, kind, topic);
    return 0;
}

static void ask_put_off(const char *key, size_t length, void *value, void *user)
{
    struct evb_topic *topic = value;
    (void)key;
    (void)length;
    if (topic->wanted && topic->state == EVB_TOPIC_NEW && !topic->asked)
        ask(user, ASK_SUBSCRIBE, topic);
}

int evb_subs_ping(struct evb_subs *subs)
{
    if (!subs->link)
        return 0;
    if (subs->put_off) {
        subs->put_off = false;
        evb_map_each(&subs->channels, ask_put_off, subs);
        evb_map_each(&subs->patterns, ask_put_off, subs);
    }
    return ask(subs, ASK_PING, NULL);
}

static void forget_if_done(struct evb_subs *subs, struct evb_topic *topic)
{
    if (topic->wanted || topic->asked)
        return;
    evb_map_remove(map_of(subs, topic->pattern), topic->name, topic->length);
    evb_free(topic);
}

int evb_subs_add(struct evb_subs *subs, const char *name, size_t length, bool pattern)
{
    struct evb_topic *topic = evb_map_get(map_of(subs, pattern), name, length);
    if (topic && topic->wanted)
        return 0;
    if (!topic) {
        topic = evb_calloc(1, sizeof *topic + length + 1);
        if (!topic)
            return evb_fail_memory();
        topic->pattern = pattern;
        topic->length = length;
        memcpy(topic->name, name, length);
        if (evb_map_put(map_of(subs, pattern), name, length, topic) != 0) {
            evb_free(topic);
            return EVBUS_ENOMEM;
        }
    }
    topic->wanted = true;
    topic->state = EVB_TOPIC_NEW;
    subs->pending++;
    if (!subs->link || ask(subs, ASK_SUBSCRIBE, topic) == 0)
        return 0;
    topic->wanted = false;
    subs->pending--;
    forget_if_done(subs, topic);
    return EVBUS_ENOMEM;
}

void evb_subs_remove(struct evb_subs *subs, const char *name, size_t length, bool pattern)
{
    struct evb_topic *topic = evb_map_get(map_of(subs, pattern), name, length);
    if (!topic || !topic->wanted)
        return;
    topic->wanted = false;
    subs->changes++;
    if (topic->state == EVB_TOPIC_NEW)
        subs->pending--;
    if (subs->link && (topic->asked || topic->state == EVB_TOPIC_LIVE))
        ask(subs, ASK_UNSUBSCRIBE, topic);
    forget_if_done(subs, topic);
}

struct count {
    const char *channel;
    size_t length;
    int64_t found;
};

static bool is_live(const struct evb_topic *topic)
{
    return topic->wanted && topic->state == EVB_TOPIC_LIVE;
}

static void count_pattern(const char *key, size_t length, void *value, void *user)
{
    struct count *count = user;
    if (is_live(value) && evb_glob_matches(key, length, count->channel, count->length))
        count->found++;
}

int64_t evb_subs_matching(struct evb_subs *subs, const char *channel, size_t length)
{
    struct count count = {channel, length, 0};
    const struct evb_topic *topic = evb_map_get(&subs->channels, channel, length);
    count.found = topic && is_live(topic);
    evb_map_each(&subs->patterns, count_pattern, &count);
    return count.found;
}

static void start_topic(const char *key, size_t length, void *value, void *user)
{
    struct evb_subs *subs = user;
    (void)key;
    (void)length;
    ask(subs, ASK_SUBSCRIBE, value);
}

void evb_subs_start(struct evb_subs *subs, struct evb_link *link)
{
    subs->link = link;
    evb_map_each(&subs->channels, start_topic, subs);
    evb_map_each(&subs->patterns, start_topic, subs);
}

static void ask_again(const char *key, size_t length, void *value, void *user)
{
    struct evb_subs *subs = user;
    struct evb_topic *topic = value;
    (void)key;
    (void)length;
    if (!topic->wanted || topic->state != EVB_TOPIC_REFUSED)
        return;
    topic->state = EVB_TOPIC_NEW;
    subs->pending++;
    ask(subs, ASK_SUBSCRIBE, topic);
}

void evb_subs_again(struct evb_subs *subs)
{
    if (!subs->link)
        return;
    evb_map_each(&subs->channels, ask_again, subs);
    evb_map_each(&subs->patterns, ask_again, subs);
}

static void reset_topic(const char *key, size_t length, void *value, void *user)
{
    struct evb_subs *subs = user;
    struct evb_topic *topic = value;
    (void)key;
    (void)length;
    topic->asked = 0;
    topic->state = EVB_TOPIC_NEW;
    subs->pending += topic->wanted;
    forget_if_done(subs, topic);
}

void evb_subs_reset(struct evb_subs *subs)
{
    subs->link = NULL;
    subs->put_off = false;
    subs->changes++;
    subs->pending = 0;
    clear_asks(subs);
    evb_map_each(&subs->channels, reset_topic, subs);
    evb_map_each(&subs->patterns, reset_topic, subs);
}

/* Is this the answer to what was asked? An error always is. */
static bool answers(const struct ask *entry, const struct evb_reply *reply)
{
    if (reply->kind == EVB_REPLY_ERROR)
        return true;
    if (entry->kind == ASK_PING)
        return reply->kind == EVB_REPLY_STATUS || evb_reply_is_push(reply, "pong");
    const struct evb_topic *topic = entry->topic;
    return evb_reply_is_push(reply, commands[entry->kind][topic->pattern]) &&
           reply->item[1]->length == topic->length &&
           memcmp(reply->item[1]->text, topic->name, topic->length) == 0;
}

/* `refusal`: what Redis said, NULL: yes. */
static void decide(struct evb_subs *subs, struct evb_topic *topic, const char *refusal)
{
    if (topic->asked == 0 && topic->wanted && topic->state == EVB_TOPIC_NEW) {
        topic->state = refusal ? EVB_TOPIC_REFUSED : EVB_TOPIC_LIVE;
        subs->changes++;
        topic->lacks = refusal ? evb_acl_right(refusal) : EVB_RIGHT_BOTH;
        subs->pending--;
        subs->decided(topic, subs->user);
    }
    forget_if_done(subs, topic);
}

void evb_topic_lacks(const struct evb_topic *topic, char *out, size_t room)
{
    struct evb_need need = {topic->lacks, commands[ASK_SUBSCRIBE][topic->pattern],
                            topic->pattern ? EVB_CHANNEL_PATTERN : EVB_CHANNEL_EXACT, topic->name,
                            topic->length};
    evb_acl_name(out, room, &need);
}

static void tell_lack(struct evb_subs *subs, const struct ask *entry)
{
    if (entry->kind == ASK_PING)
        subs->lacks(EVB_LACK_PING, subs->user);
    else if (entry->kind == ASK_UNSUBSCRIBE)
        subs->lacks(entry->topic->pattern ? EVB_LACK_PUNSUBSCRIBE : EVB_LACK_UNSUBSCRIBE,
                    subs->user);
}

static bool is_signed_out(const char *error)
{
    return strncmp(error, "NOAUTH", 6) == 0;
}

/* Does this error end the connection? To a PING most are as good an answer as PONG: a server that
 * is busy, or cannot save, says so to it and passes events on. */
static bool breaks(enum ask_kind kind, const char *error)
{
    return kind == ASK_SUBSCRIBE || (kind == ASK_PING && is_signed_out(error));
}

int evb_subs_reply(struct evb_subs *subs, const struct evb_reply *reply, char *why, size_t room)
{
    bool is_error = reply->kind == EVB_REPLY_ERROR;
    if (evb_list_empty(&subs->asks)) {
        snprintf(why, room, "%s%s",
                 is_error ? "" : "protocol error: an answer that nobody asked for",
                 is_error ? reply->text : "");
        return EVBUS_EPARSE;
    }
    struct ask *entry = evb_container(subs->asks.next, struct ask, node);
    if (!answers(entry, reply)) {
        snprintf(why, room, "protocol error: not the answer to what was asked");
        return EVBUS_EPARSE;
    }
    bool refused = is_error && evb_acl_refuses(reply->text);
    bool put_off = entry->kind == ASK_SUBSCRIBE && is_error && !strncmp(reply->text, "BUSY", 4);
    bool broken = is_error && !refused && breaks(entry->kind, reply->text);
    if (broken)
        snprintf(why, room, "%s refused: %s", commands[entry->kind][0], reply->text);
    if (broken && !put_off)
        return is_signed_out(reply->text) ? EVBUS_EAUTH : EVBUS_EREMOTE;
    if (refused)
        tell_lack(subs, entry);
    struct evb_topic *topic = entry->topic;
    evb_list_remove(&entry->node);
    evb_free(entry);
    if (topic)
        topic->asked--;
    if (put_off) {
        subs->put_off = true;
        forget_if_done(subs, topic);
        return EVBUS_EAWAY;
    }
    if (topic)
        decide(subs, topic, refused ? reply->text : NULL);
    return 0;
}
