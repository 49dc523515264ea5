use super::super::peer::{Peer, Side, frame, settings};
use super::*;
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, TopicName};
use tokio::net::TcpStream;

const VERSION: i16 = 12;

/// Connects to a peer that does what `script` says once the versions are told.
async fn connected<F>(script: impl FnOnce(Side<TcpStream>) -> F) -> (Connection, F) {
    let peer = Peer::new().await;
    let settings = peer.settings();
    let (connection, side) =
        tokio::join!(Connection::open(&peer.address, &settings), peer.greeted());
    (connection.unwrap(), script(side))
}

/// An answer that can be told apart.
fn named(name: &str) -> MetadataResponse {
    let name = TopicName(StrBytes::from_string(name.into()));
    let topic = MetadataResponseTopic::default().with_name(Some(name));
    MetadataResponse::default().with_topics(vec![topic])
}

fn name(response: &MetadataResponse) -> &str {
    response.topics[0].name.as_ref().unwrap().as_str()
}

fn ask(connection: &Connection) -> Pending<MetadataRequest> {
    connection.start(VERSION, &MetadataRequest::default()).unwrap()
}

#[track_caller]
fn check_failed(result: Result<MetadataResponse, CallError>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn several_requests_are_under_way_and_answered_in_their_order() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(side.asked().await.unwrap().id);
        }
        // All in one segment, and the last one in two.
        let mut bytes = BytesMut::new();
        for id in &ids {
            bytes.extend_from_slice(&frame(*id, VERSION, &named(&format!("t{id}"))));
        }
        let rest = bytes.split_off(bytes.len() - 5);
        side.stream.write_all(&bytes).await.unwrap();
        side.stream.write_all(&rest).await.unwrap();
        side.closed().await;
        ids
    })
    .await;
    let pending = [ask(&connection), ask(&connection), ask(&connection)];
    let check = async {
        for (index, pending) in pending.into_iter().enumerate() {
            assert_eq!(name(&pending.await.unwrap()), format!("t{index}"));
        }
        assert!(!connection.is_closed());
        drop(connection);
    };
    let ((), ids) = tokio::join!(check, script);
    assert_eq!(ids, [0, 1, 2]);
}

#[tokio::test]
async fn a_large_answer_is_read_whole() {
    let long = "x".repeat(300_000);
    let answer = named(&long);
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        for _ in 0..2 {
            let asked = side.asked().await.unwrap();
            side.answer(&asked, &answer).await;
        }
        side
    })
    .await;
    let pending = [ask(&connection), ask(&connection)];
    let check = async {
        for pending in pending {
            assert_eq!(name(&pending.await.unwrap()).len(), long.len());
        }
    };
    tokio::join!(check, script);
}

#[tokio::test]
async fn an_answer_out_of_order_ends_the_connection() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        let _first = side.asked().await.unwrap();
        let second = side.asked().await.unwrap();
        side.answer(&second, &named("second")).await;
        side.closed().await;
    })
    .await;
    let (first, second) = (ask(&connection), ask(&connection));
    let (first, second, ()) = tokio::join!(first, second, script);
    check_failed(first, "answer 1 where 0 is due");
    check_failed(second, "answer 1 where 0 is due");
    assert!(connection.is_closed());
    let refused = connection.start(VERSION, &MetadataRequest::default()).err().unwrap();
    assert!(refused.to_string().contains("answer 1 where 0 is due"), "{refused}");
}

#[tokio::test]
async fn bytes_that_are_no_answer_end_the_connection() {
    async fn check(bytes: &[u8], expected: &str) {
        let (connection, script) = connected(async |mut side: Side<TcpStream>| {
            side.asked().await.unwrap();
            side.stream.write_all(bytes).await.unwrap();
            side.closed().await;
        })
        .await;
        let (answer, ()) = tokio::join!(ask(&connection), script);
        check_failed(answer, expected);
        assert!(connection.is_closed());
    }
    check(b"HTTP/1.1 400 Bad Request\r\n", "an answer of 1213486160 bytes").await;
    check(&[0, 0, 0, 2, 0, 0], "an empty answer").await;
    // Right in length and number, and then four billion brokers.
    let many = [0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 15];
    check(&many, "what is not Kafka's protocol").await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        side.answer_as(0, VERSION, &named("x")).await;
        side.closed().await;
    })
    .await;
    script.await;
    let refused = connection.start(VERSION, &MetadataRequest::default()).err().unwrap();
    assert!(refused.to_string().contains("nobody asked"), "{refused}");
}

#[tokio::test]
async fn a_broker_that_closes_fails_all_that_is_pending() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        let first = side.asked().await.unwrap();
        side.asked().await.unwrap();
        side.answer(&first, &named("first")).await;
        // The half of an answer.
        side.stream.write_all(&[0, 0, 1, 0, 0, 0, 0, 1, 0]).await.unwrap();
    })
    .await;
    let (first, second) = (ask(&connection), ask(&connection));
    let (first, second, ()) = tokio::join!(first, second, script);
    assert_eq!(name(&first.unwrap()), "first");
    check_failed(second, "the broker closed it");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_listener_that_closes_at_the_first_request_may_want_a_user() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        side.asked().await.unwrap();
    })
    .await;
    let (answer, ()) = tokio::join!(ask(&connection), script);
    check_failed(answer, "check `kafka.sasl`");
}

#[tokio::test]
async fn silence_ends_the_connection_after_its_time() {
    let peer = Peer::new().await;
    let mut settings = settings(&peer.address);
    settings.request_timeout = Duration::from_millis(30);
    let settings = Arc::new(settings);
    let (connection, mut side) =
        tokio::join!(Connection::open(&peer.address, &settings), peer.greeted());
    let connection = connection.unwrap();
    let (first, second) = (ask(&connection), ask(&connection));
    let (first, second) = tokio::join!(first, second);
    for answer in [first, second] {
        check_failed(answer, "gave no answer");
    }
    assert!(connection.is_closed());
    // The socket is closed, and not only forgotten.
    side.closed().await;
}

#[tokio::test]
async fn dropping_a_connection_closes_it_and_fails_what_is_pending() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        side.asked().await.unwrap();
        side.closed().await;
    })
    .await;
    let pending = ask(&connection);
    let check = async {
        drop(connection);
        pending.await
    };
    let (answer, ()) = tokio::join!(check, script);
    check_failed(answer, "not needed any more");
}

#[tokio::test]
async fn an_answer_may_be_forgotten() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        for name in ["first", "second"] {
            let asked = side.asked().await.unwrap();
            side.answer(&asked, &named(name)).await;
        }
        side
    })
    .await;
    drop(ask(&connection));
    let (second, _side) = tokio::join!(ask(&connection), script);
    assert_eq!(name(&second.unwrap()), "second");
}

#[tokio::test]
async fn what_cannot_be_sent_leaves_the_connection_as_it_was() {
    let (connection, script) = connected(async |mut side: Side<TcpStream>| {
        let asked = side.asked().await.unwrap();
        side.answer(&asked, &named("good")).await;
        side
    })
    .await;
    // Version 8 has lengths that nobody checks; version 99 there is none.
    let old = connection.start(8, &MetadataRequest::default()).err();
    assert_eq!(old, Some(CallError::Version { key: 3, needed: 8 }));
    let none = connection.start(99, &MetadataRequest::default()).err();
    assert!(matches!(none, Some(CallError::Encode(_))), "{none:?}");
    let (answer, _side) = tokio::join!(ask(&connection), script);
    assert_eq!(name(&answer.unwrap()), "good");
}

#[tokio::test]
async fn a_broker_that_never_answers_holds_a_bounded_number_of_requests() {
    let (connection, _side) = connected(|side| side).await;
    let pending: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| ask(&connection)).collect();
    let one_more = connection.start(VERSION, &MetadataRequest::default()).err();
    assert_eq!(one_more, Some(CallError::Full));
    assert_eq!(pending.len(), IN_FLIGHT_MAX);
}
