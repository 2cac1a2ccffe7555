# libevbus. `make help` lists the targets. The order of SRC is the layering of the house: a file includes
# only headers of files that stand before it (make check-structure), and it is the order to read them in.

SRC := lib/err.c lib/alloc.c lib/pool.c lib/clock.c lib/fork.c lib/ending.c lib/rand.c lib/log.c lib/buf.c lib/map.c \
       lib/match.c lib/acl.c lib/backoff.c lib/position.c lib/json.c \
       lib/option.c lib/moment.c lib/url.c lib/config.c lib/config_load.c lib/config_dump.c lib/config_check.c \
       lib/event.c lib/event_get.c lib/event_set.c lib/query.c \
       lib/codec_write.c lib/codec_scan.c lib/codec.c lib/seen.c lib/pending.c lib/metrics.c \
       lib/thread.c lib/fifo.c lib/loop.c lib/wait.c lib/accumulator.c lib/recent.c lib/workers.c lib/lanes.c \
       lib/slow.c lib/tally.c lib/sub.c lib/sub_pending.c lib/queue_hand.c lib/queue.c \
       lib/trie.c lib/snapshot.c lib/registry.c \
       lib/redis_reply.c lib/redis_socket.c lib/redis_tls.c lib/redis_link.c lib/redis_dns.c lib/redis_target.c \
       lib/redis_login.c lib/redis_hello.c lib/redis_subs.c lib/redis_asks.c lib/redis_item.c lib/redis_outbox.c \
       lib/redis_outbox_admit.c lib/redis_answer.c \
       lib/redis_fault.c lib/redis_script_group.c lib/redis_script.c lib/redis_stream.c \
       lib/redis_claim.c lib/redis_lease.c lib/redis_grouped.c \
       lib/redis_cursor.c lib/redis_reader.c lib/redis_recovery.c \
       lib/redis_heart.c \
       lib/redis_state.c lib/redis_pair.c lib/redis_pump.c lib/redis.c lib/redis_group.c lib/redis_blocking.c \
       lib/bus.c lib/waiter.c lib/interest.c lib/handover.c lib/deliver.c lib/batch_join.c lib/route.c lib/batch.c \
       lib/recover.c lib/claim_event.c lib/claim_sub.c lib/claim_key.c lib/claim.c \
       lib/delivery.c lib/dead.c lib/group_hand.c lib/group_own.c lib/group_read.c lib/group_member.c lib/group_time.c lib/group.c \
       lib/durable.c lib/poll.c lib/lease.c lib/lease_tell.c lib/lease_ask.c lib/lease_answer.c lib/leader.c \
       lib/replay_last.c lib/replay.c lib/tell.c lib/sub_options.c lib/subscribe.c \
       lib/history.c lib/history_redis.c \
       lib/request.c lib/reply.c \
       lib/report.c lib/close.c \
       lib/open.c lib/default.c

PKG_CONFIG ?= pkg-config
OBJCOPY ?= objcopy
B := build

# The version is written once, in evbus.h: 0xMMmmpp.
VERSION := $(shell sed -nE 's/^.define EVBUS_VERSION_NUMBER 0x(..)(..)(..)( .*)?$$/0x\1 0x\2 0x\3/p' \
	include/evbus.h | xargs printf '%d.%d.%d')
SONAME := libevbus.so.0
SO := libevbus.so.$(VERSION)

PKGS := hiredis libevent jansson openssl
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
# Hardening is what the compiler has nothing to say against, given the flags of whoever builds: fortification needs
# optimization, and theirs counts. Asked once, when the first recipe needs it. Sanitizers have their own checks.
takes = $(shell $(CC) $1 $(CPPFLAGS) $(CFLAGS) -include stdlib.h -x c -c /dev/null -o /dev/null 2>&1 | \
	grep -q -e '$(patsubst -D%,%,$(firstword $(subst =, ,$1)))' || echo $1)
HARDEN_ALL = $(or $(call takes,-D_FORTIFY_SOURCE=3),$(call takes,-D_FORTIFY_SOURCE=2)) \
	$(foreach f,-fstack-protector-strong -fstack-clash-protection -fcf-protection -mbranch-protection=standard, \
	$(call takes,$f))
HARDEN = $(eval HARDEN := $(if $(findstring sanitize,$(CPPFLAGS) $(CFLAGS)),,$(HARDEN_ALL)))$(HARDEN)
# A prefetch for writing is a read elsewhere, and then helps nobody. Processors of x86-64 without it ignore it.
PREFETCH = $(eval PREFETCH := $(call takes,-mprfchw))$(PREFETCH)
# To the compiler the files of lib/ are one program, if it can put that beside the usual form into an object (gcc). It
# makes libevbus.so of it; the archive has the usual form alone, which every compiler and version of it can link.
LTO = $(eval LTO := $(if $(findstring sanitize,$(CPPFLAGS) $(CFLAGS)),, \
	$(if $(call takes,-ffat-lto-objects),-flto=auto -ffat-lto-objects)))$(LTO)
# Asked for when the first recipe runs, not when make starts: `make deps demo` installs them in between.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS)))$(PKG_LIBS)
STD := -std=c11 -D_GNU_SOURCE -pthread
LIB_CFLAGS = $(STD) $(WARN) $(HARDEN) $(PREFETCH) $(LTO) -fPIC -fvisibility=hidden -Iinclude -iquote lib \
	-DEVB_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK := -Wl,--as-needed -Wl,-z,relro -Wl,-z,now
# nodelete: the library's threads and thread-exit handlers outlive a dlclose().
LIB_LINK := $(LINK) -Wl,-z,defs -Wl,-z,nodelete -shared -Wl,-soname,$(SONAME) \
	-Wl,--version-script=lib/libevbus.map
PROGRAM_LINK := $(LINK) -pie

OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
INTEGRATION := $(patsubst tests/%.c,%,$(wildcard tests/it_*.c))
HARNESS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/harness/*.c))
EXAMPLES := $(patsubst examples/%.c,$(B)/%,$(wildcard examples/*.c))
TOOL_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard examples/evbus/*.c))

all: $(B)/libevbus.a $(B)/libevbus.so $(if $(TOOL_OBJ),$(B)/evbus) $(EXAMPLES) $(B)/man.ok

help:
	@echo 'make              the library, the evbus tool, the examples'
	@echo 'make deps         what building and testing need, by the system'"'"'s package manager'
	@echo 'make deps-all     and what check-all and check-san need'
	@echo 'make demo         the main job in ten seconds'
	@echo 'make check        all tests (a real redis-server is started by them)'
	@echo 'make check-all    those with Redis at length, and under access lists; under valgrind'
	@echo 'make check-san    the tests under ASan+UBSan, then under TSan'
	@echo 'make man          man/evbus_config.5 anew, after a change of lib/config_table.h'
	@echo 'make soak         numbered events through faults, judged from outside: SOAK_EVENTS, SOAK_FAULTS, SOAK_SEED'
	@echo 'make soak-claim   work that processes share, killed in its midst: claims; soak-group, soak-leader: SHARE_SEED, ...'
	@echo 'make bench        ratios against peers in one run'
	@echo 'make install      into PREFIX (/usr/local) under DESTDIR; LIBDIR, MANDIR, BINDIR, INCLUDEDIR, PKGCONFIGDIR,'
	@echo '                  DOCDIR for other folders. Compiles nothing that is built.'
	@echo 'make uninstall    removes what install put there; with the same settings'
	@echo 'make clean        removes the build folder'

deps:
	@./pkgconfig/install-deps.sh

deps-all:
	@./pkgconfig/install-deps.sh --all

# Of itself parallel: as many jobs as there are processors, where you say nothing else (-j1). With a leading +.
MAKE_ALL = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# With `make -j deps check` nothing is compiled before the packages are there.
AFTER_DEPS := $(filter deps deps-all,$(MAKECMDGOALS))

$(B)/deps.ok: | $(AFTER_DEPS)
	@$(PKG_CONFIG) --exists $(PKGS) && $(PKG_CONFIG) --atleast-version=1.1 hiredis || { \
	echo 'libevbus needs hiredis >= 1.1, libevent, jansson and OpenSSL 3: run "make deps".' >&2; \
	exit 1; }
	@mkdir -p $(B) && touch $@

$(B)/lib/%.o: lib/%.c Makefile | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(LIB_CFLAGS) -MMD -MP -c $< -o $@

$(B)/libevbus.a: $(OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
	$(if $(LTO),$(OBJCOPY) --wildcard -R '.gnu.lto_*' -R '.gnu.debuglto_*' $@)

$(B)/$(SO): $(OBJ) lib/libevbus.map
	$(CC) $(HARDEN) $(LTO) -fPIC $(CFLAGS) $(LIB_LINK) $(LDFLAGS) -o $@ $(OBJ) $(PKG_LIBS) -pthread

$(B)/libevbus.so: $(B)/$(SO)
	ln -sf $(SO) $(B)/$(SONAME)
	ln -sf $(SONAME) $@

# Programs that use only the public header, as anybody's would.
PROGRAM_CFLAGS = $(STD) $(WARN) $(HARDEN) -fPIE -Iinclude $(CPPFLAGS) $(CFLAGS)

$(B)/examples/%.o: examples/%.c Makefile | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(PROGRAM_CFLAGS) $(shell $(PKG_CONFIG) --cflags jansson) -MMD -MP -c $< -o $@

$(B)/evbus: $(TOOL_OBJ) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(PROGRAM_LINK) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -pthread

$(EXAMPLES): $(B)/%: $(B)/examples/%.o $(B)/libevbus.a
	$(CC) $(CFLAGS) $(PROGRAM_LINK) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -pthread

# evbus_config(5) comes from its template and the table of settings; make check compares.
$(B)/gen/config5: man/config5.c $(B)/libevbus.a Makefile
	@mkdir -p $(@D)
	$(CC) $(LIB_CFLAGS) $(PROGRAM_LINK) $(LDFLAGS) -MMD -MP -MT $@ -MF $@.d -o $@ $< $(B)/libevbus.a $(PKG_LIBS) -pthread

man: $(B)/gen/config5
	$(B)/gen/config5 man/evbus_config.5.in >$(B)/evbus_config.5
	mv $(B)/evbus_config.5 man/evbus_config.5

demo: | $(AFTER_DEPS)
	+@$(MAKE_ALL) $(B)/evbus
	@$(B)/evbus demo

# A link for each function that shares a page, so that man(1) finds it: to be installed beside man/*.3.
$(B)/man.ok: $(wildcard man/*.3) Makefile
	@rm -rf $(B)/man && mkdir -p $(B)/man
	@awk -v to=$(B)/man/ '/^\.Sh/ { on = $$2 == "NAME" } \
	on && $$1 == ".Nm" && FILENAME != "man/" $$2 ".3" { \
		file = to $$2 ".3"; print ".so man3/" substr(FILENAME, 5) > file; close(file) }' $(filter %.3,$^)
	@touch $@

# ---- installation ----
# All of it stands in INSTALLED, which uninstall removes. A packager gives PREFIX, DESTDIR and, where libraries have
# a folder of their own (/usr/lib/x86_64-linux-gnu, /usr/lib64), LIBDIR.
INSTALL ?= install
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
INCLUDEDIR ?= $(PREFIX)/include
LIBDIR ?= $(PREFIX)/lib
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/libevbus

HEADERS := include/evbus.h include/evbus_libevent.h
# Pages may be built, too; make's own wildcard would not see those of this run.
MAN = $(eval MAN := $(shell ls man/*.[1-9] $(B)/man/*.[1-9] 2>/dev/null))$(MAN)
MAN_SECTIONS = $(sort $(patsubst .%,%,$(suffix $(MAN))))
INSTALLED = $(BINDIR)/evbus $(HEADERS:include/%=$(INCLUDEDIR)/%) \
	$(addprefix $(LIBDIR)/,libevbus.a libevbus.so $(SONAME) $(SO)) $(PKGCONFIGDIR)/evbus.pc \
	$(foreach n,$(MAN_SECTIONS),$(addprefix $(MANDIR)/man$n/,$(notdir $(filter %.$n,$(MAN))))) \
	$(patsubst %,$(DOCDIR)/%,$(wildcard examples/*.c))

# Folders go into evbus.pc, which no space survives; DESTDIR does not.
REFUSE = $(foreach d,PREFIX BINDIR INCLUDEDIR LIBDIR PKGCONFIGDIR MANDIR DOCDIR, \
	$(if $(or $(filter-out /%,$($d)),$(word 2,$($d))),$(error $d=$($d): give an absolute path without spaces)))
under_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$1)
to = '$(DESTDIR)$1'

# mkdir, for `install -d` changes the mode of folders that are there.
install: $(B)/libevbus.a $(B)/libevbus.so $(B)/evbus $(B)/man.ok
	$(REFUSE)umask 022 && mkdir -p $(foreach d,$(sort $(dir $(INSTALLED))),$(call to,$d))
	$(INSTALL) -m 755 $(B)/evbus $(call to,$(BINDIR))
	$(INSTALL) -m 644 $(HEADERS) $(call to,$(INCLUDEDIR))
	$(INSTALL) -m 644 $(B)/libevbus.a $(call to,$(LIBDIR))
	$(INSTALL) -m 755 $(B)/$(SO) $(call to,$(LIBDIR))
	ln -sf $(SO) $(call to,$(LIBDIR)/$(SONAME))
	ln -sf $(SONAME) $(call to,$(LIBDIR)/libevbus.so)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|; s|@PKGS@|$(PKGS)|' \
	-e 's|@INCLUDEDIR@|$(call under_prefix,$(INCLUDEDIR))|; s|@LIBDIR@|$(call under_prefix,$(LIBDIR))|' \
	pkgconfig/evbus.pc.in >$(call to,$(PKGCONFIGDIR)/evbus.pc)
	chmod 644 $(call to,$(PKGCONFIGDIR)/evbus.pc)
	$(foreach n,$(MAN_SECTIONS),$(INSTALL) -m 644 $(filter %.$n,$(MAN)) $(call to,$(MANDIR)/man$n) &&) :
	$(INSTALL) -m 644 $(wildcard examples/*.c) $(call to,$(DOCDIR)/examples)

# Of folders, those that are libevbus's alone.
uninstall:
	$(REFUSE)rm -f $(foreach f,$(INSTALLED),$(call to,$f))
	@rmdir $(call to,$(DOCDIR)/examples) $(call to,$(DOCDIR)) 2>/dev/null || :

# ---- tests ----
# There are many of them, and each runs for a moment: to compile and to link them must be quick.
TEST_FAST = $(if $(findstring sanitize,$(CPPFLAGS) $(CFLAGS)),,-O0)
TEST_LD = $(eval TEST_LD := $(shell $(CC) -fuse-ld=gold -Wl,--version >/dev/null 2>&1 && echo -fuse-ld=gold))$(TEST_LD)
TEST_PKG_CFLAGS = $(eval TEST_PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags check))$(TEST_PKG_CFLAGS)
TEST_PKG_LIBS = $(eval TEST_PKG_LIBS := $(shell $(PKG_CONFIG) --libs check))$(TEST_PKG_LIBS)
TEST_CFLAGS = $(STD) $(WARN) -Iinclude -iquote lib -iquote tests $(PKG_CFLAGS) $(TEST_PKG_CFLAGS) $(CPPFLAGS) \
	$(CFLAGS) $(TEST_FAST)
TEST_LIBS = $(PKG_LIBS) $(TEST_PKG_LIBS) -pthread
TEST_LINK = $(CC) $(CFLAGS) $(TEST_LD) $(LDFLAGS)

$(B)/tests/%.o: tests/%.c | $(B)/deps.ok
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) -MMD -MP -c $< -o $@

$(UNIT:%=$(B)/%) $(INTEGRATION:%=$(B)/%): $(B)/%: $(B)/tests/%.o $(HARNESS) $(B)/libevbus.a
	$(TEST_LINK) -o $@ $< $(HARNESS) $(B)/libevbus.a $(TEST_LIBS)

TESTS := $(INTEGRATION) $(UNIT)

BUILT_WITH = B=$(B) CC="$(CC)" CXX="$(CXX)" CFLAGS="$(CFLAGS)" CPPFLAGS="$(CPPFLAGS)" LDFLAGS="$(LDFLAGS)"

check: | $(AFTER_DEPS)
	+@$(MAKE_ALL) check-programs
	@$(BUILT_WITH) EVB_TEST_SCALE=$${EVB_TEST_SCALE-30} \
	tests/run.sh structure install manual config5 troubleshooting $(TESTS)

# The long form: three times the events, rounds and faults; once more with no other rights in Redis than needed; and
# under valgrind.
check-all: | $(AFTER_DEPS)
	+@$(MAKE_ALL) check-programs
	@$(BUILT_WITH) tests/run.sh acl valgrind $(INTEGRATION)

check-programs: all $(B)/gen/config5 $(TESTS:%=$(B)/%)

check-structure check-install check-manual: check-%: all
	@$(BUILT_WITH) tests/$*.sh

# Everything again, built with sanitizers: memory and undefined behaviour, then data races. SAN_TESTS='$(UNIT)': those
# of units alone, in a third of the time.
check-san: | $(AFTER_DEPS)
	@command -v clang >/dev/null || { echo 'check-san needs clang and its sanitizers: run "make deps-all".' >&2; exit 1; }
	+$(MAKE_ALL) B=$(B)/asan CC=gcc CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		LDFLAGS="$(ASAN)" CPPFLAGS="$(ASAN)" san-tests
	+$(MAKE_ALL) B=$(B)/tsan CC=clang CFLAGS="-O1 -g -gdwarf-4 -fno-omit-frame-pointer" \
		LDFLAGS="$(TSAN)" CPPFLAGS="$(TSAN)" san-tests

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN := -fsanitize=thread

SAN_TESTS = $(TESTS)

san-tests: $(SAN_TESTS:%=$(B)/%) $(B)/evbus $(EXAMPLES) $(B)/man.ok
	@$(BUILT_WITH) ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 TSAN_OPTIONS="exitcode=66 second_deadlock_stack=1 die_after_fork=0" \
	EVB_TEST_SCALE=$${EVB_TEST_SCALE-20} EVB_TEST_JOBS=$${EVB_TEST_JOBS-$$((2 * $$(nproc)))} tests/run.sh manual $(SAN_TESTS)

include tests/bench/bench.mk
include tests/soak/soak.mk
include tests/share/share.mk

.SECONDARY:
.PHONY: all help deps deps-all man demo install uninstall check check-all check-programs check-san check-structure check-install check-manual san-tests bench clean

clean:
	rm -rf $(B)

-include $(OBJ:.o=.d) $(wildcard $(B)/gen/*.d $(B)/tests/*.d $(B)/tests/*/*.d $(B)/examples/*.d $(B)/examples/*/*.d)
