#!/bin/sh
if [ "$(cat /work/two.txt)" = last ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt
