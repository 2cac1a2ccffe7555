/* redis_reply.c - arena and gate. Called by hiredis's reader, on the loop. */
#include "redis_reply.h"
#include "alloc.h"
#include "list.h"
#include <hiredis/hiredis.h>
#include <string.h>

enum { BLOCK = 4096, COUNT_MOST = 4096 };

struct evb_arena_block {
    struct evb_arena_block *older;
    size_t room;
    _Alignas(16) char bytes[];
};

/* What Redis sends on a subscribing connection (redis.io/docs/manual/pubsub, "Format of pushed
 * messages"), and the answer to PING there: $ a string, : a number, ? a string or nil. */
const char evb_gate_no_memory[] = "out of memory";

static const struct {
    const char *kind, *shape;
} pushes[] = {
    {"message", "$$$"}, {"pmessage", "$$$$"},   {"subscribe", "$$:"},    {"psubscribe", "$$:"},
    {"pong", "$$"},     {"unsubscribe", "$?:"}, {"punsubscribe", "$?:"},
};

static bool shape_fits(const struct evb_reply *reply, const char *shape)
{
    if (strlen(shape) != reply->count)
        return false;
    for (size_t i = 0; i < reply->count; i++) {
        enum evb_reply_kind kind = reply->item[i]->kind;
        bool fits = shape[i] == ':'   ? kind == EVB_REPLY_INTEGER
                    : shape[i] == '?' ? kind == EVB_REPLY_STRING || kind == EVB_REPLY_NIL
                                      : kind == EVB_REPLY_STRING;
        if (!fits)
            return false;
    }
    return true;
}

bool evb_reply_is_push(const struct evb_reply *reply, const char *kind)
{
    if (reply->kind != EVB_REPLY_ARRAY || reply->count < 2 ||
        reply->item[0]->kind != EVB_REPLY_STRING || strcmp(reply->item[0]->text, kind) != 0)
        return false;
    for (size_t i = 0; i < EVB_COUNT(pushes); i++)
        if (strcmp(pushes[i].kind, kind) == 0)
            return shape_fits(reply, pushes[i].shape);
    return false;
}

static bool is_message(const struct evb_reply *reply, const char *kind, size_t length, size_t count)
{
    if (reply->kind != EVB_REPLY_ARRAY || reply->count != count ||
        reply->item[0]->length != length || memcmp(reply->item[0]->text, kind, length) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (reply->item[i]->kind != EVB_REPLY_STRING)
            return false;
    return true;
}

bool evb_reply_is_message(const struct evb_reply *reply)
{
    return is_message(reply, "message", 7, 3);
}

bool evb_reply_is_pmessage(const struct evb_reply *reply)
{
    return is_message(reply, "pmessage", 8, 4);
}

/* ---- the arena ---- */

static void *take(struct evb_gate *gate, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (!gate->block || gate->block->room - gate->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        struct evb_arena_block *block = evb_alloc(sizeof *block + room);
        if (!block)
            return NULL;
        block->older = gate->block;
        block->room = room;
        gate->block = block;
        gate->used = 0;
    }
    void *memory = gate->block->bytes + gate->used;
    gate->used += size;
    return memory;
}

/* The first block stays: most replies fit into it. */
void evb_gate_reset(struct evb_gate *gate)
{
    while (gate->block && (gate->block->older || gate->block->room > BLOCK)) {
        struct evb_arena_block *block = gate->block;
        gate->block = block->older;
        evb_free(block);
    }
    gate->used = 0;
    gate->frame_bytes = 0;
}

void evb_gate_init(struct evb_gate *gate, size_t max_bytes)
{
    *gate = (struct evb_gate){.max_bytes = max_bytes, .max_depth = EVB_GATE_DEPTH};
}

void evb_gate_fini(struct evb_gate *gate)
{
    evb_gate_reset(gate);
    evb_free(gate->block);
    gate->block = NULL;
}

/* ---- the gate: hiredis's object functions; NULL stops its reader for good ---- */

static void *refuse(struct evb_gate *gate, const char *error)
{
    if (!gate->error)
        gate->error = error;
    return NULL;
}

static bool is_top(const redisReadTask *task)
{
    return task->parent == NULL;
}

static struct evb_reply *make(const redisReadTask *task, enum evb_reply_kind kind, size_t bytes)
{
    struct evb_gate *gate = task->privdata;
    gate->frame_bytes += bytes + sizeof(struct evb_reply);
    if (gate->frame_bytes > gate->max_bytes)
        return refuse(gate, "a frame is larger than this bus takes");
    if (gate->pushes && is_top(task) && (kind == EVB_REPLY_INTEGER || kind == EVB_REPLY_NIL))
        return refuse(gate, "a number or nil on a subscribing connection");
    struct evb_reply *reply = take(gate, sizeof *reply);
    if (!reply)
        return refuse(gate, evb_gate_no_memory);
    *reply = (struct evb_reply){.kind = kind, .text = ""};
    if (task->parent) {
        struct evb_reply *parent = task->parent->obj;
        parent->item[task->idx] = reply;
    }
    return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t length)
{
    enum evb_reply_kind kind = task->type == REDIS_REPLY_STRING   ? EVB_REPLY_STRING
                               : task->type == REDIS_REPLY_STATUS ? EVB_REPLY_STATUS
                                                                  : EVB_REPLY_ERROR;
    if (kind == EVB_REPLY_ERROR && task->type != REDIS_REPLY_ERROR)
        return refuse(task->privdata, "a RESP3 type on a RESP2 connection");
    struct evb_reply *reply = make(task, kind, length);
    if (!reply)
        return NULL;
    char *copy = take(task->privdata, length + 1);
    if (!copy)
        return refuse(task->privdata, evb_gate_no_memory);
    memcpy(copy, text, length);
    copy[length] = '\0';
    reply->text = copy;
    reply->length = length;
    return reply;
}

static size_t depth(const redisReadTask *task)
{
    size_t n = 0;
    for (; task; task = task->parent)
        n++;
    return n;
}

static void *create_array(const redisReadTask *task, size_t count)
{
    struct evb_gate *gate = task->privdata;
    if (task->type != REDIS_REPLY_ARRAY)
        return refuse(gate, "a RESP3 type on a RESP2 connection");
    if (depth(task) > gate->max_depth)
        return refuse(gate, "arrays are nested too deep");
    if (count > COUNT_MOST || (gate->pushes && (count < 2 || count > 4 || !is_top(task))))
        return refuse(gate, "an array has a length that Redis does not send here");
    struct evb_reply *reply = make(task, EVB_REPLY_ARRAY, count * sizeof(struct evb_reply *));
    if (!reply)
        return NULL;
    reply->item = take(gate, count * sizeof(struct evb_reply *));
    if (!reply->item)
        return refuse(gate, evb_gate_no_memory);
    reply->count = count;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct evb_reply *reply = make(task, EVB_REPLY_INTEGER, 0);
    if (reply)
        reply->integer = value;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return make(task, EVB_REPLY_NIL, 0);
}

static void *create_double(const redisReadTask *task, double value, char *text, size_t length)
{
    (void)value;
    (void)text;
    (void)length;
    return refuse(task->privdata, "a RESP3 type on a RESP2 connection");
}

static void *create_bool(const redisReadTask *task, int value)
{
    (void)value;
    return refuse(task->privdata, "a RESP3 type on a RESP2 connection");
}

static void free_object(void *reply)
{
    (void)reply; /* the arena's */
}

static redisReplyObjectFunctions functions = {create_string, create_array, create_integer,
                                              create_double, create_nil,   create_bool,
                                              free_object};

void evb_gate_attach(struct evb_gate *gate, redisReader *reader)
{
    reader->fn = &functions;
    reader->privdata = gate;
    reader->maxelements = COUNT_MOST;
}
