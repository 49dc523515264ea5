//! Clock: can the gateway's time be trusted, and by how much was it wrong?
//!
//! In: the wall clock, the time since the boot, the newest stamp in the spool, the time service. Out:
//! the state of the clock for events ([`Look`]), and what is to be added to stamps that were made
//! before it was set ([`GatewayClock::shift_us`]). Gateways without a battery for their clock boot in 1970 or at the
//! time of the last shutdown. Promises: a clock that was once believed stays so until the end of the
//! process, so a gateway without a time service is never taken for wrong for ever (decision 12).

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use weir_models::event::Clock;
use weir_models::time::{SECOND_US, now_us};

/// 2026-01-01T00:00:00Z: no event of this program was received before it.
pub(crate) const EARLIEST_US: i64 = 1_767_225_600 * SECOND_US;
/// So far behind the newest file of the spool the clock may be: services step it back a little.
const BEHIND_US: i64 = 60 * SECOND_US;
/// A clock that moved by less was not set.
const SAME_US: i64 = SECOND_US / 10;
/// How often a clock that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a stamp of a wrong clock is worth later: which boot of the machine, and what the wall clock
/// showed at its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A number of this boot; never 0 and never `u32::MAX`.
    pub boot: u32,
    /// Wall clock minus time since the boot, in microseconds.
    pub offset_us: i64,
}

/// The clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// How far stamps of now are to be trusted.
    pub clock: Clock,
    /// How the wall clock stands to the time since the boot; the same until somebody sets it.
    pub mark: Mark,
    /// Stamps before it are not to be trusted, in microseconds since the Unix epoch.
    pub believed_from_us: i64,
}

/// What the time service of the machine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// Nothing.
    Unknown,
    /// It has not set the clock yet, and there is no clock chip.
    Waiting,
    /// It has set the clock since the boot.
    Synchronised,
}

/// Where the time comes from.
trait Times: Send + Sync {
    /// Wall clock and time since the boot, in microseconds.
    fn now(&self) -> (i64, i64);
    /// What the time service says.
    fn service(&self) -> Service;
}

struct Machine;

impl Times for Machine {
    fn now(&self) -> (i64, i64) {
        let since_boot = clock_gettime(ClockId::Boottime);
        (now_us(), since_boot.tv_sec * SECOND_US + since_boot.tv_nsec / 1_000)
    }

    fn service(&self) -> Service {
        // systemd-timesyncd makes the folder when it starts and the file when it has set the clock.
        let has = |path| Path::new(path).exists();
        if has("/run/systemd/timesync/synchronized") {
            Service::Synchronised
        } else if has("/run/systemd/timesync") && !has("/sys/class/rtc/rtc0") {
            Service::Waiting
        } else {
            Service::Unknown
        }
    }
}

/// The gateway's clock.
pub struct GatewayClock {
    times: Box<dyn Times>,
    boot: u32,
    /// The clock showed this in an earlier run.
    floor_us: i64,
    state: Mutex<State>,
    /// Until then what is stamped wrong waits for the clock to be set.
    wait_until: Instant,
}

struct State {
    is_believed: bool,
    /// The time service has said so.
    is_confirmed: bool,
    offset_us: i64,
}

impl GatewayClock {
    /// The clock of this machine; `spool` is the folder of the spool, not opened yet. Stamps that are
    /// wrong wait `wait` for the clock to be set.
    #[must_use]
    pub fn new(spool: &Path, wait: Duration) -> Self {
        let floor_us = newest_us(spool, 2).saturating_sub(BEHIND_US);
        let clock = Self::over(Box::new(Machine), boot(), floor_us, wait);
        if clock.look().clock == Clock::Unsynced {
            tracing::warn!(
                "the clock of this machine is not set: events say so, and those that wait in the spool are corrected once it is"
            );
        }
        clock
    }

    fn over(times: Box<dyn Times>, boot: u32, floor_us: i64, wait: Duration) -> Self {
        let (wall_us, since_boot_us) = times.now();
        let offset_us = wall_us.saturating_sub(since_boot_us);
        let state = Mutex::new(State { is_believed: false, is_confirmed: false, offset_us });
        let wait_until = Instant::now() + wait;
        Self { times, boot, floor_us: floor_us.max(EARLIEST_US), state, wait_until }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the clock stands now.
    #[must_use]
    pub fn look(&self) -> Look {
        let (wall_us, since_boot_us) = self.times.now();
        let offset_us = wall_us.saturating_sub(since_boot_us);
        let mut state = self.state();
        if offset_us.abs_diff(state.offset_us) >= SAME_US.unsigned_abs() {
            state.offset_us = offset_us;
        }
        let mut believed_from_us = EARLIEST_US;
        if !state.is_believed {
            let service = self.times.service();
            let from_us = match service {
                Service::Unknown => self.floor_us,
                Service::Waiting => i64::MAX,
                Service::Synchronised => EARLIEST_US,
            };
            state.is_believed = wall_us >= from_us;
            state.is_confirmed = service == Service::Synchronised;
            if !state.is_believed {
                believed_from_us = from_us;
            }
        }
        let is_synced = state.is_believed && wall_us >= EARLIEST_US;
        let clock = if is_synced { Clock::Synced } else { Clock::Unsynced };
        let mark = Mark { boot: self.boot, offset_us: state.offset_us };
        Look { clock, mark, believed_from_us }
    }

    /// What is to be added to stamps that were made under `mark`, in microseconds. None as long as
    /// the clock is wrong, where the stamps are of another boot, and if nobody has set it or said that
    /// it is right.
    #[must_use]
    pub fn shift_us(&self, mark: Option<Mark>) -> Option<i64> {
        let (look, mark) = (self.look(), mark?);
        let shift_us = look.mark.offset_us.checked_sub(mark.offset_us)?;
        let is_confirmed = self.state().is_confirmed || shift_us.abs() >= SECOND_US;
        let is_known = look.clock == Clock::Synced && mark.boot == self.boot;
        (is_known && is_confirmed).then_some(shift_us)
    }

    /// Whether stamps that are wrong should still wait for the clock to be set.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        Instant::now() < self.wait_until && self.look().clock == Clock::Unsynced
    }

    /// Returns when the clock is set, or need not be waited for any longer.
    pub async fn settled(&self) {
        while self.is_awaited() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A clock that is right, for tests of other parts.
    #[cfg(test)]
    pub(crate) fn right() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::over(Box::new(Machine), 1, 0, Duration::ZERO))
    }
}

/// When the newest file in `folder` and the folders in it was written, in microseconds since the Unix
/// epoch: what the clock has shown before.
fn newest_us(folder: &Path, depth: u32) -> i64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let written_us = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth > 1 => newest_us(&entry.path(), depth - 1),
        Ok(found) if found.is_file() => {
            let modified = found.modified().ok();
            let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            since.and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or_default()
        }
        _ => 0,
    };
    entries.map(written_us).max().unwrap_or_default()
}

/// A number of this boot. Where the system tells none it is one of this process, whose stamps are then
/// the only ones to be corrected.
fn boot() -> u32 {
    let boot = crate::spool::boot();
    let [.., a, b, c, d] = boot;
    let number = match u32::from_be_bytes([a, b, c, d]) {
        _ if boot == [0; 16] => getrandom::u32().unwrap_or(1),
        number => number,
    };
    number.clamp(1, u32::MAX - 1)
}
