use tempfile::TempDir;
use weir_models::central::mark_rollback;

use super::*;
use crate::central::scene::{level, sealed, signing};

const KEY: &str = "expected/plant/pump/temp";

fn desk(folder: &TempDir) -> Desk {
    desk_of(folder, 4 << 20)
}

fn desk_of(folder: &TempDir, bytes_max: u32) -> Desk {
    let keys = vec![signing(1).public()];
    let config =
        ModelsConfig { keys, sites: vec!["plant".into()], bytes_max, ..ModelsConfig::default() };
    Desk::new(config, Shelf::new(folder.path().join("models")))
}

/// An order in words.
fn words(order: Order) -> String {
    match order {
        Order::Begin { .. } => "begin".into(),
        Order::Force { central, .. } => format!("force {}", central.head.version),
        Order::Try { central, .. } => format!("try {}", central.head.version),
        Order::Withdraw { key } => format!("withdraw {key}"),
    }
}

fn take(desk: &mut Desk, value: Option<Bytes>) -> String {
    desk.take(KEY, value.as_ref()).map_or_else(|| "nothing".into(), words)
}

/// A bit of the model in force is another one.
fn alter(folder: &TempDir) {
    let file = folder.path().join("models").join(format!("{}.model", Shelf::stem(KEY)));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&file, bytes).unwrap();
}

fn settle(desk: &mut Desk, version: u64, became: Became) {
    desk.settle(Outcome { key: KEY.into(), version, became });
}

/// What a start would begin with.
fn after_a_restart(folder: &TempDir) -> Vec<String> {
    desk(folder).load().into_iter().map(words).collect()
}

#[test]
fn a_model_is_tried_and_after_that_a_start_begins_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    assert!(desk.load().is_empty());
    assert_eq!(take(&mut desk, Some(sealed("temp", 5, 1))), "try 5");
    assert_eq!(after_a_restart(&folder), [""; 0]);
    settle(&mut desk, 5, Became::InForce);
    assert_eq!(after_a_restart(&folder), ["force 5"]);
    assert_eq!(take(&mut desk, Some(sealed("temp", 5, 1))), "nothing");
    assert_eq!(take(&mut desk, Some(sealed("temp", 7, 1))), "try 7");
    // What was tried before that one says nothing any more.
    settle(&mut desk, 6, Became::InForce);
    assert_eq!(after_a_restart(&folder), ["force 5"]);
    settle(&mut desk, 7, Became::InForce);
    assert_eq!(after_a_restart(&folder), ["force 5", "force 7"]);
}

#[test]
fn what_is_forged_altered_older_or_too_large_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    take(&mut desk, Some(sealed("temp", 5, 1)));
    settle(&mut desk, 5, Became::InForce);
    let altered = |at: usize| {
        let mut bytes = sealed("temp", 9, 1).to_vec();
        let at = if at == usize::MAX { bytes.len() - 1 } else { at };
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    for (value, reason) in [
        (sealed("temp", 9, 2), "signature"),
        (altered(4), "program"),
        (altered(40), "signature"),
        (altered(usize::MAX), "changed"),
        (sealed("temp", 4, 1), "older"),
        (sealed("flow", 9, 1), "scope"),
        (vec![0; 1 << 20].into(), "too_large"),
        (Bytes::from_static(b"{}"), "damaged"),
    ] {
        assert_eq!(desk.look_at(KEY, &value).unwrap_err().reason(), reason);
        assert_eq!(take(&mut desk, Some(value)), "nothing", "{reason}");
        assert_eq!(after_a_restart(&folder), ["force 5"], "{reason}");
    }
    let mut small = desk_of(&folder, 2 * sealed("temp", 5, 1).len() as u32);
    small.load();
    assert_eq!(take(&mut small, Some(sealed("temp", 6, 1))), "try 6");
    let refusal = small.look_at("expected/plant/pump/flow", &sealed("flow", 1, 1)).unwrap_err();
    assert_eq!(refusal.reason(), "full");
}

#[test]
fn a_file_that_was_altered_or_whose_key_is_no_longer_pinned_does_not_judge() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    for version in [5, 6] {
        take(&mut desk, Some(sealed("temp", version, 1)));
        settle(&mut desk, version, Became::InForce);
    }
    alter(&folder);
    // The one before it does.
    assert_eq!(after_a_restart(&folder), ["force 5"]);
    desk.config.keys = vec![signing(2).public()];
    desk.held.clear();
    assert!(desk.load().is_empty());
}

#[test]
fn a_file_that_was_altered_never_takes_the_place_of_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = desk(&folder);
    for version in [5, 6] {
        take(&mut first, Some(sealed("temp", version, 1)));
        settle(&mut first, version, Became::InForce);
    }
    alter(&folder);
    let mut second = desk(&folder);
    second.load();
    take(&mut second, Some(sealed("temp", 7, 1)));
    settle(&mut second, 7, Became::InForce);
    assert_eq!(after_a_restart(&folder), ["force 5", "force 7"]);
    settle(&mut second, 7, Became::Flood);
    assert_eq!(after_a_restart(&folder), ["force 5"]);
    // Alone it is not one to fall back to.
    alter(&folder);
    let mut third = desk(&folder);
    third.load();
    take(&mut third, Some(sealed("temp", 8, 1)));
    settle(&mut third, 8, Became::InForce);
    let kept = third.shelf.load().unwrap();
    assert!(kept.iter().all(|(_, kept)| kept.previous.is_none()), "{kept:?}");
}

#[test]
fn a_roll_back_judges_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    let old = sealed("temp", 5, 1);
    for version in [5, 6] {
        take(&mut desk, Some(sealed("temp", version, 1)));
        settle(&mut desk, version, Became::InForce);
    }
    take(&mut desk, Some(sealed("temp", 7, 1)));
    let back = |version, key| mark_rollback(&old, version, &signing(key)).unwrap().into();
    assert_eq!(take(&mut desk, Some(back(8, 2))), "nothing");
    assert_eq!(take(&mut desk, Some(back(8, 1))), "force 8");
    assert_eq!(take(&mut desk, Some(back(6, 1))), "nothing");
    settle(&mut desk, 7, Became::InForce);
    // There is no way back to what it took the place of.
    assert_eq!(after_a_restart(&folder), ["force 8"]);
    assert_eq!(take(&mut desk, Some(sealed("temp", 9, 1))), "try 9");
    settle(&mut desk, 9, Became::InForce);
    assert_eq!(after_a_restart(&folder), ["force 8", "force 9"]);
    assert_eq!(take(&mut desk, Some(back(10, 1))), "force 10");
    settle(&mut desk, 10, Became::Flood);
    assert_eq!(after_a_restart(&folder), [""; 0]);
}

#[test]
fn what_failed_in_the_shadow_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = desk(&folder);
    take(&mut first, Some(sealed("temp", 5, 1)));
    settle(&mut first, 5, Became::Refused("it is wild".into()));
    assert_eq!(take(&mut first, Some(sealed("temp", 5, 1))), "nothing");
    let mut second = desk(&folder);
    assert!(second.load().is_empty());
    assert_eq!(take(&mut second, Some(sealed("temp", 5, 1))), "nothing");
    assert_eq!(take(&mut second, Some(sealed("temp", 6, 1))), "try 6");
}

#[test]
fn a_flood_gives_the_place_to_the_one_before_or_to_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = desk(&folder);
    for version in [5, 6] {
        take(&mut first, Some(sealed("temp", version, 1)));
        settle(&mut first, version, Became::InForce);
    }
    settle(&mut first, 6, Became::Flood);
    assert_eq!(after_a_restart(&folder), ["force 5"]);
    let mut second = desk(&folder);
    second.load();
    assert_eq!(take(&mut second, Some(sealed("temp", 6, 1))), "nothing");
    settle(&mut second, 5, Became::Flood);
    assert_eq!(after_a_restart(&folder), [""; 0]);
    assert_eq!(take(&mut second, Some(sealed("temp", 5, 1))), "nothing");
    assert_eq!(take(&mut second, Some(sealed("temp", 7, 1))), "try 7");
}

#[test]
fn what_was_withdrawn_comes_back_only_under_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = desk(&folder);
    assert_eq!(take(&mut first, None), "nothing");
    let five = sealed("temp", 5, 1);
    take(&mut first, Some(five.clone()));
    settle(&mut first, 5, Became::InForce);
    assert_eq!(take(&mut first, None), format!("withdraw {KEY}"));
    assert_eq!(after_a_restart(&folder), [""; 0]);
    let mut second = desk(&folder);
    second.load();
    for desk in [&mut first, &mut second] {
        for version in [3, 4, 5] {
            let value = sealed("temp", version, 1);
            assert_eq!(desk.look_at(KEY, &value).unwrap_err().reason(), "older", "{version}");
        }
        // The topic tells of it again after each start.
        assert_eq!(take(desk, None), "nothing");
        assert_eq!(desk.look_at(KEY, &five).unwrap_err().reason(), "older");
    }
    assert_eq!(take(&mut first, Some(sealed("temp", 6, 1))), "try 6");
    let again = mark_rollback(&five, 6, &signing(1)).unwrap().into();
    assert_eq!(take(&mut second, Some(again)), "force 6");
    assert_eq!(after_a_restart(&folder), ["force 6"]);
}

#[test]
fn a_withdrawal_that_was_cut_short_or_met_a_model_that_cannot_be_opened_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = desk(&folder);
    for version in [5, 6] {
        take(&mut first, Some(sealed("temp", version, 1)));
        settle(&mut first, version, Became::InForce);
    }
    take(&mut first, Some(sealed("temp", 7, 1)));
    let file = |of: &str| folder.path().join("models").join(format!("{}.{of}", Shelf::stem(KEY)));
    let [current, previous] = ["model", "previous"].map(|of| std::fs::read(file(of)).unwrap());
    let again = || {
        std::fs::write(file("model"), &current).unwrap();
        std::fs::write(file("previous"), &previous).unwrap();
    };
    assert_eq!(take(&mut first, None), format!("withdraw {KEY}"));
    again();
    assert_eq!(after_a_restart(&folder), [""; 0]);

    std::fs::remove_file(file("floor")).unwrap();
    again();
    let mut unpinned = desk(&folder);
    unpinned.config.keys = vec![signing(2).public()];
    assert!(unpinned.load().is_empty());
    assert_eq!(take(&mut unpinned, None), "nothing");
    assert_eq!(after_a_restart(&folder), [""; 0]);
}

#[test]
fn advice_is_taken_at_once_and_a_forged_one_is_not() {
    const LEVEL: &str = "level/plant/pump/temp";
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    let mut offer = |bytes: Bytes| {
        let order = desk.take(LEVEL, Some(&bytes));
        (order.map_or_else(|| "nothing".into(), words), after_a_restart(&folder))
    };
    let forced = |n: u64| (format!("force {n}"), vec![format!("force {n}")]);
    assert_eq!(offer(level(1.5, 5, 1)), forced(5));
    assert_eq!(offer(level(1.5, 5, 1)), ("nothing".into(), vec!["force 5".into()]));
    assert_eq!(offer(level(2.0, 6, 1)), forced(6));
    for refused in [level(2.0, 9, 2), level(2.0, 4, 1), sealed("temp", 9, 1)] {
        assert_eq!(offer(refused), ("nothing".into(), vec!["force 6".into()]));
    }
    let back = mark_rollback(&level(1.5, 5, 1), 7, &signing(1)).unwrap();
    assert_eq!(offer(back.into()), forced(7));
    assert_eq!(desk.take(LEVEL, None).map(words), Some(format!("withdraw {LEVEL}")));
    assert_eq!(after_a_restart(&folder), [""; 0]);
}

#[test]
fn only_kinds_that_are_used_and_sites_that_are_ours_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(&folder);
    desk.config.sites = vec!["plant".into(), "north-*".into()];
    for (key, expected) in [
        (KEY, true),
        ("group/plant/pump/*", true),
        ("expected/north-7/pump/temp", true),
        ("expected/*/pump/temp", true),
        ("expected/pl*/pump/temp", true),
        ("expected/other/pump/temp", false),
        ("shapes/plant/*/*", true),
        ("rerank/*/*/*", true),
        ("wishes/plant/*/*", false),
        ("expected", false),
        ("", false),
    ] {
        assert_eq!(desk.wants(key.as_bytes()), expected, "{key}");
    }
    assert!(!desk.wants(b"expected/\xff"));
}
