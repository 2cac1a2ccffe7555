/* stream.c - XRANGE by hand. */
#include "harness/stream.h"
#include "harness/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 2000, NODES_MOST = 64 };

struct reading {
    struct stream_sum sum;
    unsigned long long ms;
    struct node {
        char name[20];
        unsigned long long seq;
    } nodes[NODES_MOST];
    int node_count;
    struct recorder *recorder;
};

static struct node *find_node(struct reading *reading, const char *name)
{
    for (int i = 0; i < reading->node_count; i++)
        if (!strcmp(reading->nodes[i].name, name))
            return &reading->nodes[i];
    ck_assert_int_lt(reading->node_count, NODES_MOST);
    struct node *node = &reading->nodes[reading->node_count++];
    snprintf(node->name, sizeof node->name, "%s", name);
    return node;
}

static void read_entry(struct reading *reading, const char *id, const char *envelope)
{
    unsigned long long ms, seq;
    long long n;
    char name[20];
    ck_assert_msg(sscanf(id, "%llu-%lld", &ms, &n) == 2, "an entry's id is %s", id);
    ck_assert_msg(sscanf(envelope, "{\"node\":\"%16[0-9a-f]\",\"local\":%*[a-z],\"seq\": %llu",
                         name, &seq) == 2,
                  "no envelope: %s", envelope);
    struct node *node = find_node(reading, name);
    ck_assert_msg(ms >= reading->ms, "%s stands behind %llu", id, reading->ms);
    ck_assert_msg(!reading->sum.last || n == reading->sum.last + 1, "%s stands behind number %lld",
                  id, reading->sum.last);
    ck_assert_msg(seq > node->seq, "seq %llu of %s stands behind %llu", seq, name, node->seq);
    node->seq = seq;
    reading->ms = ms;
    reading->sum.last = n;
    reading->sum.first = reading->sum.first ? reading->sum.first : n;
    reading->sum.entries++;
    const char *data = strstr(envelope, "\"data\":");
    if (data && reading->recorder)
        recorder_note(reading->recorder, data + strlen("\"data\":"));
}

/* Five lines an entry: id, "c", channel, "e", envelope. */
static int read_page(struct reading *reading, char *page, char *last, size_t room)
{
    char *state = NULL, *lines[5];
    int count = 0, entries = 0;
    for (char *line = strtok_r(page, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        lines[count++] = line;
        if (count < 5)
            continue;
        read_entry(reading, lines[0], lines[4]);
        snprintf(last, room, "(%s", lines[0]);
        count = 0;
        entries++;
    }
    ck_assert_int_eq(count, 0);
    return entries;
}

struct stream_sum stream_expect_sound(struct server *server, struct recorder *recorder)
{
    struct reading reading = {.recorder = recorder};
    char from[48] = "-";
    int entries;
    do {
        char *page = server_text(server, "XRANGE " STREAM_KEY " %s + COUNT %d", from, PAGE);
        entries = read_page(&reading, page, from, sizeof from);
        free(page);
    } while (entries == PAGE);
    return reading.sum;
}

long long stream_length(struct server *server)
{
    return server_command(server, "XLEN " STREAM_KEY);
}
