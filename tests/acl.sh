#!/usr/bin/env bash
# Buses whose user has the rights that the manual lists, and no others, do what they do with all rights.
set -u
B=${B:-build}

rules=$(sed -n '/^ACL SETUSER app /,/^\.Ed/p' man/evbus.7 | grep -v '^\.Ed' | tr '\n' ' ')
rules=${rules#ACL SETUSER app on >secret }

# As the manual has it for patterns: word for word, as they go over the wire.
patterns='task.* task* *.created t?sk.[ab]* a.*.c'
set -f
for pattern in $patterns; do
    rules+=" &evbus:events:$pattern"
done

EVB_TEST_ACL=$rules exec "$B/it_redis"
