//! Numbers: columns of integers and floating-point numbers as few bytes.
//!
//! In: a column. Out: bytes, and back, bit for bit. Floating-point numbers are kept in the first form of
//! these that gives every single one of them back: integers times a power of ten (what a sensor with two
//! decimals sends), single precision, double precision. Not-a-number, infinities and -0.0 are no decimals
//! and keep their bits. Promises: the same column gives the same bytes.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::frame::Damaged;

/// Most decimals that are looked for.
const DECIMALS_MAX: u8 = 9;
/// A float is an integer times a power of ten only below this, so that no bit can be lost: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Numbers that are tried before a whole column is.
const SAMPLE: usize = 64;
/// Form bytes: up to [`DECIMALS_MAX`] that many decimals.
const SINGLE: u8 = 100;
const DOUBLE: u8 = 101;

/// Below the default: quicker to encode, and hardly larger.
fn config() -> ChunkConfig {
    ChunkConfig::default().with_compression_level(4)
}

/// Compresses a column of integers.
pub(super) fn pack<T: Number>(column: &[T]) -> Result<Vec<u8>, Damaged> {
    Ok(simple_compress(column, &config())?)
}

/// Reads a column of `n` numbers.
pub(super) fn unpack<T: Number + Default>(bytes: &[u8], n: usize) -> Result<Vec<T>, Damaged> {
    let mut column = vec![T::default(); n];
    let progress = simple_decompress_into(bytes, &mut column)?;
    if progress.n_processed != n || !progress.finished {
        return Err(Damaged(format!("a column does not hold the {n} numbers it should")));
    }
    Ok(column)
}

/// Compresses a column of floating-point numbers.
pub(super) fn pack_floats(column: &[f64]) -> Result<Vec<u8>, Damaged> {
    let (form, mut packed) = match decimals(column) {
        Some((digits, integers)) => (digits, pack(&integers)?),
        None => match singles(column) {
            Some(singles) => (SINGLE, pack(&singles)?),
            None => (DOUBLE, pack(column)?),
        },
    };
    packed.push(form);
    Ok(packed)
}

/// Reads a column of `n` floating-point numbers.
pub(super) fn unpack_floats(bytes: &[u8], n: usize) -> Result<Vec<f64>, Damaged> {
    let Some((&form, packed)) = bytes.split_last() else {
        return Err(Damaged("a column is missing".into()));
    };
    match form {
        0..=DECIMALS_MAX => {
            let integers = unpack::<i64>(packed, n)?;
            let scale = power_of_ten(form);
            Ok(integers.into_iter().map(|integer| integer as f64 / scale).collect())
        }
        SINGLE => Ok(unpack::<f32>(packed, n)?.into_iter().map(f64::from).collect()),
        DOUBLE => unpack(packed, n),
        _ => Err(Damaged(format!("a column has the unknown form {form}"))),
    }
}

fn power_of_ten(digits: u8) -> f64 {
    // Exact up to 22 digits.
    10f64.powi(i32::from(digits))
}

/// The integer that, divided by `scale`, is `value` to the last bit.
fn integer(value: f64, scale: f64) -> Option<i64> {
    let integer = (value * scale).round();
    let same = (integer / scale).to_bits() == value.to_bits();
    // The bits exclude -0.0, whose integer is 0.
    let integer_is_exact = integer.abs() < EXACT_MAX;
    (integer_is_exact && (integer as i64 as f64 / scale).to_bits() == value.to_bits() && same)
        .then_some(integer as i64)
}

/// The column as integers of the fewest decimals that hold every number of it.
fn decimals(column: &[f64]) -> Option<(u8, Vec<i64>)> {
    let step = column.len().div_ceil(SAMPLE).max(1);
    let holds = |&digits: &u8| {
        let scale = power_of_ten(digits);
        column.iter().step_by(step).all(|&value| integer(value, scale).is_some())
    };
    (0..=DECIMALS_MAX).filter(holds).find_map(|digits| {
        let scale = power_of_ten(digits);
        let integers: Option<Vec<i64>> =
            column.iter().map(|&value| integer(value, scale)).collect();
        Some((digits, integers?))
    })
}

fn singles(column: &[f64]) -> Option<Vec<f32>> {
    let single = |&value: &f64| {
        let single = value as f32;
        (f64::from(single).to_bits() == value.to_bits()).then_some(single)
    };
    column.iter().map(single).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(column: &[f64], form: u8) {
        let packed = pack_floats(column).unwrap();
        assert_eq!(packed.last(), Some(&form));
        let back = unpack_floats(&packed, column.len()).unwrap();
        let bits = |column: &[f64]| column.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(column));
    }

    #[test]
    fn the_smallest_form_that_loses_nothing_is_taken() {
        check(&[], 0);
        check(&[1.0, -3.0, 0.0], 0);
        check(&[20.1, 20.2, -0.3], 1);
        check(&[1e-9, 5.0], 9);
        check(&[f64::from(0.1f32), f64::from(1.7f32)], SINGLE);
        check(&[-0.0, 1.0], SINGLE);
        check(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], SINGLE);
        check(&[std::f64::consts::PI, 1.0], DOUBLE);
        check(&[74.935_881_999_999_98, 1.5], DOUBLE);
        check(&[9_007_199_254_740_994.0, 0.5], DOUBLE);
        check(&[f64::MAX, f64::MIN_POSITIVE], DOUBLE);
    }

    #[test]
    fn one_odd_number_beyond_the_sample_is_kept() {
        let mut column = vec![0.5; 10_000];
        column[777] = std::f64::consts::E;
        check(&column, DOUBLE);
    }

    #[test]
    fn a_column_of_another_length_is_damaged() {
        let packed = pack_floats(&[1.0, 2.0]).unwrap();
        assert!(unpack_floats(&packed, 3).is_err());
        assert!(unpack_floats(&packed, 1).is_err());
        assert!(unpack_floats(&[], 0).is_err());
        assert!(unpack_floats(&[55], 0).is_err());
    }

    proptest! {
        #[test]
        fn every_column_comes_back(bits in proptest::collection::vec(any::<u64>(), 0..300)) {
            let column: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
            let back = unpack_floats(&pack_floats(&column).unwrap(), column.len()).unwrap();
            prop_assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn decimals_come_back(integers in proptest::collection::vec(-1_000_000i64..1_000_000, 1..300), digits in 0u8..6) {
            let scale = power_of_ten(digits);
            let column: Vec<f64> = integers.iter().map(|&i| i as f64 / scale).collect();
            let packed = pack_floats(&column).unwrap();
            prop_assert!(packed.last().is_some_and(|&form| form <= digits));
            prop_assert_eq!(unpack_floats(&packed, column.len()).unwrap(), column);
        }
    }
}
