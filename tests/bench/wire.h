/* wire.h - what the two files of the `wire` program share. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H
#include <evbus.h>
#include <stdbool.h>

evbus_config *wire_config(void); /* of the suite's server; with history if the command says so */
void wire_set(evbus_config *config, const char *key, const char *value);
evbus *wire_open(evbus_config *config); /* connected; takes the settings */
evbus_sub *wire_subscribe(evbus *bus, const char *options, evbus_event_fn fn,
                          void *user); /* live */

void wire_publish(evbus *bus, int count); /* accepted, and perhaps not answered yet */
void wire_flush(evbus *bus);              /* all of them have their answers */

void wire_latency(bool on_loop);
void wire_request(bool paced);
void wire_drain(bool history);
#endif
