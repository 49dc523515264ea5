//! Reading the archive back: the values of readings, for training and back-tests.
//!
//! In: the target, and who wants what. Out: every archived reading that is wanted, object by object in the order of their
//! names. Three columns besides the values are read. What was archived twice comes twice. What can go wrong: as for
//! [`super::ReadError`].

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_models::topic::Topic;

use super::{Archive, ArchiveError, ReadError};

/// One archived value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Archived<'a> {
    /// Site.
    pub site: &'a str,
    /// Device.
    pub device: &'a str,
    /// Metric.
    pub metric: &'a str,
    /// Event time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Value.
    pub value: f64,
}

impl Archive {
    /// Hands every archived value of a reading to `each`, until that says no.
    ///
    /// # Errors
    /// When the target does not answer or an object is damaged.
    pub async fn each_value(
        &self,
        mut each: impl FnMut(Archived<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let folder = Topic::Readings.suffix();
        let listed = self.target.list(Some(&object_store::path::Path::from(folder)));
        let listed: Vec<_> = listed.try_collect().await.map_err(|source| ArchiveError {
            what: "list",
            path: folder.into(),
            source,
        })?;
        let mut paths: Vec<_> = listed.into_iter().map(|object| object.location).collect();
        paths.retain(|path| path.as_ref().ends_with(".parquet"));
        paths.sort();
        for path in paths {
            let read = async { self.target.get(&path).await?.bytes().await };
            let data = read.await.map_err(|source| ArchiveError {
                what: "read",
                path: path.to_string(),
                source,
            })?;
            let goes_on = values(data, &mut each)
                .map_err(|reason| ReadError::Damaged { path: path.to_string(), reason })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}

fn values(data: bytes::Bytes, each: &mut impl FnMut(Archived<'_>) -> bool) -> Result<bool, String> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(data).map_err(|error| error.to_string())?;
    let wanted = ["site", "device", "ts_us", "values"];
    let columns = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(columns).build().map_err(|error| error.to_string())?;
    for batch in reader {
        if !values_of_batch(&batch.map_err(|error| error.to_string())?, each)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn values_of_batch(
    batch: &RecordBatch,
    each: &mut impl FnMut(Archived<'_>) -> bool,
) -> Result<bool, String> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"))
    };
    let other = |name: &str| format!("the column `{name}` holds something else");
    let sites = column("site")?.as_string_opt::<i32>().ok_or_else(|| other("site"))?;
    let devices = column("device")?.as_string_opt::<i32>().ok_or_else(|| other("device"))?;
    let stamps = column("ts_us")?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| other("ts_us"))?;
    let lists = column("values")?.as_list_opt::<i32>().ok_or_else(|| other("values"))?;
    let fields = lists.values().as_struct_opt().ok_or_else(|| other("values"))?;
    let metrics = fields.column_by_name("metric").and_then(|c| c.as_string_opt::<i32>());
    let numbers = fields.column_by_name("v").and_then(|c| c.as_primitive_opt::<Float64Type>());
    let (Some(metrics), Some(numbers)) = (metrics, numbers) else {
        return Err(other("values"));
    };
    for row in 0..batch.num_rows() {
        let [first, end] = [row, row + 1].map(|at| lists.value_offsets()[at] as usize);
        for at in first..end {
            let value = Archived {
                site: sites.value(row),
                device: devices.value(row),
                metric: metrics.value(at),
                ts_us: stamps.value(row),
                value: numbers.value(at),
            };
            if numbers.is_valid(at) && !each(value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
