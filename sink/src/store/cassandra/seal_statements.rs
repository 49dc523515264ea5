//! Seal statements: what sealing says to Cassandra.
//!
//! Marks are put with the time stamp 1: a mark is added once and removed once, and a removal, which has a
//! time stamp of its own, wins whichever clock it comes from. Tables of sealing are written and read by a
//! majority at least, also where the configuration asks for one replica: a part that only one replica
//! has must not be the only place of a row.

use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use super::failure::Failure;
use super::statements::{Insert, Preparing};
use crate::store::config;
use crate::store::seal::Look;

pub(super) struct SealStatements {
    pub(super) put_mark_of_owner: Insert,
    pub(super) put_mark: Insert,
    pub(super) drop_mark: Insert,
    pub(super) drop_mark_of_owner: Insert,
    pub(super) replace: PreparedStatement,
    pub(super) put_owner: Insert,
    pub(super) drop_owner: Insert,
    pub(super) put_stamps: Insert,
    pub(super) put_episode: Insert,
    pub(super) put_rolls: Insert,
    pub(super) drop_stamps: Insert,
    pub(super) drop_episode: Insert,
    pub(super) drop_rolls: Insert,
    pub(super) seals: PreparedStatement,
    pub(super) all_seals: PreparedStatement,
    pub(super) marks_of_owner: PreparedStatement,
    pub(super) owners: PreparedStatement,
    pub(super) stamps: PreparedStatement,
    pub(super) episodes: PreparedStatement,
    pub(super) rolls: PreparedStatement,
    pub(super) metrics: PreparedStatement,
    pub(super) put_heads: Insert,
    pub(super) put_block: Insert,
    pub(super) drop_heads: Insert,
    pub(super) drop_blocks: Insert,
    pub(super) heads: PreparedStatement,
    pub(super) block: PreparedStatement,
    usual: Option<Consistency>,
    sure: Consistency,
}

/// At which consistency sealing reads and writes, where it is not the configured one.
fn usual(configured: config::Consistency) -> Option<Consistency> {
    use config::Consistency as C;
    matches!(configured, C::One | C::LocalOne).then_some(Consistency::LocalQuorum)
}

/// At which consistency a read sees every write that any instance had confirmed, in any datacentre.
fn sure(configured: config::Consistency) -> Consistency {
    use config::Consistency as C;
    match configured {
        C::One | C::LocalOne => Consistency::All,
        C::LocalQuorum => Consistency::EachQuorum,
        C::Quorum => Consistency::Quorum,
        C::All => Consistency::LocalQuorum,
    }
}

impl SealStatements {
    #[rustfmt::skip]
    pub(super) async fn prepare(p: &Preparing<'_>, configured: config::Consistency) -> Result<Self, Failure> {
        let usual = usual(configured);
        let p = &p.at(usual);
        let mut replace = p.statement("UPDATE {ks}.seals SET version = ?, parts = ?, marks = marks - ? WHERE site = ? AND device = ? AND span = ? IF version = ?").await?;
        replace.set_serial_consistency(Some(SerialConsistency::Serial));
        replace.set_is_idempotent(false);
        let mut seals = p.statement("SELECT span, version, parts, marks FROM {ks}.seals WHERE site = ? AND device = ? AND span >= ? AND span <= ?").await?;
        let mut stamps = p.statement("SELECT id, body FROM {ks}.stamps WHERE site = ? AND device = ? AND span = ? AND id IN ?").await?;
        let mut episodes = p.statement("SELECT id, body FROM {ks}.episodes WHERE site = ? AND device = ? AND metric = ? AND span = ? AND id IN ?").await?;
        let mut rolls = p.statement("SELECT span, id, body FROM {ks}.rollups WHERE site = ? AND device = ? AND metric = ? AND step = ? AND block = ? AND span >= ? AND span <= ?").await?;
        let mut heads = p.statement("SELECT hour, id, body FROM {ks}.log_heads WHERE site = ? AND day = ? AND hour >= ? AND hour <= ?").await?;
        // Their rows are large: a page has to come within the time of one request.
        for (statement, rows) in [(&mut seals, 200), (&mut stamps, 4), (&mut episodes, 4), (&mut rolls, 100), (&mut heads, 16)] {
            statement.set_page_size(rows);
        }
        Ok(Self {
            put_mark_of_owner: p.change("INSERT INTO {ks}.marks_by_owner (owner, shard, site, device, span, mark) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP 1").await?,
            put_mark: p.change("UPDATE {ks}.seals USING TIMESTAMP 1 SET marks = marks + ? WHERE site = ? AND device = ? AND span = ?").await?,
            drop_mark: p.change("UPDATE {ks}.seals SET marks = marks - ? WHERE site = ? AND device = ? AND span = ?").await?,
            drop_mark_of_owner: p.change("DELETE FROM {ks}.marks_by_owner WHERE owner = ? AND shard = ? AND site = ? AND device = ? AND span = ? AND mark = ?").await?,
            replace,
            put_owner: p.insert("sealers (shard, owner, beat)").await?,
            drop_owner: p.change("DELETE FROM {ks}.sealers WHERE shard = ? AND owner = ?").await?,
            put_stamps: p.insert("stamps (site, device, span, id, body)").await?,
            put_episode: p.insert("episodes (site, device, metric, span, id, t0_us, t1_us, n, min, max, sum, body)").await?,
            put_rolls: p.insert("rollups (site, device, metric, step, block, span, id, body)").await?,
            drop_stamps: p.change("DELETE FROM {ks}.stamps WHERE site = ? AND device = ? AND span = ? AND id = ?").await?,
            drop_episode: p.change("DELETE FROM {ks}.episodes WHERE site = ? AND device = ? AND metric = ? AND span = ? AND id = ?").await?,
            drop_rolls: p.change("DELETE FROM {ks}.rollups WHERE site = ? AND device = ? AND metric = ? AND step = ? AND block = ? AND span = ? AND id = ?").await?,
            seals,
            all_seals: p.statement("SELECT site, device, span, version, parts, marks FROM {ks}.seals").await?,
            marks_of_owner: p.statement("SELECT site, device, span, mark FROM {ks}.marks_by_owner WHERE owner = ? AND shard = ?").await?,
            owners: p.statement("SELECT owner, beat FROM {ks}.sealers WHERE shard = ?").await?,
            stamps,
            episodes,
            rolls,
            metrics: p.statement("SELECT metric FROM {ks}.series WHERE site = ? AND shard = ? AND device = ?").await?,
            put_heads: p.insert("log_heads (site, day, hour, id, body)").await?,
            put_block: p.insert("log_blocks (site, hour, id, number, body)").await?,
            drop_heads: p.change("DELETE FROM {ks}.log_heads WHERE site = ? AND day = ? AND hour = ? AND id = ?").await?,
            drop_blocks: p.change("DELETE FROM {ks}.log_blocks WHERE site = ? AND hour = ? AND id = ?").await?,
            heads,
            block: p.statement("SELECT body FROM {ks}.log_blocks WHERE site = ? AND hour = ? AND id = ? AND number = ?").await?,
            usual,
            sure: sure(configured),
        })
    }

    /// A read of hot rows and their records, or of seals.
    pub(super) fn looking(&self, statement: &PreparedStatement, look: Look) -> PreparedStatement {
        let mut statement = statement.clone();
        match look {
            Look::Usual | Look::Unmarked => {
                if let Some(usual) = self.usual {
                    statement.set_consistency(usual);
                }
            }
            Look::Sure => statement.set_consistency(self.sure),
            Look::Serial => statement.set_consistency(Consistency::Serial),
        }
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_read_meets_every_confirmed_write() {
        use config::Consistency as C;
        assert_eq!(sure(C::One), Consistency::All);
        assert_eq!(sure(C::LocalOne), Consistency::All);
        assert_eq!(sure(C::LocalQuorum), Consistency::EachQuorum);
        assert_eq!(sure(C::Quorum), Consistency::Quorum);
        assert_eq!(usual(C::LocalOne), Some(Consistency::LocalQuorum));
        assert_eq!(usual(C::Quorum), None);
    }
}
