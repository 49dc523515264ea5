#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use super::*;

const HOUR_US: i64 = 3_600 * SECOND_US;
/// 2026-11-21.
const TODAY_US: i64 = 1_795_000_000 * SECOND_US;

/// A machine that shows what it is told.
#[derive(Clone)]
struct Told(Arc<Mutex<(i64, i64, Service)>>);

impl Times for Told {
    fn now(&self) -> (i64, i64) {
        let told = self.0.lock().unwrap();
        (told.0, told.1)
    }

    fn service(&self) -> Service {
        self.0.lock().unwrap().2
    }
}

impl Told {
    fn set(&self, wall_us: i64, since_boot_us: i64, service: Service) {
        *self.0.lock().unwrap() = (wall_us, since_boot_us, service);
    }
}

/// A clock that shows `wall_us` a second after the boot, where an earlier run has seen `floor_us`.
fn clock(wall_us: i64, floor_us: i64, service: Service) -> (Told, GatewayClock) {
    let told = Told(Arc::new(Mutex::new((wall_us, SECOND_US, service))));
    let wait = Duration::from_secs(60);
    (told.clone(), GatewayClock::over(Box::new(told), 7, floor_us, wait))
}

#[test]
fn a_clock_that_is_certainly_wrong_is_not_synced() {
    #[track_caller]
    fn check(wall_us: i64, floor_us: i64, service: Service, expected: Clock) {
        let (_, clock) = clock(wall_us, floor_us, service);
        assert_eq!(clock.look().clock, expected, "{wall_us} {floor_us} {service:?}");
    }
    use Clock::{Synced, Unsynced};
    // In 1970, whatever is said of it.
    check(12 * SECOND_US, 0, Service::Unknown, Unsynced);
    check(12 * SECOND_US, 0, Service::Synchronised, Unsynced);
    // Before what an earlier run has seen, unless the service has set it.
    check(TODAY_US, TODAY_US + HOUR_US, Service::Unknown, Unsynced);
    check(TODAY_US, TODAY_US + HOUR_US, Service::Synchronised, Synced);
    // The time of the last shutdown, without a clock chip.
    check(TODAY_US, TODAY_US - HOUR_US, Service::Waiting, Unsynced);
    // Nobody keeps time here: nothing speaks against the clock.
    check(EARLIEST_US, 0, Service::Unknown, Synced);
    check(TODAY_US, TODAY_US - HOUR_US, Service::Unknown, Synced);
}

#[test]
fn a_clock_once_believed_stays_so() {
    let (told, clock) = clock(TODAY_US, 0, Service::Synchronised);
    assert_eq!(clock.look().clock, Clock::Synced);
    told.set(TODAY_US - HOUR_US, 2 * SECOND_US, Service::Waiting);
    assert_eq!(clock.look().clock, Clock::Synced);
    assert_eq!(clock.look().believed_from_us, EARLIEST_US);
    // But never in 1970.
    told.set(0, 3 * SECOND_US, Service::Synchronised);
    assert_eq!(clock.look().clock, Clock::Unsynced);
}

#[test]
fn stamps_of_this_boot_are_moved_by_what_the_clock_was_set() {
    let (told, clock) = clock(12 * SECOND_US, 0, Service::Unknown);
    let mark = clock.look().mark;
    assert_eq!(mark, Mark { boot: 7, offset_us: 11 * SECOND_US });
    assert_eq!(clock.shift_us(Some(mark)), None, "the clock is still wrong");
    assert_eq!(clock.look().believed_from_us, EARLIEST_US);

    // Nine seconds later it is set to today.
    told.set(TODAY_US, 10 * SECOND_US, Service::Unknown);
    let shift_us = clock.shift_us(Some(mark)).unwrap();
    // The stamp 13 s was made two seconds after the boot, eight seconds before now.
    assert_eq!(13 * SECOND_US + shift_us, TODAY_US - 8 * SECOND_US);
    assert_eq!(clock.shift_us(Some(Mark { boot: 8, ..mark })), None, "another boot");
    assert_eq!(clock.shift_us(None), None);
    assert_eq!(clock.shift_us(Some(clock.look().mark)), None, "not set since");
}

#[test]
fn a_clock_that_was_right_all_along_is_told_so_by_the_time_service() {
    let (told, by_service) = clock(TODAY_US, 0, Service::Waiting);
    let mark = by_service.look().mark;
    told.set(TODAY_US + SECOND_US, 2 * SECOND_US, Service::Synchronised);
    assert_eq!(by_service.shift_us(Some(mark)), Some(0));

    // That it has passed the time of an earlier run by itself proves nothing.
    let (told, by_itself) = clock(TODAY_US, TODAY_US + SECOND_US, Service::Unknown);
    let mark = by_itself.look().mark;
    told.set(TODAY_US + SECOND_US, 2 * SECOND_US, Service::Unknown);
    assert_eq!(by_itself.look().clock, Clock::Synced);
    assert_eq!(by_itself.shift_us(Some(mark)), None);
}

#[test]
fn a_mark_stays_the_same_until_the_clock_is_set() {
    let (told, clock) = clock(12 * SECOND_US, 0, Service::Unknown);
    let mark = clock.look().mark;
    told.set(13 * SECOND_US + SAME_US / 2, 2 * SECOND_US, Service::Unknown);
    assert_eq!(clock.look().mark, mark);
    told.set(14 * SECOND_US, 2 * SECOND_US, Service::Unknown);
    assert_eq!(clock.look().mark.offset_us, mark.offset_us + SECOND_US);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_clock_ends_when_it_is_set_or_takes_too_long() {
    let (_, never) = clock(0, 0, Service::Unknown);
    let begun = Instant::now();
    never.settled().await;
    assert!(begun.elapsed() >= Duration::from_secs(60));
    assert_eq!(never.look().clock, Clock::Unsynced);

    let (told, set) = clock(0, 0, Service::Unknown);
    assert!(set.is_awaited());
    told.set(TODAY_US, 2 * SECOND_US, Service::Unknown);
    assert!(!set.is_awaited());
    set.settled().await;
}

#[test]
fn what_lies_in_the_spool_tells_what_the_clock_has_shown() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(newest_us(&dir.path().join("none"), 2), 0);
    let lane = dir.path().join("3-rest");
    std::fs::create_dir(&lane).unwrap();
    assert_eq!(newest_us(dir.path(), 2), 0);
    let before_us = now_us() - SECOND_US;
    std::fs::write(lane.join("checkpoint"), "x").unwrap();
    assert!(newest_us(dir.path(), 2) > before_us);
}

#[test]
fn this_machine_has_a_number_for_its_boot() {
    assert_eq!(boot(), boot());
    assert!(boot() > 0 && boot() < u32::MAX);
}
