/* redis_reader.c - from a position to what is live. Loop only. */
#include "redis_reader.h"
#include "alloc.h"
#include "event.h"
#include <string.h>

enum { HELD_BYTES = 4 << 20, HELD_EVENTS = 65536 };

static void on_page(const struct evb_reply *reply, void *user);

void evb_reader_init(struct evb_reader *reader, struct evb_stream *stream, struct evb_asks *asks,
                     const struct evb_reader_hooks *hooks, void *user)
{
    *reader = (struct evb_reader){.stream = stream, .asks = asks, .hooks = hooks, .user = user};
}

static void drop_held(struct evb_reader *reader)
{
    for (size_t i = 0; i < reader->held_count; i++)
        evbus_event_unref(reader->held[i]);
    evb_free(reader->held);
    reader->held = NULL;
    reader->held_count = reader->held_room = 0;
    reader->held_bytes = 0;
    reader->overflow = false;
}

void evb_reader_stop(struct evb_reader *reader)
{
    if (reader->asked)
        evb_asks_forget(reader->asks, reader);
    drop_held(reader);
    reader->run++;
    reader->running = reader->asked = false;
}

void evb_reader_start(struct evb_reader *reader, struct evb_position at, bool expect)
{
    evb_reader_stop(reader);
    reader->at = at;
    reader->expect = expect;
    reader->running = true;
    evb_reader_go(reader);
}

void evb_reader_go(struct evb_reader *reader)
{
    char from[EVB_POSITION_TEXT + 1] = "(";
    int64_t room = reader->running && !reader->asked ? reader->hooks->room(reader->user) : 0;
    if (room <= 0)
        return;
    drop_held(reader);
    evb_position_write(reader->at, from + 1);
    reader->asked = evb_stream_read(reader->stream, reader->asks, from + reader->expect, "+", false,
                                    room + reader->expect, on_page, reader);
}

void evb_reader_hold(struct evb_reader *reader, evbus_event *event)
{
    if (!reader->asked || reader->overflow)
        return; /* the next page has it */
    if (reader->held_count == reader->held_room) {
        size_t room = reader->held_room ? reader->held_room * 2 : 64;
        evbus_event **held = evb_resize(reader->held, room * sizeof(evbus_event *));
        reader->overflow = !held;
        if (!held)
            return;
        reader->held = held;
        reader->held_room = room;
    }
    reader->held_bytes += event->size;
    reader->overflow = reader->held_bytes > HELD_BYTES || reader->held_count == HELD_EVENTS;
    if (!reader->overflow)
        reader->held[reader->held_count++] = evbus_event_ref(event);
}

/* The page was the last: what came meanwhile is next. */
static void join(struct evb_reader *reader)
{
    evbus_event **held = reader->held;
    size_t count = reader->held_count;
    unsigned run = reader->run;
    reader->held = NULL;
    reader->held_count = reader->held_room = 0;
    for (size_t i = 0; i < count; i++) {
        if (reader->run == run && evb_position_compare(held[i]->position, reader->at) > 0) {
            reader->at = held[i]->position;
            reader->hooks->held(held[i], reader->user);
        }
        evbus_event_unref(held[i]);
    }
    evb_free(held);
    if (reader->run != run)
        return;
    reader->running = false;
    reader->hooks->live(reader->user);
}

/* False: a hook stopped the reader. */
static bool hand_out(struct evb_reader *reader, const struct evb_reply *reply)
{
    unsigned run = reader->run;
    for (size_t i = 1; i < reply->count; i += 3) {
        struct evb_position at;
        if (!evb_position_read(reply->item[i]->text, reply->item[i]->length, &at))
            continue; /* nothing of ours */
        bool same = evb_position_compare(at, reader->at) == 0;
        if (reader->expect && !same)
            reader->hooks->missing(reader->user);
        if (reader->run != run)
            return false;
        if (!(reader->expect && same)) {
            reader->at = at;
            reader->hooks->entry(at, reply->item[i + 1], reply->item[i + 2], reader->user);
        }
        reader->expect = false;
        if (reader->run != run)
            return false;
    }
    return true;
}

static void on_page(const struct evb_reply *reply, void *user)
{
    struct evb_reader *reader = user;
    reader->asked = false;
    if (!reply) { /* the link is gone: whoever brings another one says go */
        drop_held(reader);
        return;
    }
    if (reply->kind == EVB_REPLY_ERROR && strncmp(reply->text, "NOSCRIPT", 8) == 0) {
        reader->stream->known[EVB_SCRIPT_READ] = false;
        evb_reader_go(reader);
        return;
    }
    if (reply->kind == EVB_REPLY_ERROR || !evb_stream_is_page(reply)) {
        reader->running = false;
        drop_held(reader);
        reader->hooks->failed(reply->kind == EVB_REPLY_ERROR ? reply->text : "no page of entries",
                              reader->user);
        return;
    }
    reader->stream->known[EVB_SCRIPT_READ] = true;
    bool last = strcmp(reply->item[0]->text, "end") == 0;
    if (!hand_out(reader, reply))
        return;
    if (last && reader->expect) { /* not even the expected one */
        unsigned run = reader->run;
        reader->expect = false;
        reader->hooks->missing(reader->user);
        if (reader->run != run)
            return;
    }
    if (last && !reader->overflow)
        join(reader);
    else
        evb_reader_go(reader);
}
