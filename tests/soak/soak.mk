# The outside verifier: SOAK_EVENTS, SOAK_FAULTS, SOAK_SEED, SOAK_HISTORY=yes|no.
SOAK := $(patsubst %.c,$(B)/%.o,$(filter-out tests/soak/main.c,$(wildcard tests/soak/*.c)))

$(B)/it_soak: $(SOAK)
$(B)/it_soak: HARNESS += $(SOAK)

$(B)/soak: $(B)/tests/soak/main.o $(SOAK) $(HARNESS) $(B)/libevbus.a
	$(TEST_LINK) -o $@ $^ $(TEST_LIBS)

soak: $(B)/soak
	@$(B)/soak

.PHONY: soak
