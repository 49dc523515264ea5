//! Feedback: what people said of alerts, for those models that are fitted to it.
//!
//! In: the store. Out: alerts as they fired, how far they went, and what they were. What was said of an alert that the
//! store no longer has is left out. It is read from the newest backwards, some weeks at a time, and of too much the oldest is
//! left out, so that years of it fit into memory.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::alert::AlertData;
use weir_models::central::Scope;
use weir_models::feedback::{Feedback, Verdict};
use weir_models::pattern::glob;
use weir_models::time::{DAY_US, now_us, rfc3339};

use crate::store::{Store, StoreError, TimeRange};

/// Alerts that are looked up at once.
const AT_ONCE: usize = 16;
/// Most verdicts that one training looks at, the newest ones: some 50 MB.
const JUDGED_MAX: usize = 50_000;
/// So much time is read at once where something was said.
const STEP_US: i64 = 30 * DAY_US;
/// People that are named in a report.
const NAMED_MAX: usize = 5;

/// An alert that somebody said something of.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// As it fired.
    pub alert: AlertData,
    /// The highest score until it ended; while it fires, the one it fired with.
    pub peak: f32,
    /// What it was.
    pub verdict: Verdict,
    /// Who says so, as they name themselves.
    pub by: Option<String>,
    /// When it was said, microseconds since the Unix epoch.
    pub given_us: i64,
}

/// By whom and when it was said, for the person who decides whether to believe it.
pub(super) fn sources<'a>(said: impl Iterator<Item = &'a Judged> + Clone) -> String {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    said.clone()
        .for_each(|one| *by.entry(one.by.as_deref().unwrap_or("nobody named")).or_default() += 1);
    let mut by: Vec<_> = by.into_iter().collect();
    by.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let more = by.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<_> =
        by.iter().take(NAMED_MAX).map(|(name, n)| format!("{n} by {name:?}")).collect();
    if more > 0 {
        named.push(format!("{more} more people"));
    }
    let span = |of: fn(&Judged) -> i64| {
        let (first, last) = (said.clone().map(of).min(), said.clone().map(of).max());
        let day = |us: Option<i64>| rfc3339(us.unwrap_or(0)).chars().take(10).collect::<String>();
        format!("{} to {}", day(first), day(last))
    };
    format!(
        "said {}, from {}, of alerts from {}",
        named.join(", "),
        span(|one| one.given_us),
        span(|one| one.alert.fired_us)
    )
}

/// The newest 50,000 that was said of alerts of `scope` that fired in `range`, by when they fired.
///
/// # Errors
/// When the store fails.
pub async fn judged(
    store: &dyn Store,
    scope: &Scope,
    range: TimeRange,
) -> Result<Vec<Judged>, StoreError> {
    let sites = store.sites().await?;
    let wanted: Vec<_> = sites.iter().filter(|site| glob(&scope.site, site)).collect();
    let mut all = backwards(range, now_us(), JUDGED_MAX, async |part| {
        let mut all = Vec::new();
        for site in &wanted {
            let said = store.feedback(site, part).await?.into_values();
            let wanted = said.filter(|said| scope.holds(&said.site, &said.device, &said.metric));
            let looks = stream::iter(wanted).map(|said| look_up(store, said)).buffered(AT_ONCE);
            all.extend(looks.try_collect::<Vec<_>>().await?.into_iter().flatten());
        }
        Ok::<_, StoreError>(all)
    })
    .await?;
    all.sort_by_cached_key(|one| (one.alert.fired_us, one.alert.alert_id.clone()));
    let over = all.len().saturating_sub(JUDGED_MAX);
    if all.drain(..over).len() > 0 {
        tracing::warn!("people said more: only the newest {JUDGED_MAX} verdicts are taken");
    }
    Ok(all)
}

/// Reads parts of a range from the newest one on, until there is enough. What has a stamp of the future comes first. Where
/// nothing is, the parts become longer.
async fn backwards<T, E>(
    range: TimeRange,
    now_us: i64,
    enough: usize,
    read: impl AsyncFn(TimeRange) -> Result<Vec<T>, E>,
) -> Result<Vec<T>, E> {
    let mut all = Vec::new();
    let (mut to_us, mut step_us) = (range.to_us, STEP_US);
    let mut from_us = now_us.clamp(range.from_us, range.to_us);
    loop {
        if from_us < to_us {
            let part = read(TimeRange { from_us, to_us }).await?;
            step_us = if part.is_empty() { step_us.saturating_mul(2) } else { STEP_US };
            all.extend(part);
        }
        if all.len() >= enough || from_us <= range.from_us {
            return Ok(all);
        }
        to_us = from_us;
        from_us = to_us.saturating_sub(step_us).max(range.from_us);
    }
}

async fn look_up(store: &dyn Store, said: Feedback) -> Result<Option<Judged>, StoreError> {
    let records = store.alert_records(&said.site, said.fired_us).await?;
    let judged = records.into_iter().find_map(|(firing, resolved)| {
        let alert = firing.filter(|firing| firing.data.alert_id == said.alert_id)?.data;
        let peak = resolved.map_or(alert.score, |resolved| resolved.data.score.max(alert.score));
        let Feedback { verdict, by, given_us, .. } = &said;
        Some(Judged { alert, peak, verdict: *verdict, by: by.clone(), given_us: *given_us })
    });
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten at times of the past, a year apart, and one of the future.
    async fn read(from_us: i64, enough: usize) -> (Vec<i64>, Vec<TimeRange>) {
        let asked = std::sync::Mutex::new(Vec::new());
        let year = 365 * DAY_US;
        let all: Vec<i64> = (40..50).map(|n| n * year).chain([60 * year]).collect();
        let range = TimeRange { from_us, to_us: i64::MAX };
        let found = backwards(range, 50 * year, enough, async |part: TimeRange| {
            asked.lock().map(|mut asked| asked.push(part)).map_err(|error| error.to_string())?;
            let within = |at: &&i64| (part.from_us..part.to_us).contains(*at);
            Ok::<_, String>(all.iter().filter(within).map(|at| at / year).collect())
        })
        .await;
        (found.unwrap_or_default(), asked.into_inner().unwrap_or_default())
    }

    #[tokio::test]
    async fn the_newest_is_read_first_and_no_more_than_enough() {
        let (found, asked) = read(i64::MIN, 4).await;
        assert_eq!(found, [60, 49, 48, 47]);
        // Part joins part, and none is longer than a year and a half before there is enough.
        assert!(asked.windows(2).all(|pair| pair[1].to_us == pair[0].from_us));
        assert!(asked[1..].iter().all(|part| part.to_us - part.from_us <= 547 * DAY_US), "{asked:?}");
    }

    #[tokio::test]
    async fn all_is_read_where_it_is_less_than_enough() {
        let (found, asked) = read(i64::MIN, 100).await;
        assert_eq!(found.len(), 11);
        assert_eq!(asked.last().map(|part| part.from_us), Some(i64::MIN));
        assert!(asked.len() < 80, "{}", asked.len());
        assert_eq!(read(45 * 365 * DAY_US, 100).await.0, [60, 49, 48, 47, 46, 45]);
    }
}
