//! Scores of log lines: templates, what is unusual for a host, and the life of the alerts.
//!
//! In: one line. Out: its template and score, and alert drafts. Templates are shared by all hosts of
//! the gateway, the scores are of each host; both are bounded, the least recently used leave.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use weir_models::alert::{AlertData, AlertKind, AlertState, Model};
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::event::Log;
use weir_models::ident::{Stream, TemplateId};
use weir_models::logs::{LogScorer, LogScorerConfig, LogVerdict, Miner};

use super::{Draft, ScoreConfig, alert_id};
use crate::recent::Recent;

/// Hosts that are scored at a time; a gateway that relays for more begins anew with the oldest.
pub(crate) const HOSTS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Applications of all hosts whose alerts are followed.
const LIVES_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// The metric of an alert about lines that name no application.
const NO_APP: &str = "log";

#[derive(Debug)]
pub(super) struct LogStage {
    agent: Arc<str>,
    model: Model,
    config: LogScorerConfig,
    life: LifeConfig,
    miner: Miner,
    hosts: Recent<LogScorer>,
    lives: LruCache<String, Life<String>>,
    key: String,
}

impl LogStage {
    pub(super) fn new(agent: Arc<str>, config: &ScoreConfig) -> Self {
        Self {
            agent,
            model: Model { name: "log-templates".into(), version: "1".into() },
            config: config.log.clone(),
            life: config.life,
            miner: Miner::new(config.log.templates),
            hosts: Recent::new(HOSTS_MAX),
            lives: LruCache::new(LIVES_MAX),
            key: String::new(),
        }
    }

    /// Goes on with other settings and all that was learnt; only another number of templates is
    /// mined anew.
    pub(super) fn configure(&mut self, config: &ScoreConfig) {
        if config.log.templates != self.config.templates {
            self.miner = Miner::new(config.log.templates);
        }
        self.life = config.life;
        self.config = config.log.clone();
        for (_, scorer) in self.hosts.iter_mut() {
            scorer.configure(&config.log);
        }
    }

    pub(super) fn score(
        &mut self,
        site: &str,
        device: &str,
        ts_us: i64,
        log: &mut Log,
        drafts: &mut Vec<Draft>,
    ) {
        let template = self.miner.learn(&log.message);
        let (id, is_new) = (template.id, template.is_new);
        log.template = Some(TemplateId(id));

        self.key.clear();
        for part in [site, "/", device] {
            self.key.push_str(part);
        }
        let begin = || LogScorer::new(self.config.clone());
        let verdict = self
            .hosts
            .with(&self.key, begin, |scorer| scorer.update(ts_us, id, is_new, log.severity));
        log.score = Some(verdict.score);
        if !verdict.alarm && self.lives.is_empty() {
            return;
        }
        let app = log.app.as_deref().unwrap_or(NO_APP);
        self.key.push('/');
        self.key.push_str(app);
        if let Some(life) = self.lives.get_mut(self.key.as_str()) {
            if let Some(change) = life.step(&self.life, ts_us, signal(&verdict), alert_id) {
                drafts.push(self.draft(site, device, app, &verdict, change, &log.message));
            }
        } else if verdict.alarm {
            let mut life = Life::default();
            if let Some(change) = life.step(&self.life, ts_us, signal(&verdict), alert_id) {
                drafts.push(self.draft(site, device, app, &verdict, change, &log.message));
            }
            self.lives.put(self.key.clone(), life);
        }
    }

    fn draft(
        &self,
        site: &str,
        device: &str,
        app: &str,
        verdict: &LogVerdict,
        change: Transition<String>,
        message: &str,
    ) -> Draft {
        let (alert_id, state, fired_us, resolved_us, score) = match change {
            Transition::Fired { id, ts_us, score } => (id, AlertState::Firing, ts_us, None, score),
            Transition::Resolved { id, fired_us, ts_us, peak, .. } => {
                (id, AlertState::Resolved, fired_us, Some(ts_us), peak)
            }
        };
        Draft(AlertData {
            alert_id,
            state,
            kind: AlertKind::Log,
            agent: self.agent.clone(),
            stream: Stream(0),
            seq: 0,
            site: site.into(),
            device: device.into(),
            metric: app.into(),
            fired_us,
            resolved_us,
            score,
            threshold: verdict.threshold,
            model: self.model.clone(),
            why: verdict.why.into(),
            baseline: None,
            last_values: Vec::new(),
            message: Some(message.into()),
            cause_stream: Stream(0),
            cause_seq: 0,
        })
    }
}

fn signal(verdict: &LogVerdict) -> Signal {
    Signal {
        score: verdict.score,
        alarm: verdict.alarm,
        calm: verdict.score < 0.5 * verdict.threshold,
    }
}
