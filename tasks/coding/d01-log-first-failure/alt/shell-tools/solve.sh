#!/bin/bash
set -e
code=$(sed -n 's/.*this one it is \([A-Z0-9]*\)\..*/\1/p' RUNBOOK.md)
(zcat logs/*.gz; cat logs/app.log) | grep " ERROR .* code=$code " > /tmp/failures
first=$(cut -d' ' -f1 /tmp/failures | while read t; do date -u -d "$t" +%Y-%m-%dT%H:%M:%SZ; done | sort | head -1)
n=$(grep -o 'req=[0-9a-f]*' /tmp/failures | sort -u | wc -l)
printf '{"first_failure": "%s", "requests": %d}\n' "$first" "$n" > report.json
