//! The order of the records of a group.
//!
//! In: JSON of an event. Out: its number in the stream. Frames of a group interleave, so whoever
//! unpacks them has to sort: a number that does not rise within a partition is a duplicate to the
//! sink.

/// The number of a record in its stream; alerts have it in `data`. Looked for and not parsed: no text
/// inside JSON can hold these bytes, because a quote in it is escaped.
pub(super) fn seq(value: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"seq\":";
    let at = value.windows(NAME.len()).position(|bytes| bytes == NAME)? + NAME.len();
    let mut digits = value[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// Puts records into the order of their numbers; those without one stay in front, as they are.
pub(super) fn in_order<T>(records: &mut [T], value: impl Fn(&T) -> &[u8]) {
    records.sort_by_cached_key(|record| seq(value(record)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_group_go_in_the_order_of_their_numbers_whatever_their_batches() {
        let mut records = [
            "{\"a\":\"\\\"seq\\\":9\",\"seq\":1}",
            "{\"seq\":4}",
            "{\"data\":{\"seq\":2}}",
            "{\"seq\":3}",
        ];
        in_order(&mut records, |record| record.as_bytes());
        let order = records.map(|record| seq(record.as_bytes()));
        assert_eq!(order, [Some(1), Some(2), Some(3), Some(4)]);
    }
}
