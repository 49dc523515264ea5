//! The views of gateways, losses, archive and audits, and counted lines, in a real browser with what a site really sent.
#![allow(clippy::print_stderr, reason = "figures are for the reader of the output")]

use std::net::UdpSocket;

use weir_models::device::{AgentStatus, LaneStatus};
use weir_models::event::Clock;
use weir_models::ident::Stream;
use weir_models::time::now_us;
use weir_sink::store::config::SqliteConfig;
use weir_sink::store::{Batch, StoreConfig, open};
use weir_tests::browser::Browser;
use weir_tests::{Launch, Program, free_port, http, wait_until};

use crate::page::{SOON, check_console, picture, test_id, wait_number};

/// A site with a source over UDP whose kernel buffer is small.
struct Mill {
    program: Program,
    page: String,
    udp: UdpSocket,
}

impl Mill {
    fn start() -> Self {
        let (port, syslog) = (free_port(), free_port());
        let config = format!(
            "[site]\nname = \"mill\"\ndata_dir = \"data\"\narchive_close_after_s = 1\n\
             [[source.syslog]]\nname = \"hall\"\nlisten = \"udp://127.0.0.1:{syslog}\"\nzone = \"UTC\"\n\
             sockets = 1\nreceive_buffer_bytes = 16384\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\n"
        );
        let launch = Launch::ours("weir").file("weir.toml", config).args(["up", "-c", "weir.toml"]);
        let mut program = launch.start();
        program.wait_line("site is up", SOON);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(("127.0.0.1", syslog)).unwrap();
        Self { program, page: format!("http://127.0.0.1:{port}/"), udp }
    }

    /// Two templates, of which one is of errors.
    fn send(&self, lines: u64) {
        for n in 0..lines {
            let text = match n % 5 {
                0 => format!(
                    "<11>Nov 21 10:00:00 saw kiln[7]: zone {n} is too hot {}",
                    "x".repeat(200)
                ),
                _ => format!("<14>Nov 21 10:00:00 saw feed[7]: board {n} passed gate {}", n % 3),
            };
            self.udp.send(text.as_bytes()).unwrap();
        }
    }

    /// What a list of the API has.
    fn items(&self, path: &str) -> Vec<serde_json::Value> {
        let answer = http::get_json(&format!("{}{path}", self.page));
        answer["items"].as_array().cloned().unwrap_or_default()
    }

    /// Nobody reads for a while: most of what comes meanwhile is dropped by the kernel. Gives how many were lost.
    fn lose_some(&mut self) -> u64 {
        self.send(5);
        let lines = "v1/logs?site=mill&from=0&limit=10000";
        wait_until("the first lines", SOON, || match self.items(lines).len() {
            5 => Ok(()),
            seen => Err(seen),
        });
        self.program.pause();
        self.send(3_000);
        self.program.resume();
        wait_until("the loss marker", SOON, || {
            let losses = self.items("v1/losses?site=mill&from=0");
            let lost: u64 = losses.iter().map(|loss| loss["count"].as_u64().unwrap()).sum();
            let stored = self.items(lines).len() as u64;
            if lost > 0 && lost + stored == 3_005 {
                Ok(lost)
            } else {
                Err(format!("{lost} lost, {stored} stored"))
            }
        })
    }

    /// Its store, opened beside the program.
    fn store(&self) -> StoreConfig {
        let path = self.program.dir().join("data/store.sqlite");
        StoreConfig { sqlite: Some(SqliteConfig { path }), ..StoreConfig::default() }
    }

    /// `weir-sink audit` over the archive of the site.
    fn audit(&self) -> String {
        let data = self.program.dir().join("data").display().to_string();
        let config = format!(
            "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[store.sqlite]\npath = \"{data}/store.sqlite\"\n\
             [archive]\npath = \"{data}/archive\"\n"
        );
        let launch = Launch::ours("weir-sink").file("c.toml", config);
        launch.args(["audit", "-c", "c.toml", "--no-kafka"]).run(SOON).ok()
    }
}

/// The page in light and dark, and on a phone: never wider than the window.
fn pictures(browser: &Browser, name: &str) {
    picture(browser, name);
    browser.click("#theme");
    picture(browser, &format!("{name}-dark"));
    browser.click("#theme");
    browser.resize(390, 844);
    let wide = "return document.documentElement.scrollWidth - innerWidth";
    wait_until("nothing beside the window", SOON, || match browser.script(wide, &[]).as_i64() {
        Some(..=0) => Ok(()),
        wide => Err(format!("{name}: {wide:?}")),
    });
    picture(browser, &format!("{name}-phone"));
    browser.resize(1_280, 900);
}

#[test]
fn losses_archive_audits_and_counts_are_shown() {
    let mut mill = Mill::start();
    let lost = mill.lose_some();
    let browser = Browser::start();

    browser.open(&format!("{}#/losses", mill.page));
    wait_number(&browser, &test_id("losses"), "data-count", |count| count > 0);
    let sums = browser.wait_text(&test_id("loss-sums"), |text| text.contains("the kernel dropped"));
    let digits: String = sums.chars().filter(|letter| *letter != ',').collect();
    assert!(digits.contains(&lost.to_string()), "{lost}: {sums}");
    let rows = browser.text(&test_id("losses")).unwrap();
    assert!(rows.contains("hall") && rows.contains("had no number"), "{rows}");
    pictures(&browser, "losses");

    // From there to the gateway.
    browser.click(&format!("{} tbody a", test_id("loss-sums")));
    // The next heartbeat tells of it, too.
    let gateway = wait_until("the heartbeat", SOON, || match browser.text(&test_id("gateway")) {
        Some(text) if text.contains("receive_buffer: ") => Ok(text),
        seen => Err(format!("{seen:?}")),
    });
    assert!(gateway.contains("Heard of") && gateway.contains("Metadata in step"), "{gateway}");
    assert_eq!(browser.texts(&format!("{} tbody tr", test_id("lanes"))).len(), 4);
    wait_number(&browser, &test_id("losses"), "data-count", |count| count > 0);
    pictures(&browser, "gateway");
    check_console(&browser);

    // What is archived is told, and what an audit found.
    wait_until("an object", SOON, || {
        let archive = http::get_json(&format!("{}v1/archive", mill.page));
        match archive["days"].as_array().is_some_and(|days| !days.is_empty()) {
            true => Ok(()),
            false => Err(archive),
        }
    });
    browser.open(&format!("{}#/archive", mill.page));
    browser.wait_text(&test_id("view-archive"), |text| text.contains("No audit yet"));
    let said = mill.audit();
    assert!(said.contains("0 not whole"), "{said}");
    browser.open(&format!("{}#/fleet", mill.page));
    browser.click("#nav [data-view=archive]");
    wait_number(&browser, &test_id("audits"), "data-count", |count| count == 1);
    let audits = browser.text(&test_id("audits")).unwrap();
    assert!(audits.contains("sound"), "{audits}");
    // Four of readings, four of lines, and those of alerts.
    wait_number(&browser, &test_id("partitions"), "data-count", |count| count >= 8);
    wait_number(&browser, &test_id("archive-days"), "data-count", |count| count > 0);
    let partitions = browser.text(&test_id("partitions")).unwrap();
    assert!(partitions.contains(" rows, "), "{partitions}");
    pictures(&browser, "archive");
    check_console(&browser);
    check_counts(&browser, &mill);
}

/// The lines by time and by template; a template alone.
fn check_counts(browser: &Browser, mill: &Mill) {
    let stored = mill.items("v1/logs?site=mill&from=0&limit=10000").len() as u64;
    browser.open(&format!("{}#/logs?site=mill&from=0&to=4102444800000000", mill.page));
    let histogram = test_id("log-histogram");
    assert_eq!(wait_number(browser, &histogram, "data-count", |count| count > 0), stored);
    let templates = test_id("log-templates");
    let known = wait_number(browser, &templates, "data-count", |count| count > 0);
    browser.click(&format!("{templates} summary"));
    let rows = browser.texts(&format!("{templates} tbody tr"));
    assert_eq!(rows.len() as u64, known);
    assert!(rows.iter().any(|row| row.contains("too hot")), "{rows:?}");
    pictures(browser, "logs-counts");
    // Those of the one with fewer lines.
    browser.click(&format!("{templates} tbody tr:last-child button"));
    let only = wait_number(browser, &histogram, "data-count", |count| count > 0 && count < stored);
    wait_number(browser, &test_id("log-lines"), "data-count", |count| count == only);
    browser.click(&test_id("log-template"));
    wait_number(browser, &histogram, "data-count", |count| count == stored);
    check_console(browser);
}

fn heartbeat(number: u64, now_us: i64) -> AgentStatus {
    let lane = |lane: &str, waiting| LaneStatus {
        lane: lane.into(),
        stream: Stream(number),
        last_seq: number * 100,
        waiting,
        backlog: Vec::new(),
    };
    AgentStatus {
        agent: format!("gw-{number:05}").into(),
        site: format!("plant-{}", number % 40),
        version: "0.1.0".into(),
        // Every hundredth has not been heard of for an hour.
        ts_us: if number % 100 == 7 { now_us - 3_600_000_000 } else { now_us },
        started_us: now_us - 86_400_000_000,
        interval_s: 3_600,
        clock: if number % 250 == 3 { Clock::Unsynced } else { Clock::Synced },
        events_in: number * 1_000,
        events_out: number * 999,
        spool_bytes: number * 4_096,
        lanes: vec![lane("readings", number % 50 * 400), lane("rest", 0)],
        oldest_us: (!number.is_multiple_of(50)).then(|| now_us - 60_000_000 * (number % 50) as i64),
        metadata_us: Some(now_us - 5_000_000),
        lost: number
            .is_multiple_of(500)
            .then(|| ("spool_full".to_owned(), number))
            .into_iter()
            .collect(),
        ..AgentStatus::default()
    }
}

#[test]
fn ten_thousand_gateways_are_one_list() {
    const GATEWAYS: u64 = 9_999;
    let mill = Mill::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let now = now_us();
    runtime.block_on(async {
        let store = open(&mill.store()).await.unwrap();
        let mut agents: Vec<AgentStatus> =
            (0..GATEWAYS).map(|number| heartbeat(number, now)).collect();
        for silent in agents.iter_mut().filter(|agent| agent.ts_us < now) {
            silent.interval_s = 30;
        }
        store.write(&Batch { agents, ..Batch::default() }).await.unwrap();
    });
    let browser = Browser::start();
    browser.open(&format!("{}#/gateways", mill.page));
    let list = test_id("agents");
    assert_eq!(wait_number(&browser, &list, "data-count", |count| count > 9_000), GATEWAYS + 1);
    let times = "const mark = (name) => performance.getEntriesByName(name)[0]?.startTime ?? null; \
         const asked = performance.getEntriesByType('resource').find((one) => one.name.includes('/v1/agents')); \
         return [mark('first-contentful-paint'), mark('gateways'), asked.responseEnd - asked.startTime, asked.encodedBodySize, asked.decodedBodySize]";
    let times = browser.script(times, &[]);
    eprintln!(
        "ten thousand gateways: first paint {} ms, first rows {} ms after the navigation; the list took {} ms, {} bytes, {} unpacked",
        times[0], times[1], times[2], times[3], times[4]
    );
    assert!(times[1].as_f64().is_some_and(|ms| ms < 20_000.), "{times}");
    // The silent ones stand first; only what is in sight is in the document.
    let first = browser.text(&format!("{list} tbody [data-key]")).unwrap();
    assert!(first.contains("gw-00007") && first.contains("(silent)"), "{first}");
    check_rows(&browser, &list);
    pictures(&browser, "gateways");

    // By text and by state.
    let filter = "const input = document.querySelector(arguments[0]); input.value = arguments[1]; \
         input.dispatchEvent(new Event(input.tagName === 'SELECT' ? 'change' : 'input', { bubbles: true })); return true";
    browser.script(filter, &[test_id("gateway-filter").into(), "GW-0123 plant-34".into()]);
    wait_number(&browser, &list, "data-count", |count| count == 1);
    assert!(browser.text(&list).unwrap().contains("gw-01234"));
    browser.script(filter, &[test_id("gateway-filter").into(), "".into()]);
    for (state, wanted) in [("silent", 100), ("clock", 40), ("lost", 19)] {
        browser.script(filter, &[test_id("gateway-state").into(), state.into()]);
        wait_number(&browser, &list, "data-count", |count| count == wanted);
    }
    check_console(&browser);
}

/// By keys through all rows, sorted by another column, and to the page of one.
fn check_rows(browser: &Browser, list: &str) {
    let rows = format!("return document.querySelectorAll('{list} tbody tr').length");
    let few = |when: &str| {
        let rows = browser.script(&rows, &[]).as_u64().unwrap();
        assert!((20..200).contains(&rows), "{rows} rows {when}");
    };
    few("at first");
    let press = "const at = document.activeElement; \
         at.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], bubbles: true, cancelable: true })); \
         return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(document.activeElement.textContent))))";
    let focus = format!("document.querySelector('{list} tbody a').focus(); return true");
    browser.script(&focus, &[]);
    assert_eq!(browser.script(press, &["ArrowDown".into()]), "gw-00107");
    browser.click(&format!("{list} thead th:first-child button"));
    let sorted =
        format!("return document.querySelector('{list} thead th').getAttribute('aria-sort')");
    assert_eq!(browser.script(&sorted, &[]), "ascending");
    browser.script(&focus, &[]);
    assert_eq!(browser.script(press, &["End".into()]), "mill");
    few("at the end");
    assert_eq!(browser.script(press, &["ArrowUp".into()]), "gw-09998");
    let seen = "const box = document.activeElement.getBoundingClientRect(); return box.top > 0 && box.bottom < innerHeight";
    assert_eq!(browser.script(seen, &[]), true);
    assert_eq!(browser.script(press, &["Home".into()]), "gw-00000");
}

#[test]
fn an_alert_is_judged_where_the_sink_asks_for_it() {
    let page = format!("127.0.0.1:{}", free_port());
    let launch = Launch::ours("weir").args(["demo", "--listen", &page, "--data", "data"]);
    let mut demo = launch.start();
    demo.wait_line("page and API", std::time::Duration::from_secs(120));
    let page = format!("http://{page}/");
    let browser = Browser::start();
    browser.open(&page);
    // As a sink that takes feedback would answer; what is sent is kept.
    let stub = "const real = window.fetch; window.sent = []; window.fetch = async (url, options) => { \
         const path = new URL(url, location).pathname; \
         if (path.endsWith('/feedback')) { window.sent.push([String(url), options.method, options.body]); \
             return new Response('{}', { status: 202 }); } \
         if (path !== '/v1/openapi.json') return real(url, options); \
         const described = await (await real(url, options)).json(); \
         if (arguments[0]) described.paths['/v1/alerts/{id}/feedback'] = {}; else delete described.paths['/v1/alerts/{id}/feedback']; \
         return new Response(JSON.stringify(described)); }; return true";
    let shown = "return Array.from(document.querySelectorAll('[data-testid=feedback]'), (one) => one.hidden)";
    for asks in [false, true] {
        browser.open(&format!("{page}?{asks}#/fleet"));
        let stub = stub.replace("arguments[0]", if asks { "true" } else { "false" });
        browser.script(&stub, &[]);
        browser.click("#nav [data-view=alerts]");
        wait_number(&browser, &test_id("alert-list"), "data-count", |count| count >= 4);
        wait_until("buttons or none", SOON, || {
            let hidden = browser.script(shown, &[]);
            let right = hidden.as_array().is_some_and(|all| all.iter().all(|one| *one == !asks));
            if right { Ok(()) } else { Err(hidden) }
        });
    }
    browser.click("[data-verdict=expected]");
    browser.wait_text(&test_id("feedback"), |text| text.contains("Marked as expected"));
    let sent = browser.script("return window.sent[0]", &[]);
    let url = sent[0].as_str().unwrap();
    assert!(url.contains("/feedback?site=demo&fired_us=") && sent[1] == "POST", "{sent}");
    assert_eq!(sent[2], r#"{"verdict":"expected"}"#);
    pictures(&browser, "alerts-feedback");
    check_console(&browser);
}
