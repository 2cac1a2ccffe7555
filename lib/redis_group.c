/* redis_group.c - a group's names and commands. Loop only. */
#include "redis_group.h"
#include "alloc.h"
#include "err.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_WORDS = 10, BEATS = 4 }; /* BEATS: of a member, before it is taken for gone */

int evb_group_wire_init(struct evb_group_wire *wire, struct evb_stream *stream,
                        struct evb_asks *asks, const char *node)
{
    struct evb_buf bell;
    evb_buf_init(&bell);
    evb_buf_printf(&bell, "%s@%s", stream->keys[EVB_KEY_GROUPS], node);
    wire->stream = stream;
    wire->asks = asks;
    wire->bell = evb_buf_take(&bell);
    return wire->bell ? 0 : evb_fail_memory();
}

void evb_group_wire_fini(struct evb_group_wire *wire)
{
    evb_free(wire->bell);
    wire->bell = NULL;
}

int evb_group_name_init(struct evb_group_name *name, const struct evb_group_wire *wire,
                        const char *channel, const char *group)
{
    struct evb_buf key;
    evb_buf_init(&key);
    evb_buf_printf(&key, "%s:%s:%s", wire->stream->keys[EVB_KEY_GROUPS], group, channel);
    name->channel = evb_strdup(channel);
    name->group = evb_strdup(group);
    name->key = evb_buf_take(&key);
    if (name->channel && name->group && name->key)
        return 0;
    evb_group_name_fini(name);
    return evb_fail_memory();
}

void evb_group_name_fini(struct evb_group_name *name)
{
    evb_free(name->channel);
    evb_free(name->group);
    evb_free(name->key);
    *name = (struct evb_group_name){0};
}

static bool run(const struct evb_group_wire *wire, enum evb_script script,
                const char *const words[], size_t count, evb_ask_fn fn, void *user)
{
    return evb_stream_run(wire->stream, wire->asks, script, words, count, fn, user);
}

bool evb_group_announce(const struct evb_group_wire *wire, const struct evb_group_name *name,
                        evb_ask_fn fn, void *user)
{
    char ttl[24], bell_ttl[24];
    const char *words[] = {"3",           wire->stream->keys[EVB_KEY_GROUPS],
                           name->key,     wire->bell,
                           name->channel, name->group,
                           ttl,           wire->control,
                           bell_ttl};
    int64_t beats_ms = wire->beat_ms * BEATS;
    snprintf(ttl, sizeof ttl, "%" PRId64, wire->ttl_ms > beats_ms ? wire->ttl_ms : beats_ms);
    snprintf(bell_ttl, sizeof bell_ttl, "%" PRId64, beats_ms + 60000);
    return run(wire, EVB_SCRIPT_MEMBER, words, EVB_COUNT(words), fn, user);
}

bool evb_group_settle(const struct evb_group_wire *wire, const char *key, const char *const entry[],
                      size_t count, evb_ask_fn fn, void *user)
{
    const char *words[EVB_GROUP_BATCH + 2] = {"1", key};
    memcpy(words + 2, entry, count * sizeof *entry);
    return run(wire, EVB_SCRIPT_SETTLE, words, count + 2, fn, user);
}

bool evb_group_requeue(const struct evb_group_wire *wire, const char *key,
                       const char *const entry[], const int more[], size_t count, evb_ask_fn fn,
                       void *user)
{
    const char *words[2 * EVB_GROUP_BATCH + 2] = {"1", key};
    char number[EVB_GROUP_BATCH][12];
    for (size_t i = 0; i < count; i++) {
        snprintf(number[i], sizeof number[i], "%d", more[i]);
        words[2 + 2 * i] = entry[i];
        words[3 + 2 * i] = number[i];
    }
    return run(wire, EVB_SCRIPT_REQUEUE, words, 2 * count + 2, fn, user);
}

bool evb_group_takeover(const struct evb_group_wire *wire, const char *key, int64_t idle_ms,
                        int64_t most, bool leaves, evb_ask_fn fn, void *user)
{
    char idle[24], most_text[24];
    const char *words[] = {"1", key, idle, most_text, leaves ? wire->consumer : ""};
    snprintf(idle, sizeof idle, "%" PRId64, idle_ms);
    snprintf(most_text, sizeof most_text, "%" PRId64, most);
    return run(wire, EVB_SCRIPT_TAKEOVER, words, EVB_COUNT(words), fn, user);
}

bool evb_group_renew(const struct evb_group_wire *wire, const char *key, const char *const entry[],
                     size_t count, evb_ask_fn fn, void *user)
{
    const char *words[EVB_GROUP_BATCH + 7] = {"XCLAIM", key, EVB_GROUP, wire->consumer, "0"};
    memcpy(words + 5, entry, count * sizeof *entry);
    words[5 + count] = "JUSTID";
    return evb_asks_send(wire->asks, words, fn, user);
}

bool evb_group_own(const struct evb_group_wire *wire, const char *key, int64_t idle_ms,
                   evb_ask_fn fn, void *user)
{
    char idle[24], most[12];
    const char *words[OWN_WORDS] = {"XPENDING", key, EVB_GROUP, "IDLE",         idle,
                                    "-",        "+", most,      wire->consumer, NULL};
    snprintf(idle, sizeof idle, "%" PRId64, idle_ms);
    snprintf(most, sizeof most, "%d", 16 * EVB_GROUP_BATCH);
    return evb_asks_send(wire->asks, words, fn, user);
}

bool evb_group_ring(const struct evb_group_wire *wire, evb_ask_fn fn, void *user)
{
    const char *words[] = {"XADD", wire->bell, "MAXLEN", "1", "*", "e", "", NULL};
    return evb_asks_send(wire->asks, words, fn, user);
}

bool evb_group_unbell(const struct evb_group_wire *wire, evb_ask_fn fn, void *user)
{
    const char *words[] = {"PEXPIRE", wire->bell, "0", NULL};
    return evb_asks_send(wire->asks, words, fn, user);
}

static void put_word(struct evb_buf *out, const char *word)
{
    evb_script_word(out, word, strlen(word));
}

void evb_group_read(const struct evb_group_wire *wire, struct evb_buf *out, const char *const key[],
                    size_t count, int64_t most, int64_t block_ms)
{
    evb_buf_printf(out, "*%zu\r\n", 9 + 2 * (count + 1));
    put_word(out, "XREADGROUP");
    put_word(out, "GROUP");
    put_word(out, EVB_GROUP);
    put_word(out, wire->consumer);
    put_word(out, "COUNT");
    evb_script_number(out, most);
    put_word(out, "BLOCK");
    evb_script_number(out, block_ms);
    put_word(out, "STREAMS");
    for (size_t i = 0; i < count; i++)
        put_word(out, key[i]);
    put_word(out, wire->bell);
    for (size_t i = 0; i < count + 1; i++)
        put_word(out, ">");
}

bool evb_group_entry_read(struct evb_group_entry *entry, const struct evb_reply *reply)
{
    *entry = (struct evb_group_entry){0};
    if (reply->kind != EVB_REPLY_ARRAY || reply->count != 2 ||
        reply->item[0]->kind != EVB_REPLY_STRING)
        return false;
    const struct evb_reply *fields = reply->item[1];
    entry->id = reply->item[0]->text;
    if (fields->kind != EVB_REPLY_ARRAY || fields->count < 2 ||
        fields->item[1]->kind != EVB_REPLY_STRING || strcmp(fields->item[0]->text, "e") != 0)
        return false;
    entry->envelope = fields->item[1];
    if (fields->count >= 4 && fields->item[3]->kind == EVB_REPLY_STRING)
        entry->attempts = atoi(fields->item[3]->text);
    if (entry->attempts < 0 || entry->attempts > INT32_MAX - 1)
        entry->attempts = 0;
    return true;
}
