-- What stays for long and is read quickly: parts of a device and a UTC day (`span`), and who seals them.

CREATE TABLE seals (
  site TEXT NOT NULL, device TEXT NOT NULL, span INTEGER NOT NULL,
  version INTEGER NOT NULL, parts TEXT NOT NULL,
  PRIMARY KEY (site, device, span)
) WITHOUT ROWID;

CREATE TABLE marks (
  site TEXT NOT NULL, device TEXT NOT NULL, span INTEGER NOT NULL,
  mark INTEGER NOT NULL, owner TEXT NOT NULL,
  PRIMARY KEY (site, device, span, mark)
) WITHOUT ROWID;

CREATE INDEX marks_by_owner ON marks (owner);

CREATE TABLE sealers (owner TEXT NOT NULL PRIMARY KEY, beat INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE stamps (
  site TEXT NOT NULL, device TEXT NOT NULL, span INTEGER NOT NULL, id INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (site, device, span, id)
);

CREATE TABLE episodes (
  site TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL, span INTEGER NOT NULL,
  id INTEGER NOT NULL,
  t0_us INTEGER NOT NULL, t1_us INTEGER NOT NULL, n INTEGER NOT NULL,
  min REAL NOT NULL, max REAL NOT NULL, sum REAL NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (site, device, metric, span, id)
);

CREATE TABLE rollups (
  site TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL, step INTEGER NOT NULL,
  span INTEGER NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (site, device, metric, step, span, id)
);
