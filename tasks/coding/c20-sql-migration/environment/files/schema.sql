CREATE TABLE parcels (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  note TEXT,
  score INTEGER
);
