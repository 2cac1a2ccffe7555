/*
 * peer_gsignal.c - GLib's signals, the usual event mechanism inside one C process:
 *   peer_gsignal N    emission of a signal with one string argument and N handlers
 */
#include "probe.h"
#include <glib-object.h>
#include <stdlib.h>

struct emitter {
    GObject *object;
    guint signal;
};

static volatile int64_t sink;

static void on_signal(GObject *object, const char *text, gpointer user)
{
    (void)object;
    (void)user;
    sink += text[0];
}

static void emit(void *context, int n)
{
    struct emitter *emitter = context;
    for (int i = 0; i < n; i++)
        g_signal_emit(emitter->object, emitter->signal, 0, PROBE_TEXT);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        probe_fail("usage: peer_gsignal N");
    probe_pin(PROBE_CLIENT_CORE);
    GTypeInfo info = {.class_size = sizeof(GObjectClass), .instance_size = sizeof(GObject)};
    GType type = g_type_register_static(G_TYPE_OBJECT, "BenchEmitter", &info, 0);
    struct emitter emitter = {.object = g_object_new(type, NULL)};
    emitter.signal = g_signal_new("created", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                  g_cclosure_marshal_VOID__STRING, G_TYPE_NONE, 1, G_TYPE_STRING);
    for (int i = atoi(argv[1]); i > 0; i--)
        g_signal_connect(emitter.object, "created", G_CALLBACK(on_signal), NULL);
    probe_report("ns", probe_burst_ns(emit, &emitter));
    g_object_unref(emitter.object);
    return 0;
}
