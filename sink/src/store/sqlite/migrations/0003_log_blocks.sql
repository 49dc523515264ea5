-- Sealed log lines. Their seals and marks stand in `seals` and `marks`, with an empty site, the site as the device, and
-- the UTC hour as the span.

CREATE TABLE log_heads (
  site TEXT NOT NULL, hour INTEGER NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (site, hour, id)
);

CREATE TABLE log_blocks (
  site TEXT NOT NULL, hour INTEGER NOT NULL, id INTEGER NOT NULL, number INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (site, hour, id, number)
);
