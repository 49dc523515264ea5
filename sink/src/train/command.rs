//! The commands `train`, `keys` and `models` of `weir-sink`.
//!
//! In: options and the configuration. Out: lines for a person, or JSON with `--json`. Whatever fails says what to do next.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use weir_models::alert::AlertData;
use weir_models::central::{
    Central, Head, Kind, Model, PublicKey, Scope, Version, mark_rollback, seal,
};
use weir_models::detect::SuiteConfig;
use weir_models::time::{SECOND_US, now_us, parse_rfc3339, rfc3339};
use weir_models::topic::Topic;

use super::backtest::backtest;
use super::history::History;
use super::{
    Judged, Trained, fit_group, fit_level, fit_rerank, fit_series, fit_shapes, judged, keys,
    release,
};
use crate::archive::Archive;
use crate::config::Config;
use crate::consume::Producer as _;
use crate::consume::producer::KafkaProducer;
use crate::program::Secrets;
use crate::store::{self, TimeRange};

/// Which history.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Site; `*` stands for any text.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    site: String,
    /// Device; `*` stands for any text.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    device: String,
    /// Metric; `*` stands for any text.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    metric: String,
    #[command(flatten)]
    when: When,
}

/// Which time.
#[derive(Debug, Args)]
pub(crate) struct When {
    /// From this time on, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (self.from.as_deref().unwrap_or("-"), self.to.as_deref().unwrap_or("-"));
        write!(f, "from {from} to {to}")
    }
}

impl When {
    /// The range, open where nothing is told.
    pub(crate) fn range(&self) -> Result<TimeRange, String> {
        let read = |text: &Option<String>, open: i64| match text {
            None => Ok(open),
            Some(text) => parse_rfc3339(text).map_err(|error| {
                format!("`{text}` is no time, write it as 2026-03-01T00:00:00Z: {error}")
            }),
        };
        Ok(TimeRange { from_us: read(&self.from, i64::MIN)?, to_us: read(&self.to, i64::MAX)? })
    }
}

/// What to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The next value of each series.
    Expected,
    /// The metrics of each device together.
    Group,
    /// Shapes that series begin with, one model for all.
    Shapes,
    /// How likely a person calls an alert true, by feedback, one model for all.
    Rerank,
    /// The alarm level of each series, by feedback.
    Level,
}

/// The options of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainOptions {
    /// What to train.
    #[arg(long, value_enum)]
    kind: What,
    #[command(flatten)]
    which: Which,
    /// For `level`: what agents have as `score.suite.alarm_level`.
    #[arg(long, value_name = "SCORE", default_value_t = 1.2)]
    alarm_level: f32,
    /// The key that signs, as `weir-sink keys new` made it.
    #[arg(long, value_name = "FILE")]
    key: String,
    /// Folder for the models.
    #[arg(long, value_name = "FOLDER", default_value = "models")]
    out: PathBuf,
}

/// The key that signs models.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Makes a key in a new file, and prints the public key that agents pin.
    New {
        /// The file; it must not exist.
        file: String,
    },
    /// Prints the public key.
    Show {
        /// The file of the key.
        file: String,
    },
}

/// Models in files and in the topic of models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// What is in force, by the topic.
    Ls,
    /// What a file holds.
    Show {
        /// A file that `train` wrote.
        file: String,
    },
    /// Runs a model over archived readings, beside the streaming detectors.
    Backtest {
        /// A file that `train` wrote.
        file: String,
        #[command(flatten)]
        when: When,
        /// For `level` and `shapes`: what agents have as `score.suite.alarm_level`.
        #[arg(long, value_name = "SCORE", default_value_t = 1.2)]
        alarm_level: f32,
        /// Writes one JSON object a reading.
        #[arg(long)]
        json: bool,
    },
    /// Publishes a model: agents try it in the shadow, then switch to it.
    Promote {
        /// A file that `train` wrote.
        file: String,
    },
    /// Goes back to an older model, or with `--withdraw` to none.
    Rollback {
        /// A file that `train` wrote, of the older model.
        file: String,
        /// The key that signs the step back.
        #[arg(long, value_name = "FILE", required_unless_present = "withdraw")]
        key: Option<String>,
        /// Takes the model away: agents go back to the streaming detectors.
        #[arg(long)]
        withdraw: bool,
    },
}

/// A way to talk to a program or a person.
pub(crate) type Say<'a> = &'a mut dyn FnMut(&str);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `weir-sink keys`.
pub(crate) fn run_keys(command: &KeysCommand, say: Say<'_>) -> Result<(), String> {
    let key = match command {
        KeysCommand::New { file } => keys::new(file),
        KeysCommand::Show { file } => keys::read(file),
    };
    say(&key.map_err(text)?.public().to_string());
    Ok(())
}

/// `weir-sink train`: one file a model. A series of which nothing can be learnt is told and left out.
pub(crate) async fn run_train(
    config: &Config,
    options: &TrainOptions,
    say: Say<'_>,
) -> Result<(), String> {
    let key = keys::read(&options.key).map_err(text)?;
    let Which { site, device, metric, when } = &options.which;
    let (scope, range) = (scope(site, device, metric), when.range()?);
    let by_feedback = matches!(options.kind, What::Rerank | What::Level);
    let (mut history, mut said) = (History::default(), Vec::new());
    if by_feedback {
        let store = store::open(&config.store).await.map_err(text)?;
        store.check_schema().await.map_err(text)?;
        said = judged(&*store, &scope, range).await.map_err(text)?;
    } else {
        let archive = Archive::existing(&config.archive).map_err(text)?;
        history = History::read(&archive, &scope, range).await.map_err(text)?;
    }
    let fits = if by_feedback {
        // What is in force let the alerts through that people judged.
        let in_force = match options.kind {
            What::Level => factors(config, &key.public())?,
            _ => BTreeMap::new(),
        };
        fit_feedback(options, said, scope, in_force)?
    } else {
        fit_history(options.kind, &history, scope)
    };
    let mut written = 0;
    for (scope, trained) in fits {
        let trained = match trained {
            Ok(_) if is_for_others(options.kind, &scope) => Err(super::TrainError::Star),
            trained => trained,
        };
        let trained = match trained {
            Ok(trained) => trained,
            Err(error) => {
                say(&format!("{scope}: {error}"));
                continue;
            }
        };
        let head = head(scope, &trained);
        let bytes = seal(&head, &trained.model, &trained.golden, &key).map_err(text)?;
        let name = release::file_name(trained.model.kind(), &head);
        let path = release::write(&options.out, &name, &bytes).map_err(text)?;
        say(&format!(
            "{}: {}\n  {} bytes: {}",
            head.scope,
            trained.report,
            bytes.len(),
            path.display()
        ));
        written += 1;
    }
    if written == 0 {
        return Err("nothing was trained: check `--site`, `--device`, `--metric` and the time against what the archive holds, or the store of feedback".into());
    }
    Ok(())
}

/// A fit for each scope, or why there is none; made when it is asked for.
type Fits<'a> = Box<dyn Iterator<Item = (Scope, Result<Trained, super::TrainError>)> + 'a>;

/// Fits to archived readings.
fn fit_history(kind: What, history: &History, all: Scope) -> Fits<'_> {
    match kind {
        What::Expected => {
            let fit = |one: super::Series| {
                let of = scope(&one.key.site, &one.key.device, &one.key.metric);
                (of, fit_series(&one).map(|(trained, _)| trained))
            };
            Box::new(history.series().map(fit))
        }
        What::Group => {
            let fit = |one: super::Group| (scope(&one.site, &one.device, "*"), fit_group(&one));
            Box::new(history.groups().into_iter().map(fit))
        }
        _ => {
            let series: Vec<_> = history.series().collect();
            Box::new(std::iter::once((all, fit_shapes(&series))))
        }
    }
}

/// Fits to what people said of alerts.
fn fit_feedback(
    options: &TrainOptions,
    said: Vec<Judged>,
    all: Scope,
    in_force: BTreeMap<String, f32>,
) -> Result<Fits<'static>, String> {
    let set = options.alarm_level;
    check_level(set)?;
    if options.kind == What::Rerank {
        return Ok(Box::new(std::iter::once((all, fit_rerank(&said)))));
    }
    let mut series: BTreeMap<_, Vec<Judged>> = BTreeMap::new();
    for one in said {
        let AlertData { site, device, metric, .. } = &one.alert;
        series.entry((site.clone(), device.clone(), metric.clone())).or_default().push(one);
    }
    Ok(Box::new(series.into_iter().map(move |((site, device, metric), said)| {
        let scope = scope(&site, &device, &metric);
        let factor = in_force.get(&format!("{}/{scope}", Kind::Level)).copied().unwrap_or(1.0);
        let trained = fit_level(&said, set, factor);
        (scope, trained)
    })))
}

fn check_level(set: f32) -> Result<(), String> {
    let fits = set > 0.0 && set.is_finite();
    if fits { Ok(()) } else { Err("`--alarm-level` is the score of an alarm, above 0".into()) }
}

/// The factors of the levels that are in force, by the keys of their models.
fn factors(config: &Config, own: &PublicKey) -> Result<BTreeMap<String, f32>, String> {
    let pinned: Vec<_> = config.models.keys.iter().chain([own]).cloned().collect();
    let levels = in_force(config)?.into_iter().filter(|(key, _)| Kind::Level.is_of(key));
    let factor = |(key, value): (String, Vec<u8>)| {
        let central = Central::open(&value, &pinned, Version::own()).ok()?;
        match &central.model {
            Model::Level(level) if central.head.key(Kind::Level) == key => {
                Some((key, level.factor()))
            }
            _ => None,
        }
    };
    Ok(levels.filter_map(factor).collect())
}

/// Whether a scope that is made of stored names has a star in one of them.
fn is_for_others(kind: What, scope: &Scope) -> bool {
    let is_of_device = scope.site.contains('*') || scope.device.contains('*');
    match kind {
        What::Expected | What::Level => is_of_device || scope.metric.contains('*'),
        What::Group => is_of_device,
        What::Shapes | What::Rerank => false,
    }
}

fn scope(site: &str, device: &str, metric: &str) -> Scope {
    Scope { site: site.into(), device: device.into(), metric: metric.into() }
}

/// The time in seconds: it rises without anybody keeping count.
fn new_version() -> u64 {
    u64::try_from(now_us() / SECOND_US).unwrap_or(0)
}

fn head(scope: Scope, trained: &Trained) -> Head {
    Head {
        scope,
        version: new_version(),
        valid_from_us: trained.until_us.saturating_add(1),
        trained_until_us: trained.until_us,
        min_agent: Version::own(),
        rollback: false,
    }
}

/// `weir-sink models`.
pub(crate) async fn run_models(
    config: &Config,
    command: &ModelsCommand,
    say: Say<'_>,
) -> Result<(), String> {
    let pinned = &config.models.keys;
    match command {
        ModelsCommand::Ls => {
            for (key, value) in in_force(config)? {
                match Central::open(&value, pinned, Version::own()) {
                    // Somebody may have put a model that was signed for one scope under the key of another.
                    Ok(central) if central.head.key(central.model.kind()) != key => {
                        say(&format!("{key}: refused: it is the model of {}", central.head.scope));
                    }
                    Ok(central) => say(&line(&central, value.len())),
                    Err(error) => say(&format!("{key}: refused: {error}")),
                }
            }
            Ok(())
        }
        ModelsCommand::Show { file } => {
            let (bytes, central) = release::read(file, pinned).map_err(text)?;
            say(&line(&central, bytes.len()));
            say(&describe(&central.model));
            Ok(())
        }
        ModelsCommand::Backtest { file, when, alarm_level, json } => {
            check_level(*alarm_level)?;
            let (_, central) = release::read(file, pinned).map_err(text)?;
            let archive = Archive::existing(&config.archive).map_err(text)?;
            let scope = &central.head.scope;
            let history = History::read(&archive, scope, when.range()?).await.map_err(text)?;
            let set = SuiteConfig { alarm_level: *alarm_level, ..SuiteConfig::default() };
            backtest(&central.model, &history, &set, *json, say)
        }
        ModelsCommand::Promote { file } => {
            let (bytes, central) = release::read(file, pinned).map_err(text)?;
            let key = central.head.key(central.model.kind());
            if let Some(running) = in_force(config)?.get(&key) {
                // What agents refuse does not run, and need not be beaten.
                if let Ok(running) = Central::open(running, pinned, Version::own()) {
                    central.may_replace(running.head.version).map_err(text)?;
                }
            }
            publish(config, &key, Some(&bytes)).await?;
            say(&format!("published {key}, version {}", central.head.version));
            Ok(())
        }
        ModelsCommand::Rollback { file, key: signing, withdraw } => {
            let signing = signing.as_deref().filter(|_| !withdraw);
            roll_back(config, file, signing, say).await
        }
    }
}

/// Publishes the older model of `file` under a new version, or with no key takes what is in force away.
async fn roll_back(
    config: &Config,
    file: &str,
    signing: Option<&str>,
    say: Say<'_>,
) -> Result<(), String> {
    let pinned = &config.models.keys;
    let (bytes, central) = release::read(file, pinned).map_err(text)?;
    let key = central.head.key(central.model.kind());
    let Some(signing) = signing else {
        publish(config, &key, None).await?;
        say(&format!("withdrew {key}"));
        return Ok(());
    };
    let running = in_force(config)?.remove(&key).unwrap_or_default();
    let running = Central::open(&running, pinned, Version::own());
    let beaten = running.map_or(0, |running| running.head.version);
    let version = new_version().max(beaten.saturating_add(1));
    let signing = keys::read(signing).map_err(text)?;
    let marked = mark_rollback(&bytes, version, &signing).map_err(text)?;
    // The key that signs has to be one that agents take.
    Central::open(&marked, pinned, Version::own()).map_err(text)?;
    publish(config, &key, Some(&marked)).await?;
    let older = central.head.version;
    say(&format!("rolled {key} back to the model of version {older}, now version {version}"));
    Ok(())
}

fn line(central: &Central, bytes: usize) -> String {
    let Head { version, valid_from_us, min_agent, rollback, .. } = &central.head;
    let mark = if *rollback { ", a roll-back" } else { "" };
    format!(
        "{}: version {version}{mark}, valid from {}, agents from {min_agent} on, {bytes} bytes",
        central.head.key(central.model.kind()),
        rfc3339(*valid_from_us),
    )
}

fn describe(model: &Model) -> String {
    use weir_models::central::Regressor;
    match model {
        Model::Expected(model) => {
            let how = match model.regressor() {
                Regressor::Linear(linear) => {
                    format!("ridge regression of {} features", linear.width())
                }
                Regressor::Forest(forest) => {
                    let (trees, nodes) = forest.size();
                    format!("{trees} trees, {nodes} nodes")
                }
            };
            let half = model.band().half_width() * model.unit().scale;
            format!("  {how}: {:?}\n  usual: +-{half}", model.schema().features())
        }
        Model::Group(model) => {
            let parts = model.parts();
            format!(
                "  {}: T2 below {}, Q below {}",
                parts.metrics.join(", "),
                parts.t2_limit,
                parts.q_limit
            )
        }
        Model::Shapes(model) => format!("  {} centres", model.centres().len()),
        Model::Rerank(model) => {
            let mut weights: Vec<_> =
                model.weights().filter(|(_, weight)| *weight != 0.0).collect();
            weights.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
            let lines = weights.iter().map(|(name, weight)| format!("  {weight:+.2} {name}"));
            lines.collect::<Vec<_>>().join("\n")
        }
        Model::Level(model) => format!("  {model}"),
    }
}

fn connection(config: &Config) -> Result<BTreeMap<String, String>, String> {
    let secrets = Secrets::fetch(config).map_err(text)?;
    Ok(config.kafka.librdkafka_settings(secrets.kafka.as_ref()))
}

fn in_force(config: &Config) -> Result<release::Records, String> {
    let names = config.topic_names();
    release::records(&connection(config)?, names.name(Topic::Models)).map_err(text)
}

async fn publish(config: &Config, key: &str, value: Option<&[u8]>) -> Result<(), String> {
    let producer =
        KafkaProducer::start(&connection(config)?, &config.topic_names()).map_err(text)?;
    producer.send(Topic::Models, key.as_bytes(), value, &[]).await.map_err(text)
}

/// `[models]`: whose models are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Public keys, as `weir-sink keys show` prints them.
    pub keys: Vec<PublicKey>,
}
