#!/usr/bin/env bash
# Buses whose user has the rights that the manual lists, and no others, do what they do with all rights.
set -u
B=${B:-build}

rules=$(sed -n '/^ACL SETUSER app /,/^\.Ed/p' man/evbus.7 | grep -v '^\.Ed' | tr '\n' ' ')
rules=${rules#ACL SETUSER app on >secret }

# As the manual has it for patterns: word for word, as they go over the wire.
patterns='task.* task* *.created t?sk.[ab]* a.*.c'
channels=$rules
set -f
for pattern in $patterns; do
    channels+=" &evbus:events:$pattern"
done

for name in it_redis it_request it_group; do
    EVB_TEST_ACL=$channels "$B/$name" || exit 1
done

# Where tests have channels and keys of their own, the commands alone.
commands="allkeys allchannels -@all $(grep -oE '\+[a-z|]+' <<<"$rules" | tr '\n' ' ')"
for name in it_foreign it_guest_states; do
    EVB_TEST_ACL=$commands "$B/$name" || exit 1
done
CK_RUN_CASE=accounts_of_every_policy EVB_TEST_ACL=$commands "$B/it_outbox" || exit 1
EVB_TEST_ACL=$commands CK_RUN_CASE=keys "$B/it_claim" || exit 1

# Redis 7.0 holds what it reads from its append-only file against its default user: no restart in this one.
CK_RUN_CASE=leader EVB_TEST_ACL=$commands "$B/it_leader" || exit 1
