#!/bin/bash
set -e
t=$(sed -n 's/In the table \(.*\):/\1/p' TICKET.md)
c=$(sed -n 's/.*Add a column \([a-z]*\) of.*/\1/p' TICKET.md)
v=$(sed -n "s/.*already get '\([a-z0-9]*\)'.*/\1/p" TICKET.md)
e=$(sed -n 's/.*The column \([a-z]*\) may.*/\1/p' TICKET.md)
cat > up.sql <<SQL
BEGIN;
CREATE TABLE _kept_$t AS SELECT * FROM $t;
DROP TABLE $t;
CREATE TABLE $t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT NOT NULL DEFAULT '', score INTEGER);
INSERT INTO $t SELECT id, name, ifnull($e, ''), score FROM _kept_$t;
ALTER TABLE $t ADD COLUMN $c TEXT NOT NULL DEFAULT '$v';
COMMIT;
SQL
cat > down.sql <<SQL
BEGIN;
CREATE TABLE _back (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT, score INTEGER);
INSERT INTO _back SELECT n.id, n.name, CASE WHEN k.id IS NOT NULL AND k.$e IS NULL AND n.$e = '' THEN NULL ELSE n.$e END, n.score
  FROM $t n LEFT JOIN _kept_$t k ON k.id = n.id;
DROP TABLE $t;
DROP TABLE _kept_$t;
ALTER TABLE _back RENAME TO $t;
COMMIT;
SQL
