//! Receiver: one Alertmanager or webhook, and how to speak to it.
//!
//! In: its table of the configuration; alerts. Out: a [`Verdict`] for each try. What can go wrong before the first try: a secret
//! that is missing or none, a `ca_file` that cannot be read ([`HookError`] says what to do).

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use weir_models::alert::{Alert, AlertKind};
use weir_models::config::SecretRef;
use weir_models::time::now_us;

use super::client::{Client, Post, bearer};
use super::config::{AlertmanagerConfig, HookConfig, HooksConfig, Url, WebhookConfig};
use super::message::{ALERTS_PATH, Card, alertmanager_headers, for_alertmanager, webhook_headers};
use super::sign::Signer;
use super::verdict::Verdict;
use crate::config::fetch;

/// A hook cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("hook `{name}`: {why}")]
pub struct HookError {
    /// Which one.
    pub name: String,
    /// Why, and what to do.
    pub why: String,
}

enum Language {
    Alertmanager { repeat: Duration, page: Option<Url>, token: Option<HeaderValue> },
    Webhook(Signer),
}

/// Somebody who is told of alerts.
pub struct Receiver {
    pub(super) name: String,
    kinds: Vec<AlertKind>,
    language: Language,
    post: Arc<dyn Post>,
}

/// A record that is to be told.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) alert: Arc<Alert>,
    /// As it came.
    pub(super) json: Bytes,
}

/// Makes all receivers of the configuration, Alertmanagers first. Reaches nobody.
///
/// # Errors
/// Says which one cannot begin, and why.
pub fn receivers(config: &HooksConfig) -> Result<Vec<Receiver>, HookError> {
    let page = config.external_url.as_ref();
    let alertmanagers = config.alertmanager.iter().map(|one| Receiver::alertmanager(one, page));
    alertmanagers.chain(config.webhook.iter().map(Receiver::webhook)).collect()
}

impl Receiver {
    fn alertmanager(config: &AlertmanagerConfig, page: Option<&Url>) -> Result<Self, HookError> {
        let hook = &config.hook;
        let failed = failed(hook);
        let token =
            fetch(config.token.as_ref()).map_err(|why| failed(format!("`token`: {why}")))?;
        let header = token
            .as_ref()
            .map(bearer)
            .transpose()
            .map_err(|why| failed(format!("`token`: {why}")))?;
        warn_if_open(hook, token.is_some());
        let path = format!("{}/{ALERTS_PATH}", hook.url.path.trim_end_matches('/'));
        let client = Client::new(hook, path, token).map_err(failed)?;
        let repeat = Duration::from_secs(config.repeat_s);
        let language = Language::Alertmanager { repeat, page: page.cloned(), token: header };
        Ok(Self::new(hook, language, Arc::new(client)))
    }

    fn webhook(config: &WebhookConfig) -> Result<Self, HookError> {
        let hook = &config.hook;
        let failed = failed(hook);
        let signer = signer(&config.secret).map_err(|why| failed(format!("`secret`: {why}")))?;
        let client = Client::new(hook, hook.url.path.clone(), None).map_err(failed)?;
        Ok(Self::new(hook, Language::Webhook(signer), Arc::new(client)))
    }

    fn new(hook: &HookConfig, language: Language, post: Arc<dyn Post>) -> Self {
        Self { name: hook.name(), kinds: hook.kinds.clone(), language, post }
    }

    /// The same receiver, reached in another way.
    #[cfg(test)]
    pub(super) fn over(mut self, post: Arc<dyn Post>) -> Self {
        self.post = post;
        self
    }

    /// Whether it wants alerts of this kind.
    pub(super) fn wants(&self, kind: AlertKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// How often it wants to hear of what still fires; none: once is enough.
    pub(super) fn repeat(&self) -> Option<Duration> {
        match &self.language {
            Language::Alertmanager { repeat, .. } => Some(*repeat),
            Language::Webhook(_) => None,
        }
    }

    /// What is kept of an alert to be repeated.
    pub(super) fn card(&self, alert: &Alert) -> Card {
        match &self.language {
            Language::Alertmanager { page, .. } => Card::new(alert, page.as_ref()),
            Language::Webhook(_) => Card::default(),
        }
    }

    /// Tells of a record, once.
    pub(super) async fn tell(&self, letter: &Letter) -> Verdict {
        match &self.language {
            Language::Alertmanager { .. } => {
                self.repeat_now(&[Arc::new(self.card(&letter.alert))]).await
            }
            Language::Webhook(signer) => {
                let headers = webhook_headers(signer, &letter.alert.id, now_us(), &letter.json);
                Verdict::of(self.post.post(headers, letter.json.clone()).await)
            }
        }
    }

    /// Tells again of what still fires.
    pub(super) async fn repeat_now(&self, cards: &[Arc<Card>]) -> Verdict {
        let Language::Alertmanager { repeat, token, .. } = &self.language else {
            return Verdict::Told;
        };
        let body = for_alertmanager(cards.iter().map(|card| &**card), now_us(), *repeat);
        Verdict::of(self.post.post(alertmanager_headers(token.as_ref()), body).await)
    }
}

fn failed(hook: &HookConfig) -> impl Fn(String) -> HookError + Copy + '_ {
    |why| HookError { name: hook.name(), why }
}

fn signer(secret: &SecretRef) -> Result<Signer, String> {
    let secret = fetch(Some(secret))?.ok_or("it is missing")?;
    Signer::new(&secret)
}

fn warn_if_open(hook: &HookConfig, has_token: bool) {
    let is_near =
        matches!(&*hook.url.host, "localhost" | "::1") || hook.url.host.starts_with("127.");
    if has_token && !hook.url.is_tls && !is_near {
        tracing::warn!(
            hook = hook.name(),
            "the token goes over the network in the clear: use https"
        );
    }
}
