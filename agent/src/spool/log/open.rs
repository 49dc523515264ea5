//! Opens a log on whatever lies in its folder.
//!
//! In: a folder. Out: the index of its segments and the place where to go on. Only the newest
//! segment is walked through, by the heads of its groups; damage elsewhere is met when it is read.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::{Index, Segment, Shared};
use super::segment::{HEADER_BYTES, Header, base_of, is_damage, next_group};
use super::{Active, Log, LogError, disk};

/// Extension of a segment that is being made.
pub(super) const DRAFT: &str = "draft";
/// Extension of a file that was set aside.
const BAD: &str = "bad";

impl Log {
    /// Opens the log in `dir`, which is made if need be. Segments end at about `segment_bytes`.
    ///
    /// # Errors
    /// [`LogError`] if the folder or a file cannot be read or written; never because of what is in
    /// it.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<Log, LogError> {
        clear_way(dir, true).map_err(|error| LogError::writing(dir, error))?;
        std::fs::create_dir_all(dir).map_err(|error| LogError::writing(dir, error))?;
        let mut found = segments(dir)?;
        let mut log = Log {
            shared: Arc::new(Shared::new(dir.to_owned(), Index::default())),
            segment_bytes,
            tag: [0; 16],
            active: None,
            dirty: Vec::new(),
            folder_dirty: true,
            torn_bytes: 0,
            written_bytes: 0,
            scratch: Vec::new(),
        };
        let mut index = Index::default();
        if let Some((path, header)) = found.pop() {
            let tail = Tail::find(&path, header)?;
            log.torn_bytes = tail.torn_bytes;
            log.tag = header.tag;
            index.next = tail.next;
            index.segments.push_front(Segment {
                header,
                bytes: tail.offset,
                end: tail.next,
                solid: false,
            });
            // What an earlier process left in the page cache is ours to sync.
            log.active = Some(Active { header, file: tail.file, offset: tail.offset, dirty: true });
        }
        for (path, header) in found.into_iter().rev() {
            let metadata = std::fs::metadata(&path);
            let bytes = metadata.map_err(|source| LogError::Read { path, source })?.len();
            let end = index.segments.front().map_or(index.next, |next| next.header.base);
            index.segments.push_front(Segment { header, bytes, end, solid: false });
        }
        let older = index.segments.len().saturating_sub(1);
        log.dirty = index.segments.iter().take(older).map(|segment| segment.header.base).collect();
        *log.shared.lock() = index;
        Ok(log)
    }
}

/// The segments in `dir`, oldest first. What is none and is named like one is set aside, drafts
/// are removed.
fn segments(dir: &Path) -> Result<Vec<(PathBuf, Header)>, LogError> {
    let unreadable = |path: &Path, source| LogError::Read { path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| unreadable(dir, source))? {
        let path = entry.map_err(|source| unreadable(dir, source))?.path();
        if path.extension().is_some_and(|extension| extension == DRAFT) {
            if std::fs::remove_file(&path).is_err() {
                set_aside(&path).map_err(|error| LogError::writing(&path, error))?;
            }
            continue;
        }
        let Some(base) = path.file_name().and_then(|name| base_of(name.to_str()?)) else {
            continue;
        };
        let read = clear_way(&path, false)
            .and_then(|clear| if clear { Header::read(&File::open(&path)?) } else { Ok(None) });
        match read {
            Ok(Some(header)) if header.base == base => found.push((path, header)),
            Err(error) if !never_readable(&error) => return Err(unreadable(&path, error)),
            // What stood in the way is out of it.
            _ if !path.exists() => {}
            _ => set_aside(&path).map_err(|error| LogError::writing(&path, error))?,
        }
    }
    found.sort_unstable_by_key(|(_, header)| header.base);
    Ok(found)
}

/// Whether trying again has no use; too many open files, for one, would pass.
fn never_readable(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotFound};
    matches!(error.kind(), IsADirectory | NotFound) || is_damage(error)
}

/// Sets aside what is at `path` and no folder, or no file, as is needed there: only these can be
/// opened without surprise. Answers whether something of the right kind is there.
pub(in crate::spool) fn clear_way(path: &Path, folder: bool) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if folder && metadata.is_dir() => Ok(true),
        Ok(metadata) if !folder && metadata.is_file() => Ok(true),
        Ok(_) => set_aside(path).map(|()| false),
        // A link to nowhere is there and cannot be made.
        Err(_) if path.is_symlink() => set_aside(path).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives what is at `path` another name, that of no other.
fn set_aside(path: &Path) -> io::Result<()> {
    let free = (0..1_000)
        .map(|i| path.with_extension(if i == 0 { BAD.into() } else { format!("{BAD}{i}") }))
        .find(|aside| std::fs::symlink_metadata(aside).is_err());
    let aside = free.unwrap_or_else(|| path.with_extension(BAD));
    tracing::warn!(path = %path.display(), aside = %aside.display(), "not ours, set aside");
    std::fs::rename(path, &aside)
}

/// The end of the newest segment.
struct Tail {
    file: File,
    offset: u64,
    next: u64,
    torn_bytes: u64,
}

impl Tail {
    /// Walks through the groups and cuts off what follows the last whole one.
    fn find(path: &Path, header: Header) -> Result<Tail, LogError> {
        let unreadable = |source| LogError::Read { path: path.to_owned(), source };
        let unwritable = |source| LogError::writing(path, source);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(unwritable)?;
        let end = file.metadata().map_err(unreadable)?.len();
        let (mut offset, mut next) = (HEADER_BYTES, header.base);
        while let Some((at, head)) =
            next_group(&file, offset, end, header.salt, next).map_err(unreadable)?
        {
            offset = at + head.bytes();
            next = next.max(head.last + 1);
        }
        // A file that ends within its header is filled up: its second copy may be what is missing.
        let torn_bytes = end.abs_diff(offset);
        if end < HEADER_BYTES {
            disk::write_all_at(&file, &header.encode(), 0).map_err(unwritable)?;
        } else if torn_bytes > 0 {
            tracing::warn!(path = %path.display(), torn_bytes, "torn tail cut");
            file.set_len(offset).map_err(unwritable)?;
        }
        Ok(Tail { file, offset, next, torn_bytes })
    }
}
