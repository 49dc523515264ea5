-- Who changed what is known of a device, when, and to what. `record` is JSON, none where the device was deleted.
-- `position` is the offset in the topic, so that a record that comes again is the same row.
CREATE TABLE device_changes (
  site TEXT NOT NULL, device TEXT NOT NULL, ts_us INTEGER NOT NULL, position INTEGER NOT NULL,
  author TEXT, record TEXT,
  PRIMARY KEY (site, device, ts_us, position)
) WITHOUT ROWID;
