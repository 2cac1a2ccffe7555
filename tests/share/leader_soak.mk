# Leaders judged from outside: SHARE_TAKEOVERS, SHARE_SEED.
LEADER := $(patsubst %.c,$(B)/%.o,$(filter-out tests/share/leader_main.c,$(wildcard tests/share/leader_*.c)))

$(B)/it_leader $(B)/it_leader_soak $(B)/it_poll: $(LEADER)
$(B)/it_leader $(B)/it_leader_soak $(B)/it_poll: HARNESS += $(LEADER)

$(B)/soak_leader: $(B)/tests/share/leader_main.o $(LEADER) $(HARNESS) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)

soak-leader: $(B)/soak_leader
	@$(B)/soak_leader

.PHONY: soak-leader
