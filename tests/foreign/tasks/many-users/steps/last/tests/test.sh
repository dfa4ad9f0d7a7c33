#!/bin/sh
if [ "$(cat /desk/two.txt)" = last ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt
