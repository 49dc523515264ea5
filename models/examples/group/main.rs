//! Scores the group detector on windows with faults that were put in:
//! `cargo run --release -p weir-models --example group -- [--kinds] [--set N] [--plot OUT]`
//!
//! In: nothing but the fixtures; all windows are made from fixed numbers. Out, on standard output: F1 over all rows after
//! the first 400 of each window, pooled, with one level for all windows, chosen on the same windows and on one half of them
//! for the other; beside it the share of normal rows called faulty (FAR) and of faulty rows called normal (MAR), and how
//! often a faulty row scores higher than a normal one. Then what a long time without faults gives, and what a row costs.
//! `--kinds` tells plants and faults apart, `--set` takes other windows of the same kinds: the second set was looked at while
//! settings were chosen as well, higher ones were not; `--plot` writes pictures of some windows.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use weir_models::detect::group::Group;

mod faults;
mod fixed;
mod judge;
mod long;
mod plants;
#[path = "../nab/plot.rs"]
mod plot;

use faults::Case;
use judge::Scored;
use plants::{Board, Plant};

type Fault = Box<dyn Error>;

/// Windows of each pair of a kind of plant and a kind of fault.
const EACH: usize = 5;
/// Windows of which there are pictures: plant and fault.
const PICTURES: [(&str, &str); 4] =
    [("factors", "shift"), ("cycle", "stick"), ("pump", "leak"), ("still", "variance")];

/// The three sensor boards of the fixtures: all that they measure continuously.
fn boards() -> Result<Vec<Board>, Fault> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sensors/iot-mqtt.ndjson");
    let names = ["co", "humidity", "lpg", "smoke", "temp"];
    let mut boards: Vec<(String, Board)> = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let device = message["device"].as_str().ok_or("a message without a device")?;
        let values = names.map(|name| message["data"][name].as_f64().unwrap_or_default());
        if !boards.iter().any(|(known, _)| known == device) {
            boards.push((device.to_owned(), vec![Vec::new(); names.len()]));
        }
        for (_, board) in boards.iter_mut().filter(|(known, _)| known == device) {
            board.iter_mut().zip(values).for_each(|(channel, value)| channel.push(value));
        }
    }
    Ok(boards.into_iter().map(|(_, board)| board).collect())
}

fn cases(first: usize, boards: &[Board]) -> Vec<Case> {
    let mut cases = Vec::new();
    for plant in plants::KINDS {
        for fault in faults::KINDS {
            for _ in 0..EACH {
                let number = first + cases.len();
                let made = Plant::make(plant, number, plants::ROWS, boards);
                cases.push(Case::make((plant, fault), made, number));
            }
        }
    }
    cases
}

/// The detector as it is in the agent.
fn scores(rows: &[Vec<f64>]) -> Vec<f32> {
    let mut group = Group::default();
    rows.iter().map(|row| group.update(row).map_or(0.0, |verdict| verdict.score)).collect()
}

fn scored(cases: &[Case], make: &dyn Fn(&Case) -> Vec<f32>) -> Vec<Scored> {
    let one = |case: &Case| Scored {
        name: (case.plant, case.fault),
        is_large: case.is_large,
        scores: make(case),
        faulty: case.faulty.clone(),
    };
    cases.iter().map(one).collect()
}

fn print(out: &mut impl Write, name: &str, some: &[&Scored]) -> Result<(), Fault> {
    let level = judge::best(some.iter().copied());
    let (same, other) = (judge::at(some.iter().copied(), level), judge::crossed(some));
    writeln!(
        out,
        "{name:<34} in-sample {:.3} (FAR {:3.0}, MAR {:2.0}) at {level:5.2}   level of the other half {:.3} \
         (FAR {:3.0}, MAR {:2.0})   in order {:.3}",
        same.f1(),
        100.0 * same.far(),
        100.0 * same.mar(),
        other.f1(),
        100.0 * other.far(),
        100.0 * other.mar(),
        judge::ordered(some.iter().copied())
    )?;
    Ok(())
}

/// One of several ways to score a window, by name.
type Way<'a> = (&'a str, &'a dyn Fn(&Case) -> Vec<f32>);

fn print_all(out: &mut impl Write, cases: &[Case], kinds: bool) -> Result<(), Fault> {
    let ways: [Way<'_>; 4] = [
        ("always 1", &|case| vec![1.0; case.rows.len()]),
        ("fixed after 400 rows", &|case| fixed::scores(case, 1.0)),
        ("the same, smoothed by 0.1", &|case| fixed::scores(case, 0.1)),
        ("the group detector", &|case| scores(&case.rows)),
    ];
    for (name, make) in ways {
        let all = scored(cases, make);
        let which = |is: &dyn Fn(&Scored) -> bool| -> Vec<&Scored> {
            all.iter().filter(|one| is(one)).collect()
        };
        print(out, name, &which(&|_| true))?;
        print(out, "    the larger half of the faults", &which(&|one| one.is_large))?;
        if kinds {
            for kind in plants::KINDS {
                print(out, &format!("    plant {kind}"), &which(&|one| one.name.0 == kind))?;
            }
            for kind in faults::KINDS {
                print(out, &format!("    fault {kind}"), &which(&|one| one.name.1 == kind))?;
            }
        }
    }
    Ok(())
}

fn print_cost(out: &mut impl Write, cases: &[Case]) -> Result<(), Fault> {
    let eight: Vec<&Case> = cases.iter().filter(|case| case.plant == "pump").collect();
    let rows: usize = eight.iter().map(|case| case.rows.len()).sum();
    let begin = Instant::now();
    eight.iter().for_each(|case| drop(scores(&case.rows)));
    let ns = begin.elapsed().as_nanos() as f64 / rows as f64;
    writeln!(out, "{ns:.0} ns a row of 8 metrics, {} bytes a group", size_of::<Group>())?;
    Ok(())
}

fn write_plots(cases: &[Case], folder: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(folder)?;
    for (plant, fault) in PICTURES {
        let is = |case: &&Case| (case.plant, case.fault) == (plant, fault);
        let large = cases.iter().filter(is).find(|case| case.is_large);
        let case = large.or_else(|| cases.iter().find(is)).ok_or("no such window")?;
        let scores = scores(&case.rows);
        // The channel that differs most within the fault is the one to be looked at.
        let channels = 0..case.rows.first().map_or(0, Vec::len);
        let worst = channels.max_by(|a, b| case.change(*a).total_cmp(&case.change(*b)));
        let worst = worst.unwrap_or_default();
        let values: Vec<f64> = case.rows.iter().map(|row| row[worst]).collect();
        let title = format!("{plant}: {fault} (channel {} of {})", worst + 1, case.rows[0].len());
        let picture = plot::Picture {
            title: &title,
            span: ["row 0", &format!("row {}", values.len())],
            values: &values,
            levels: &vec![GROUP_LEVEL; scores.len()],
            alarms: &alarms(&scores),
            scores: &scores,
            labelled: case.faulty.clone(),
        };
        std::fs::write(folder.join(format!("group-{plant}-{fault}.svg")), picture.svg())?;
    }
    Ok(())
}

/// Where an alert is raised by default.
const GROUP_LEVEL: f32 = 3.0;

/// Where the level is reached after the score was below half of it.
fn alarms(scores: &[f32]) -> Vec<bool> {
    let mut is_high = false;
    let step = |score: &f32| {
        let begins = !is_high && *score >= GROUP_LEVEL;
        is_high = begins || is_high && *score >= 0.5 * GROUP_LEVEL;
        begins
    };
    scores.iter().map(step).collect()
}

fn main() -> Result<(), Fault> {
    let (mut kinds, mut first, mut plots) = (false, 0, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--kinds" => kinds = true,
            "--set" => {
                let set: usize = args.next().ok_or("--set needs a number from 1 on")?.parse()?;
                first = set.saturating_sub(1) * 10_000;
            }
            "--plot" => plots = Some(args.next().ok_or("name a folder behind --plot")?),
            _ => return Err(format!("`{arg}` is not known: --kinds, --set N, --plot OUT").into()),
        }
    }
    let cases = cases(first, &boards()?);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} windows", cases.len())?;
    print_all(&mut out, &cases, kinds)?;
    long::print(&mut out)?;
    print_cost(&mut out, &cases)?;
    if let Some(folder) = plots {
        write_plots(&cases, Path::new(&folder))?;
    }
    Ok(())
}
