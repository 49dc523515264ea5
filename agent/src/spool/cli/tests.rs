#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::spool::{LaneReader, Spool};

/// A data folder with 30 events in three groups of the lane `rest`, the first group acknowledged;
/// the files are closed.
fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    drop(open(&dir));
    dir
}

fn open(dir: &TempDir) -> (Spool, [LaneReader; 4]) {
    let (mut spool, mut readers) =
        Spool::open(&dir.path().join("spool"), &SpoolConfig::default()).unwrap();
    let topic: Arc<str> = "weir.logs".into();
    for i in 0..30 {
        spool.append(Lane::Rest, &topic, 1, b"k", 1_000, |id, out| {
            out.extend_from_slice(format!("{{\"seq\":{}}}", id.seq).as_bytes());
        });
        if i % 10 == 9 {
            spool.flush().unwrap();
        }
    }
    let group = readers[3].next_group().unwrap().unwrap();
    readers[3].acknowledge(group.end).unwrap();
    (spool, readers)
}

fn segment(dir: &TempDir) -> PathBuf {
    dir.path().join("spool/3-rest/00000000000000000000.seg")
}

fn damage(dir: &TempDir) {
    let file = std::fs::OpenOptions::new().write(true).open(segment(dir)).unwrap();
    let end = file.metadata().unwrap().len();
    // In the batch of the last group: its second head takes less than that.
    file.write_all_at(b"###", end - 120).unwrap();
}

fn output(run: impl FnOnce(&mut Vec<u8>) -> Result<bool, CliError>) -> (bool, String) {
    let mut out = Vec::new();
    let fine = run(&mut out).unwrap();
    (fine, String::from_utf8(out).unwrap())
}

fn export(dir: &TempDir, all: bool) -> Vec<u64> {
    let place = Place { config: None, dir: None };
    let export = Export { place, all, lane: None, raw: false, dead: false };
    let (_, text) = output(|out| export.print(dir.path(), out));
    let seq = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64();
    text.lines().map(|line| seq(line).unwrap()).collect()
}

fn listing(dir: &TempDir) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for lane in Lane::ALL {
        for entry in std::fs::read_dir(dir.path().join("spool").join(lane.folder())).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn looking_changes_nothing_and_works_beside_the_agent() {
    let dir = TempDir::new().unwrap();
    let agent = open(&dir);
    let before = listing(&dir);
    let (fine, text) = output(|out| inspect(dir.path(), false, out));
    assert!(fine && text.contains("in use by a running agent"), "{text}");
    assert!(text.contains("seq 1 to 30, 20 waiting"), "{text}");
    let (fine, text) = output(|out| verify(dir.path(), false, out));
    assert!(fine && text.contains("3 batches with 30 events: ok"), "{text}");
    assert_eq!(export(&dir, false), (11..=30).collect::<Vec<_>>());
    assert_eq!(export(&dir, true), (1..=30).collect::<Vec<_>>());
    assert_eq!(listing(&dir), before);
    let error = repair(dir.path(), false, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CliError::Spool(SpoolError::Locked { .. })), "{error}");
    drop(agent);
    let (_, text) = output(|out| inspect(dir.path(), true, out));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["in_use"], &json["damaged"]), (&false.into(), &false.into()));
    assert_eq!(
        (&json["lanes"][3]["waiting"], &json["lanes"][0]["waiting"]),
        (&20.into(), &0.into())
    );
}

#[test]
fn damage_is_named_and_mended_and_still_told() {
    let dir = filled();
    damage(&dir);
    let (fine, text) = output(|out| verify(dir.path(), false, out));
    assert!(!fine && text.contains("rest: damaged: 10 events of stream"), "{text}");
    assert!(text.contains("seq 21 to 30 (spool_damaged)"), "{text}");
    assert_eq!(export(&dir, false), (11..=20).collect::<Vec<_>>());
    let (fine, text) = output(|out| repair(dir.path(), false, out));
    assert!(fine && text.contains("1 segments written anew, the spool is whole"), "{text}");
    let (fine, text) = output(|out| verify(dir.path(), false, out));
    assert!(fine && text.contains("rest: lost before: 10 events"), "{text}");
    let (spool, mut readers) =
        Spool::open(&dir.path().join("spool"), &SpoolConfig::default()).unwrap();
    while readers[3].next_group().unwrap().is_some() {}
    let losses = spool.take_losses();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert!(matches!(losses[0].1.range, Some((_, 21, 30))), "{losses:?}");
}

/// The numbers that a torn tail held may be with Kafka: they must not be given out again.
#[test]
fn repair_of_a_torn_tail_ends_the_stream() {
    let dir = TempDir::new().unwrap();
    let (spool, readers) = open(&dir);
    let stream = spool.stream(Lane::Rest);
    drop((spool, readers));
    let file = std::fs::OpenOptions::new().write(true).open(segment(&dir)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let (fine, text) = output(|out| verify(dir.path(), false, out));
    assert!(!fine && text.contains("torn tail"), "{text}");
    assert!(output(|out| repair(dir.path(), false, out)).0);
    assert_eq!(export(&dir, false), (11..=20).collect::<Vec<_>>());
    let (spool, _readers) =
        Spool::open(&dir.path().join("spool"), &SpoolConfig::default()).unwrap();
    assert_ne!(spool.stream(Lane::Rest), stream);
}

#[test]
fn a_sound_spool_is_left_alone() {
    let dir = filled();
    let before = listing(&dir);
    let (fine, text) = output(|out| repair(dir.path(), false, out));
    assert!(fine && text.contains("0 segments"), "{text}");
    assert_eq!(listing(&dir), before);
}

#[test]
fn a_wrong_folder_is_named() {
    let dir = TempDir::new().unwrap();
    let place = Place { config: None, dir: Some(dir.path().into()) };
    let error = place.find(|_| unreachable!("no file is named")).unwrap_err();
    assert!(error.to_string().contains("has no folder `spool`"), "{error}");
}
