//! Models that tests try the take-up and the line with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use weir_models::central::{
    Band, Expected, Feature, Head, Level, Linear, Model, Regressor, Schema, Scope, SigningKey,
    Unit, Version, seal,
};

/// A key from nothing but a number: PKCS#8 of RFC 8410, section 7.
pub(crate) fn signing(n: u8) -> SigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([n; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

/// "As the reading before", for `plant/pump` and a metric.
pub(crate) fn sealed(metric: &str, version: u64, key: u8) -> Bytes {
    let head = head("plant", "pump", metric, version);
    let golden: Vec<_> = (0..8).map(|n| vec![f64::from(n)]).collect();
    seal(&head, &linear(0.0, 1.0), &golden, &signing(key)).unwrap().into()
}

/// A factor on the alarm level of `plant/pump/temp`.
pub(crate) fn level(factor: f32, version: u64, key: u8) -> Bytes {
    let model = Model::Level(Level::new(factor).unwrap());
    let golden = vec![vec![1.0]; 8];
    seal(&head("plant", "pump", "temp", version), &model, &golden, &signing(key)).unwrap().into()
}

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
