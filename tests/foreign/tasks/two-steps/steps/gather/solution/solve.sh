#!/bin/sh
set -e
cd /app
{ echo "$GREETING"; cat first.txt second.txt; } > notes.txt
chmod a+rw notes.txt
touch /dev/shm/kept
chmod a+r /dev/shm/kept
