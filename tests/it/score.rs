//! Tables of readings scored by command: the program a user runs, in the forms a user gives it; and rules of a plant in a
//! running agent.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use weir_tests::program::Finished;
use weir_tests::{Launch, free_port, http, services, unique};

const SOON: Duration = Duration::from_secs(30);

/// Eight days at five minutes, calm but for one reading on the seventh.
fn table() -> String {
    let mut text = String::from("timestamp,value\n");
    for i in 0..2_304 {
        let (day, hour, minute) = (1 + i / 288, i / 12 % 24, i % 12 * 5);
        let calm = 20.0 + f64::from(i * 7_919 % 101) / 100.0;
        let value = if i == 2_000 { 60.0 } else { calm };
        writeln!(text, "2024-01-{day:02} {hour:02}:{minute:02}:00,{value}").unwrap();
    }
    text
}

#[track_caller]
fn score(args: &[&str], stdin: &str) -> Finished {
    Launch::ours("weir-agent").arg("score").args(args).stdin(stdin).run(SOON)
}

#[track_caller]
fn rows(args: &[&str], stdin: &str) -> Vec<Value> {
    let text = score(args, stdin).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_row_gets_a_score_that_no_later_row_changes() {
    let whole = rows(&["--json", "-"], &table());
    assert_eq!(whole.len(), 2_304);
    assert_eq!(whole[2_000]["timestamp"], "2024-01-07 22:40:00");
    assert_eq!(whole[2_000]["alarm"], true);
    let said: Vec<usize> = (1_000..2_304).filter(|i| whole[*i]["score"] != 0.0).collect();
    let highest = said.iter().max_by(|a, b| {
        let of = |i: usize| whole[i]["score"].as_f64().unwrap();
        of(**a).total_cmp(&of(**b))
    });
    assert!((2_000..2_020).contains(highest.unwrap()), "{said:?}");

    let lines: Vec<&str> = table().leak().lines().collect();
    let part = rows(&["--json", "-"], &lines[..2_002].join("\n"));
    assert_eq!(part[..], whole[..2_001]);
}

#[test]
fn settings_come_from_the_configuration_and_faults_say_what_to_do() {
    let config = "agent = { site = \"a\" }\nkafka = { brokers = [\"k:9092\"] }\n\
                  [score.suite]\nalarm_level = 50.0\n";
    let launch = Launch::ours("weir-agent").file("c.toml", config).file("t.csv", table());
    let text = launch.clone().args(["score", "t.csv", "-c", "c.toml"]).run(SOON).ok();
    assert_eq!(text, "2304 rows of 1 metric(s): 0 alarm(s), 0 row(s) not or partly scored\n");
    let text = launch.args(["score", "t.csv"]).run(SOON).ok();
    assert!(text.contains("2024-01-07 22:40:00  alarm on value: score"), "{text}");

    let text = score(&["-"], "timestamp,value\n1,2\n2,x\n").ok();
    assert!(text.contains("line 3: `x` in column `value` is not a number"), "{text}");
    for (args, stdin, part) in [
        (&["none.csv"][..], "", "cannot read `none.csv`"),
        (&["-"], "1,2\n", "the first line must name the columns"),
        (&["-", "--values", "b"], "time,a\n", "no column of values `b`"),
    ] {
        let finished = score(args, stdin);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
}

#[test]
fn rules_of_a_plant_are_told_by_a_running_agent() {
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("plant"));
    let topic = format!("{prefix}alerts");
    kafka.create_topic(&topic, 1);
    let port = free_port();
    let config = format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\", heartbeat_s = 3600 }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
         status = {{ listen = \"127.0.0.1:0\" }}\n\
         metadata = {{ files = [\"devices.csv\"] }}\n\
         [[source.http]]\nlisten = \"127.0.0.1:{port}\"\nline = {{ device = \"device\" }}\n\
         [[score.tiers]]\nmetric = \"pulses\"\ntier = \"T1\"\n\
         [[score.rules]]\nmetric = \"pulses\"\nrule = {{ kind = \"counter\", name = \"restarted\" }}\n\
         [[score.rules]]\nmetric = \"flow\"\nrule = {{ kind = \"gap\", name = \"silent\", gap_s = 3 }}\n",
        kafka.bootstrap
    );
    let launch = Launch::ours("weir-agent").file("agent.toml", config);
    let devices = "site,device,unit:temp\nplant,oven-1,°C\n";
    let mut agent = launch.file("devices.csv", devices).args(["run", "-c", "agent.toml"]).start();
    agent.wait_line("agent is running", SOON);
    agent.wait_line("metadata file read", SOON);
    let send = |lines: &str| {
        let url = format!("http://127.0.0.1:{port}/v1/write?precision=s");
        let lines: String =
            lines.split(';').map(|l| l.replacen(' ', ",device=oven-1 value=", 1) + "\n").collect();
        assert_eq!(http::post(&url, "text/plain", lines.as_bytes()).status, 204);
    };
    // Of each alert: state, kind, metric, rule, reason; and whether an event was the cause.
    let mut told = |count: usize| -> Vec<(String, bool)> {
        let alerts = agent.wait(&format!("{count} alerts"), SOON, |_| {
            let alerts = services::kafka().read(&topic);
            if alerts.len() >= count { Ok(alerts) } else { Err(format!("{}", alerts.len())) }
        });
        let say = |alert: &Value| {
            let words =
                ["state", "kind", "metric", "why", "message"].map(|key| alert[key].as_str());
            words.into_iter().flatten().collect::<Vec<_>>().join(" | ")
        };
        let data = alerts.iter().map(|alert| alert.json()["data"].clone());
        data.map(|data| (say(&data), data["cause_seq"] != 0)).collect()
    };

    send("temp 20.5 1700000000;temp -300.5 1700000010;pulses 520 1700000000;pulses 3 1700000010");
    let alerts = told(2);
    let unit = "firing | reading | temp | unit | -300.5 °C: no sensor measures less than -273.15";
    let reset =
        "firing | reading | pulses | restarted | reset: it counted to 520 and began anew, now at 3";
    assert_eq!(alerts, [(unit.into(), true), (reset.into(), true)]);

    // Nothing else comes, and that is what is told; of `temp` nobody wanted to know.
    send("flow 7 1700000020");
    let (silent, has_cause) = told(3).remove(2);
    let since =
        "firing | silence | flow | silent | no reading since 2023-11-14T22:13:40Z: none for";
    assert!(silent.starts_with(since) && silent.ends_with("allowed are 3 s"), "{silent}");
    assert!(!has_cause);
    send("flow 7 1700000030");
    assert_eq!(told(4).remove(3), ("resolved | silence | flow | silent".into(), true));
}
