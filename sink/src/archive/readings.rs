//! Reading the archive back: the values of readings, for training and back-tests.
//!
//! In: the target, and who wants what. Out: every archived reading that is wanted, object by object in the order of their
//! names, also where a merge overtakes it. Four columns besides the values are read. What was archived twice comes twice. What can go wrong: as for
//! [`super::ReadError`].

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, Float64Array, ListArray, RecordBatch, StringArray};
use weir_models::topic::Topic;

use super::fields::{Fields, batches};
use super::read::rows_from;
use super::{Archive, ReadError};

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
        self.each_object(Topic::Readings, |data, from| values(data, from, &mut each)).await
    }
}

fn values(
    data: bytes::Bytes,
    from: i64,
    each: &mut impl FnMut(Archived<'_>) -> bool,
) -> Result<bool, String> {
    for batch in batches(data, Some(&["site", "device", "ts_us", "values", "offset"]))? {
        let batch = rows_from(&batch.map_err(|error| error.to_string())?, from)?;
        if !values_of_batch(&batch, each)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn values_of_batch(
    batch: &RecordBatch,
    each: &mut impl FnMut(Archived<'_>) -> bool,
) -> Result<bool, String> {
    let fields = Fields(batch);
    let (sites, devices) = (fields.text("site")?, fields.text("device")?);
    let (stamps, values) = (fields.stamps_us("ts_us")?, Values::of(fields)?);
    for row in 0..batch.num_rows() {
        for (metric, value) in values.of_row(row) {
            let value = Archived {
                site: sites.value(row),
                device: devices.value(row),
                metric,
                ts_us: stamps.value(row),
                value,
            };
            if !each(value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The column `values`.
pub(crate) struct Values<'a> {
    pub(super) lists: &'a ListArray,
    pub(super) metrics: &'a StringArray,
    pub(super) numbers: &'a Float64Array,
}

impl<'a> Values<'a> {
    pub(crate) fn of(fields: Fields<'a>) -> Result<Self, String> {
        let other = || "the column `values` holds something else".to_owned();
        let lists = fields.column("values")?.as_list_opt::<i32>().ok_or_else(other)?;
        let parts = lists.values().as_struct_opt().ok_or_else(other)?;
        let metrics = parts.column_by_name("metric").and_then(|c| c.as_string_opt::<i32>());
        let numbers = parts.column_by_name("v").and_then(|c| c.as_primitive_opt::<Float64Type>());
        Ok(Self { lists, metrics: metrics.ok_or_else(other)?, numbers: numbers.ok_or_else(other)? })
    }

    /// Where the values of a row are.
    pub(super) fn places(&self, row: usize) -> std::ops::Range<usize> {
        let [first, end] = [row, row + 1].map(|at| self.lists.value_offsets()[at] as usize);
        first..end
    }

    /// Metric and value, as far as it is a number.
    pub(crate) fn of_row(&self, row: usize) -> impl Iterator<Item = (&'a str, f64)> {
        let (metrics, numbers) = (self.metrics, self.numbers);
        let valid = self.places(row).filter(|&at| numbers.is_valid(at));
        valid.map(|at| (metrics.value(at), numbers.value(at)))
    }
}
