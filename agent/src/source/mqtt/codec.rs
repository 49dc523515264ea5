//! The codec: packets of MQTT 3.1.1 and 5 behind one face.
//!
//! In: bytes of the broker, and what is to be said. Out: what the broker says, and bytes for it. Promises:
//! no packet above the limit is gathered. What can go wrong: the bytes are no MQTT, or a packet is too
//! large; the connection is of no use then.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, QoS, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, QoS as QoS5, v5};

use super::{Config, Protocol};

/// The one subscription of a connection.
const SUBSCRIPTION: u16 = 1;

/// What the broker says.
#[derive(Debug)]
pub(super) enum Heard {
    /// There is a session.
    Connected {
        /// Whether the broker still knew it.
        session_present: bool,
        /// How often it wants to hear of us, in seconds, where that is not what was asked for.
        keep_alive_s: Option<u16>,
    },
    /// It takes no connection, for this reason.
    Refused(String),
    /// It refuses a subscription; its answers.
    SubscriptionRefused(String),
    /// A message.
    Message(Message),
    /// It ends the connection, for this reason.
    Ended(String),
    /// Nothing that matters.
    Nothing,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// The packet identifier; `None` if it needs no acknowledgement.
    pub(super) packet: Option<u16>,
    pub(super) is_duplicate: bool,
    pub(super) is_retained: bool,
}

/// Both ways of one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec {
    pub(super) protocol: Protocol,
    /// Largest packet taken, in bytes.
    pub(super) bytes_max: u32,
}

impl Codec {
    /// The next whole packet at the front of `bytes`, which is taken away.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(self, bytes: &mut BytesMut) -> Result<Option<Heard>, String> {
        match self.protocol {
            Protocol::V3_1_1 => match v4::Packet::read(bytes, self.bytes_max as usize) {
                Ok(packet) => Ok(Some(of_v4(packet))),
                Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Protocol::V5 => match v5::Packet::read(bytes, Some(self.bytes_max)) {
                Ok(packet) => Ok(Some(of_v5(packet))),
                Err(mqttbytes5::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Asks for the session of `client_id`, which the broker keeps.
    ///
    /// # Errors
    /// What cannot be written, for example a name longer than 64 KiB.
    pub(super) fn connect(
        self,
        config: &Config,
        client_id: &str,
        login: Option<(&str, &str)>,
        out: &mut BytesMut,
    ) -> Result<(), String> {
        let (keep_alive, client_id) = (config.keep_alive_s, client_id.to_owned());
        let written = match self.protocol {
            Protocol::V3_1_1 => {
                let mut connect = v4::Connect::new(client_id);
                connect.keep_alive = keep_alive;
                connect.clean_session = false;
                connect.login = login.map(|(name, password)| v4::Login::new(name, password));
                connect.write(out).map_err(|error| error.to_string())
            }
            Protocol::V5 => {
                let mut properties = v5::ConnectProperties::new();
                properties.session_expiry_interval = Some(config.session_expiry_s);
                properties.receive_maximum = Some(config.in_flight_max);
                properties.max_packet_size = Some(self.bytes_max);
                let properties = Some(properties);
                let connect = v5::Connect { keep_alive, client_id, clean_start: false, properties };
                let login = login.map(|(name, password)| v5::Login::new(name, password));
                connect.write(&None, &login, out).map_err(|error| error.to_string())
            }
        };
        written.map(drop)
    }

    /// Subscribes with quality of service 1.
    ///
    /// # Errors
    /// What cannot be written.
    pub(super) fn subscribe(self, filters: &[String], out: &mut BytesMut) -> Result<(), String> {
        let filters = filters.iter().cloned();
        let written = match self.protocol {
            Protocol::V3_1_1 => {
                let filter = |path| v4::SubscribeFilter::new(path, QoS::AtLeastOnce);
                let mut subscribe = v4::Subscribe::new_many(filters.map(filter));
                subscribe.pkid = SUBSCRIPTION;
                subscribe.write(out).map_err(|error| error.to_string())
            }
            Protocol::V5 => {
                let filter = |path: String| v5::Filter::new(path, QoS5::AtLeastOnce);
                let mut subscribe = v5::Subscribe::new_many(filters.map(filter), None);
                subscribe.pkid = SUBSCRIPTION;
                subscribe.write(out).map_err(|error| error.to_string())
            }
        };
        written.map(drop)
    }

    /// Acknowledges a packet: the same four bytes in both versions (MQTT 5, section 3.4.2.1: without a
    /// reason code it is success).
    pub(super) fn acknowledge(packet: u16, out: &mut BytesMut) {
        let [high, low] = packet.to_be_bytes();
        out.extend_from_slice(&[0x40, 2, high, low]);
    }

    /// Asks for a sign of life: the same two bytes in both versions (section 3.12).
    pub(super) fn ping(out: &mut BytesMut) {
        out.extend_from_slice(&[0xc0, 0]);
    }

    /// Says goodbye; the session stays: the same two bytes in both versions (section 3.14.2.1).
    pub(super) fn disconnect(out: &mut BytesMut) {
        out.extend_from_slice(&[0xe0, 0]);
    }
}

fn of_v4(packet: v4::Packet) -> Heard {
    match packet {
        v4::Packet::ConnAck(answer) if answer.code == v4::ConnectReturnCode::Success => {
            Heard::Connected { session_present: answer.session_present, keep_alive_s: None }
        }
        v4::Packet::ConnAck(answer) => Heard::Refused(format!("{:?}", answer.code)),
        v4::Packet::Publish(publish) => Heard::Message(Message {
            packet: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic.into(),
            payload: publish.payload,
            is_duplicate: publish.dup,
            is_retained: publish.retain,
        }),
        v4::Packet::SubAck(answer)
            if answer.return_codes.contains(&v4::SubscribeReasonCode::Failure) =>
        {
            Heard::SubscriptionRefused(format!("{:?}", answer.return_codes))
        }
        _ => Heard::Nothing,
    }
}

fn of_v5(packet: v5::Packet) -> Heard {
    match packet {
        v5::Packet::ConnAck(answer) if answer.code == v5::ConnectReturnCode::Success => {
            let keep_alive_s = answer.properties.and_then(|answer| answer.server_keep_alive);
            Heard::Connected { session_present: answer.session_present, keep_alive_s }
        }
        v5::Packet::ConnAck(answer) => Heard::Refused(format!("{:?}", answer.code)),
        v5::Packet::Publish(publish) => Heard::Message(Message {
            packet: (publish.qos != QoS5::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic,
            payload: publish.payload,
            is_duplicate: publish.dup,
            is_retained: publish.retain,
        }),
        v5::Packet::SubAck(answer)
            if !answer
                .return_codes
                .iter()
                .all(|code| matches!(code, v5::SubscribeReasonCode::Success(_))) =>
        {
            Heard::SubscriptionRefused(format!("{:?}", answer.return_codes))
        }
        v5::Packet::Disconnect(end) => Heard::Ended(format!("{:?}", end.reason_code)),
        _ => Heard::Nothing,
    }
}
