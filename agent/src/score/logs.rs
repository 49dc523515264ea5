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
use weir_models::logs::{
    LogLine, LogScorer, LogScorerConfig, Miner, Missing, Orders, SEVERITY, process,
};
use weir_models::topic::write_key;

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
    hosts: Recent<Box<Host>>,
    orders: Orders,
    /// Of applications with an alert that fires.
    lives: LruCache<String, Life<String>>,
    /// The application that wrote the first line of a template.
    apps: LruCache<u64, Arc<str>>,
    key: String,
}

/// What is known of a host.
#[derive(Debug)]
struct Host {
    scorer: LogScorer,
    /// Applications of it with an alert that fires, at least: a line of another host needs no look for one.
    firing: u32,
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
            orders: Orders::default(),
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
        for (_, host) in self.hosts.iter_mut() {
            host.scorer.configure(&config.log);
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
            for (_, host) in self.hosts.iter_mut() {
                host.scorer.join(id, template.absorbed());
            }
        }

        write_key(&mut self.key, [site, device]);
        let process = process(&self.key, app, log.procid.as_deref().unwrap_or_default());
        let order = self.orders.update(process, id);
        let line = LogLine { ts_us, template: id, is_new, severity: log.severity, order };
        let begin = || Box::new(Host::new(&self.config, &self.key, &self.lives));
        let judge = |host: &mut Box<Host>| (host.scorer.update(line), host.firing > 0);
        let (verdict, is_firing) = self.hosts.with(&self.key, begin, judge);
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
        if alarm || is_firing {
            let signal = Signal { score, alarm, calm: score < 0.5 * verdict.threshold };
            drafts.extend(self.live(ts_us, signal, &about));
        }
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
        write_key(&mut self.key, [about.site, about.device, about.app]);
        let change = if let Some(life) = self.lives.get_mut(self.key.as_str()) {
            let change = life.step(&self.life, ts_us, signal, alert_id);
            let is_grave = signal.alarm && [SEVERITY, Missing::WHY].contains(&about.why);
            match change {
                None if is_grave => life.worse(ts_us, signal.score),
                change => change,
            }?
        } else if signal.alarm {
            let mut life = Life::default();
            let change = life.step(&self.life, ts_us, signal, alert_id)?;
            self.lives.put(self.key.clone(), life);
            change
        } else {
            return None;
        };
        if let Transition::Worse { .. } = change {
            return Some(self.draft(about, change));
        }
        let fires = change.fires();
        if !fires {
            self.lives.pop(self.key.as_str());
        }
        self.key.truncate(about.site.len() + 1 + about.device.len());
        let begin = || Box::new(Host::new(&self.config, &self.key, &self.lives));
        self.hosts.with(&self.key, begin, |host| {
            host.firing =
                if fires { host.firing.saturating_add(1) } else { host.firing.saturating_sub(1) };
        });
        Some(self.draft(about, change))
    }

    fn draft(&self, about: &About<'_>, change: Transition<String>) -> Draft {
        let told = (&self.agent, &self.model);
        let of = (about.site, about.device, about.app);
        let data = alert_data(told, AlertKind::Log, of, about.threshold, change);
        Draft(AlertData { why: about.why.into(), message: Some(about.message.into()), ..data })
    }
}

impl Host {
    /// A host of which nothing is known but its alerts.
    fn new(config: &LogScorerConfig, key: &str, lives: &LruCache<String, Life<String>>) -> Self {
        let is_own = |name: &str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let firing = lives.iter().filter(|(name, _)| is_own(name)).count();
        let firing = u32::try_from(firing).unwrap_or(u32::MAX);
        Self { scorer: LogScorer::new(config.clone()), firing }
    }
}

/// One for each template.
fn apps_max(config: &ScoreConfig) -> NonZeroUsize {
    NonZeroUsize::new(config.log.templates).unwrap_or(NonZeroUsize::MIN)
}
