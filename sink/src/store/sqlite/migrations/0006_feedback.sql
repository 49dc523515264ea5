-- What people say of alerts: of each alert the newest, by when the alert fired.

CREATE TABLE feedback (
  site TEXT NOT NULL, fired_us INTEGER NOT NULL, id TEXT NOT NULL,
  order_us INTEGER NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (site, fired_us, id)
) WITHOUT ROWID;
