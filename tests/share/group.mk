# The outside verifier of groups: SHARE_EVENTS, SHARE_KILLS, SHARE_RESTARTS, SHARE_SEED.
SHARE_GROUP := $(patsubst %.c,$(B)/%.o,$(filter-out %_main.c,$(wildcard tests/share/group_*.c)))

$(B)/it_share_group: $(SHARE_GROUP)
$(B)/it_share_group: HARNESS += $(SHARE_GROUP)

$(B)/soak-group: $(B)/tests/share/group_main.o $(SHARE_GROUP) $(HARNESS) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)

soak-group: $(B)/soak-group
	@$(B)/soak-group

.PHONY: soak-group
