//! Models that tests try the take-up and the line with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use weir_models::central::{
    Band, Expected, Feature, Head, Linear, Model, Regressor, Schema, Scope, Unit, Version,
};

/// Of a model that every agent may take, and at any time.
pub(crate) fn head(site: &str, device: &str, metric: &str, version: u64) -> Head {
    Head {
        scope: Scope { site: site.into(), device: device.into(), metric: metric.into() },
        version,
        valid_from_us: 0,
        trained_until_us: 0,
        min_agent: Version([0; 3]),
        rollback: false,
    }
}

/// `base`, and `weight` of the reading before; give or take one.
pub(crate) fn linear(base: f64, weight: f64) -> Model {
    let regressor = Regressor::Linear(Linear::new(base, vec![weight]).unwrap());
    let schema = Schema::new(vec![Feature::Lag(1)]).unwrap();
    let (unit, band) = (Unit { origin: 0.0, scale: 1.0 }, Band::new(1.0, 0.5).unwrap());
    Model::Expected(Expected::new(schema, unit, 3_600_000_000, band, regressor).unwrap())
}
