use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use expect_test::expect;

use super::*;

const BEFORE: &str = r#"# HELP weir_agent_received_events_total Events taken from a source, by `source`.
# TYPE weir_agent_received_events_total counter
weir_agent_received_events_total{source="net"} 100
weir_agent_received_events_total{source="web"} 50
weir_agent_received_bytes_total{source="net"} 1000
weir_agent_cpu_seconds 1.5
weir_agent_published_events_total 90
weir_agent_spooled_events_total 150
"#;

const NOW: &str = r#"weir_agent_received_events_total{source="net"} 350
weir_agent_received_events_total{source="web"} 10
weir_agent_received_bytes_total{source="net"} 6000
weir_agent_unparsed_events_total{source="net",state="raw"} 2
weir_agent_unparsed_events_total{source="net",state="partial"} 3
weir_agent_refused_connections_total{source="web",limit="connections_max"} 7
weir_agent_dropped_datagrams_total{source="net",socket="0"} 4
weir_agent_dropped_datagrams_total{source="net",socket="1"} 1
weir_agent_cpu_seconds 1.75
weir_agent_published_events_total 290
weir_agent_spooled_events_total 400
weir_agent_spool_bytes 5242880
weir_agent_spool_max_bytes 536870912
weir_agent_spool_waiting_events 110
weir_agent_spool_oldest_seconds{lane="alerts"} 0
weir_agent_spool_oldest_seconds{lane="rest"} 12.5
weir_agent_lane_waiting_events{lane="rest"} 110
weir_agent_spool_written_bytes_total{lane="rest"} 2000
weir_agent_resident_memory_bytes 12582912
weir_agent_memory_budget_bytes 46137344
weir_agent_alerts_total{state="firing"} 3
weir_agent_alerts_total{state="resolved"} 1
weir_agent_lost_events_total{reason="receive_buffer"} 5
weir_agent_kafka_errors_total{class="connection"} 6
"#;

fn of_two_looks() -> Value {
    let begun = Instant::now();
    let before = Sample::new(begun, BEFORE, None);
    let problem = Some("no broker answers".to_owned());
    figures(&before, &Sample::new(begun + Duration::from_millis(2_500), NOW, problem))
}

#[test]
fn figures_for_a_person() {
    expect![[r#"
        weir-agent at gw:9598: no broker answers
        cpu 10.0 %, memory 12.0 of 44.0 MiB, spool 5.0 of 512 MiB
        events/s: 84.0 taken, 0.0 filtered, 100.0 spooled, 80.0 to Kafka; 110 wait
        lost 5, dead letters 0, alerts fired 3, of them open 2
        errors of Kafka since the start, connection: 6

        source                  events/s     bytes/s  unparsed/s     refused     dropped      events
        net                        100.0      2000.0         2.0           0           5         350
        web                          0.0         0.0         0.0           7           0          10

        lane                     waiting    oldest s     bytes/s
        alerts                         0         0.0         0.0
        rest                         110        12.5       800.0
    "#]]
    .assert_eq(&table("gw:9598", &of_two_looks()));
}

#[test]
fn figures_for_a_program() {
    let figures = of_two_looks();
    assert_eq!(figures["cpu_percent"], 10.0);
    assert_eq!(figures["sources"][0]["events_per_s"], 100.0);
    // It was started anew: what it counts now is not less than nothing.
    assert_eq!(figures["sources"][1]["events_per_s"], 0.0);
    assert_eq!(figures["kafka_errors"]["connection"], 6.0);
    // Each column is a figure that there is.
    for (rows, columns) in
        [("sources", &figures::SOURCE_COLUMNS[..]), ("lanes", &figures::LANE_COLUMNS[..])]
    {
        assert!(columns.iter().all(|column| figures[rows][0][column].is_number()), "{rows}");
    }
}

#[test]
fn an_answer_is_read_and_nobody_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = std::thread::spawn(move || {
        for answer in ["HTTP/1.0 200 OK\r\nA: b\r\n\r\nok\n", "HTTP/1.1 503 no\r\n\r\nbad\n", "?"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    assert_eq!(get(&address, "/readyz", WAIT), Ok((true, "ok\n".into())));
    assert_eq!(get(&address, "/readyz", WAIT), Ok((false, "bad\n".into())));
    let error = get(&address, "/readyz", WAIT).unwrap_err();
    assert!(error.contains("does not speak HTTP"), "{error}");
    answers.join().unwrap();
    let error = get(&address, "/readyz", WAIT).unwrap_err();
    assert!(error.contains("status.listen"), "{error}");
}

#[test]
fn an_answer_that_drips_has_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let drips = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Until the other side is gone.
        while stream.write_all(b"HTTP/1.0 200 OK\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let error = get(&address, "/metrics", Duration::from_millis(200)).unwrap_err();
    assert!(error.contains("no answer in time"), "{error}");
    drips.join().unwrap();
}
