/* dead.c - dead letters. Loop only. */
#include "dead.h"
#include "alloc.h"
#include "err.h"
#include "handover.h"
#include <stdio.h>
#include <string.h>

/* The original's attributes as far as there is room for them beside the reasons. */
static void copy_attrs(evbus_event *to, const evbus_event *from)
{
    for (uint32_t i = 0; i < from->attr_count; i++)
        if (!evbus_event_attr(to, from->attrs[i].name.ptr))
            evbus_event_set_attr(to, from->attrs[i].name.ptr, from->attrs[i].value.ptr);
}

static int explain(evbus_event *letter, const evbus_event *event, const struct evb_dead *dead)
{
    char attempts[12], reason[512];
    const char *position = evbus_event_position(event);
    snprintf(attempts, sizeof attempts, "%d", dead->attempts);
    snprintf(reason, sizeof reason, "%s", dead->reason);
    int rc = evbus_event_set_attr(letter, "dead.reason", reason);
    rc = rc ? rc : evbus_event_set_attr(letter, "dead.group", dead->group);
    rc = rc ? rc : evbus_event_set_attr(letter, "dead.attempts", attempts);
    rc = rc ? rc : evbus_event_set_attr(letter, "dead.id", evbus_event_id(event));
    rc = rc ? rc : evbus_event_set_attr(letter, "dead.time", evbus_event_timestamp(event));
    if (!rc && position)
        rc = evbus_event_set_attr(letter, "dead.position", position);
    return rc;
}

static evbus_event *letter_of(const evbus_event *event, const struct evb_dead *dead)
{
    char type[512];
    snprintf(type, sizeof type, "%.*s" EVB_DEAD_SUFFIX, (int)event->type.length, event->type.ptr);
    evbus_event *letter =
        evb_event_make(type, strlen(type), event->data.ptr, event->data.length, event->is_json);
    if (!letter)
        return NULL;
    int rc = explain(letter, event, dead);
    if (rc == 0 && event->version.length)
        rc = evbus_event_set_version(letter, event->version.ptr);
    if (rc == 0)
        rc = evbus_event_set_cause(letter, event);
    if (rc == 0) {
        copy_attrs(letter, event);
        return letter;
    }
    evbus_event_unref(letter);
    return NULL;
}

static char *settles(const struct evb_dead *dead)
{
    size_t stream = strlen(dead->stream) + 1, entry = strlen(dead->entry) + 1;
    char *both = evb_alloc(stream + entry);
    if (!both)
        return NULL;
    memcpy(both, dead->stream, stream);
    memcpy(both + stream, dead->entry, entry);
    return both;
}

static int post(struct evbus *bus, evbus_event *letter, struct evb_handover *way)
{
    int rc = evb_handover_reserve(way, bus, letter, EVB_FROM_REDIS);
    if (rc != 0)
        return rc;
    if ((rc = evb_event_freeze(letter, bus->node, bus->source)) != 0 ||
        (rc = evb_handover_post(way, bus, letter, false)) != 0)
        evb_handover_release(way, bus);
    return rc;
}

int evb_dead_send(struct evbus *bus, const evbus_event *event, const struct evb_dead *dead,
                  evbus_report_fn fn, void *user)
{
    struct evb_special special = {0};
    struct evb_handover way = {
        .report = fn, .user = user, .special = &special, .history = bus->keeps_history};
    evbus_event *letter = letter_of(event, dead);
    special.settles = letter ? settles(dead) : NULL;
    int rc = special.settles ? post(bus, letter, &way) : evb_fail_memory();
    if (rc != 0)
        evb_free(special.settles);
    evbus_event_unref(letter);
    return rc;
}
