/* reply_fixture.h - replies from a line of text. Included by one program's only file. */
#ifndef REPLY_FIXTURE_H
#define REPLY_FIXTURE_H
#include "redis_reply.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "s<text>" string, "t<text>" status, "e<text>" error, "i<number>", "n" nil, "a" empty array:
 * items of an array, with ';' in between. Valid until the next. */
static inline const struct evb_reply *array_of(const char *spec)
{
    static const struct {
        char letter;
        enum evb_reply_kind kind;
    } kinds[] = {{'s', EVB_REPLY_STRING},  {'t', EVB_REPLY_STATUS}, {'e', EVB_REPLY_ERROR},
                 {'i', EVB_REPLY_INTEGER}, {'n', EVB_REPLY_NIL},    {'a', EVB_REPLY_ARRAY}};
    static struct evb_reply array, item[80], *items[80];
    static char texts[2000];
    char *rest, *word;
    snprintf(texts, sizeof texts, "%s", spec);
    array = (struct evb_reply){.kind = EVB_REPLY_ARRAY, .item = items};
    for (word = strtok_r(texts, ";", &rest); word; word = strtok_r(NULL, ";", &rest)) {
        size_t i = array.count++, k = 0;
        while (kinds[k].letter != *word)
            k++;
        item[i] = (struct evb_reply){.kind = kinds[k].kind};
        item[i].text = word + 1;
        item[i].length = strlen(word + 1);
        item[i].integer = kinds[k].kind == EVB_REPLY_INTEGER ? atoll(word + 1) : 0;
        items[i] = &item[i];
    }
    return &array;
}

/* Valid until the next, as is its text. */
static inline const struct evb_reply *error_of(const char *text)
{
    static struct evb_reply reply;
    reply = (struct evb_reply){.kind = EVB_REPLY_ERROR, .text = text, .length = strlen(text)};
    return &reply;
}

#endif
