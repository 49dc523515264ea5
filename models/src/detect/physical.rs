//! What a value in its unit cannot be, whatever sensor it is from.
//!
//! In: metric, unit and value of a reading. Out: the limit that the value has passed. Only limits that sane data never
//! pass are here: a plain `%` may be a load of 120, `C` a charge in coulomb, a pressure in `bar` the difference of two, kelvins too, and revolutions
//! have a direction. A limit is a little outside of the true one, for sensors that overshoot.

/// A limit that a value has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beyond {
    low: f64,
    high: f64,
}

const PERCENT: Beyond = Beyond { low: -5.0, high: 105.0 };
/// A plain `%` is looked at where the metric is one of these: parts of a whole.
const PARTS: [&str; 2] = ["humid", "moisture"];

const fn above(low: f64) -> Beyond {
    Beyond { low, high: f64::INFINITY }
}

/// The limits that the value is not within; nothing where it is, or where nothing is known of its unit.
#[inline]
#[must_use]
pub fn beyond(metric: &str, unit: Option<&str>, value: f64) -> Option<Beyond> {
    // Every limit is outside of this, so that most readings cost two comparisons.
    if (0.0..=100.0).contains(&value) {
        return None;
    }
    limits(metric, unit?).filter(|limits| !(limits.low..=limits.high).contains(&value))
}

/// What is possible in a unit, by the names that senders write.
fn limits(metric: &str, unit: &str) -> Option<Beyond> {
    Some(match unit {
        "°C" | "degC" | "℃" | "Cel" | "celsius" | "Celsius" => above(-273.15),
        "°F" | "F" | "degF" | "℉" | "[degF]" | "fahrenheit" | "Fahrenheit" => above(-459.67),
        "bara" | "bar(a)" => above(-0.1),
        "mbara" | "mbar(a)" | "hPa(a)" => above(-100.0),
        "kPa(a)" => above(-10.0),
        "psia" => above(-1.5),
        "barg" | "bar(g)" => above(-1.1),
        "psig" => above(-16.0),
        "%RH" | "%rH" | "%rh" | "% RH" | "%r.H." => PERCENT,
        "%" if is_part(metric) => PERCENT,
        _ => return None,
    })
}

fn is_part(metric: &str) -> bool {
    // Byte by byte: a search for text would be a program of its own, for names of some ten letters.
    let has = |part: &&str| metric.as_bytes().windows(part.len()).any(|at| at == part.as_bytes());
    PARTS.iter().any(has)
}

impl Beyond {
    /// What is wrong with the value.
    #[must_use]
    pub fn explain(&self, unit: &str, value: f64) -> String {
        let Self { low, high } = self;
        if value < *low {
            format!("{value} {unit}: no sensor measures less than {low}")
        } else {
            format!("{value} {unit}: no sensor measures more than {high}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: &str, unit: &str, value: f64, expected: Option<&str>) {
        let found = beyond(metric, Some(unit), value).map(|beyond| beyond.explain(unit, value));
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn what_no_sensor_measures() {
        check("t", "°C", -273.2, Some("-273.2 °C: no sensor measures less than -273.15"));
        check("t", "F", -500.0, Some("-500 F: no sensor measures less than -459.67"));
        check("p", "bara", -0.2, Some("-0.2 bara: no sensor measures less than -0.1"));
        check("p", "barg", -1.2, Some("-1.2 barg: no sensor measures less than -1.1"));
        check("p", "psig", -17.0, Some("-17 psig: no sensor measures less than -16"));
        check("x", "%RH", 105.1, Some("105.1 %RH: no sensor measures more than 105"));
        check("soil_moisture", "%", -6.0, Some("-6 %: no sensor measures less than -5"));
        check("air_humidity", "%", 655.35, Some("655.35 %: no sensor measures more than 105"));
    }

    #[test]
    fn what_sane_data_may_be() {
        for (metric, unit, value) in [
            ("t", "°C", -273.15),
            ("t", "°C", 1_600.0),
            ("dt", "K", -4.0),
            ("load", "%", 130.0),
            ("deviation", "%", -40.0),
            ("level", "%", 120.0),
            ("humidity", "%", 100.4),
            ("vacuum", "mbara", -0.5),
            ("charge", "C", -1_200.0),
            ("dp", "bar", -3.0),
            ("p", "barg", -1.013),
            ("speed", "rpm", -1_500.0),
            ("current", "A", -20.0),
            ("u", "V", -230.0),
            ("level", "", 1e9),
            ("t", "℃", f64::INFINITY),
        ] {
            check(metric, unit, value, None);
        }
        assert_eq!(beyond("humidity", None, 1e9), None);
    }

    #[test]
    fn no_limit_is_within_what_is_not_looked_at() {
        for unit in ["°C", "°F", "bara", "mbara", "kPa(a)", "psia", "barg", "psig", "%RH", "%"] {
            let limits = limits("humidity", unit).unwrap();
            assert!(limits.low <= 0.0 && limits.high >= 100.0, "{unit}");
        }
    }
}
