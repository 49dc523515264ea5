//! Requests and answers as bytes.
//!
//! In: messages of the crate `kafka-protocol`, or the bytes of a broker. Out: a frame with its length
//! before it, or the message. Promises: bytes from the wire never panic and never make us allocate
//! much more than they take themselves. The crate allocates as many elements as a length field
//! says, so [`Guarded`] checks each length before the crate sees it. That works for "flexible" versions
//! only (KIP-482), where lengths are varints; [`is_flexible`] tells which these are, and others
//! are not used. Every API that we need has one since Kafka 2.8.

use bytes::{Buf, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Bytes of the length before each frame.
pub(super) const LENGTH_BYTES: usize = 4;
/// Where the correlation id stands in a request: after length, API key and version.
const CORRELATION_AT: usize = 8;
/// Numbers of tags are varints too, and may be larger than what follows them.
const TAGS_MAX: usize = 64;

/// Whether the lengths in the answer of this version are varints.
pub(super) fn is_flexible<R: Request>(version: i16) -> bool {
    <R::Response as HeaderVersion>::header_version(version) >= 1
}

/// A request with its length and header; the correlation id is 0 until [`number`] writes it.
///
/// # Errors
/// What the crate says when a field does not exist in this version.
pub(super) fn request<R: Request>(
    client_id: &StrBytes,
    version: i16,
    request: &R,
) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let write = || {
        let bytes = header.compute_size(header_version)? + request.compute_size(version)?;
        let mut out = BytesMut::with_capacity(LENGTH_BYTES + bytes);
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        header.encode(&mut out, header_version)?;
        request.encode(&mut out, version)?;
        let length = u32::try_from(out.len() - LENGTH_BYTES)?;
        out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    };
    write().map_err(|error: Box<dyn std::error::Error>| error.to_string())
}

/// Writes the correlation id into a frame of [`request`].
pub(super) fn number(frame: &mut BytesMut, correlation_id: i32) {
    frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
}

/// The correlation id at the start of an answer.
pub(super) fn answered(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Reads an answer, without its length.
///
/// # Errors
/// When the bytes are no such answer.
pub(super) fn response<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, String> {
    let mut bytes = Guarded { rest: frame, number: 0, digits: 0 };
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    ResponseHeader::decode(&mut bytes, header_version).map_err(|error| error.to_string())?;
    R::Response::decode(&mut bytes, version).map_err(|error| error.to_string())
}

/// Bytes that hand out no varint that is larger than what is left. All varints of the protocol are
/// lengths, counts, or small numbers of tags; the crate reads them, and nothing else but booleans,
/// byte by byte with `try_get_u8`.
struct Guarded {
    rest: Bytes,
    number: u64,
    digits: u32,
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.rest.try_get_u8()?;
        self.number |= u64::from(byte & 0x7f) << (7 * self.digits);
        self.digits += 1;
        if byte < 0x80 || self.digits == 5 {
            let (number, available) = (self.number, self.rest.len());
            (self.number, self.digits) = (0, 0);
            if number > (available + TAGS_MAX) as u64 {
                return Err(TryGetError { requested: number as usize, available });
            }
        }
        Ok(byte)
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.rest.split_to(size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use kafka_protocol::messages::{
        ApiVersionsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
        MetadataRequest, ProduceRequest,
    };
    use proptest::prelude::*;

    fn read_all(bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let _ = response::<ApiVersionsRequest>(bytes.clone(), 3);
        let _ = response::<MetadataRequest>(bytes.clone(), 12);
        let _ = response::<ProduceRequest>(bytes.clone(), 9);
        let _ = response::<InitProducerIdRequest>(bytes.clone(), 4);
        let _ = response::<ListOffsetsRequest>(bytes.clone(), 7);
        let _ = response::<FetchRequest>(bytes, 12);
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error_and_no_allocation() {
        // Metadata 12: correlation id, no tags, throttle time, then four billion brokers.
        let bytes = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        let error = response::<MetadataRequest>(Bytes::copy_from_slice(&bytes), 12).unwrap_err();
        assert!(error.contains("4294967295"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            read_all(&bytes);
        }

        /// Nearly right answers come further.
        #[test]
        fn damaged_answers_are_an_answer_or_an_error(
            damage in prop::collection::vec((0usize..200, any::<u8>()), 1..4)
        ) {
            use kafka_protocol::messages::metadata_response::{
                MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
                MetadataResponseTopic,
            };
            let partitions = vec![MetadataResponsePartition::default(); 3];
            let topic = MetadataResponseTopic::default()
                .with_name(Some(StrBytes::from_static_str("weir.logs").into()))
                .with_partitions(partitions);
            let answer = MetadataResponse::default()
                .with_brokers(vec![MetadataResponseBroker::default(); 2])
                .with_topics(vec![topic]);
            let mut bytes = BytesMut::from(&[0u8, 0, 0, 1, 0][..]);
            answer.encode(&mut bytes, 12).unwrap();
            for (at, byte) in damage {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            read_all(&bytes);
        }
    }
}
