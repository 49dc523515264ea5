//! `weir-agent templates`: how the agent groups log lines, without starting anything.
//!
//! In: texts of messages, one a line. Out: for each line, in order, the id and the text of its template, or, for a
//! person, each template with the number of its lines. Promises: the miner of `run` with its settings; one answer
//! a line, whatever the line holds. A template may become more general, and several become one, with a later line: so
//! everything is written after the last line, and each line has the template that it belongs to then. Bounded by the
//! input: four bytes a line, and the text of every template there was; of a line longer than 1 MiB only the beginning
//! is looked at.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};

use clap::Args;
use serde::Serialize;
use weir_models::ident::TemplateId;
use weir_models::logs::Miner;

use crate::score::ScoreConfig;

/// Most that is looked at of a line, in bytes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The options of `templates`.
#[derive(Debug, Args)]
pub struct Options {
    /// Writes {"template": …, "text": …} for each line, in order.
    #[arg(long)]
    json: bool,
    /// Takes the settings of `[score.log]` from this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<String>,
}

/// One line of output with `--json`.
#[derive(Serialize)]
struct Answer<'a> {
    template: String,
    text: &'a str,
}

/// A template there was: its latest text, and the one that it became a part of.
#[derive(Debug)]
struct Seen {
    id: u64,
    text: String,
    became: Option<u32>,
}

/// Every template of all lines so far.
#[derive(Debug, Default)]
struct Templates {
    seen: Vec<Seen>,
    by_id: HashMap<u64, u32>,
}

impl Templates {
    fn place(&mut self, id: u64) -> u32 {
        *self.by_id.entry(id).or_insert_with(|| {
            self.seen.push(Seen { id, text: String::new(), became: None });
            (self.seen.len() - 1) as u32
        })
    }

    /// What a template became in the end.
    fn last(&self, mut place: u32) -> u32 {
        while let Some(next) = self.seen[place as usize].became {
            place = next;
        }
        place
    }

    fn join(&mut self, place: u32, into: u32) {
        let (place, into) = (self.last(place), self.last(into));
        if place != into {
            self.seen[place as usize].became = Some(into);
        }
    }

    /// Joins those that have the same text now: they began from different lines.
    fn join_equal(&mut self) {
        let mut by_text: HashMap<String, u32> = HashMap::new();
        for place in 0..self.seen.len() as u32 {
            if self.seen[place as usize].became.is_none() {
                let text = self.seen[place as usize].text.clone();
                let first = *by_text.entry(text).or_insert(place);
                self.join(place, first);
            }
        }
    }
}

/// Groups the lines of `input`, then writes what became of each.
///
/// # Errors
/// When reading or writing fails.
pub fn run(
    options: &Options,
    config: &ScoreConfig,
    input: impl BufRead,
    output: &mut impl Write,
) -> io::Result<()> {
    let (templates, lines) = group(config, input)?;
    let mut output = io::BufWriter::new(output);
    if options.json {
        for line in lines {
            let seen = &templates.seen[templates.last(line) as usize];
            let answer = Answer { template: TemplateId(seen.id).to_string(), text: &seen.text };
            serde_json::to_writer(&mut output, &answer)?;
            writeln!(output)?;
        }
        return output.flush();
    }
    let mut counts = vec![0_u64; templates.seen.len()];
    for line in lines {
        counts[templates.last(line) as usize] += 1;
    }
    let mut rows: Vec<_> =
        counts.into_iter().zip(&templates.seen).filter(|(n, _)| *n > 0).collect();
    rows.sort_by(|(n, seen), (m, other)| m.cmp(n).then_with(|| seen.text.cmp(&other.text)));
    for (count, seen) in rows {
        writeln!(output, "{count:>8}  {}", seen.text)?;
    }
    output.flush()
}

/// All templates, and the place of each line's among them.
fn group(config: &ScoreConfig, mut input: impl BufRead) -> io::Result<(Templates, Vec<u32>)> {
    let mut miner = Miner::new(config.log.templates);
    let (mut templates, mut lines) = (Templates::default(), Vec::new());
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        let found = miner.learn(&String::from_utf8_lossy(&line));
        let place = templates.place(found.id);
        for id in found.absorbed() {
            let part = templates.place(*id);
            templates.join(part, place);
        }
        let last = templates.last(place) as usize;
        if templates.seen[last].text != found.text() {
            found.text().clone_into(&mut templates.seen[last].text);
        }
        lines.push(place);
    }
    templates.join_equal();
    Ok((templates, lines))
}

/// The next line without its end; false behind the last one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn answers(json: bool, input: &[u8]) -> String {
        let mut output = Vec::new();
        let options = Options { json, config: None };
        run(&options, &ScoreConfig::default(), input, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[track_caller]
    fn check(json: bool, input: &[u8], expected: Expect) {
        expected.assert_eq(&answers(json, input));
    }

    const LOG: &[u8] =
        b"user ann opened door 7\nuser ann opened door main\nup\nuser bob opened door 9\n";

    #[test]
    fn each_line_has_the_template_that_it_belongs_to_in_the_end() {
        check(
            true,
            LOG,
            expect![[r#"
                {"template":"f63867b76bc177a9","text":"user <*> opened door <*>"}
                {"template":"f63867b76bc177a9","text":"user <*> opened door <*>"}
                {"template":"6edc784491262c19","text":"up"}
                {"template":"f63867b76bc177a9","text":"user <*> opened door <*>"}
            "#]],
        );
    }

    #[test]
    fn for_a_person_the_most_frequent_first() {
        assert_eq!(answers(false, LOG), "       3  user <*> opened door <*>\n       1  up\n");
    }

    #[test]
    fn one_answer_a_line_whatever_it_holds() {
        let mut input = b"\n\xff\xfe 7\r\n\0\n".to_vec();
        input.extend(vec![b'x'; 3 * LINE_BYTES_MAX as usize]);
        input.extend(b"\nlast");
        check(
            true,
            &input,
            expect![[r#"
            {"template":"f52a15e9a9b5e89b","text":""}
            {"template":"4887e8ff8623188d","text":"�� <num>"}
            {"template":"f52a15e9a9b5e89b","text":""}
            {"template":"ea18f931f4b55ded","text":"<*>"}
            {"template":"036bf0f1c14cdb24","text":"last"}
        "#]],
        );
    }

    #[test]
    fn templates_that_left_are_told_as_well() {
        let mut config = ScoreConfig::default();
        config.log.templates = 1;
        let mut output = Vec::new();
        run(&Options { json: false, config: None }, &config, &b"a b\nc d\na b\n"[..], &mut output)
            .unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "       2  a b\n       1  c d\n");
    }
}
