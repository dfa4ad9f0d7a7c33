#!/bin/sh
set -e
test "$(id -un)" = nobody
test -f /dev/shm/kept
test "$LEVEL" = three
test -z "$(ls -A /tests /logs/verifier 2>/dev/null | grep -v :)" || exit 1
cd /app
wc -l < notes.txt | tr -d ' ' > count.txt
