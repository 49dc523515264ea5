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

-- Lines from before have a mark for each of their hours, in the same transaction: an hour without a seal and without a
-- mark is taken for empty. `/` rounds towards 0, an hour is rounded down.
INSERT OR IGNORE INTO marks (site, device, span, mark, owner)
  SELECT DISTINCT '', site, ts_us / 3600000000 - (ts_us % 3600000000 < 0), 1, 'before-sealing' FROM logs;
INSERT OR REPLACE INTO sealers (owner, beat) SELECT 'before-sealing', -1 WHERE EXISTS (SELECT 1 FROM logs);
