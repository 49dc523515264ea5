//! `weir-sink dlq`: the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_models::time::rfc3339;
use weir_models::topic::{Topic, TopicNames};

use super::letter::{Choice, Id, Letter, RECEIPT};
use crate::config::Config;
use crate::consume::producer::KafkaProducer;
use crate::consume::scan::{From, scan};
use crate::consume::{Producer, RETRIED};
use crate::program::Secrets;
use crate::prove::{Say, text};

/// Letters that are on their way at once.
const AT_ONCE: usize = 64;

/// Dead letters: records that the sink could not take.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists the letters that were not sent back.
    Ls {
        /// Also those that were sent back.
        #[arg(long)]
        all: bool,
        /// Writes JSON, an object a line.
        #[arg(long)]
        json: bool,
    },
    /// Shows one letter: its headers, key and value.
    Show {
        /// The letter, as `ls` names it.
        id: Id,
        /// Writes the value, byte for byte, to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Writes one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Sends letters back to the topic they came from, with the same key.
    Retry(Retry),
}

/// Which letters, and how.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["ids", "all", "reason"])]
pub(crate) struct Retry {
    /// These letters, as `ls` names them, also if they were sent back before.
    #[arg(conflicts_with_all = ["all", "reason"])]
    ids: Vec<Id>,
    /// All letters of readings, logs and alerts that were never sent back.
    #[arg(long)]
    all: bool,
    /// Of these the ones whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also those that were sent back and failed again.
    #[arg(long, conflicts_with = "ids")]
    again: bool,
    /// Sends the bytes of this file in place of the value of the one letter.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "reason"])]
    value: Option<PathBuf>,
}

impl Retry {
    fn choice(&self) -> Choice {
        if self.ids.is_empty() {
            let text = self.reason.clone().unwrap_or_default();
            Choice::Reason { text, again: self.again }
        } else {
            Choice::Named(self.ids.iter().copied().collect())
        }
    }
}

/// The topic of dead letters.
struct Letters {
    connection: BTreeMap<String, String>,
    names: TopicNames,
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let headers = message.headers().map(|headers| {
        let one = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()))
        };
        headers.iter().map(one).collect()
    });
    Letter {
        id: Id { partition: message.partition(), offset: message.offset() },
        ts_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
    }
}

impl Letters {
    /// Reads the topic on a thread that may wait; each letter comes once it is asked for.
    fn letters(
        &self,
        from: From<'static>,
    ) -> impl futures_util::Stream<Item = Result<Letter, String>> {
        let (send, letters) = mpsc::channel(AT_ONCE);
        let (connection, topic) = (self.connection.clone(), self.names.name(Topic::Dlq).clone());
        tokio::task::spawn_blocking(move || {
            let each =
                |message: &BorrowedMessage<'_>| send.blocking_send(Ok(letter(message))).is_ok();
            if let Err(error) = scan(&connection, &topic, from, each) {
                // Nobody listens any more: then nobody minds.
                let _ = send.blocking_send(Err(error.to_string()));
            }
        });
        ReceiverStream::new(letters)
    }

    /// The letters that were sent back.
    async fn done(&self) -> Result<BTreeSet<Id>, String> {
        let mut letters = std::pin::pin!(self.letters(From::Beginning));
        let mut done = BTreeSet::new();
        while let Some(letter) = letters.next().await {
            done.extend(letter?.receipt_of());
        }
        Ok(done)
    }
}

/// `weir-sink dlq`.
pub(crate) async fn run_dlq(
    config: &Config,
    command: &DlqCommand,
    say: Say<'_>,
) -> Result<(), String> {
    let secrets = Secrets::fetch(config).map_err(text)?;
    let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
    let letters = Letters { connection, names: config.topic_names() };
    match command {
        DlqCommand::Ls { all, json } => list(&letters, *all, *json, say).await,
        DlqCommand::Show { id, out, json } => {
            let mut found = std::pin::pin!(letters.letters(From::Record(id.partition, id.offset)));
            let letter = found.next().await.transpose()?;
            let letter = letter.filter(|letter| letter.id == *id).ok_or_else(|| absent(*id))?;
            if let Some(path) = out {
                let value = letter.value.as_deref().unwrap_or_default();
                std::fs::write(path, value)
                    .map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
            }
            say(&if *json { whole(&letter).to_string() } else { readable(&letter) });
            Ok(())
        }
        DlqCommand::Retry(retry) => send_back(&letters, retry, say).await,
    }
}

fn absent(id: Id) -> String {
    format!("there is no letter {id}: `weir-sink dlq ls` shows what there is")
}

async fn list(letters: &Letters, all: bool, json: bool, say: Say<'_>) -> Result<(), String> {
    let done = letters.done().await?;
    let mut found = std::pin::pin!(letters.letters(From::Beginning));
    let (mut open, mut sent) = (0_u64, 0_u64);
    while let Some(letter) = found.next().await {
        let letter = letter?;
        if letter.receipt_of().is_some() {
            continue;
        }
        let is_done = done.contains(&letter.id);
        *(if is_done { &mut sent } else { &mut open }) += 1;
        if is_done && !all {
            continue;
        }
        say(&if json { brief(&letter, is_done).to_string() } else { line(&letter, is_done) });
    }
    if !json {
        say(&format!("{open} letters, {sent} more were sent back"));
    }
    Ok(())
}

fn line(letter: &Letter, is_done: bool) -> String {
    let again = match letter.retried() {
        0 => "",
        _ => ", failed again",
    };
    let done = if is_done { ", sent back" } else { "" };
    format!(
        "{}: {} {}/{}, {}, {} bytes: {}{again}{done}",
        letter.id,
        letter.header("topic"),
        letter.header("partition"),
        letter.header("offset"),
        rfc3339(letter.ts_ms.saturating_mul(1_000)),
        letter.value.as_ref().map_or(0, Bytes::len),
        letter.header("reason"),
    )
}

fn brief(letter: &Letter, is_done: bool) -> Value {
    let number = |name| letter.header(name).parse::<i64>().ok();
    json!({
        "id": letter.id.to_string(),
        "topic": letter.header("topic"),
        "partition": number("partition"),
        "offset": number("offset"),
        "reason": letter.header("reason"),
        "ts_ms": letter.ts_ms,
        "bytes": letter.value.as_ref().map_or(0, Bytes::len),
        "retried": letter.retried(),
        "sent_back": is_done,
    })
}

/// Bytes as text where they are UTF-8, else as base64 under another name.
fn put(record: &mut Value, name: &str, bytes: Option<&Bytes>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => record[name] = Value::Null,
        Some((_, Ok(text))) => record[name] = text.into(),
        Some((bytes, Err(_))) => record[format!("{name}_b64")] = BASE64.encode(bytes).into(),
    }
}

fn whole(letter: &Letter) -> Value {
    let mut record = json!({ "id": letter.id.to_string(), "ts_ms": letter.ts_ms, "headers": {} });
    for (name, value) in &letter.headers {
        put(&mut record["headers"], name, Some(value));
    }
    put(&mut record, "key", letter.key.as_ref());
    put(&mut record, "value", letter.value.as_ref());
    record
}

fn readable(letter: &Letter) -> String {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut told = format!("time: {}\n", rfc3339(letter.ts_ms.saturating_mul(1_000)));
    for (name, value) in &letter.headers {
        told += &format!("{name}: {}\n", lossy(value));
    }
    told += &format!("key: {}\n\n", lossy(letter.key.as_deref().unwrap_or_default()));
    told + &lossy(letter.value.as_deref().unwrap_or_default())
}

async fn send_back(letters: &Letters, retry: &Retry, say: Say<'_>) -> Result<(), String> {
    let value = match &retry.value {
        None => None,
        Some(_) if retry.ids.len() != 1 => return Err("`--value` is for one letter".into()),
        Some(path) => Some(Bytes::from(
            std::fs::read(path)
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?,
        )),
    };
    let (choice, done) = (retry.choice(), letters.done().await?);
    let producer = KafkaProducer::start(&letters.connection, &letters.names).map_err(text)?;
    let chosen = letters.letters(From::Beginning).filter_map(|letter| {
        let taken = letter.as_ref().map_or(true, |letter| {
            letter.receipt_of().is_none() && choice.takes(letter, &done, &letters.names)
        });
        std::future::ready(taken.then_some(letter))
    });
    let sent = chosen.map(|letter| {
        let (producer, names, value) = (&producer, &letters.names, value.clone());
        async move {
            let letter = letter?;
            send_one(producer, names, &letter, value.as_ref()).await?;
            Ok::<Id, String>(letter.id)
        }
    });
    let mut sent = std::pin::pin!(sent.buffer_unordered(AT_ONCE));
    let mut ids = BTreeSet::new();
    while let Some(id) = sent.next().await {
        ids.insert(id.map_err(|error| {
            format!("{error}; {} letters were sent back, run it again for the others", ids.len())
        })?);
    }
    if let Choice::Named(named) = &choice
        && let Some(missing) = named.difference(&ids).next()
    {
        return Err(absent(*missing));
    }
    say(&format!("sent back {} letters", ids.len()));
    Ok(())
}

/// Sends a letter to its topic, and its receipt behind it.
async fn send_one(
    producer: &dyn Producer,
    names: &TopicNames,
    letter: &Letter,
    value: Option<&Bytes>,
) -> Result<(), String> {
    let topic = letter.topic(names)?;
    let key = letter.key.as_deref().unwrap_or_default();
    let value = value.or(letter.value.as_ref()).map(|value| &**value);
    // Kafka had refused it as too large; without its bytes it would be a deletion.
    let value = value.ok_or_else(|| {
        format!("letter {} has no value: give it one with `--value FILE`", letter.id)
    })?;
    let count = letter.retried().saturating_add(1).to_string();
    let failed = |error| format!("letter {} was not sent back: {error}", letter.id);
    let headers: [(&str, &[u8]); 1] = [(RETRIED, count.as_bytes())];
    producer.send(topic, key, Some(value), &headers).await.map_err(failed)?;
    let id = letter.id.to_string();
    let receipt: [(&str, &[u8]); 1] = [(RECEIPT, id.as_bytes())];
    producer.send(Topic::Dlq, key, None, &receipt).await.map_err(failed)
}
