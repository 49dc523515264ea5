//! Losses and results of audits, written and read.
//!
//! In: the losses of a batch; queries. Out: jobs; rows, newest first. A loss is a row in the partition of its site and
//! UTC day, and the day is noted: a query reads the days that have losses and no other. What can go wrong: more
//! such days than a query may read ([`StoreError::TooWide`]).

use std::collections::BTreeMap;

use weir_models::event::Loss;
use weir_models::ident::Stream;
use weir_models::time::day;

use super::CassandraStore;
use super::read::bounded;
use super::statements::Statements;
use super::write::{Jobs, unset_or};
use crate::store::seal::Position;
use crate::store::{Audit, Batch, LossQuery, LossRow, StoreError};

/// Results of audits lie in one partition: they are few, and made by people.
const PROGRAM: &str = "weir";

pub(super) fn losses_and_audits<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    batch: &'a Batch,
) {
    let mut days: BTreeMap<(&str, i64), Vec<_>> = BTreeMap::new();
    for row in &batch.losses {
        let LossRow { site, ts_us, stream, seq, agent, source, loss } = row;
        let day = i64::from(day(*ts_us));
        let range = loss.range;
        let values = (
            site,
            day,
            ts_us,
            stream.as_i64(),
            seq.cast_signed(),
            agent,
            source,
            unset_or(loss.lane.as_ref()),
            &loss.reason,
            loss.count.cast_signed(),
            unset_or(range.map(|(stream, ..)| stream.as_i64())),
            unset_or(range.map(|(_, first, _)| first.cast_signed())),
            unset_or(range.map(|(.., last)| last.cast_signed())),
        );
        let size = site.len() + agent.len() + source.len() + loss.reason.len() + 128;
        days.entry((site.as_str(), day)).or_default().push((values, size));
    }
    for ((site, day), rows) in days {
        jobs.push("losses", &statements.put_loss, rows);
        jobs.push("loss_days", &statements.put_loss_day, [((site, day), 0)]);
    }
    for audit in &batch.audits {
        let row = (PROGRAM, audit.ended_us, serde_json::to_string(audit).unwrap_or_default());
        jobs.push("audits", &statements.put_audit, [(row, 0)]);
    }
}

/// A loss as it is stored, without site and day.
type Row = (
    i64,
    i64,
    i64,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

fn loss(site: &str, row: Row) -> LossRow {
    let (ts_us, stream, seq, agent, source, lane, reason, events, lost, first, last) = row;
    let range = match (lost, first, last) {
        (Some(lost), Some(first), Some(last)) => {
            Some((Stream::from_i64(lost), first.cast_unsigned(), last.cast_unsigned()))
        }
        _ => None,
    };
    LossRow {
        site: site.into(),
        ts_us,
        stream: Stream::from_i64(stream),
        seq: seq.cast_unsigned(),
        agent: agent.unwrap_or_default(),
        source: source.unwrap_or_default(),
        loss: Loss {
            count: events.unwrap_or_default().cast_unsigned(),
            range,
            reason: reason.unwrap_or_default(),
            lane,
        },
    }
}

impl CassandraStore {
    pub(super) async fn read_losses(&self, query: &LossQuery) -> Result<Vec<LossRow>, StoreError> {
        let LossQuery { site, agent, range, before, limit } = query;
        let end = Position::at(range.to_us);
        let end = before.map_or(end, |before| before.min(end));
        let statements = self.statements().await?;
        let (first, last) = (i64::from(day(range.from_us)), i64::from(day(end.ts_us)));
        let days = self.rows::<(i64,)>(&statements.loss_days, (site, first, last)).await?;
        let most = i32::try_from(*limit).unwrap_or(i32::MAX);
        let parts = days.into_iter().map(async |(day,)| {
            let (ts_us, stream, seq) = (end.ts_us, end.stream, end.seq);
            let from_us = range.from_us;
            let rows = match agent {
                None => {
                    let values = (site, day, ts_us, stream, seq, from_us, most);
                    self.rows::<Row>(&statements.losses, values).await?
                }
                Some(agent) => {
                    let values = (site, day, ts_us, stream, seq, from_us, agent, most);
                    self.rows::<Row>(&statements.losses_of_agent, values).await?
                }
            };
            Ok(rows.into_iter().map(|row| loss(site, row)).collect())
        });
        bounded(parts, *limit).await
    }

    pub(super) async fn read_audits(&self, limit: usize) -> Result<Vec<Audit>, StoreError> {
        let most = i32::try_from(limit).unwrap_or(i32::MAX).max(1);
        let statement = &self.statements().await?.audits;
        let rows = self.rows::<(String,)>(statement, (PROGRAM, most)).await?;
        let read = |(json,): (String,)| {
            let read = serde_json::from_str(&json);
            read.inspect_err(|error| tracing::warn!(%error, "a stored audit cannot be read")).ok()
        };
        Ok(rows.into_iter().filter_map(read).take(limit).collect())
    }
}
