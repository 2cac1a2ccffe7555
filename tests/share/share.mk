# Work that processes share, killed in its midst and judged from outside: claims, groups, leaders. make soak-claim,
# soak-group, soak-leader: SHARE_SEED, and SHARE_EVENTS, SHARE_KILLS, SHARE_RESTARTS, SHARE_TAKEOVERS where they apply.
SHARE := claim group leader
share_objects = $(patsubst %.c,$(B)/%.o,$(filter-out %_main.c,$(wildcard tests/share/$1_*.c)))

define share_rules
$(B)/it_$1_soak: $(call share_objects,$1)
$(B)/it_$1_soak: HARNESS += $(call share_objects,$1)
$(B)/soak_$1: $(B)/tests/share/$1_main.o $(call share_objects,$1) $(HARNESS) $(B)/libevbus.a
	$$(TEST_LINK) -o $$@ $$^ $$(TEST_LIBS)
soak-$1: $(B)/soak_$1
	@$$<
endef
$(foreach kind,$(SHARE),$(eval $(call share_rules,$(kind))))

# These have such processes, too.
$(B)/it_leader $(B)/it_poll: $(call share_objects,leader)
$(B)/it_leader $(B)/it_poll: HARNESS += $(call share_objects,leader)

.PHONY: $(SHARE:%=soak-%)
