//! Grouping accuracy: the share of lines whose group holds exactly the lines of their event, on made-up logs of many
//! kinds of systems, with one setting for all.

use super::*;

const STYLES: &str = include_str!("../../../../../fixtures/logs/styles.txt");
const LINES: usize = 2000;

/// xorshift64.
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        // The first ones are more frequent, as users and services are.
        let (a, b) = (self.below(from.len() as u64), self.below(from.len() as u64));
        from[a.min(b) as usize]
    }

    fn hex(&mut self, digits: usize) -> String {
        format!("{:016x}{:016x}", self.next() << 11, self.next() << 13)[..digits].to_owned()
    }
}

const WORDS: [&str; 24] = [
    "mapred", "cache", "local", "system", "job", "tencent", "player", "video", "news", "store",
    "cloud", "media", "search", "kernel", "input", "tracker", "output", "task", "session", "voice",
    "photo", "mail", "update", "notes",
];
const USERS: [&str; 16] = [
    "root",
    "news",
    "cyrus",
    "test",
    "guest",
    "admin",
    "oracle",
    "webmaster",
    "postgres",
    "uucp",
    "mysql",
    "pi",
    "ubuntu",
    "nagios",
    "alice",
    "bob",
];
const SERVICES: [&str; 22] = [
    "cupsd",
    "syslogd",
    "klogd",
    "crond",
    "sshd",
    "atd",
    "xinetd",
    "sendmail",
    "portmap",
    "random",
    "network",
    "netfs",
    "apmd",
    "gpm",
    "hcid",
    "sdpd",
    "rc",
    "irqbalance",
    "bluetooth",
    "nfslock",
    "rpcidmapd",
    "mdmonitor",
];

/// A number of a kind, or the name of the kind.
fn number(name: &str, r: &mut Random) -> String {
    match name {
        "-" => ["", "-"][r.below(2) as usize].into(),
        "d" => r.below(10).to_string(),
        "n" => r.below(4000).to_string(),
        "nn" => format!("{:02}", r.below(60)),
        "n8" => format!("{:08}", r.below(100_000_000)),
        "big" => (1_000_000_000 + r.below(9_000_000_000_000)).to_string(),
        "float" => format!("{}.{}", r.below(300), r.below(10_000)),
        "port" => (1024 + r.below(60_000)).to_string(),
        "hex" => r.hex(14),
        "hex8" => r.hex(8),
        "hex7" => r.hex(7),
        "h4" => r.hex(4),
        "h2" => r.hex(2),
        "md5" => r.hex(32),
        other => other.to_owned(),
    }
}

fn value(name: &str, r: &mut Random) -> String {
    let ip = |r: &mut Random| {
        format!("{}.{}.{}.{}", 1 + r.below(223), r.below(256), r.below(256), r.below(256))
    };
    let host = |r: &mut Random| {
        let (a, b) = (r.one_of(&WORDS), r.one_of(&WORDS));
        match r.below(3) {
            0 => format!("{a}-{}.{b}.net", r.below(300)),
            1 => format!("{a}.{b}.example.com"),
            _ => format!("ip{}.{b}.co.uk", r.below(99)),
        }
    };
    match name {
        "ip" => ip(r),
        "ips" if r.below(8) == 0 => format!("{},{}", ip(r), ip(r)),
        "ips" => ip(r),
        "mac" => (0..6).map(|_| r.hex(2)).collect::<Vec<_>>().join(":"),
        "id" => r.hex(9) + "Zq",
        "uuid" => format!("{}-{}-4{}-a{}-{}", r.hex(8), r.hex(4), r.hex(3), r.hex(3), r.hex(12)),
        "user" => r.one_of(&USERS).into(),
        "word" => r.one_of(&WORDS).into(),
        "svc" => r.one_of(&SERVICES).into(),
        "dev" => r.one_of(&["eth0", "eth1", "wlan0", "br-lan", "lo", "docker0", "tun0"]).into(),
        "name" => r.one_of(&WORDS).into(),
        "U" => r.one_of(&["A", "B", "C", "D"]).into(),
        "ssid" => r.one_of(&["CalVisitor", "AirBears2", "cafe", "home"]).into(),
        "host" => host(r),
        "shost" => format!("{}-sa-{}", r.one_of(&["msra", "node", "worker"]), r.below(50)),
        "phost" => match r.below(4) {
            0 => ip(r),
            1 => format!("www.{}.com", r.one_of(&WORDS)),
            2 => format!("{}.com", r.one_of(&WORDS)),
            _ => host(r),
        },
        "path" => {
            format!("/{}/{}/{}{}", r.one_of(&WORDS), r.one_of(&USERS), r.one_of(&WORDS), r.below(3))
        }
        "paths" => (0..1 + r.below(3))
            .map(|_| value("md5", r))
            .map(|m| format!("/var/lib/nova/_base/{m}"))
            .collect::<Vec<_>>()
            .join(" "),
        "blks" => (0..1 + r.below(5))
            .map(|_| format!("blk_{}{}", value("-", r), value("big", r)))
            .collect::<Vec<_>>()
            .join(" "),
        "nodesets" => (0..1 + r.below(5))
            .map(|_| format!("node-{} 0x{} <ok>", r.below(200), r.hex(9)))
            .collect::<Vec<_>>()
            .join(" "),
        "size" => {
            format!("{}.{} {}", r.below(900), r.below(10), r.one_of(&["B", "KB", "MB", "GB"]))
        }
        "kb" => format!("{}.{:02} {}", r.below(900), r.below(100), r.one_of(&["KB", "MB"])),
        "dur" => match r.below(4) {
            0 => "<1 sec".into(),
            1 => format!("{:02}:{:02}:{:02}", r.below(9), r.below(60), r.below(60)),
            _ => format!("{:02}:{:02}", r.below(60), r.below(60)),
        },
        "date" => format!(
            "{} {} {:>2} {:02}:{:02}:{:02} 2005",
            r.one_of(&["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]),
            r.one_of(&["Jun", "Jul", "Aug"]),
            1 + r.below(30),
            r.below(24),
            r.below(60),
            r.below(60)
        ),
        other => number(other, r),
    }
}

/// A line of an event.
fn line(event: &str, r: &mut Random) -> String {
    let mut out = String::new();
    let mut rest = event;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        if rest[1..].starts_with('{') {
            out.push('{');
            rest = &rest[1..];
            continue;
        }
        let mut depth = 0;
        let close = rest.bytes().position(|b| {
            depth += i32::from(b == b'{') - i32::from(b == b'}');
            depth == 0
        });
        let Some(close) = close else { break };
        let inside = &rest[1..close];
        if inside.contains('|') {
            let choices: Vec<&str> = inside.split('|').collect();
            out.push_str(&line(r.one_of(&choices), r));
        } else {
            out.push_str(&value(inside, r));
        }
        rest = &rest[close + 1..];
    }
    out + rest
}

/// Lines of a style, each with the number of its event.
fn log(style: &str, r: &mut Random) -> Vec<(usize, String)> {
    let mut events: Vec<(usize, u64, &str)> = Vec::new();
    for (number, row) in
        style.lines().skip(1).filter(|row| !row.is_empty() && !row.starts_with('#')).enumerate()
    {
        let (weight, text) = row.split_once(' ').unwrap();
        let same = weight.starts_with('+');
        let event = if same { events.last().unwrap().0 } else { number };
        events.push((event, weight.trim_start_matches('+').parse().unwrap(), text));
    }
    let total: u64 = events.iter().map(|(_, weight, _)| weight).sum();
    let draw = |r: &mut Random| {
        let mut at = r.below(total);
        let (event, _, text) = events
            .iter()
            .find(|(_, weight, _)| {
                let found = at < *weight;
                at = at.saturating_sub(*weight);
                found
            })
            .unwrap();
        (*event, line(text, r))
    };
    (0..LINES).map(|_| draw(r)).collect()
}

/// The group of each line after the last one.
fn groups(lines: &[(usize, String)]) -> (Vec<u64>, HashMap<u64, String>) {
    let mut miner = Miner::new(DEFAULT_TEMPLATES);
    let mut alias: HashMap<u64, u64> = HashMap::new();
    let mut texts = HashMap::new();
    let ids: Vec<u64> = lines
        .iter()
        .map(|(_, line)| {
            let found = miner.learn(line);
            alias.extend(found.absorbed().iter().map(|id| (*id, found.id)));
            texts.insert(found.id, found.text().to_owned());
            found.id
        })
        .collect();
    let last = |mut id: u64| {
        while let Some(other) = alias.get(&id) {
            id = *other;
        }
        id
    };
    (ids.into_iter().map(last).collect(), texts)
}

/// Grouping accuracy, and a report of the groups that are wrong.
fn accuracy(lines: &[(usize, String)]) -> (f64, String) {
    let (ids, texts) = groups(lines);
    let mut by_id: BTreeMap<u64, BTreeMap<usize, usize>> = BTreeMap::new();
    let mut by_event: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
    for (id, (event, line)) in ids.iter().zip(lines) {
        *by_id.entry(*id).or_default().entry(*event).or_default() += 1;
        by_event.entry(*event).or_insert((0, line)).0 += 1;
    }
    let (mut right, mut report) = (0, String::new());
    let mut wrong: Vec<(usize, String)> = Vec::new();
    for (id, events) in &by_id {
        let (event, n) = events.iter().next().unwrap();
        if events.len() == 1 && by_event[event].0 == *n {
            right += n;
        } else {
            let of: Vec<String> = events
                .iter()
                .map(|(e, n)| format!("{n}/{} of {e} `{}`", by_event[e].0, by_event[e].1))
                .collect();
            wrong.push((
                events.values().sum(),
                format!("{}\n      {}\n", texts[id], of.join("\n      ")),
            ));
        }
    }
    wrong.sort_by(|a, b| b.cmp(a));
    for (n, what) in wrong.iter().take(12) {
        report.push_str(&format!("  {n:4} {what}"));
    }
    (right as f64 / lines.len() as f64, report)
}

#[test]
fn one_setting_groups_the_lines_of_every_kind_of_system() {
    let mut table = String::new();
    let (mut sum, mut styles) = (0.0, 0.0);
    let mut reports = String::new();
    for (number, style) in STYLES.split("\n= ").skip(1).enumerate() {
        let name = style.lines().next().unwrap();
        let lines = log(style, &mut Random(0x9e37_79b9_7f4a_7c15 + number as u64));
        let (accuracy, report) = accuracy(&lines);
        table.push_str(&format!("{accuracy:.3} {name}\n"));
        reports.push_str(&format!("{name}: {accuracy:.3}\n{report}"));
        sum += accuracy;
        styles += 1.0;
    }
    let mean = sum / styles;
    table.push_str(&format!("{mean:.3} mean\n"));
    if let Ok(path) = std::env::var("WEIR_GROUPING_REPORT") {
        std::fs::write(path, &reports).unwrap();
    }
    expect![[r#"
        1.000 block storage
        0.997 map and reduce
        0.996 cluster compute
        1.000 quorum
        0.988 supercomputer
        1.000 parallel nodes
        1.000 cluster daemons
        1.000 windows servicing
        1.000 linux host
        1.000 desktop
        1.000 mobile
        1.000 health app
        1.000 web server
        1.000 proxy
        1.000 secure shell
        1.000 cloud
        1.000 firewall and mail
        1.000 plain words
        0.999 mean
    "#]]
    .assert_eq(&table);
}
