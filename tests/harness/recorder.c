/* recorder.c - lost, doubled, reordered. */
#include "harness/recorder.h"
#include "harness/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void recorder_init(struct recorder *recorder)
{
    memset(recorder, 0, sizeof *recorder);
    pthread_mutex_init(&recorder->lock, NULL);
}

void recorder_fini(struct recorder *recorder)
{
    for (int i = 0; i < RECORDER_PUBLISHERS; i++)
        free(recorder->line[i].seen);
    pthread_mutex_destroy(&recorder->lock);
}

static void grow(struct recorder_line *line, int number)
{
    if (number < line->room)
        return;
    int room = line->room ? line->room : 1024;
    while (room <= number)
        room *= 2;
    line->seen = realloc(line->seen, (size_t)room);
    if (!line->seen)
        abort();
    memset(line->seen + line->room, 0, (size_t)(room - line->room));
    line->room = room;
}

static void note(struct recorder *recorder, int publisher, int number)
{
    struct recorder_line *line = &recorder->line[publisher];
    grow(line, number);
    recorder->received++;
    if (line->seen[number])
        recorder->doubled++;
    else if (number < line->highest)
        recorder->reordered++;
    if (line->seen[number] < 255)
        line->seen[number]++;
    if (number > line->highest)
        line->highest = number;
}

void recorder_note(struct recorder *recorder, const char *data)
{
    int publisher = -1, number = -1;
    bool ours = data && sscanf(data, "{\"p\":%d,\"n\":%d", &publisher, &number) == 2 &&
                publisher >= 0 && publisher < RECORDER_PUBLISHERS && number > 0;
    pthread_mutex_lock(&recorder->lock);
    if (ours)
        note(recorder, publisher, number);
    else
        recorder->foreign++;
    pthread_mutex_unlock(&recorder->lock);
}

int recorder_handle(evbus_sub *sub, evbus_event *event, void *recorder)
{
    (void)sub;
    recorder_note(recorder, evbus_event_data(event, NULL));
    return 0;
}

long recorder_received(struct recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    long received = recorder->received;
    pthread_mutex_unlock(&recorder->lock);
    return received;
}

static int has(const struct recorder *recorder, int publisher, int number)
{
    const struct recorder_line *line = &recorder->line[publisher];
    return number < line->room && line->seen[number];
}

int recorder_has(struct recorder *recorder, int publisher, int number)
{
    pthread_mutex_lock(&recorder->lock);
    int there = has(recorder, publisher, number);
    pthread_mutex_unlock(&recorder->lock);
    return there;
}

long recorder_lost(struct recorder *recorder, int publisher, int published)
{
    long lost = 0;
    pthread_mutex_lock(&recorder->lock);
    for (int n = 1; n <= published; n++)
        lost += !has(recorder, publisher, n);
    pthread_mutex_unlock(&recorder->lock);
    return lost;
}

void recorder_expect_perfect(struct recorder *recorder, const char *who, int count,
                             const int *published)
{
    long lost = 0, total = 0;
    for (int p = 0; p < count; p++) {
        lost += recorder_lost(recorder, p, published[p]);
        total += published[p];
    }
    printf("figure: %s: published=%ld received=%ld lost=%ld doubled=%ld reordered=%ld\n", who,
           total, recorder->received, lost, recorder->doubled, recorder->reordered);
    ck_assert_msg(lost == 0 && recorder->doubled == 0 && recorder->reordered == 0 &&
                      recorder->received == total && recorder->foreign == 0,
                  "%s: of %ld: %ld lost, %ld doubled, %ld reordered, %ld strange", who, total, lost,
                  recorder->doubled, recorder->reordered, recorder->foreign);
}

int publish_numbered(evbus *bus, const char *type, int publisher, int number)
{
    char data[64];
    snprintf(data, sizeof data, "{\"p\":%d,\"n\":%d}", publisher, number);
    return evbus_publish(bus, type, data);
}

evbus_event *event_numbered(const char *type, int publisher, int number, int padding)
{
    char *data = NULL;
    evbus_event *event = evbus_event_new(type);
    int length = asprintf(&data, "{\"p\":%d,\"n\":%d,\"pad\":\"%0*d\"}", publisher, number,
                          padding > 0 ? padding : 1, 0);
    ck_assert_ptr_nonnull(event);
    ck_assert_int_gt(length, 0);
    ck_assert_int_eq(evbus_event_set_json(event, data, (size_t)length), 0);
    free(data);
    return event;
}

bool event_numbers(const evbus_event *event, int *publisher, int *number)
{
    const char *data = evbus_event_data(event, NULL);
    char *end;
    if (!data || strncmp(data, "{\"p\":", 5) != 0)
        return false;
    *publisher = (int)strtol(data + 5, &end, 10);
    if (strncmp(end, ",\"n\":", 5) != 0)
        return false;
    *number = (int)strtol(end + 5, &end, 10);
    return *publisher >= 0 && *number > 0;
}

int event_number(const evbus_event *event)
{
    int publisher, number;
    return event_numbers(event, &publisher, &number) ? number : -1;
}
