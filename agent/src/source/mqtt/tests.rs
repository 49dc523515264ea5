#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[track_caller]
fn check_broker(text: &str, expected: Option<(&str, u16)>) {
    let is_tls = text.starts_with("mqtts");
    let found = Broker::try_from(text.to_owned()).ok();
    let expected = expected.map(|(host, port)| Broker { host: host.into(), port, is_tls });
    assert_eq!(found, expected, "{text}");
}

#[test]
fn brokers_are_read() {
    check_broker("mqtt://broker", Some(("broker", 1883)));
    check_broker("mqtt://10.0.0.1:1884/", Some(("10.0.0.1", 1884)));
    check_broker("mqtt://[::1]:1884", Some(("[::1]", 1884)));
    check_broker("mqtt://[::1]", Some(("[::1]", 1883)));
    check_broker("mqtts://broker", Some(("broker", 8883)));
    check_broker("mqtts://10.0.0.1:1884/", Some(("10.0.0.1", 1884)));
    check_broker("mqtts://[::1]", Some(("[::1]", 8883)));
    for bad in ["broker", "tls://broker", "mqtt://", "mqtt://a:b", "mqtt://u@h", "mqtt://::1:1883"]
    {
        check_broker(bad, None);
    }
}

#[test]
fn the_client_id_is_drawn_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/mqtt-b.client-id");
    let id = remembered_id(&path).unwrap();
    assert_eq!(id.len(), 21);
    assert_eq!(remembered_id(&path).unwrap(), id);
    let other = remembered_id(&folder.path().join("other")).unwrap();
    assert_ne!(other, id);
}

#[test]
fn the_first_pattern_that_matches_counts_and_none_is_no_loss() {
    let pattern = |text: &str| Pattern::try_from(text.to_owned()).unwrap();
    let topics = [pattern("a/{device}/x"), pattern("a/{site}/#")];
    assert_eq!(labels(&topics, "a/d/x").device.as_deref(), Some("d"));
    assert_eq!(labels(&topics, "a/d/y").site.as_deref(), Some("d"));
    assert_eq!(labels(&topics, "b"), Labels::default());
}
