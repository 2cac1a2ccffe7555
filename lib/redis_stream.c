/* redis_stream.c - the history's keys, calls and fences. Loop only, but for the state. */
#include "redis_stream.h"
#include "acl.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include <evbus.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DAY_MS = 86400000, READ_BYTES = 1 << 20 };

static const char *const key_tails[EVB_STREAM_KEYS] = {
    [EVB_KEY_STREAM] = "history:{0}",
    [EVB_KEY_STATE] = "history:{0}:state",
    [EVB_KEY_MARK] = "history:{0}:mark:",
    [EVB_KEY_LATEST] = "history:{0}:latest",
};

int evb_stream_init(struct evb_stream *stream, const struct evb_stream_settings *settings,
                    struct evb_log *log)
{
    memset(stream, 0, sizeof *stream);
    stream->set = *settings;
    stream->log = log;
    evb_scripts_init(&stream->scripts);
    if (!settings->enabled)
        return 0;
    int64_t twice = settings->ttl_ms < INT64_MAX / 2 ? settings->ttl_ms * 2 : settings->ttl_ms;
    stream->idle_ms = twice > DAY_MS ? twice : DAY_MS;
    for (size_t i = 0; i < EVB_STREAM_KEYS; i++) {
        struct evb_buf key;
        evb_buf_init(&key);
        evb_buf_text(&key, settings->key_prefix);
        evb_buf_text(&key, key_tails[i]);
        if (i == EVB_KEY_MARK)
            evb_buf_text(&key, settings->node);
        if (!(stream->keys[i] = evb_buf_take(&key)))
            return evb_fail_memory();
    }
    atomic_store(&stream->state, EVB_STREAM_ASKED);
    return 0;
}

void evb_stream_fini(struct evb_stream *stream)
{
    for (size_t i = 0; i < EVB_STREAM_KEYS; i++) {
        evb_free(stream->keys[i]);
        stream->keys[i] = NULL;
    }
}

bool evb_stream_may_be(const struct evb_stream *stream)
{
    int state = atomic_load_explicit(&stream->state, memory_order_relaxed);
    return state == EVB_STREAM_ON || state == EVB_STREAM_ASKED;
}

bool evb_stream_is_on(const struct evb_stream *stream)
{
    return atomic_load_explicit(&stream->state, memory_order_relaxed) == EVB_STREAM_ON;
}

const char *evb_stream_state_name(const struct evb_stream *stream)
{
    static const char *const names[] = {[EVB_STREAM_OFF] = "off",
                                        [EVB_STREAM_ASKED] = "asked",
                                        [EVB_STREAM_ON] = "on",
                                        [EVB_STREAM_LACKING] = "lacking"};
    return names[atomic_load(&stream->state)];
}

void evb_stream_link_up(struct evb_stream *stream)
{
    memset(stream->known, 0, sizeof stream->known);
    stream->alone = true;
    stream->awaited = stream->told = false;
    if (stream->set.enabled)
        atomic_store(&stream->state, EVB_STREAM_ASKED);
}

void evb_stream_link_lost(struct evb_stream *stream)
{
    if (stream->set.enabled)
        atomic_store(&stream->state, EVB_STREAM_ASKED);
}

void evb_stream_lacks(struct evb_stream *stream, const char *error)
{
    if (stream->fault)
        evb_fault_set(stream->fault, EVBUS_ENOTSUP, error);
    atomic_store(&stream->state, EVB_STREAM_LACKING);
    if (stream->told)
        return;
    stream->told = true;
    evb_log(stream->log, EVBUS_LOG_WARNING,
            "redis: no history: %s%s: what other processes miss during an outage cannot be "
            "recovered (history.enabled=no says that this is meant)",
            error,
            evb_acl_refuses(error) ? " (the user needs what evbus(7) lists under ACCESS LISTS)"
                                   : "");
}

/* ---- words ---- */

static void put_key(const struct evb_stream *stream, struct evb_buf *out, enum evb_stream_key key)
{
    evb_script_word(out, stream->keys[key], strlen(stream->keys[key]));
}

static void send_words(struct evb_link *link, struct evb_buf *words)
{
    if (words->failed)
        link->gate.error = evb_gate_no_memory;
    else
        evb_link_send(link, words->data, words->length);
    evb_buf_fini(words);
}

/* ---- events ---- */

enum { APPEND_WORDS = 10 }; /* number of keys, keys, arguments before the events */

void evb_stream_append(struct evb_stream *stream, struct evb_link *link,
                       struct evb_item *const items[], size_t count)
{
    const struct evb_stream_settings *set = &stream->set;
    struct evb_buf words;
    evb_buf_init(&words);
    evb_script_begin(&stream->scripts, &words, EVB_SCRIPT_APPEND, stream->alone,
                     APPEND_WORDS + 2 * count);
    evb_script_number(&words, 4);
    put_key(stream, &words, EVB_KEY_STREAM);
    put_key(stream, &words, EVB_KEY_STATE);
    put_key(stream, &words, EVB_KEY_MARK);
    put_key(stream, &words, EVB_KEY_LATEST);
    evb_script_number(&words, stream->alone ? 0 : (int64_t)stream->sent_seq);
    evb_script_number(&words, (int64_t)items[0]->seq);
    evb_script_number(&words, stream->idle_ms);
    evb_script_number(&words, set->max_events);
    evb_script_number(&words, set->max_bytes);
    for (size_t i = 0; i < count; i++)
        evb_item_words(items[i], &words);
    send_words(link, &words);
    stream->sent_seq = items[count - 1]->seq;
    stream->awaited = stream->awaited || stream->alone;
    stream->alone = false;
}

void evb_stream_appended(struct evb_stream *stream)
{
    stream->awaited = false;
}

static const char *const passing[] = {"BUSY",       "LOADING", "MASTERDOWN", "CLUSTERDOWN",
                                      "OOM",        "MISCONF", "TRYAGAIN",   "NOREPLICAS",
                                      "UNKILLABLE", "READONLY"};

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Before Redis 7.0 a script's error has its code in the middle: "user_script: 21: -OOM command". */
bool evb_stream_passes(const char *error)
{
    const char *inner = strstr(error, ": -");
    for (size_t i = 0; i < EVB_COUNT(passing); i++)
        if (begins(error, passing[i]) || (inner && begins(inner + 3, passing[i])))
            return true;
    return false;
}

bool evb_stream_refused(struct evb_stream *stream, const char *error)
{
    stream->awaited = false;
    stream->alone = true; /* and with the text: NOSCRIPT asks for it */
    if (begins(error, "NOSCRIPT") || begins(error, "ORDER"))
        return true;
    if (evb_stream_passes(error))
        return false;
    evb_stream_lacks(stream, error);
    return true;
}

/* ---- fences ---- */

bool evb_stream_fence(struct evb_stream *stream, struct evb_asks *asks, const char *channel,
                      const char *text, evb_ask_fn fn, void *user)
{
    struct evb_buf words;
    if (!evb_asks_expect(asks, fn, user))
        return false;
    stream->asked_ms = evb_clock_mono_ms();
    evb_buf_init(&words);
    evb_script_begin(&stream->scripts, &words, EVB_SCRIPT_FENCE, !stream->known[EVB_SCRIPT_FENCE],
                     8);
    evb_script_number(&words, 3);
    put_key(stream, &words, EVB_KEY_STREAM);
    put_key(stream, &words, EVB_KEY_STATE);
    put_key(stream, &words, EVB_KEY_LATEST);
    evb_script_word(&words, channel, strlen(channel));
    evb_script_word(&words, text, strlen(text));
    evb_script_number(&words, stream->set.ttl_ms);
    evb_script_number(&words, stream->idle_ms);
    send_words(asks->link, &words);
    return true;
}

static bool is_text(const struct evb_reply *reply)
{
    return reply->kind == EVB_REPLY_STRING || reply->kind == EVB_REPLY_STATUS;
}

/* {receivers or text, epoch, last, first or "", length, server's time, begun} */
static bool read_facts(struct evb_stream_facts *facts, const struct evb_reply *reply)
{
    struct evb_reply **item = reply->item;
    if (reply->kind != EVB_REPLY_ARRAY || reply->count != 7 ||
        (item[0]->kind != EVB_REPLY_INTEGER && !is_text(item[0])))
        return false;
    for (size_t i = 1; i < 7; i++)
        if (i < 4 ? !is_text(item[i]) : item[i]->kind != EVB_REPLY_INTEGER)
            return false;
    if (item[1]->length >= sizeof facts->epoch)
        return false;
    memset(facts, 0, sizeof *facts);
    memcpy(facts->epoch, item[1]->text, item[1]->length);
    facts->length = item[4]->integer;
    facts->server_ms = item[5]->integer;
    facts->begun = (uint64_t)item[6]->integer;
    return evb_position_read(item[2]->text, item[2]->length, &facts->last) &&
           (item[3]->length == 0 ||
            evb_position_read(item[3]->text, item[3]->length, &facts->first));
}

static int fence_error(struct evb_stream *stream, const char *error)
{
    if (begins(error, "NOSCRIPT")) {
        stream->known[EVB_SCRIPT_FENCE] = false;
        return EVBUS_ENOENT;
    }
    if (evb_stream_passes(error))
        return EVBUS_EAWAY;
    evb_stream_lacks(stream, error);
    return EVBUS_ENOTSUP;
}

int evb_stream_fenced(struct evb_stream *stream, const struct evb_reply *reply, int64_t *receivers,
                      const char **refusal)
{
    *receivers = -1;
    if (reply->kind == EVB_REPLY_ERROR)
        return fence_error(stream, reply->text);
    if (!read_facts(&stream->facts, reply))
        return EVBUS_EPARSE;
    stream->facts.asked_ms = stream->asked_ms;
    stream->known[EVB_SCRIPT_FENCE] = true;
    if (atomic_load(&stream->state) == EVB_STREAM_ASKED) /* not after a call was refused */
        atomic_store(&stream->state, EVB_STREAM_ON);
    if (reply->item[0]->kind == EVB_REPLY_INTEGER) {
        *receivers = reply->item[0]->integer;
        return 0;
    }
    *refusal = reply->item[0]->text;
    return EVBUS_EDENIED;
}

/* ---- reading ---- */

bool evb_stream_read(struct evb_stream *stream, struct evb_asks *asks, const char *from,
                     const char *till, bool back, int64_t most, evb_ask_fn fn, void *user)
{
    struct evb_buf words;
    if (!evb_asks_expect(asks, fn, user))
        return false;
    evb_buf_init(&words);
    evb_script_begin(&stream->scripts, &words, EVB_SCRIPT_READ, !stream->known[EVB_SCRIPT_READ], 8);
    evb_script_number(&words, 2);
    put_key(stream, &words, EVB_KEY_STREAM);
    put_key(stream, &words, EVB_KEY_STATE);
    evb_script_word(&words, from, strlen(from));
    evb_script_number(&words, back ? -1 : 1);
    evb_script_word(&words, till, strlen(till));
    evb_script_number(&words, most);
    evb_script_number(&words, READ_BYTES);
    send_words(asks->link, &words);
    return true;
}

bool evb_stream_cursor(struct evb_stream *stream, struct evb_asks *asks, const char *const words[5],
                       int64_t lease_ms, int64_t idle_ms, evb_ask_fn fn, void *user)
{
    struct evb_buf out;
    if (!evb_asks_expect(asks, fn, user))
        return false;
    evb_buf_init(&out);
    evb_script_begin(&stream->scripts, &out, EVB_SCRIPT_CURSOR, !stream->known[EVB_SCRIPT_CURSOR],
                     8);
    evb_script_number(&out, 1);
    for (size_t i = 0; i < 5; i++)
        evb_script_word(&out, words[i], strlen(words[i]));
    evb_script_number(&out, lease_ms);
    evb_script_number(&out, idle_ms);
    send_words(asks->link, &out);
    return true;
}

bool evb_stream_is_page(const struct evb_reply *reply)
{
    if (reply->kind != EVB_REPLY_ARRAY || reply->count % 3 != EVB_PAGE_HEAD % 3)
        return false;
    for (size_t i = 0; i < reply->count; i++)
        if (reply->item[i]->kind != (i == 3 ? EVB_REPLY_INTEGER : EVB_REPLY_STRING))
            return false;
    return reply->count >= EVB_PAGE_HEAD;
}
