//! Hooks in the configuration: `[hooks]`, `[[hooks.alertmanager]]`, `[[hooks.webhook]]`.
//!
//! In: the tables. Out: [`HooksConfig`], checked. What can go wrong: a URL that is none, two hooks of
//! one name; [`HooksConfig::check`] says what to do. A URL may hold a secret in its path, so it does not show
//! itself in `Debug` or in errors beyond host and port.

use std::collections::BTreeSet;

use axum::http::Uri;
use serde::Deserialize;
use weir_models::alert::AlertKind;
use weir_models::config::SecretRef;

/// Most hooks; each has a consumer of its own.
const HOOKS_MAX: usize = 16;
/// Longest wait for an answer, in seconds: well below what a partition that is to be given back is waited for.
const TIMEOUT_S_MAX: u64 = 20;
const REPEAT_S_MAX: u64 = 3_600;

/// Who is told of alerts, `[hooks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksConfig {
    /// Where people reach the sink's page; links in alerts begin with it.
    pub external_url: Option<Url>,
    /// Alertmanagers of Prometheus; each is told.
    pub alertmanager: Vec<AlertmanagerConfig>,
    /// Receivers of signed CloudEvents.
    pub webhook: Vec<WebhookConfig>,
}

/// What every hook has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HookConfig {
    /// Name in metrics, in the log and in the consumer group; default: host and port of the URL.
    pub name: Option<String>,
    /// Where it is.
    pub url: Url,
    /// PEM file of the authorities to trust; default: the system's.
    pub ca_file: Option<String>,
    /// Seconds for which an answer is waited for.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Which alerts are told.
    #[serde(default = "all_kinds")]
    pub kinds: Vec<AlertKind>,
}

/// One Alertmanager, `[[hooks.alertmanager]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "AlertmanagerTable")]
pub struct AlertmanagerConfig {
    /// What every hook has; the path of the API is added to its URL.
    pub hook: HookConfig,
    /// Seconds after which an alert that still fires is told again.
    pub repeat_s: u64,
    /// Bearer token.
    pub token: Option<SecretRef>,
}

/// One webhook, `[[hooks.webhook]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WebhookTable")]
pub struct WebhookConfig {
    /// What every hook has.
    pub hook: HookConfig,
    /// The secret that signs: base64 of 24 to 64 bytes, commonly with `whsec_` in front.
    pub secret: SecretRef,
}

// The keys stand in one table; `flatten` would take unknown ones, so both tables are spelt out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertmanagerTable {
    name: Option<String>,
    url: Url,
    ca_file: Option<String>,
    #[serde(default = "default_timeout_s")]
    timeout_s: u64,
    #[serde(default = "all_kinds")]
    kinds: Vec<AlertKind>,
    #[serde(default = "default_repeat_s")]
    repeat_s: u64,
    token: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookTable {
    name: Option<String>,
    url: Url,
    ca_file: Option<String>,
    #[serde(default = "default_timeout_s")]
    timeout_s: u64,
    #[serde(default = "all_kinds")]
    kinds: Vec<AlertKind>,
    secret: SecretRef,
}

impl From<AlertmanagerTable> for AlertmanagerConfig {
    fn from(table: AlertmanagerTable) -> Self {
        let AlertmanagerTable { name, url, ca_file, timeout_s, kinds, repeat_s, token } = table;
        Self { hook: HookConfig { name, url, ca_file, timeout_s, kinds }, repeat_s, token }
    }
}

impl From<WebhookTable> for WebhookConfig {
    fn from(table: WebhookTable) -> Self {
        let WebhookTable { name, url, ca_file, timeout_s, kinds, secret } = table;
        Self { hook: HookConfig { name, url, ca_file, timeout_s, kinds }, secret }
    }
}

fn default_timeout_s() -> u64 {
    15
}

/// Alertmanager resolves what is not repeated within `resolve_timeout`, 5 minutes by default.
fn default_repeat_s() -> u64 {
    60
}

fn all_kinds() -> Vec<AlertKind> {
    vec![AlertKind::Reading, AlertKind::Log, AlertKind::Silence]
}

/// An address of HTTP, with or without TLS, that does not show its path.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// A name or an IP address, that without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, from `/` on.
    pub path: String,
    /// Host and port as they were written.
    pub authority: String,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`, or `https`.
    ///
    /// # Errors
    /// What is wrong, without showing what may be secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "a URL has to be `http://HOST:PORT/PATH` or `https://…`";
        let uri: Uri = text.parse().map_err(|_| wrong)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong),
        };
        let authority = uri.authority().ok_or(wrong)?;
        if authority.as_str().contains('@') {
            return Err(
                "a URL with a user or password would show in logs: leave it out, and give `token` or `secret`",
            );
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong);
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host: host.into(),
            port,
            path: path.into(),
            authority: authority.as_str().into(),
        })
    }

    /// Host and port, also where the port was left out.
    #[must_use]
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The address with `more` after its path.
    #[must_use]
    pub fn join(&self, more: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}/{more}", self.authority, self.path.trim_end_matches('/'))
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}/…", self.authority)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl HookConfig {
    /// Its name, given or made of the address.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.url.place())
    }
}

impl HooksConfig {
    /// All hooks, Alertmanagers first.
    pub fn all(&self) -> impl Iterator<Item = &HookConfig> {
        let alertmanagers = self.alertmanager.iter().map(|one| &one.hook);
        alertmanagers.chain(self.webhook.iter().map(|one| &one.hook))
    }

    /// Checks what only the sum of the keys shows.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        if self.all().count() > HOOKS_MAX {
            return Err((
                format!("there are more than {HOOKS_MAX} hooks"),
                "let one webhook hand alerts on, or read the topic, see docs/alerts.md",
            ));
        }
        let mut names = BTreeSet::new();
        for hook in self.all() {
            let name = hook.name();
            let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
            if name.is_empty() || name.len() > 100 || !name.chars().all(is_good) {
                let message = format!("the hook's `name` is `{name}`");
                return Err((message, "take up to 100 letters, digits and `-_.:`"));
            }
            if !(1..=TIMEOUT_S_MAX).contains(&hook.timeout_s) {
                let message = format!("`timeout_s` of hook `{name}` is {}", hook.timeout_s);
                return Err((message, "take 1 to 20"));
            }
            if hook.kinds.is_empty() {
                let message = format!("`kinds` of hook `{name}` is empty");
                return Err((message, "leave it out for all alerts, or the hook"));
            }
            if !names.insert(name.clone()) {
                let message = format!("two hooks have the name `{name}`");
                return Err((message, "give each a `name` of its own"));
            }
        }
        for one in &self.alertmanager {
            if !(1..=REPEAT_S_MAX).contains(&one.repeat_s) {
                let message =
                    format!("`repeat_s` of hook `{}` is {}", one.hook.name(), one.repeat_s);
                return Err((message, "take 1 to 3600; 60 is the default"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_does_not_show_its_path() {
        let url = Url::parse("https://hooks.example.org/T0/s3cret?x=1").unwrap();
        assert!(url.is_tls);
        assert_eq!(
            (&*url.host, url.port, &*url.path),
            ("hooks.example.org", 443, "/T0/s3cret?x=1")
        );
        assert!(!format!("{url:?}").contains("s3cret"), "{url:?}");
        let url = Url::parse("http://[::1]:9093").unwrap();
        assert_eq!((&*url.host, url.port, &*url.path), ("::1", 9093, "/"));
        assert_eq!(
            (url.place(), url.join("api")),
            ("[::1]:9093".into(), "http://[::1]:9093/api".into())
        );
        assert_eq!(Url::parse("http://am/prefix/").unwrap().join("a"), "http://am/prefix/a");
        for wrong in ["am:9093", "ftp://am/", "http://", "/path", "http://u:s3cret@am/"] {
            let told = Url::parse(wrong).unwrap_err();
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
