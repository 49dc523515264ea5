-- The same tables and keys as in Cassandra, but without buckets and shards: one B-tree needs none.

CREATE TABLE readings (
  site TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL,
  ts_us INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  value REAL NOT NULL, score REAL,
  PRIMARY KEY (site, device, metric, ts_us, stream, seq)
) WITHOUT ROWID;

CREATE TABLE logs (
  site TEXT NOT NULL, host TEXT NOT NULL,
  ts_us INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  device TEXT NOT NULL, facility INTEGER, severity INTEGER, app TEXT, procid TEXT, msgid TEXT,
  message TEXT NOT NULL, template TEXT, score REAL,
  PRIMARY KEY (site, host, ts_us DESC, stream DESC, seq DESC)
) WITHOUT ROWID;

CREATE TABLE latest (
  site TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL,
  order_us INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  ts_us INTEGER NOT NULL, value REAL NOT NULL, score REAL, unit TEXT,
  PRIMARY KEY (site, device, metric)
) WITHOUT ROWID;

CREATE TABLE alerts (
  site TEXT NOT NULL, ts_us INTEGER NOT NULL, id TEXT NOT NULL,
  device TEXT NOT NULL, metric TEXT NOT NULL, kind TEXT NOT NULL,
  score REAL, threshold REAL, resolved_us INTEGER, peak REAL,
  firing TEXT, resolved TEXT,
  PRIMARY KEY (site, ts_us DESC, id DESC)
) WITHOUT ROWID;

CREATE INDEX alerts_by_series ON alerts (site, device, metric, ts_us DESC, id DESC);

CREATE TABLE series (
  site TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL,
  unit TEXT, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
  PRIMARY KEY (site, device, metric)
) WITHOUT ROWID;

CREATE TABLE hosts (
  site TEXT NOT NULL, host TEXT NOT NULL,
  first_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
  PRIMARY KEY (site, host)
) WITHOUT ROWID;

CREATE TABLE sites (site TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE devices (
  site TEXT NOT NULL, device TEXT NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (site, device)
) WITHOUT ROWID;

CREATE TABLE agents (
  agent TEXT NOT NULL PRIMARY KEY, order_us INTEGER NOT NULL, status TEXT NOT NULL
) WITHOUT ROWID;
