#!/bin/sh
test "$(id -un)" = daemon || exit 1
if [ "$(cat /desk/one.txt)" = first ]; then echo '{"reward": 0.5, "style": 0.25}'; else echo '{"reward": 0, "style": 0}'; fi > /logs/verifier/reward.json
