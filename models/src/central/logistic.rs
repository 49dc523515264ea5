//! The probability that somebody wants to see an alarm, by what people said of earlier ones.
//!
//! In: features of the alarm. Out: a probability. The exponential is made of `+ - * /` (a power of two times a
//! polynomial), because that of the system's library differs in its last bits from one to the other.

/// `1 / (1 + e^-x)` to about 1e-10, for any number.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x.is_nan() {
        return 0.5;
    }
    let small = exp_of_negative(-x.abs().min(700.0));
    let low = small / (1.0 + small);
    if x < 0.0 { low } else { 1.0 - low }
}

/// `e^x` for `-700 <= x <= 0`: `2^k e^r` with `|r|` at most half the logarithm of two.
fn exp_of_negative(x: f64) -> f64 {
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const LN_2: f64 = std::f64::consts::LN_2;
    let k = (x * LOG2_E).round();
    let r = x - k * LN_2;
    // Taylor: the first term left out is below 1e-12.
    let mut term = 1.0;
    let mut sum = 1.0;
    for i in 1..=10 {
        term *= r / f64::from(i);
        sum += term;
    }
    // `k` is between -1010 and 0: a normal number.
    sum * f64::from_bits(((k as i64 + 1_023).cast_unsigned()) << 52)
}
