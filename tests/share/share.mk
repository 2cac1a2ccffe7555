# The outside verifier of claims: SHARE_EVENTS, SHARE_KILLS, SHARE_SEED.
SHARE := $(patsubst %.c,$(B)/%.o,$(filter-out tests/share/main.c,$(wildcard tests/share/*.c)))

$(B)/it_share: $(SHARE)
$(B)/it_share: HARNESS += $(SHARE)

$(B)/share: $(B)/tests/share/main.o $(SHARE) $(HARNESS) $(B)/libevbus.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)

soak-claims: $(B)/share
	@$(B)/share

.PHONY: soak-claims
