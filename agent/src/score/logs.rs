//! Scores of log lines: templates, what is unusual for a host, and the life of the alerts.
//!
//! In: one line. Out: its template and score, and alert drafts. Templates are shared by all hosts of
//! the gateway, the scores are of each host; both are bounded, the least recently used leave. A line
//! that is missing is told when the next line of its host comes, as an alert of the application that
//! was the first to write it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use weir_models::alert::{AlertData, AlertKind, Model};
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::event::Log;
use weir_models::ident::TemplateId;
use weir_models::logs::{LogLine, LogScorer, LogScorerConfig, Miner, Missing, process};

use super::{Draft, ScoreConfig, alert_data, alert_id};
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
    /// The application that wrote the first line of a template.
    apps: LruCache<u64, Arc<str>>,
    key: String,
}

/// What an alert is about.
struct About<'a> {
    site: &'a str,
    device: &'a str,
    app: &'a str,
    threshold: f32,
    why: &'static str,
    message: &'a str,
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
            apps: LruCache::new(apps_max(config)),
            key: String::new(),
        }
    }

    /// Goes on with other settings and all that was learnt; only another number of templates is
    /// mined anew.
    pub(super) fn configure(&mut self, config: &ScoreConfig) {
        if config.log.templates != self.config.templates {
            self.miner = Miner::new(config.log.templates);
            self.apps.resize(apps_max(config));
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
        let app = log.app.as_deref().unwrap_or(NO_APP);
        let template = self.miner.learn(&log.message);
        let (id, is_new) = (template.id, template.is_new);
        log.template = Some(TemplateId(id));
        if is_new {
            self.apps.put(id, app.into());
        } else if !template.absorbed().is_empty() {
            for (_, scorer) in self.hosts.iter_mut() {
                scorer.join(id, template.absorbed());
            }
        }

        self.key.clear();
        for part in [site, "/", device] {
            self.key.push_str(part);
        }
        let process = process(app, log.procid.as_deref().unwrap_or_default());
        let line = LogLine { ts_us, template: id, is_new, severity: log.severity, process };
        let begin = || LogScorer::new(self.config.clone());
        let verdict = self.hosts.with(&self.key, begin, |scorer| scorer.update(line));
        log.score = Some(verdict.score);
        if let Some(missing) = &verdict.missing {
            drafts.extend(self.miss(site, device, ts_us, missing));
        }
        let about = About {
            site,
            device,
            app,
            threshold: verdict.threshold,
            why: verdict.why,
            message: &log.message,
        };
        let (score, alarm) = (verdict.score, verdict.alarm);
        let signal = Signal { score, alarm, calm: score < 0.5 * verdict.threshold };
        drafts.extend(self.live(ts_us, signal, &about));
    }

    /// The alert of a line that did not come.
    fn miss(&mut self, site: &str, device: &str, ts_us: i64, missing: &Missing) -> Option<Draft> {
        let app = self.apps.get(&missing.template).map_or(NO_APP.into(), Arc::clone);
        let text = self.miner.text(missing.template).unwrap_or_default();
        let message =
            format!("{text} (every {:.0} s, none for {:.0} s)", missing.usual_s, missing.gap_s);
        let about = About {
            site,
            device,
            app: &app,
            threshold: missing.threshold,
            why: Missing::WHY,
            message: &message,
        };
        self.live(ts_us, Signal { score: missing.score, alarm: true, calm: false }, &about)
    }

    /// One step in the life of the alert of an application.
    fn live(&mut self, ts_us: i64, signal: Signal, about: &About<'_>) -> Option<Draft> {
        if !signal.alarm && self.lives.is_empty() {
            return None;
        }
        self.key.clear();
        for part in [about.site, "/", about.device, "/", about.app] {
            self.key.push_str(part);
        }
        let change = if let Some(life) = self.lives.get_mut(self.key.as_str()) {
            life.step(&self.life, ts_us, signal, alert_id)
        } else if signal.alarm {
            let mut life = Life::default();
            let change = life.step(&self.life, ts_us, signal, alert_id);
            self.lives.put(self.key.clone(), life);
            change
        } else {
            None
        };
        Some(self.draft(about, change?))
    }

    fn draft(&self, about: &About<'_>, change: Transition<String>) -> Draft {
        let told = (&self.agent, &self.model);
        let of = (about.site, about.device, about.app);
        let data = alert_data(told, AlertKind::Log, of, about.threshold, change);
        Draft(AlertData { why: about.why.into(), message: Some(about.message.into()), ..data })
    }
}

/// One for each template.
fn apps_max(config: &ScoreConfig) -> NonZeroUsize {
    NonZeroUsize::new(config.log.templates).unwrap_or(NonZeroUsize::MIN)
}
