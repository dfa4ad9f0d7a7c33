#!/bin/sh
# shared by all steps that bring none
. /tests/values.sh
if [ "$(cat /app/count.txt)" = "$WANTED" ]; then echo '{"reward": 1}'; else echo '{"reward": 0}'; fi > /logs/verifier/reward.json
