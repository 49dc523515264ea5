//! For tests: a broker that says what the test wants.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_models::kafka::KafkaConfig;

use super::settings::Settings;

/// A port with a test behind it.
pub(super) struct Peer {
    listener: TcpListener,
    pub(super) address: String,
}

/// The broker's side of a connection.
pub(super) struct Side<S> {
    pub(super) stream: S,
}

/// A request that came.
pub(super) struct Asked {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) id: i32,
    body: Bytes,
}

/// Settings for a plain connection to this address.
pub(super) fn settings(address: &str) -> Settings {
    let mut settings = Settings::new(&KafkaConfig::plain(address, "t.")).unwrap();
    // For what should answer; tests of silence shorten it.
    settings.handshake_timeout = Duration::from_secs(20);
    settings
}

impl Peer {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::new(settings(&self.address))
    }

    pub(super) async fn accept(&self) -> Side<TcpStream> {
        Side { stream: self.listener.accept().await.unwrap().0 }
    }

    /// Accepts, and tells its versions.
    pub(super) async fn greeted(&self) -> Side<TcpStream> {
        let mut side = self.accept().await;
        side.greet().await;
        side
    }
}

impl Asked {
    /// The request, which has to be of this kind.
    pub(super) fn read<R: Request>(&self) -> R {
        assert_eq!(self.key, R::KEY);
        R::decode(&mut self.body.clone(), self.version).unwrap()
    }
}

/// The versions of Kafka 4.
fn versions() -> ApiVersionsResponse {
    let keys = [
        (ApiKey::Produce, 3, 12),
        (ApiKey::Fetch, 4, 17),
        (ApiKey::ListOffsets, 1, 10),
        (ApiKey::Metadata, 0, 13),
        (ApiKey::SaslHandshake, 0, 1),
        (ApiKey::ApiVersions, 0, 4),
        (ApiKey::CreateTopics, 2, 7),
        (ApiKey::InitProducerId, 0, 5),
        (ApiKey::SaslAuthenticate, 0, 2),
    ];
    let api = |(key, low, high): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(low).with_max_version(high)
    };
    ApiVersionsResponse::default().with_api_keys(keys.into_iter().map(api).collect())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Side<S> {
    /// The next request; none when the client has closed.
    pub(super) async fn asked(&mut self) -> Option<Asked> {
        let length = self.stream.read_u32().await.ok()?;
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await.ok()?;
        let mut bytes = Bytes::from(bytes);
        let (key, version) = (bytes.slice(0..2).get_i16(), bytes.slice(2..4).get_i16());
        let api = ApiKey::try_from(key).unwrap();
        let header =
            RequestHeader::decode(&mut bytes, api.request_header_version(version)).unwrap();
        assert_eq!(header.client_id.as_deref(), Some("weir-agent"));
        Some(Asked { key, version, id: header.correlation_id, body: bytes })
    }

    pub(super) async fn answer<M: Encodable + HeaderVersion>(
        &mut self,
        asked: &Asked,
        message: &M,
    ) {
        self.answer_as(asked.id, asked.version, message).await;
    }

    pub(super) async fn answer_as<M: Encodable + HeaderVersion>(
        &mut self,
        id: i32,
        version: i16,
        message: &M,
    ) {
        let bytes = frame(id, version, message);
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Answers the question for versions.
    pub(super) async fn greet(&mut self) {
        let asked = self.asked().await.unwrap();
        self.greet_to(&asked).await;
    }

    /// Answers this question for versions.
    pub(super) async fn greet_to(&mut self, asked: &Asked) {
        assert_eq!((asked.key, asked.version), (ApiKey::ApiVersions as i16, 3));
        self.answer(asked, &versions()).await;
    }

    /// Waits until the client has closed, whatever it says before.
    pub(super) async fn closed(&mut self) {
        let mut rest = [0; 1024];
        while matches!(self.stream.read(&mut rest).await, Ok(1..)) {}
    }
}

/// An answer with length and header.
pub(super) fn frame<M: Encodable + HeaderVersion>(id: i32, version: i16, message: &M) -> Bytes {
    let mut body = BytesMut::from(&id.to_be_bytes()[..]);
    if M::header_version(version) >= 1 {
        body.extend_from_slice(&[0]);
    }
    message.encode(&mut body, version).unwrap();
    let mut out = BytesMut::from(&(body.len() as u32).to_be_bytes()[..]);
    out.extend_from_slice(&body);
    out.freeze()
}
