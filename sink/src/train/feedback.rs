//! Feedback: what people said of alerts, for those models that are fitted to it.
//!
//! In: the store. Out: alerts as they fired, how far they went, and what they were. What was said of an alert that the
//! store no longer has is left out.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::alert::AlertData;
use weir_models::central::Scope;
use weir_models::feedback::{Feedback, Verdict};
use weir_models::pattern::glob;
use weir_models::time::rfc3339;

use crate::store::{Store, StoreError, TimeRange};

/// Alerts that are looked up at once.
const AT_ONCE: usize = 16;
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

/// All that was said of alerts of `scope` that fired in `range`, by when they fired.
///
/// # Errors
/// When the store fails.
pub async fn judged(
    store: &dyn Store,
    scope: &Scope,
    range: TimeRange,
) -> Result<Vec<Judged>, StoreError> {
    let mut all = Vec::new();
    for site in store.sites().await?.iter().filter(|site| glob(&scope.site, site)) {
        let said = store.feedback(site, range).await?.into_values();
        let wanted = said.filter(|said| scope.holds(&said.site, &said.device, &said.metric));
        let looks = stream::iter(wanted).map(|said| look_up(store, said)).buffered(AT_ONCE);
        all.extend(looks.try_collect::<Vec<_>>().await?.into_iter().flatten());
    }
    all.sort_by(|a, b| {
        let place = |one: &Judged| (one.alert.fired_us, one.alert.alert_id.clone());
        place(a).cmp(&place(b))
    });
    Ok(all)
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
