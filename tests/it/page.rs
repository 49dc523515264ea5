//! The page in a real browser: every view shows real data, and the console stays empty.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use weir_tests::browser::Browser;
use weir_tests::{Launch, Program, free_port, wait_until};

pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn test_id(id: &str) -> String {
    format!("[data-testid=\"{id}\"]")
}

/// Waits until the number in an attribute is as wanted.
#[track_caller]
pub(crate) fn wait_number(
    browser: &Browser,
    css: &str,
    name: &str,
    wanted: impl Fn(u64) -> bool,
) -> u64 {
    let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? null";
    wait_until(&format!("`{name}` of `{css}`"), SOON, || {
        let seen = browser.script(script, &[css.into(), name.into()]);
        match seen.as_str().and_then(|text| text.parse().ok()) {
            Some(number) if wanted(number) => Ok(number),
            _ => Err(seen),
        }
    })
}

/// Where pictures are kept for a person: the folder that `WEIR_TEST_PICTURES` names, or none.
pub(crate) fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("WEIR_TEST_PICTURES") {
        browser.screenshot(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

#[track_caller]
pub(crate) fn check_console(browser: &Browser) {
    let said = browser.console();
    assert!(said.is_empty(), "the console says {said:#?}");
}

/// A demo that has shown its report, and stays up.
fn demo() -> (Program, String) {
    let page = format!("127.0.0.1:{}", free_port());
    let launch = Launch::ours("weir").args(["demo", "--listen", &page, "--data", "data"]);
    let mut program = launch.start();
    program.wait_line("page and API", Duration::from_secs(120));
    (program, format!("http://{page}/"))
}

#[test]
fn every_view_shows_the_demo() {
    let (_demo, page) = demo();
    let browser = Browser::start();

    browser.open(&page);
    wait_number(&browser, &test_id("devices"), "data-count", |count| count >= 5);
    let devices = browser.wait_text(&test_id("devices"), |text| text.contains("press-7"));
    assert!(devices.contains("iot-device-03") && devices.contains("hall=2"), "{devices}");
    assert_eq!(browser.text(&format!("{} strong", test_id("tile-gateways"))).as_deref(), Some("1"));
    picture(&browser, "fleet");
    check_console(&browser);

    // As a person comes there: from a value of a device to its series.
    browser.click("[data-device=\"demo/press-7\"] a.chip");
    let plot = test_id("series-plot");
    assert_eq!(wait_number(&browser, &plot, "data-count", |count| count > 0), 22_695);
    wait_number(&browser, &plot, "data-anomalies", |count| count > 0);
    wait_number(&browser, &plot, "data-alerts", |count| count > 0);
    browser.wait_text(&test_id("series-stats"), |text| text.contains("22,695"));
    let drawn = "const canvas = document.querySelector('.plot-main canvas'); \
         const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; \
         const colours = new Set(); \
         for (let i = 0; i < all.length; i += 4) if (all[i + 3] > 200) \
             colours.add((all[i] << 16) | (all[i + 1] << 8) | all[i + 2]); \
         return colours.size";
    wait_until("colours on the plot", SOON, || match browser.script(drawn, &[]).as_u64() {
        Some(colours) if colours >= 3 => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    picture(&browser, "series");
    browser.click("[data-range=\"24h\"]");
    wait_number(&browser, &plot, "data-count", |count| count > 0 && count <= 289);
    check_console(&browser);
    check_series_tools(&browser, &page);

    browser.click("#nav [data-view=alerts]");
    wait_number(&browser, &test_id("alert-list"), "data-count", |count| count >= 4);
    let alerts = browser.texts(&test_id("alert"));
    assert!(alerts.iter().any(|text| text.contains("press-7 / temperature")), "{alerts:#?}");
    picture(&browser, "alerts");
    check_console(&browser);

    // A percent sign that encodes nothing is no reason to show nothing.
    browser.open(&format!("{page}#/series/%"));
    wait_number(&browser, &plot, "data-count", |count| count > 0);
    browser.open(&format!("{page}#/series/demo/press-7/100%"));
    browser.wait_text(&test_id("view-series"), |text| {
        text.contains("There is no such series") && text.contains("demo / press-7 / 100%")
    });
    check_console(&browser);

    // The word is in the `auth.log` of the fixtures, and not in most of its lines.
    browser.click("#nav [data-view=logs]");
    let lines = test_id("log-lines");
    wait_number(&browser, &lines, "data-count", |count| count > 0);
    // Words stand anywhere in a line; what is in quotes stands as it is written.
    for (typed, is_found) in [
        (
            "user%20INVALID",
            (|text| text.contains("user") && text.contains("invalid")) as fn(&str) -> bool,
        ),
        ("%22nvalid%20USER%22", |text| text.contains("nvalid user")),
    ] {
        browser.open(&format!("{page}#/logs?site=demo&q={typed}&from=0&to=4102444800000000"));
        // Until the answer is there, the lines before it stand.
        wait_until(&format!("only lines with {typed}"), SOON, || {
            let found = browser.texts(".line .msg");
            let other = found.iter().find(|text| !is_found(&text.to_lowercase()));
            match other {
                None if !found.is_empty() => Ok(()),
                other => Err(format!("{other:?} among {}", found.len())),
            }
        });
    }
    picture(&browser, "logs");
    check_console(&browser);
}

/// From the whole of a series to seconds of it and back; beside another one; as CSV and PNG; by keys; dark and narrow.
fn check_series_tools(browser: &Browser, page: &str) {
    let plot = test_id("series-plot");
    let form = |wanted: &str| {
        let script = "return document.querySelector(arguments[0])?.dataset.form ?? null";
        wait_until(&format!("a plot of {wanted}"), SOON, || {
            let seen = browser.script(script, &[plot.as_str().into()]);
            if seen == wanted { Ok(()) } else { Err(seen) }
        });
    };
    form("values");
    browser.click("[data-range=All]");
    form("rollups");
    assert_eq!(wait_number(browser, &plot, "data-count", |count| count > 9_000), 22_695);

    // Dragged over a part of the plot; back shows all again.
    let drag = "const over = document.querySelector('.plot-main .u-over'); \
         const box = over.getBoundingClientRect(); \
         const send = (to, kind, part) => to.dispatchEvent(new MouseEvent(kind, { bubbles: true, \
             button: 0, buttons: 1, movementX: 9, clientX: box.left + box.width * part, clientY: box.top + 50 })); \
         send(over, 'mousemove', .5); send(over, 'mousedown', .5); send(over, 'mousemove', .52); \
         send(document, 'mousemove', .52); send(document, 'mouseup', .52); return true";
    browser.script(drag, &[]);
    form("values");
    let part = wait_number(browser, &plot, "data-count", |count| count > 0 && count < 2_000);
    assert!(part > 100, "{part}");
    browser.click("[aria-label=Back]");
    wait_number(browser, &plot, "data-count", |count| count == 22_695);

    // Beside another series; what is saved has both.
    let choose = "const list = document.querySelector(arguments[0]); \
         list.value = [...list.options].find((one) => one.value.includes('cpu')).value; list.dispatchEvent(new Event('change')); return list.value";
    let other = browser.script(choose, &[test_id("series-compare").into()]);
    assert!(other.as_str().is_some_and(|other| other.ends_with("/cpu")), "{other}");
    wait_number(browser, &plot, "data-other", |count| count > 0);
    picture(browser, "series-compared");
    check_saved_and_keys(browser, &plot);

    // The address alone brings all of it back.
    let address = browser.script("return location.href", &[]);
    browser.open(&format!("{page}#/fleet"));
    browser.open(address.as_str().unwrap());
    wait_number(browser, &plot, "data-other", |count| count > 0);
    browser.click("#theme");
    picture(browser, "series-dark");
    browser.resize(390, 844);
    browser.open(&format!("{page}#/series/demo/press-7/temperature?last=7d"));
    wait_number(browser, &plot, "data-count", |count| count > 0 && count < 3_000);
    picture(browser, "series-phone");
    let wide = "return document.documentElement.scrollWidth - innerWidth";
    assert!(browser.script(wide, &[]).as_i64().is_some_and(|wide| wide <= 0));
    browser.click("#theme");
    browser.resize(1_280, 900);
    check_console(browser);
}

/// What is shown as a table and as a picture, and value by value for who cannot see it.
fn check_saved_and_keys(browser: &Browser, plot: &str) {
    let saved = "const url = URL.createObjectURL.bind(URL); \
         return new Promise((done) => { URL.createObjectURL = (blob) => { \
             blob.arrayBuffer().then((bytes) => done([blob.type, \
                 Array.from(new Uint8Array(bytes).slice(0, 200000), (b) => String.fromCharCode(b)).join('')])); \
             return url(blob); }; document.querySelector(arguments[0]).click(); })";
    let csv = browser.script(saved, &[test_id("series-csv").into()]);
    let lines: Vec<&str> = csv[1].as_str().unwrap().split("\r\n").collect();
    assert_eq!(lines[0], "site,device,metric,unit,time,ts_us,n,min,max,mean,score");
    assert!(
        lines.len() > 200 && lines[1].starts_with("\"demo\",\"press-7\","),
        "{:?}",
        &lines[..2]
    );
    let png = browser.script(saved, &[test_id("series-png").into()]);
    assert_eq!(png[0], "image/png");
    let bytes = png[1].as_str().unwrap();
    assert!(bytes.contains("PNG") && bytes.len() > 5_000, "{} bytes", bytes.len());

    // By keys: a value after the other is told.
    let keys = "const plot = document.querySelector(arguments[0]); plot.focus(); \
         const press = (key, shiftKey) => plot.dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey, bubbles: true })); \
         press('ArrowRight', true); const one = document.querySelector(arguments[1]).textContent; \
         press('ArrowRight', true); return [one, document.querySelector(arguments[1]).textContent]";
    let told = browser.script(keys, &[plot.into(), test_id("series-spoken").into()]);
    assert!(told[0].as_str().unwrap().starts_with("20") && told[0] != told[1], "{told}");
}

/// What is sent while somebody looks shows without a reload.
#[test]
fn the_log_tail_is_live() {
    let (page, syslog) = (free_port(), free_port());
    let config = format!(
        "[site]\nname = \"mill\"\ndata_dir = \"data\"\n\
         [[source.syslog]]\nname = \"udp\"\nlisten = \"udp://127.0.0.1:{syslog}\"\nzone = \"UTC\"\n\
         [[source.syslog]]\nname = \"tcp\"\nlisten = \"tcp://127.0.0.1:{syslog}\"\nzone = \"UTC\"\n\
         [http]\nlisten = \"127.0.0.1:{page}\"\n"
    );
    let launch = Launch::ours("weir").file("weir.toml", config).args(["up", "-c", "weir.toml"]);
    let mut site = launch.start();
    site.wait_line("site is up", SOON);
    let over_tcp = |text: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", syslog)).unwrap();
        writeln!(stream, "<11>Nov 21 10:00:00 saw mill: {text}").unwrap();
    };
    over_tcp("the first line");
    let page = format!("http://127.0.0.1:{page}/");
    site.wait("the site to be known", SOON, |_| {
        let sites = weir_tests::http::get_json(&format!("{page}v1/sites")).to_string();
        if sites.contains("mill") { Ok(()) } else { Err(sites) }
    });

    let browser = Browser::start();
    browser.open(&format!("{page}#/logs"));
    browser.wait_text(&test_id("log-tail"), |text| text == "Live");
    browser.wait_text(&test_id("log-status"), |text| text.contains(" in "));
    let lines = test_id("log-lines");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"<14>Nov 21 10:00:01 saw mill: over UDP", ("127.0.0.1", syslog)).unwrap();
    browser.wait_text(&lines, |text| text.contains("over UDP"));
    over_tcp("over <b>TCP</b>");
    let text = browser.wait_text(&lines, |text| text.contains("over <b>TCP</b>"));
    assert_eq!(text.matches("over UDP").count(), 1, "{text}");
    picture(&browser, "tail");

    // Paused, it counts; going on shows what came.
    browser.click(&test_id("log-tail"));
    over_tcp("while paused");
    browser.wait_text(&test_id("log-tail"), |text| text == "Paused, 1 new");
    // The page shows new lines by a timer of 150 ms; one of 500 ms that begins later ends later.
    let later = "return new Promise((done) => setTimeout(() => done(true), 500))";
    assert_eq!(browser.script(later, &[]), true);
    assert!(!browser.text(&lines).unwrap().contains("while paused"));
    assert_eq!(browser.text(&test_id("log-tail")).as_deref(), Some("Paused, 1 new"));
    browser.click(&test_id("log-tail"));
    browser.wait_text(&lines, |text| text.contains("while paused"));
    check_console(&browser);
}
