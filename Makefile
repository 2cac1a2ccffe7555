# libevbus. `make help` lists the targets. The order of SRC is the layering of the house: a file includes
# only headers of files that stand before it (make check-structure), and it is the order to read them in.

SRC := lib/err.c lib/alloc.c lib/pool.c lib/clock.c lib/fork.c lib/rand.c lib/log.c lib/buf.c lib/map.c \
       lib/match.c lib/backoff.c lib/json.c \
       lib/option.c lib/url.c lib/config.c lib/config_load.c lib/event.c lib/event_set.c \
       lib/codec_write.c lib/codec_scan.c lib/codec.c lib/seen.c lib/metrics.c \
       lib/thread.c lib/fifo.c lib/loop.c lib/wait.c lib/sub.c lib/queue.c lib/trie.c lib/snapshot.c lib/registry.c \
       lib/redis_reply.c lib/redis_link.c lib/redis_dns.c lib/redis_hello.c lib/redis_subs.c \
       lib/redis_heart.c lib/redis_item.c lib/redis_outbox.c lib/redis_state.c lib/redis.c \
       lib/bus.c lib/waiter.c lib/interest.c lib/handover.c lib/route.c lib/subscribe.c lib/report.c lib/close.c \
       lib/open.c lib/default.c

PKG_CONFIG ?= pkg-config
B := build

# The version is written once, in evbus.h: 0xMMmmpp.
VERSION := $(shell awk '/define EVBUS_VERSION_NUMBER/ { h = $$3; printf "%d.%d.%d", \
	substr(h,3,2), substr(h,5,2), substr(h,7,2) }' include/evbus.h)
SO := libevbus.so.0

PKGS := hiredis_ssl hiredis libevent jansson openssl
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
# Sanitizers have their own checks of these calls.
HARDEN := $(if $(findstring sanitize,$(CPPFLAGS)),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
# Asked for when a recipe runs, not when make starts: `make deps demo` installs them in between.
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PKGS))
PKG_LIBS = $(shell $(PKG_CONFIG) --libs $(PKGS))
STD := -std=c11 -D_GNU_SOURCE -pthread
LIB_CFLAGS = $(STD) $(WARN) $(HARDEN) -fPIC -fvisibility=hidden -Iinclude -iquote lib \
	-DEVB_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LIB_LDFLAGS := -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete

OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
INTEGRATION := $(patsubst tests/%.c,%,$(wildcard tests/it_*.c))
HARNESS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/harness/*.c))
EXAMPLES := $(patsubst examples/%.c,$(B)/%,$(wildcard examples/*.c))
TOOL_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard examples/evbus/*.c))

all: $(B)/libevbus.a $(B)/libevbus.so $(if $(TOOL_OBJ),$(B)/evbus) $(EXAMPLES)

help:
	@echo 'make              the library, the evbus tool, the examples'
	@echo 'make deps         what building and testing need, by the system'"'"'s package manager'
	@echo 'make demo         the main job in ten seconds'
	@echo 'make check        all tests (a real redis-server is started by them)'
	@echo 'make check-san    the tests under ASan+UBSan, then under TSan'
	@echo 'make bench        ratios against peers in one run'
	@echo 'make clean        removes the build folder'

deps:
	@./pkgconfig/install-deps.sh

# With `make -j deps check` nothing is compiled before the packages are there.
AFTER_DEPS := $(filter deps,$(MAKECMDGOALS))

$(B)/deps.ok: | $(AFTER_DEPS)
	@$(PKG_CONFIG) --exists $(PKGS) && $(PKG_CONFIG) --atleast-version=1.1 hiredis || { \
	echo 'libevbus needs hiredis >= 1.1 with hiredis_ssl, libevent, jansson and OpenSSL 3: run "make deps".' >&2; \
	exit 1; }
	@mkdir -p $(B) && touch $@

$(B)/lib/%.o: lib/%.c Makefile | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(LIB_CFLAGS) -MMD -MP -c $< -o $@

$(B)/libevbus.a: $(OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/$(SO): $(OBJ) lib/libevbus.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SO) -Wl,--version-script=lib/libevbus.map \
	$(LIB_LDFLAGS) -o $@ $(OBJ) $(PKG_LIBS) -pthread

$(B)/libevbus.so: $(B)/$(SO)
	ln -sf $(SO) $@

# Programs that use only the public header, as anybody's would.
PROGRAM_CFLAGS = $(STD) $(WARN) $(HARDEN) -Iinclude $(CPPFLAGS) $(CFLAGS)

$(B)/examples/%.o: examples/%.c | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(PROGRAM_CFLAGS) $(shell $(PKG_CONFIG) --cflags jansson) -MMD -MP -c $< -o $@

$(B)/evbus: $(TOOL_OBJ) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -pthread

$(EXAMPLES): $(B)/%: $(B)/examples/%.o $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -pthread

demo: $(B)/evbus
	@$(B)/evbus demo

# ---- tests ----
TEST_CFLAGS = $(STD) $(WARN) -Iinclude -iquote lib -iquote tests $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) \
	$(shell $(PKG_CONFIG) --cflags check)
TEST_LIBS = $(PKG_LIBS) $(shell $(PKG_CONFIG) --libs check) -pthread

$(B)/tests/%.o: tests/%.c | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) -MMD -MP -c $< -o $@

$(UNIT:%=$(B)/%) $(INTEGRATION:%=$(B)/%): $(B)/%: $(B)/tests/%.o $(HARNESS) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(HARNESS) $(B)/libevbus.a $(TEST_LIBS)

TESTS := $(UNIT) $(INTEGRATION)

check: all $(TESTS:%=$(B)/%)
	@B=$(B) CC="$(CC)" CXX="$(CXX)" tests/run.sh structure $(TESTS)

check-structure: all
	@B=$(B) CC="$(CC)" CXX="$(CXX)" tests/structure.sh

# Everything again, built with sanitizers: memory and undefined behaviour, then data races.
check-san:
	$(MAKE) B=$(B)/asan CC=gcc CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		LDFLAGS="$(ASAN)" CPPFLAGS="$(ASAN)" san-tests
	$(MAKE) B=$(B)/tsan CC=clang CFLAGS="-O1 -g -gdwarf-4 -fno-omit-frame-pointer" \
		LDFLAGS="$(TSAN)" CPPFLAGS="$(TSAN)" san-tests

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN := -fsanitize=thread

san-tests: $(TESTS:%=$(B)/%) $(B)/evbus $(EXAMPLES)
	@B=$(B) ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 TSAN_OPTIONS="exitcode=66 second_deadlock_stack=1 die_after_fork=0" \
	EVB_TEST_SCALE=$${EVB_TEST_SCALE-20} tests/run.sh $(TESTS)

include tests/bench/bench.mk

.SECONDARY:
.PHONY: all help deps demo check check-san check-structure san-tests bench clean

clean:
	rm -rf $(B)

-include $(OBJ:.o=.d) $(wildcard $(B)/tests/*.d $(B)/tests/*/*.d $(B)/examples/*.d $(B)/examples/*/*.d)
