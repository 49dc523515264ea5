//! The writing side of one strand: a log with its stream, its checkpoint and its state on disk.
//!
//! In: groups. Out: the same in the log, for the strand's reader. A strand that has been sealed takes
//! nothing more; it is read to its end and then removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;
use weir_models::event::Loss;
use weir_models::ident::{EventId, Stream};

use super::checkpoint::Checkpoint;
use super::identity::{Found, Identity, State, boot};
use super::log::{GaveWay, GroupBuilder, Log, Lost, clear_way};
use super::progress::Progress;
use super::reader::LaneReader;
use super::{LaneStats, MAY_DROP, SpoolError, Strand, folders};

#[derive(Debug)]
pub(super) struct StrandWriter {
    pub(super) strand: Strand,
    log: Log,
    identity: Identity,
    /// As it is stored.
    state: State,
    state_path: PathBuf,
    progress: Arc<Progress>,
}

/// A stream in a strand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// The stream.
    pub stream: Stream,
    /// The last number that is written; 0 when none yet.
    pub last_seq: u64,
    /// Events that Kafka has not acknowledged, of the stream and of those before it in its strand.
    pub waiting: u64,
}

impl StrandWriter {
    pub(super) fn open(
        spool: &Path,
        strand: Strand,
        segment_bytes: u64,
        losses: &Arc<Notify>,
    ) -> Result<(StrandWriter, LaneReader), SpoolError> {
        let dir = spool.join(strand.folder());
        let [state_path, checkpoint_path, state_draft] =
            ["stream", "checkpoint", "stream.draft"].map(|name| dir.join(name));
        let is_there = clear_way(&dir, true).map_err(|error| SpoolError::writing(&dir, error))?;
        for path in [&state_path, &checkpoint_path, &state_draft] {
            clear_way(path, false).map_err(|error| SpoolError::writing(path, error))?;
        }
        let stored = State::read(&state_path);
        if let Some(state) = stored {
            // The log cuts its tail as it opens. Should this process be killed then, the next one
            // must not take the shorter strand for a whole one and give its numbers out twice.
            let unsure = State { boot: [0; 16], closed_at: None, ..state };
            unsure.write(&state_path).map_err(|error| SpoolError::writing(&state_path, error))?;
        }
        let mut log = Log::open(&dir, segment_bytes)?;
        #[cfg(test)]
        if super::log::faults::killed() {
            return Err(SpoolError::Config("killed".into()));
        }
        if !is_there {
            super::log::sync_folder(spool).map_err(|error| SpoolError::writing(spool, error))?;
        }
        log.tell_losses(Arc::clone(losses));
        let checkpoint = Checkpoint::open(&checkpoint_path)
            .map_err(|error| SpoolError::writing(&checkpoint_path, error))?;
        let found = Found {
            tag: log.tag(),
            next: log.next_ordinal(),
            newest: log.newest_base(),
            torn_bytes: log.torn_bytes(),
            checkpoint: checkpoint.ordinal(),
            boot: boot(),
        };
        log.raise_next(checkpoint.ordinal());
        // A power cut may have brought back what was deleted.
        log.delete_below(checkpoint.ordinal());
        let kept = stored.filter(|state| state.continues(found));
        let identity = match kept {
            Some(state) => state.identity,
            None => Identity::draw(log.next_ordinal()).map_err(|error| {
                SpoolError::writing(&state_path, io::Error::other(error.to_string()))
            })?,
        };
        // On disk before the first event can be published under it.
        let newest = log.newest_base();
        let state = State { identity, boot: found.boot, closed_at: None, newest };
        state.write(&state_path).map_err(|error| SpoolError::writing(&state_path, error))?;
        log.set_tag(identity.tag());
        let stream = identity.stream;
        tracing::info!(%strand, %stream, kept = kept.is_some(), next_seq = identity.seq(log.next_ordinal()), "strand opened");
        let progress = Arc::new(Progress::new(checkpoint.ordinal()));
        let reader =
            LaneReader::new(strand, log.reader(), checkpoint, checkpoint_path, progress.clone());
        let writer = StrandWriter { strand, log, identity, state, state_path, progress };
        Ok((writer, reader))
    }

    /// The identity of the event at `ordinal`.
    pub(super) fn id(&self, ordinal: u64) -> EventId {
        EventId { stream: self.identity.stream, seq: self.identity.seq(ordinal) }
    }

    /// The ordinal after the last one that is written.
    pub(super) fn next_ordinal(&self) -> u64 {
        self.log.next_ordinal()
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Writes a group. If that fails it may be tried again.
    pub(super) fn append(&mut self, group: &GroupBuilder) -> Result<(), SpoolError> {
        self.log.append(group)?;
        if self.state.newest != self.log.newest_base() {
            let state = State { newest: self.log.newest_base(), ..self.state };
            // The events are in the log, and that is what counts. Where the state lags behind, the
            // next process takes the stream for one whose end it does not know.
            match state.write(&self.state_path) {
                Ok(()) => self.state = state,
                Err(error) => {
                    tracing::warn!(path = %self.state_path.display(), %error, "state of the strand not stored")
                }
            }
        }
        Ok(())
    }

    /// Gives back the disk that holds nothing Kafka still has to get.
    pub(super) fn reclaim(&mut self) {
        if let Err(error) = self.log.reclaim(self.progress.acknowledged()) {
            tracing::warn!(%error, "segments could not be given back");
        }
    }

    /// Gives up the oldest events that may give way. `None` if there are none.
    pub(super) fn give_way(&mut self) -> Result<Option<GaveWay>, SpoolError> {
        let acknowledged = self.progress.acknowledged();
        Ok(self.log.give_way(acknowledged, |head| head.flags & MAY_DROP != 0)?)
    }

    /// What was lost and not taken before.
    pub(super) fn take_losses(&self) -> impl Iterator<Item = Loss> {
        self.log.take_lost().into_iter().map(|lost| loss_of(&lost))
    }

    pub(super) fn losses_are_told(&self) {
        self.log.lost_are_told();
    }

    /// Syncs what Kafka does not have yet.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        Ok(self.log.sync(self.progress.acknowledged())?)
    }

    /// Syncs everything and notes the clean end, so that the stream may go on after a reboot.
    pub(super) fn close(&mut self) -> Result<(), SpoolError> {
        self.log.sync(0)?;
        let closed_at = Some(self.log.next_ordinal());
        let newest = self.log.newest_base();
        let state = State { identity: self.identity, boot: boot(), closed_at, newest };
        state.write(&self.state_path).map_err(|error| SpoolError::writing(&self.state_path, error))
    }

    /// Whether Kafka has everything, and all that is lost was told.
    pub(super) fn is_finished(&self) -> bool {
        self.progress.acknowledged() >= self.log.next_ordinal()
    }

    /// Takes it away. What cannot be deleted now is by the next process.
    pub(super) fn remove(&self, spool: &Path) {
        match folders::remove(spool, self.strand) {
            Ok(()) => tracing::info!(strand = %self.strand, "the backlog is published"),
            Err(error) => {
                tracing::warn!(strand = %self.strand, %error, "a published backlog could not be deleted");
            }
        }
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub(super) fn stream_state(&self) -> StreamState {
        // After a reboot a backlog has a new identity too, under which nothing was written.
        let written = self.log.tag().map(Identity::from_tag);
        let identity = written.filter(|_| self.progress.is_sealed()).unwrap_or(self.identity);
        StreamState {
            stream: identity.stream,
            last_seq: identity.seq(self.log.next_ordinal()).saturating_sub(1),
            waiting: self.waiting(),
        }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.log.next_ordinal().saturating_sub(self.progress.acknowledged())
    }

    pub(super) fn stats(&self) -> LaneStats {
        let waiting_events = self.waiting();
        LaneStats {
            waiting_events,
            oldest_ms: self.progress.oldest_ms().filter(|_| waiting_events > 0),
            disk_bytes: self.log.bytes(),
            written_bytes: self.log.written_bytes(),
            bad_frames: self.log.bad_frames(),
            skipped_events: self.log.skipped(),
            dropped_events: self.log.dropped(),
            torn_bytes: self.log.torn_bytes(),
        }
    }
}

/// A loss as its marker tells it. What lies before the stream's begin was in another stream, of
/// which nothing is left.
pub(super) fn loss_of(lost: &Lost) -> Loss {
    let identity = Identity::from_tag(lost.tag);
    let range = (identity.base <= lost.first)
        .then(|| (identity.stream, identity.seq(lost.first), identity.seq(lost.last)));
    Loss { count: lost.count, range, reason: lost.cause.reason().into(), lane: None }
}
