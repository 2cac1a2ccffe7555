/*
 * ask.c - a responder and an asker. "ask serve" answers until its standard input ends; "ask TEXT"
 * asks it from another process, through the Redis that EVBUS_REDIS_URL names. "ask" alone does both
 * by itself, and needs no Redis.
 */
#include <ctype.h>
#include <evbus.h>
#include <stdio.h>
#include <string.h>

/* Answers text.upper by the same text in capitals, and refuses what is no text. */
static int on_request(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus *bus = user;
    char text[256];
    size_t length = 0;
    const char *data = evbus_event_data(request, &length);
    (void)sub;
    if (evbus_event_deadline_ms(request) == 0)
        return 0; /* an event that nobody waits for */
    if (length == 0 || length > sizeof text)
        return evbus_reply_error(bus, request, length ? "too long a text" : "no text");
    for (size_t i = 0; i < length; i++)
        text[i] = (char)toupper((unsigned char)data[i]);
    evbus_event *reply = evbus_event_new("text.is");
    int rc = evbus_event_set_bytes(reply, text, length);
    if (rc == 0)
        rc = evbus_reply(bus, request, reply);
    evbus_event_unref(reply);
    return rc;
}

/* With the reply, or with why there is none. */
static int ask(evbus *bus, const char *text)
{
    evbus_event *request = evbus_event_new("text.upper");
    evbus_event_set_bytes(request, text, strlen(text));
    evbus_event *reply = evbus_request(bus, request, 5000);
    if (reply)
        printf("%s\n", evbus_event_data(reply, NULL));
    else
        printf("%s: %s\n", evbus_strerror(evbus_last_code()), evbus_last_error());
    evbus_event_unref(request);
    evbus_event_unref(reply);
    return reply ? 0 : 1;
}

static int ask_all(evbus *bus, char **texts)
{
    int failed = 0;
    for (; *texts; texts++)
        failed |= ask(bus, *texts);
    return failed;
}

static int serve(evbus *bus, char **unused)
{
    (void)unused;
    evbus_sub *sub = evbus_subscribe(bus, "text.upper", NULL, on_request, bus);
    int rc = sub ? evbus_sub_wait(sub, 5000) : -1;
    puts(rc == 0 ? "serving" : evbus_last_error());
    fflush(stdout);
    while (rc == 0 && getchar() != EOF)
        continue;
    evbus_unsubscribe(sub);
    return rc != 0;
}

static int both(evbus *bus, char **unused)
{
    (void)unused;
    evbus_sub *sub = evbus_subscribe(bus, "text.upper", NULL, on_request, bus);
    int failed = ask(bus, "hello");
    evbus_unsubscribe(sub);
    return failed;
}

int main(int argc, char **argv)
{
    int (*work)(evbus * bus, char **texts) = argc == 1                       ? both
                                             : strcmp(argv[1], "serve") == 0 ? serve
                                                                             : ask_all;
    evbus_config *config = evbus_config_new();
    evbus *bus = NULL;
    if (work == both || evbus_config_load_env(config, NULL) == 0)
        bus = evbus_open(config);
    evbus_config_free(config);
    if (!bus || (work != both && evbus_wait_connected(bus, 5000) != 0)) {
        fprintf(stderr, "%s\n", evbus_last_error());
        evbus_free(bus);
        return 1;
    }
    int failed = work(bus, argv + 1);
    evbus_close(bus, 1000); /* the last answer is sent */
    evbus_free(bus);
    return failed;
}
