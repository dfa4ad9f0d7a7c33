#!/bin/bash
set -e
t=$(sed -n 's/In the table \(.*\):/\1/p' TICKET.md)
c=$(sed -n 's/.*Add a column \([a-z]*\) of.*/\1/p' TICKET.md)
v=$(sed -n "s/.*already get '\([a-z0-9]*\)'.*/\1/p" TICKET.md)
e=$(sed -n 's/.*The column \([a-z]*\) may.*/\1/p' TICKET.md)
cat > up.sql <<SQL
BEGIN;
CREATE TABLE _kept_$t AS SELECT id FROM $t WHERE $e IS NULL;
CREATE TABLE _new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT NOT NULL, score INTEGER, $c TEXT DEFAULT '$v');
INSERT INTO _new (id, name, $e, score) SELECT id, name, coalesce($e, ''), score FROM $t;
DROP TABLE $t;
ALTER TABLE _new RENAME TO $t;
COMMIT;
SQL
cat > down.sql <<SQL
BEGIN;
CREATE TABLE _old (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT, score INTEGER);
INSERT INTO _old SELECT id, name, CASE WHEN id IN (SELECT id FROM _kept_$t) AND $e = '' THEN NULL ELSE $e END, score FROM $t;
DROP TABLE $t;
ALTER TABLE _old RENAME TO $t;
DROP TABLE _kept_$t;
COMMIT;
SQL
