//! What a reader of any kind can skip: pages by time and offset, row groups by device and host.

use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;

use super::*;

const ROWS: i64 = 40_000;
const BEGIN_US: i64 = 1_594_598_735_772_776;

/// Ten minutes of lines from a hundred devices and hosts.
fn lines() -> Sealed {
    let line = |seq: u64| {
        let log = Log { host: format!("h{}", seq % 100), ..Log::default() };
        let RowBody::Event(line) = event(seq, Body::Log(log)) else { panic!("an alert") };
        let mut line = Event::clone(&line);
        line.device = format!("pump-{}", seq % 100);
        line.ts_us = BEGIN_US + 15_000 * seq.cast_signed();
        RowBody::Event(Arc::new(line))
    };
    sealed(Topic::Logs, (1..=ROWS.unsigned_abs()).map(line).collect(), 0)
}

/// Where a column stands.
fn at(metadata: &parquet::file::metadata::ParquetMetaData, name: &str) -> usize {
    let columns = metadata.row_group(0).columns();
    columns.iter().position(|column| column.column_path().string() == name).unwrap()
}

#[test]
fn pages_are_skipped_by_time_and_offset() {
    let object = lines();
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(&object.data, options).unwrap();
    let parquet = metadata.metadata();
    let index = parquet.page_index_for_row_group(0);

    // One page of five has the second that is asked for.
    let time = at(parquet, "ts_us");
    let (from, to) = (BEGIN_US + 300_000_000, BEGIN_US + 301_000_000);
    let ColumnIndexMetaData::INT64(times) = index.column_index(time).unwrap() else {
        panic!("no index")
    };
    let held = |page: usize| {
        *times.min_value(page).unwrap() < to && *times.max_value(page).unwrap() >= from
    };
    let firsts = index.page_locations(time).unwrap().iter().map(|page| page.first_row_index);
    let firsts: Vec<i64> = firsts.chain([ROWS]).collect();
    let selectors = firsts.windows(2).enumerate().map(|(page, rows)| {
        let rows = usize::try_from(rows[1] - rows[0]).unwrap();
        if held(page) { RowSelector::select(rows) } else { RowSelector::skip(rows) }
    });
    let selection = RowSelection::from(selectors.collect::<Vec<_>>());
    assert_eq!(firsts.len() - 1, 5);
    assert!(selection.row_count() < 10_000, "{}", selection.row_count());
    let read =
        ParquetRecordBatchReaderBuilder::new_with_metadata(object.data.clone(), metadata.clone());
    let mut found = 0;
    for batch in read.with_row_selection(selection).build().unwrap() {
        let batch = batch.unwrap();
        let stamps = batch["ts_us"].as_primitive::<TimestampMicrosecondType>();
        found += stamps.values().iter().filter(|ts| (from..to).contains(*ts)).count();
    }
    assert_eq!(found, 67);

    // Offsets of pages rise and do not overlap.
    let offset = at(parquet, "offset");
    let ColumnIndexMetaData::INT64(of_offset) = index.column_index(offset).unwrap() else {
        panic!("no index")
    };
    let pages = index.page_locations(offset).unwrap().len();
    assert!(pages > 1);
    assert!((1..pages).all(|page| of_offset.min_value(page) > of_offset.max_value(page - 1)));
}

#[test]
fn row_groups_are_skipped_by_device_and_host() {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = SerializedFileReader::new_with_options(lines().data, options).unwrap();
    let group = reader.get_row_group(0).unwrap();
    for (column, name) in [("device", "pump-"), ("host", "h")] {
        let filter = group.get_column_bloom_filter(at(reader.metadata(), column)).unwrap();
        let may_have = |n: &u32| filter.check(&*format!("{name}{n}"));
        assert!((0..100).all(|n| may_have(&n)));
        let wrong = (100..1_100).filter(may_have).count();
        assert!(wrong < 50, "{wrong} of 1000 {column}s that are not there");
    }
    assert!(group.get_column_bloom_filter(at(reader.metadata(), "message")).is_none());
}
