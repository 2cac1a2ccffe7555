# The programs of the suite. A peer whose library is missing is not built, and its rows say so.
BENCH_CFLAGS = $(STD) $(WARN) $(HARDEN) -Iinclude $(PKG_CFLAGS) $(BENCH_PEER_CFLAGS) $(CFLAGS)
BENCH_PEERS = $(shell $(PKG_CONFIG) --exists gobject-2.0 && echo peer_gsignal; \
	$(PKG_CONFIG) --exists libzmq && echo peer_zmq)
BENCH := bench local threads wire peer_raw peer_hiredis

$(B)/tests/bench/%.o: tests/bench/%.c | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -MMD -MP -c $< -o $@

$(B)/tests/bench/peer_gsignal.o: BENCH_PEER_CFLAGS = $(shell $(PKG_CONFIG) --cflags gobject-2.0)
$(B)/tests/bench/peer_zmq.o: BENCH_PEER_CFLAGS = $(shell $(PKG_CONFIG) --cflags libzmq)

bench_objects = $(patsubst %,$(B)/tests/bench/%.o,$(1))
$(B)/bench/%: $(call bench_objects,probe)
	@mkdir -p $(@D)
	$(CC) $(LTO) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(BENCH_LIBS) -pthread

$(B)/bench/bench: $(call bench_objects,bench rows run server judge awake)
$(B)/bench/local: $(call bench_objects,local) $(OBJ)
$(B)/bench/threads: $(call bench_objects,threads) $(OBJ)
$(B)/bench/wire: $(call bench_objects,wire wire_latency wire_request wire_drain latency resp) $(OBJ)
$(B)/bench/peer_raw: $(call bench_objects,peer_raw latency resp)
$(B)/bench/peer_hiredis: $(call bench_objects,peer_hiredis resp)
$(B)/bench/peer_gsignal: $(call bench_objects,peer_gsignal)
$(B)/bench/peer_zmq: $(call bench_objects,peer_zmq)

$(B)/bench/bench: BENCH_LIBS = -lm
$(B)/bench/local $(B)/bench/threads $(B)/bench/wire: BENCH_LIBS = $(PKG_LIBS)
$(B)/bench/peer_hiredis: BENCH_LIBS = $(shell $(PKG_CONFIG) --libs hiredis libevent)
$(B)/bench/peer_gsignal: BENCH_LIBS = $(shell $(PKG_CONFIG) --libs gobject-2.0)
$(B)/bench/peer_zmq: BENCH_LIBS = $(shell $(PKG_CONFIG) --libs libzmq)

# A make of its own, so that the peers are looked for after `make deps`.
bench: | $(B)/deps.ok
	@$(MAKE) --no-print-directory bench-programs
	@$(B)/bench/bench

bench-programs: $(addprefix $(B)/bench/,$(BENCH) \
	$(if $(filter bench-programs,$(MAKECMDGOALS)),$(BENCH_PEERS)))

.PHONY: bench bench-programs
