-- What gateways lost, by their markers, and what audits found.

CREATE TABLE losses (
  site TEXT NOT NULL, ts_us INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  agent TEXT NOT NULL, source TEXT NOT NULL, lane TEXT, reason TEXT NOT NULL, events INTEGER NOT NULL,
  lost_stream INTEGER, first_seq INTEGER, last_seq INTEGER,
  PRIMARY KEY (site, ts_us DESC, stream DESC, seq DESC)
) WITHOUT ROWID;

CREATE TABLE audits (ended_us INTEGER NOT NULL PRIMARY KEY, report TEXT NOT NULL) WITHOUT ROWID;
