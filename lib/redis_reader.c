/* redis_reader.c - from a position to what is live. Loop only. */
#include "redis_reader.h"
#include "alloc.h"
#include "event.h"
#include <stdio.h>
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

void evb_reader_stop(struct evb_reader *reader)
{
    if (reader->asked)
        evb_asks_forget(reader->asks, reader);
    drop_held(reader);
    reader->run++;
    reader->running = reader->asked = false;
}

void evb_reader_skip(struct evb_reader *reader)
{
    if (reader->asked)
        evb_asks_forget(reader->asks, reader);
    reader->asked = false;
    reader->run++;
    join(reader);
}

void evb_reader_start(struct evb_reader *reader, struct evb_position at, bool exact,
                      const char *epoch)
{
    evb_reader_stop(reader);
    reader->at = at;
    reader->exact = exact;
    reader->inside = false;
    snprintf(reader->epoch, sizeof reader->epoch, "%s", epoch);
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
    reader->inside = reader->inside && reader->link == reader->asks->link->epoch;
    evb_position_write(reader->at, from + 1);
    reader->asked =
        evb_stream_read(reader->stream, reader->asks, from, "+", false, room, on_page, reader);
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

/* Is the next entry there, or are some missing? Within a stream the count may have gone back, where
 * Redis was killed in the midst of a call and ran a part of it later: nothing is missing there.
 * False: a hook stopped the reader. */
static bool check_next(struct evb_reader *reader, const struct evb_reply *page,
                       struct evb_position next)
{
    unsigned run = reader->run;
    struct evb_jump jump = {reader->at, next, reader->epoch, page->item[1]->text,
                            (uint64_t)page->item[3]->integer};
    bool back = reader->inside && next.n <= reader->at.n;
    if (reader->exact && next.n != reader->at.n + 1 && !back)
        reader->hooks->jump(&jump, reader->user);
    return reader->run == run;
}

static bool hand_out(struct evb_reader *reader, const struct evb_reply *page)
{
    unsigned run = reader->run;
    for (size_t i = EVB_PAGE_HEAD; i < page->count; i += 3) {
        struct evb_position at;
        if (!evb_position_read(page->item[i]->text, page->item[i]->length, &at))
            continue; /* nothing of ours */
        if (!check_next(reader, page, at))
            return false;
        reader->at = at;
        reader->exact = reader->inside = true;
        reader->link = reader->asks->link->epoch;
        reader->hooks->entry(at, page->item[i + 1], page->item[i + 2], reader->user);
        if (reader->run != run)
            return false;
    }
    return true;
}

/* Where the next entry is, or will be. */
static struct evb_position next_of(const struct evb_reply *page)
{
    struct evb_position next = {0, 0};
    bool entry = page->count > EVB_PAGE_HEAD;
    const struct evb_reply *from = page->item[entry ? EVB_PAGE_HEAD : 2];
    evb_position_read(from->text, from->length, &next);
    next.n += !entry;
    return next;
}

/* Who fell behind in a history that no fence has told of yet gave the epoch of the one before; the
 * entry that it heard, and begins with, is there. */
static bool begins_as_heard(const struct evb_reader *reader, const struct evb_reply *page)
{
    struct evb_position next = next_of(page);
    return page->count > EVB_PAGE_HEAD && next.ms == reader->at.ms && next.n == reader->at.n + 1;
}

/* Another history is another one even where the numbers fit. False: a hook stopped the reader. */
static bool check_epoch(struct evb_reader *reader, const struct evb_reply *page)
{
    unsigned run = reader->run;
    const char *epoch = page->item[1]->text;
    struct evb_jump jump = {reader->at, next_of(page), reader->epoch, epoch, 0};
    if (reader->epoch[0] && strcmp(reader->epoch, epoch) != 0 && !begins_as_heard(reader, page))
        reader->hooks->jump(&jump, reader->user);
    return reader->run == run;
}

/* What was there may have gone while nothing of it was read; or something else is there in its
 * place. False: a hook stopped the reader. */
static bool check_end(struct evb_reader *reader, const struct evb_reply *page)
{
    struct evb_position last;
    if (!evb_position_read(page->item[2]->text, page->item[2]->length, &last))
        return true;
    struct evb_position next = {last.ms, last.n + 1};
    bool other = last.n == reader->at.n && last.n > 0 && last.ms != reader->at.ms;
    if (reader->exact && other)
        next.n = last.n;
    if (!check_next(reader, page, next))
        return false;
    if (!reader->inside || evb_position_compare(last, reader->at) > 0)
        reader->at = last;
    reader->exact = true;
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
    if (reply->kind == EVB_REPLY_ERROR && evb_stream_passes(reply->text)) {
        drop_held(reader); /* the next fence that is answered says go */
        return;
    }
    if (reply->kind == EVB_REPLY_ERROR || !evb_stream_is_page(reply)) {
        reader->hooks->failed(reply->kind == EVB_REPLY_ERROR ? reply->text : "no page of entries",
                              reader->user);
        return;
    }
    reader->stream->known[EVB_SCRIPT_READ] = true;
    bool last = strcmp(reply->item[0]->text, "end") == 0;
    if (!check_epoch(reader, reply) || !hand_out(reader, reply) ||
        (last && !check_end(reader, reply)))
        return;
    snprintf(reader->epoch, sizeof reader->epoch, "%s", reply->item[1]->text);
    if (last && !reader->overflow)
        join(reader);
    else
        evb_reader_go(reader);
}
