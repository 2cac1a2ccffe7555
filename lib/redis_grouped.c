/* redis_grouped.c - the registry of groups, read by publishers. Loop only. */
#include "redis_grouped.h"
#include "acl.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include <evbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Clocks differ; and members that were cut off come first. */
enum { CHANNELS_MOST = 65536, LATE_MS = 60000 };

static void on_page(const struct evb_reply *reply, void *user);

static const char *key_of(const struct evb_grouped *grouped)
{
    return grouped->stream->keys[EVB_KEY_GROUPS];
}

int evb_grouped_init(struct evb_grouped *grouped, struct evb_stream *stream, struct evb_asks *asks,
                     struct evb_log *log, const struct evb_grouped_hooks *hooks)
{
    *grouped = (struct evb_grouped){.asks = asks, .log = log, .hooks = *hooks};
    grouped->soonest_ms = INT64_MAX;
    evb_map_init(&grouped->channels);
    evb_map_init(&grouped->next);
    if (!stream->keys[EVB_KEY_GROUPS])
        return 0;
    struct evb_buf name;
    evb_buf_init(&name);
    evb_buf_printf(&name, "%sinbox:groups", stream->set.key_prefix);
    grouped->control = evb_buf_take(&name);
    grouped->stream = stream;
    return grouped->control ? 0 : evb_fail_memory();
}

void evb_grouped_fini(struct evb_grouped *grouped)
{
    evb_map_fini(&grouped->channels, NULL);
    evb_map_fini(&grouped->next, NULL);
    evb_free(grouped->control);
    grouped->control = NULL;
}

void evb_grouped_lost(struct evb_grouped *grouped)
{
    grouped->known = grouped->anew = false;
}

bool evb_grouped_is_known(const struct evb_grouped *grouped)
{
    return !grouped->stream || grouped->known;
}

bool evb_grouped_has(const struct evb_item *item, void *user)
{
    const struct evb_grouped *grouped = user;
    size_t length;
    if (grouped->channels.count == 0)
        return grouped->all;
    const char *channel = evb_item_channel(item, &length);
    return grouped->all || evb_map_get(&grouped->channels, channel, length);
}

/* ---- reading ---- */

static void ask_page(struct evb_grouped *grouped, const char *cursor)
{
    const char *words[] = {"HSCAN", key_of(grouped), cursor, "COUNT", "500", NULL};
    grouped->reading = evb_asks_send(grouped->asks, words, on_page, grouped);
    evb_link_flush(grouped->asks->link); /* nobody else does before it is READY */
}

static void begin(struct evb_grouped *grouped)
{
    evb_map_fini(&grouped->next, NULL);
    evb_map_init(&grouped->next);
    grouped->next_all = grouped->anew = false;
    grouped->next_soonest_ms = INT64_MAX;
    ask_page(grouped, "0");
}

void evb_grouped_read(struct evb_grouped *grouped)
{
    if (grouped->reading)
        grouped->anew = true;
    else if (grouped->stream)
        begin(grouped);
}

static bool put(struct evb_map *channels, const char *channel, size_t length,
                struct evb_grouped *grouped)
{
    return evb_map_get(channels, channel, length) ||
           evb_map_put(channels, channel, length, grouped) == 0;
}

/* Pages that are being read may be from before it. */
void evb_grouped_add(struct evb_grouped *grouped, const char *channel)
{
    size_t length = strlen(channel);
    if (!put(&grouped->channels, channel, length, grouped))
        grouped->all = true;
    if (grouped->reading && !put(&grouped->next, channel, length, grouped))
        grouped->next_all = true;
}

static void finish(struct evb_grouped *grouped)
{
    bool first = !grouped->known;
    evb_map_fini(&grouped->channels, NULL);
    grouped->channels = grouped->next;
    evb_map_init(&grouped->next);
    grouped->all = grouped->next_all;
    grouped->soonest_ms = grouped->next_soonest_ms;
    grouped->known = true;
    if (first)
        grouped->hooks.known(grouped->hooks.user);
}

/* "group=until group=until" */
static void take_row(struct evb_grouped *grouped, const struct evb_reply *channel,
                     const struct evb_reply *groups)
{
    if (channel->length == 0)
        return; /* the mark that the registry has something */
    for (const char *at = strchr(groups->text, '='); at; at = strchr(at + 1, '=')) {
        int64_t until_ms = strtoll(at + 1, NULL, 10);
        if (until_ms < grouped->next_soonest_ms)
            grouped->next_soonest_ms = until_ms;
    }
    if (grouped->next.count >= CHANNELS_MOST ||
        evb_map_put(&grouped->next, channel->text, channel->length, grouped) != 0)
        grouped->next_all = true;
}

/* {next cursor, {channel, groups, channel, groups}} */
static bool is_page(const struct evb_reply *reply)
{
    if (reply->kind != EVB_REPLY_ARRAY || reply->count != 2 ||
        reply->item[0]->kind != EVB_REPLY_STRING || reply->item[1]->kind != EVB_REPLY_ARRAY ||
        reply->item[1]->count % 2 != 0)
        return false;
    for (size_t i = 0; i < reply->item[1]->count; i++)
        if (reply->item[1]->item[i]->kind != EVB_REPLY_STRING)
            return false;
    return true;
}

static void refuse(struct evb_grouped *grouped, const char *error)
{
    char text[EVB_RIGHT_TEXT];
    if (evb_stream_passes(error)) {
        snprintf(text, sizeof text, "who has groups cannot be read: %.200s", error);
        grouped->anew = true; /* with the next heartbeat */
        if (!grouped->known)
            grouped->hooks.failed(EVBUS_EAWAY, text, grouped->hooks.user);
        return;
    }
    bool first = !grouped->known;
    grouped->known = true;
    snprintf(text, sizeof text, "+hscan and ~%s", key_of(grouped));
    grouped->hooks.lacks(text, grouped->hooks.user);
    if (first)
        grouped->hooks.known(grouped->hooks.user);
}

static void on_page(const struct evb_reply *reply, void *user)
{
    struct evb_grouped *grouped = user;
    grouped->reading = false;
    if (!reply)
        return;
    if (reply->kind == EVB_REPLY_ERROR) {
        refuse(grouped, reply->text);
        return;
    }
    if (!is_page(reply)) {
        grouped->hooks.failed(EVBUS_EPARSE, "protocol error: not the answer to HSCAN",
                              grouped->hooks.user);
        return;
    }
    const struct evb_reply *rows = reply->item[1];
    for (size_t i = 0; i < rows->count; i += 2)
        take_row(grouped, rows->item[i], rows->item[i + 1]);
    if (strcmp(reply->item[0]->text, "0") != 0) {
        ask_page(grouped, reply->item[0]->text);
        return;
    }
    bool anew = grouped->anew;
    finish(grouped);
    if (anew)
        begin(grouped);
}

/* ---- groups without members ---- */

static void on_forgotten(const struct evb_reply *reply, void *user)
{
    struct evb_grouped *grouped = user;
    grouped->forgetting = false;
    if (!reply)
        return;
    evb_stream_unknown(grouped->stream, EVB_SCRIPT_FORGET, reply); /* again with a heartbeat */
    if (reply->kind != EVB_REPLY_ARRAY || reply->count % 3 != 0)
        return;
    for (size_t i = 0; i < reply->count; i += 3) {
        struct evb_reply **item = reply->item + i;
        if (item[0]->kind == EVB_REPLY_STRING && item[1]->kind == EVB_REPLY_STRING &&
            item[2]->kind == EVB_REPLY_INTEGER)
            grouped->hooks.gone(
                &(struct evb_lost_group){item[0]->text, item[1]->text, item[2]->integer},
                grouped->hooks.user);
    }
    evb_grouped_read(grouped);
}

void evb_grouped_beat(struct evb_grouped *grouped)
{
    char late[24];
    const char *words[] = {"1", grouped->stream ? key_of(grouped) : NULL, grouped->control, late};
    if (!grouped->stream)
        return;
    snprintf(late, sizeof late, "%d", LATE_MS);
    if (grouped->deaf || grouped->anew)
        evb_grouped_read(grouped);
    int64_t now_ms = evb_clock_us() / 1000;
    if (grouped->forgetting || now_ms - LATE_MS < grouped->soonest_ms || grouped->stream->no_script)
        return;
    grouped->forgetting = evb_stream_run(grouped->stream, grouped->asks, EVB_SCRIPT_FORGET, words,
                                         EVB_COUNT(words), on_forgotten, grouped);
}
