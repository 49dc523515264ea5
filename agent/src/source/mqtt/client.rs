//! The client: MQTT 3.1.1 and 5 behind one face.
//!
//! In: the settings. Out: what is heard from the broker, on a small channel, from a task that polls
//! the connection and makes it again with growing, jittered waits. The task is never cancelled inside
//! a poll, because the library may lose a packet then; while nobody takes what it hears, it waits, and
//! the broker is slowed down.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{QoS, Transport, v5};
use tokio::sync::{mpsc, watch};

use super::super::{stopping, tls};
use super::{Protocol, Settings};

/// First wait after a lost connection; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait between two tries to connect.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests that may wait for the connection: as many as there are packet identifiers, so that an
/// acknowledgement never has to wait for room.
const REQUESTS_MAX: usize = 65_536;

/// News from the broker.
#[derive(Debug)]
pub(super) enum Heard {
    /// There is a connection; whether the broker still knew the session.
    Connected { session_present: bool },
    /// The connection was lost.
    Disconnected,
    /// A message.
    Message(Message),
    /// The acknowledgement of this packet was written.
    Acknowledged(u16),
    /// The broker refused a subscription.
    SubscriptionRefused(String),
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    /// The packet identifier; `None` if it needs no acknowledgement.
    pub(super) packet: Option<u16>,
    pub(super) is_duplicate: bool,
    pub(super) is_retained: bool,
}

/// What can be asked of the broker.
#[derive(Clone)]
pub(super) enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// A client that was not started yet.
pub(super) enum Connection {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

impl Client {
    /// A client of the broker in `settings`.
    pub(super) fn new(settings: &Settings) -> (Self, Connection) {
        let (id, host, port) = (&settings.client_id, &settings.host, settings.port);
        let config = &settings.config;
        let transport = match &settings.trust {
            Some(trust) => Transport::tls_with_config(trust.clone().into()),
            None => Transport::tcp(),
        };
        let keep_alive = Duration::from_secs(u64::from(config.keep_alive_s));
        match config.protocol {
            Protocol::V3_1_1 => {
                let mut options = rumqttc::MqttOptions::new(id, host, port);
                options
                    .set_transport(transport)
                    .set_keep_alive(keep_alive)
                    .set_clean_session(false)
                    .set_manual_acks(true)
                    .set_max_packet_size(config.packet_bytes_max as usize, 1024 * 1024);
                if let Some((username, password)) = &settings.login {
                    options.set_credentials(username, password.expose());
                }
                let (client, polled) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
                (Self::V4(client), Connection::V4(Box::new(polled)))
            }
            Protocol::V5 => {
                let mut options = v5::MqttOptions::new(id, host, port);
                options
                    .set_transport(transport)
                    .set_keep_alive(keep_alive)
                    .set_clean_start(false)
                    .set_manual_acks(true)
                    .set_session_expiry_interval(Some(config.session_expiry_s))
                    .set_receive_maximum(Some(config.in_flight_max))
                    .set_max_packet_size(Some(config.packet_bytes_max));
                if let Some((username, password)) = &settings.login {
                    options.set_credentials(username, password.expose());
                }
                let (client, polled) = v5::AsyncClient::new(options, REQUESTS_MAX);
                (Self::V5(client), Connection::V5(Box::new(polled)))
            }
        }
    }

    /// Subscribes with quality of service 1; whether the request could be put on its way.
    pub(super) fn subscribe(&self, filters: &[String]) -> bool {
        let filters = filters.iter().cloned();
        match self {
            Self::V4(client) => {
                let filter = |path| rumqttc::SubscribeFilter::new(path, QoS::AtLeastOnce);
                client.try_subscribe_many(filters.map(filter)).is_ok()
            }
            Self::V5(client) => {
                let filter =
                    |path| v5::mqttbytes::v5::Filter::new(path, v5::mqttbytes::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.map(filter)).is_ok()
            }
        }
    }

    /// Acknowledges a packet.
    pub(super) fn acknowledge(&self, packet: u16) {
        let asked = match self {
            Self::V4(client) => {
                let mut publish = rumqttc::Publish::new("", QoS::AtLeastOnce, Bytes::new());
                publish.pkid = packet;
                client.try_ack(&publish).is_ok()
            }
            Self::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let mut publish = v5::mqttbytes::v5::Publish::new("", qos, Bytes::new(), None);
                publish.pkid = packet;
                client.try_ack(&publish).is_ok()
            }
        };
        if !asked {
            tracing::debug!(packet, "an acknowledgement has to wait for the next connection");
        }
    }

    /// Says goodbye; the session stays.
    pub(super) fn disconnect(&self) {
        // An error says that there is no connection to end.
        let _ = match self {
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

impl Connection {
    /// Reads the certificates for the next try to connect, because they may have been renewed.
    fn trust(&mut self, config: Option<&tls::ClientConfig>, source: &str) {
        let Some(config) = config else { return };
        match tls::client(config) {
            Ok(settings) => {
                let transport = Transport::tls_with_config(settings.into());
                match self {
                    Self::V4(polled) => {
                        polled.mqtt_options.set_transport(transport);
                    }
                    Self::V5(polled) => {
                        polled.options.set_transport(transport);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%source, %error, "the certificates cannot be used; those from before stay in force");
            }
        }
    }

    /// Polls until the agent stops and the connection has ended, or nobody listens any more.
    pub(super) async fn run(
        mut self,
        tls: Option<tls::ClientConfig>,
        source: std::sync::Arc<str>,
        heard: mpsc::Sender<Heard>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut waits = Waits::default();
        loop {
            let polled = match &mut self {
                Self::V4(polled) => {
                    polled.poll().await.map(of_v4).map_err(|error| error.to_string())
                }
                Self::V5(polled) => {
                    polled.poll().await.map(of_v5).map_err(|error| error.to_string())
                }
            };
            match polled {
                Ok(None) => {}
                Ok(Some(news)) => {
                    if matches!(news, Heard::Connected { .. }) {
                        waits = Waits::default();
                    }
                    if heard.send(news).await.is_err() {
                        return;
                    }
                }
                Err(_) if *stop.borrow() || heard.is_closed() => return,
                Err(error) => {
                    if heard.send(Heard::Disconnected).await.is_err() {
                        return;
                    }
                    let wait = waits.next();
                    tracing::warn!(%source, error, wait_s = wait.as_secs_f32(), "no connection to the MQTT broker: {}", advice(&error));
                    tokio::select! {
                        () = stopping(&mut stop) => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    self.trust(tls.as_ref(), &source);
                }
            }
        }
    }
}

fn of_v4(event: rumqttc::Event) -> Option<Heard> {
    use rumqttc::{Event, Outgoing, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(connected)) => {
            Some(Heard::Connected { session_present: connected.session_present })
        }
        Event::Incoming(Packet::Publish(publish)) => Some(Heard::Message(Message {
            packet: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic,
            payload: publish.payload,
            is_duplicate: publish.dup,
            is_retained: publish.retain,
        })),
        Event::Incoming(Packet::SubAck(answer)) => answer
            .return_codes
            .iter()
            .any(|code| matches!(code, rumqttc::SubscribeReasonCode::Failure))
            .then(|| Heard::SubscriptionRefused(format!("{:?}", answer.return_codes))),
        Event::Outgoing(Outgoing::PubAck(packet)) => Some(Heard::Acknowledged(packet)),
        _ => None,
    }
}

fn of_v5(event: v5::Event) -> Option<Heard> {
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    match event {
        v5::Event::Incoming(Packet::ConnAck(connected)) => {
            Some(Heard::Connected { session_present: connected.session_present })
        }
        v5::Event::Incoming(Packet::Publish(publish)) => Some(Heard::Message(Message {
            packet: (publish.qos != v5::mqttbytes::QoS::AtMostOnce).then_some(publish.pkid),
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            is_duplicate: publish.dup,
            is_retained: publish.retain,
        })),
        v5::Event::Incoming(Packet::SubAck(answer)) => answer
            .return_codes
            .iter()
            .any(|code| !matches!(code, SubscribeReasonCode::Success(_)))
            .then(|| Heard::SubscriptionRefused(format!("{:?}", answer.return_codes))),
        v5::Event::Outgoing(rumqttc::Outgoing::PubAck(packet)) => Some(Heard::Acknowledged(packet)),
        _ => None,
    }
}

/// What to do about an error of the library, by its text, which is all that both versions share.
fn advice(error: &str) -> &'static str {
    let has = |word: &str| error.contains(word);
    if has("BadUserNamePassword") || has("NotAuthorized") {
        "check `username` and `password`, and what the broker allows them"
    } else if has("BadClientId") || has("ClientIdentifierNotValid") {
        "the broker does not take this `client_id`; set another one"
    } else if has("ProtocolVersion") {
        "the broker speaks another version; set `protocol` to \"3.1.1\" or \"5\""
    } else if has("invalid peer certificate") {
        "check `tls.ca_file`, and whether the broker's certificate is current and has the name in `url`"
    } else if has("received fatal alert") {
        "the broker wants a certificate that it trusts: check `tls.cert_file` and `tls.key_file`"
    } else if has("InvalidContentType") {
        "the broker does not speak TLS on this port; check `url`"
    } else if has("size") && has("limit") {
        "a message is larger than `packet_bytes_max`; raise it, or the broker will send that message for ever"
    } else {
        "check `url`, and whether the broker runs; trying again"
    }
}

/// Growing, jittered waits.
#[derive(Default)]
struct Waits {
    tries: u32,
}

impl Waits {
    fn next(&mut self) -> Duration {
        let wait = WAIT_MIN.saturating_mul(1 << self.tries.min(10)).min(WAIT_MAX);
        self.tries += 1;
        // From half of it to all of it, so that a thousand agents do not come back at once.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        wait.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_differ() {
        let mut waits = Waits::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = waits.next().as_secs_f64();
            let expected = f64::from(expected);
            assert!(wait >= expected / 2.0 && wait <= expected, "{wait} {expected}");
        }
        let first: Vec<_> = (0..20).map(|_| Waits::default().next()).collect();
        assert!(first.iter().any(|wait| *wait != first[0]));
    }
}
