//! The spool opens on any content of its folder, and works then.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What may happen to a folder while nobody looks.
#[derive(Debug, Clone)]
enum Mischief {
    /// A file of any bytes takes a place.
    File { place: usize, bytes: Vec<u8> },
    /// A folder takes a place, with something in it.
    Folder { place: usize },
    /// A link to nowhere takes a place.
    Link { place: usize },
    /// A pipe takes a place: to open it would wait for ever.
    Pipe { place: usize },
    /// A file is cut.
    Cut { file: Index, at: Index },
    /// Bytes of a file are written over.
    Overwrite { file: Index, at: Index, bytes: Vec<u8> },
    /// A file is gone.
    Remove { file: Index },
    /// A file comes back under the name of another one.
    Copy { file: Index, place: usize },
}

const PLACES: [&str; 20] = [
    "lock",
    "0-alerts",
    "1-urgent/stream",
    "3-rest",
    "3-rest/stream",
    "3-rest/stream.draft",
    "3-rest/checkpoint",
    "3-rest/00000000000000000000.seg",
    "3-rest/00000000000000000010.seg",
    "3-rest/00000000000000000010.draft",
    "3-rest/00000000000000000040.draft",
    "3-rest/00000000000000000100.seg",
    "3-rest/99999999999999999999.seg",
    "3-rest/notes.txt",
    "3-rest.1",
    "3-rest.1/stream",
    "3-rest.1/checkpoint",
    "3-rest.1/00000000000000000000.seg",
    "3-rest.18446744073709551615/checkpoint",
    "3-rest.gone/x",
];

fn mischief() -> impl Strategy<Value = Mischief> {
    let place = || 0..PLACES.len();
    let any_bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        // The magics of ours, with a version that is not.
        proptest::collection::vec(prop_oneof![Just(b"WSG2"), Just(b"WGR1"), Just(b"WCP9")], 0..40)
            .prop_map(|magics| magics.into_iter().flatten().copied().collect()),
    ]
    .boxed();
    let index = any::<Index>;
    prop_oneof![
        (place(), any_bytes.clone()).prop_map(|(place, bytes)| Mischief::File { place, bytes }),
        place().prop_map(|place| Mischief::Folder { place }),
        place().prop_map(|place| Mischief::Link { place }),
        place().prop_map(|place| Mischief::Pipe { place }),
        (index(), index()).prop_map(|(file, at)| Mischief::Cut { file, at }),
        (index(), index(), any_bytes).prop_map(|(file, at, bytes)| Mischief::Overwrite {
            file,
            at,
            bytes
        }),
        index().prop_map(|file| Mischief::Remove { file }),
        (index(), place()).prop_map(|(file, place)| Mischief::Copy { file, place }),
    ]
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match std::fs::symlink_metadata(&path).unwrap().file_type() {
            kind if kind.is_dir() => found.extend(files(&path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Clears a place, so that something else can take it.
fn take(dir: &Path, place: usize) -> PathBuf {
    let path = dir.join(PLACES[place]);
    if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        std::fs::remove_dir_all(&path).unwrap();
    } else {
        let _ = std::fs::remove_file(&path);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        let _ = std::fs::remove_file(parent);
        std::fs::create_dir_all(parent).unwrap();
    }
    path
}

impl Mischief {
    fn happens(self, dir: &Path) {
        let files = files(dir);
        let chosen = |file: Index| (!files.is_empty()).then(|| file.get(&files).clone());
        match self {
            Mischief::File { place, bytes } => std::fs::write(take(dir, place), bytes).unwrap(),
            Mischief::Folder { place } => {
                std::fs::create_dir_all(take(dir, place).join("x")).unwrap()
            }
            Mischief::Link { place } => {
                std::os::unix::fs::symlink("nowhere", take(dir, place)).unwrap();
            }
            Mischief::Pipe { place } => {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, take(dir, place), kind, mode, 0).unwrap();
            }
            Mischief::Cut { file, at } => {
                let Some(path) = chosen(file) else { return };
                let mut bytes = std::fs::read(&path).unwrap();
                bytes.truncate(at.index(bytes.len() + 1));
                std::fs::write(path, bytes).unwrap();
            }
            Mischief::Overwrite { file, at, bytes } => {
                let Some(path) = chosen(file) else { return };
                let mut content = std::fs::read(&path).unwrap();
                let at = at.index(content.len() + 1);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(&bytes);
                std::fs::write(path, content).unwrap();
            }
            Mischief::Remove { file } => {
                if let Some(path) = chosen(file) {
                    std::fs::remove_file(path).unwrap();
                }
            }
            Mischief::Copy { file, place } => {
                let Some(path) = chosen(file) else { return };
                let bytes = std::fs::read(path).unwrap();
                std::fs::write(take(dir, place), bytes).unwrap();
            }
        }
    }
}

/// Writes an event to every lane, and reads the lanes to their ends: what is written is there, no
/// number is given to two events.
fn works(dir: &Path, seen: &mut Vec<String>) {
    let (mut spool, mut readers) = Spool::open(dir, &config()).unwrap();
    let topic = topic("t");
    for (lane, reader) in Lane::ALL.into_iter().zip(&mut readers) {
        let id = text(append(&mut spool, lane, &topic, "k", 100));
        spool.flush().unwrap();
        spool.sync().unwrap();
        assert!(!seen.contains(&id), "{id} names two events");
        let mut read = rest(reader);
        let mut later = reader.later().unwrap();
        while let Ok(mut reader) = later.try_recv() {
            read.extend(rest(&mut reader));
        }
        assert_eq!(read.iter().filter(|found| **found == id).count(), 1, "{id} in {read:?}");
        seen.push(id);
    }
    drop((spool.take_losses(), spool.close()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn opens_on_any_content(mischiefs in proptest::collection::vec(mischief(), 0..12)) {
        let dir = TempDir::new().unwrap();
        let mut seen = Vec::new();
        {
            let (mut spool, _readers) = Spool::open(dir.path(), &config()).unwrap();
            let topic = topic("t");
            for i in 0..60 {
                seen.push(text(append(&mut spool, Lane::Rest, &topic, "k", 5_000)));
                if i % 4 == 3 {
                    spool.flush().unwrap();
                }
            }
        }
        for mischief in mischiefs {
            mischief.happens(dir.path());
        }
        works(dir.path(), &mut seen);
        works(dir.path(), &mut seen);
    }
}
