//! Body: what a person may say of a device. Pure.
//!
//! In: JSON, or a JSON merge patch (RFC 7396) of what is known. Out: a record within bounds, its version ([`tag`]),
//! what differs between two. What can go wrong: an unknown field, text that cannot be, too much of it; the error says
//! what and what to do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use weir_models::device::Device;
use weir_models::limit::{META_ENTRIES_MAX, METRICS_MAX, NAME_BYTES_MAX};

/// Longest value of a metadata entry, in bytes: it is copied into every event of the device.
pub(crate) const META_VALUE_BYTES_MAX: usize = 1_024;
/// Most other names of a device.
pub(crate) const ALIASES_MAX: usize = 64;

/// What a person says of a device; replaces what was said before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceBody {
    /// Other names under which it shows up at the same site: host names, addresses, client ids.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// Joined to every event of the device.
    #[serde(default)]
    pub(crate) meta: BTreeMap<String, String>,
    /// Unit of each metric, where the sender does not tell it.
    #[serde(default)]
    pub(crate) units: BTreeMap<String, String>,
}

/// Some of what a person says of a device, as a JSON merge patch (RFC 7396): null takes away, what is not there stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it says what a patch is; patches are merged as they come")]
pub(crate) struct DevicePatch {
    /// Other names under which it shows up at the same site; replaces all of them.
    aliases: Option<Vec<String>>,
    /// Joined to every event of the device; each entry by itself.
    meta: Option<BTreeMap<String, Option<String>>>,
    /// Unit of each metric, where the sender does not tell it; each entry by itself.
    units: Option<BTreeMap<String, Option<String>>>,
}

/// What the body of a device is.
pub(crate) const HINT: &str =
    "send an object with `aliases` (list), `meta` and `units` (objects of texts)";

/// What is said cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}: {hint}")]
pub(crate) struct Invalid {
    /// What is wrong.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Invalid {
    pub(super) fn new(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { detail: detail.into(), hint: hint.into() }
    }

    /// JSON of another form.
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::new(error.to_string(), HINT)
    }
}

impl DeviceBody {
    /// What is known already.
    pub(super) fn of(device: &Device) -> Self {
        let Device { aliases, meta, units, .. } = device.clone();
        Self { aliases, meta, units }
    }

    /// The record of a device, without a stamp.
    pub(super) fn record(self, site: &str, device: &str) -> Device {
        let Self { aliases, meta, units } = self;
        Device { site: site.into(), device: device.into(), aliases, meta, units, updated_us: 0 }
    }

    /// This with the patch applied, within bounds.
    pub(super) fn patched(&self, patch: &Value) -> Result<Self, Invalid> {
        if !patch.is_object() {
            return Err(Invalid::new(
                "a patch is an object",
                "send the fields to change; null takes away, for example {\"meta\": {\"hall\": null}}",
            ));
        }
        let mut whole = serde_json::to_value(self).map_err(|error| Invalid::json(&error))?;
        merge(&mut whole, patch);
        let patched: Self = serde_json::from_value(whole).map_err(|error| Invalid::json(&error))?;
        patched.checked()
    }

    /// This, if it is within bounds.
    pub(super) fn checked(self) -> Result<Self, Invalid> {
        let too_many = |what: &str, max: usize| {
            Invalid::new(format!("too many {what}"), format!("at most {max}"))
        };
        if self.aliases.len() > ALIASES_MAX {
            return Err(too_many("aliases", ALIASES_MAX));
        }
        if self.meta.len() > META_ENTRIES_MAX {
            return Err(too_many("entries in `meta`", META_ENTRIES_MAX));
        }
        if self.units.len() > METRICS_MAX {
            return Err(too_many("entries in `units`", METRICS_MAX));
        }
        let names = self.aliases.iter().chain(self.meta.keys());
        for name in names.chain(self.units.keys()) {
            check_text(name, 1, NAME_BYTES_MAX)?;
        }
        for value in self.meta.values() {
            check_text(value, 0, META_VALUE_BYTES_MAX)?;
        }
        for unit in self.units.values() {
            check_text(unit, 0, NAME_BYTES_MAX)?;
        }
        if self.aliases.iter().collect::<BTreeSet<_>>().len() < self.aliases.len() {
            return Err(Invalid::new("an alias is there twice", "name each alias once"));
        }
        Ok(self)
    }
}

/// Whether text has a length within these bounds, in bytes, and nothing that cannot be shown.
pub(super) fn check_text(text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if (min..=max).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let shown: String = text.chars().take(40).collect();
    Err(Invalid::new(
        format!("`{}` cannot be used", shown.escape_debug()),
        format!("this takes {min} to {max} bytes and no control characters"),
    ))
}

/// RFC 7396: objects are merged, null takes away, all else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in fields {
            if value.is_null() {
                target.remove(name);
            } else {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

/// The version of a record: another one whenever anything in it is another, its stamp included.
pub(crate) fn tag(device: &Device) -> String {
    let json = serde_json::to_vec(device).unwrap_or_default();
    let digest = Sha256::digest(json);
    let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Which fields differ, as `aliases`, `meta.NAME`, `units.NAME`; stamps are left aside.
pub(crate) fn differences(before: Option<&Device>, after: Option<&Device>) -> Vec<String> {
    let nothing = Device::default();
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    let mut found = Vec::new();
    if before.aliases != after.aliases {
        found.push("aliases".to_owned());
    }
    for (field, before, after) in
        [("meta", &before.meta, &after.meta), ("units", &before.units, &after.units)]
    {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        found.extend(changed.map(|name| format!("{field}.{name}")));
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn a_patch_merges_as_its_standard_says() {
        for (target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, expected, "{target} {patch}");
        }
    }

    fn body() -> DeviceBody {
        let text =
            json!({"aliases": ["a"], "meta": {"hall": "A", "line": "4"}, "units": {"t": "K"}});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_patch_changes_what_it_names_and_stays_within_bounds() {
        let patch = json!({"meta": {"hall": "B", "line": null}, "aliases": ["x", "y"]});
        let patched = body().patched(&patch).unwrap();
        assert_eq!(patched.aliases, ["x", "y"]);
        assert_eq!(patched.meta, [("hall".to_owned(), "B".to_owned())].into());
        assert_eq!(patched.units, body().units);
        // A whole field goes by null.
        let patched = body().patched(&json!({"meta": null, "aliases": null})).unwrap();
        assert!(patched.meta.is_empty() && patched.aliases.is_empty());
        assert_eq!(body().patched(&json!({})).unwrap(), body());
        for patch in [
            json!([1]),
            json!(null),
            json!({"metadata": {}}),
            json!({"site": "other"}),
            json!({"meta": {"a": 1}}),
            json!({"meta": {"a": "x\ny"}}),
            json!({"meta": {"": "x"}}),
            json!({"aliases": ["a", "a"]}),
            json!({"units": {"t": "x".repeat(257)}}),
        ] {
            assert!(body().patched(&patch).is_err(), "{patch}");
        }
    }

    #[test]
    fn a_version_is_another_one_when_anything_is() {
        let device = body().record("s", "d");
        assert_eq!(tag(&device), tag(&device.clone()));
        let other = Device { updated_us: 1, ..device.clone() };
        assert_ne!(tag(&device), tag(&other));
        assert!(tag(&device).starts_with('"') && tag(&device).len() == 26);
    }

    #[test]
    fn differences_are_named_field_by_field() {
        let before = body().record("s", "d");
        let patch = json!({"meta": {"hall": "B", "new": "1"}, "units": {"t": null}});
        let after = body().patched(&patch).unwrap().record("s", "d");
        let fields = ["meta.hall", "meta.new", "units.t"];
        assert_eq!(differences(Some(&before), Some(&after)), fields);
        let all = ["aliases", "meta.hall", "meta.line", "units.t"];
        assert_eq!(differences(None, Some(&before)), all);
        assert_eq!(differences(Some(&before), None), all);
        assert!(differences(Some(&before), Some(&before)).is_empty());
    }
}
