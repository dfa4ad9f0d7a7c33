#!/bin/sh
if [ "$(cat /app/notes.txt)" = "$(printf 'hello\none\ntwo')" ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt
