#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;

use tokio::sync::mpsc;

use super::super::Input;
use super::*;

/// A folder with a followed file, looked at step by step.
struct Rig {
    folder: tempfile::TempDir,
    tail: Tail,
    position: Option<Position>,
}

impl Rig {
    fn new(start: Start) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tail = Tail::new(folder.path().join("app.log"), start, None);
        Self {
            folder,
            tail,
            position: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// A new process that remembers what the old one did.
    fn restart(&mut self) {
        self.tail = Tail::new(self.path("app.log"), Start::End, self.position.clone());
    }

    /// Steps until nothing was new for more looks than a change of files takes.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut idle = 0;
        while idle < 4 {
            match self.tail.step().unwrap() {
                Step::Idle => idle += 1,
                Step::Lines(batch) => {
                    idle = 0;
                    self.position = Some(batch.position);
                    let text = |frame: super::super::framing::Frame| {
                        String::from_utf8(frame.bytes.to_vec()).unwrap()
                    };
                    lines.extend(batch.frames.into_iter().map(text));
                }
            }
        }
        lines
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(self.lines(), expected);
    }
}

#[test]
fn a_file_is_waited_for_and_a_last_line_waits_for_its_end() {
    let mut rig = Rig::new(Start::End);
    rig.check(&[]);
    rig.append("app.log", "a\nb\nc");
    rig.check(&["a", "b"]);
    rig.append("app.log", "c\n");
    rig.check(&["cc"]);
    rig.check(&[]);
}

#[test]
fn a_file_that_is_there_is_begun_where_wanted() {
    for (start, expected) in [
        (Start::Beginning, &["old", "new"][..]),
        (Start::End, &["new"]),
    ] {
        let mut rig = Rig::new(start);
        rig.append("app.log", "old\n");
        let mut found = rig.lines();
        rig.append("app.log", "new\n");
        found.extend(rig.lines());
        assert_eq!(found, expected);
        // The end at which it was begun is remembered.
        rig.restart();
        rig.append("app.log", "later\n");
        rig.check(&["later"]);
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end_first() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "a\n");
    rig.check(&["a"]);
    rig.rename("app.log", "app.log.1");
    rig.append("app.log.1", "b\n");
    fs::write(rig.path("app.log"), "").unwrap();
    rig.check(&["b"]);
    // The writer still has the old one open.
    rig.append("app.log.1", "c\nd");
    rig.check(&["c"]);
    rig.append("app.log", "e\n");
    rig.check(&["d", "e"]);
    rig.append("app.log", "f\n");
    rig.check(&["f"]);
}

#[test]
fn a_file_that_was_truncated_is_read_from_its_beginning() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "a\nb\nrest");
    rig.check(&["a", "b"]);
    fs::write(rig.path("app.log"), "").unwrap();
    rig.append("app.log", "c\n");
    rig.check(&["rest", "c"]);
}

#[test]
fn a_file_that_was_truncated_and_grew_beyond_is_recognised_by_its_first_bytes() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "10:00 a\n");
    rig.check(&["10:00 a"]);
    fs::write(rig.path("app.log"), "").unwrap();
    rig.append("app.log", "11:00 b\n11:01 c\n");
    rig.check(&["11:00 b", "11:01 c"]);
    // The same while nobody looked.
    fs::write(rig.path("app.log"), "").unwrap();
    rig.append("app.log", "12:00 d\n12:01 e\n12:02 f\n");
    rig.restart();
    rig.check(&["12:00 d", "12:01 e", "12:02 f"]);
}

#[test]
fn a_restart_goes_on_in_the_middle_of_a_line() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "a\nhalf ");
    rig.check(&["a"]);
    rig.restart();
    rig.check(&[]);
    rig.append("app.log", "whole\n");
    rig.check(&["half whole"]);
    rig.restart();
    rig.check(&[]);
}

#[test]
fn a_restart_finds_the_file_under_its_new_name() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "a\n");
    rig.check(&["a"]);
    rig.append("app.log", "b\n");
    rig.rename("app.log", "app.log-20261121");
    rig.append("app.log", "c\n");
    rig.restart();
    rig.check(&["b", "c"]);
}

/// Sets the last change of a file, as if it had been written then.
fn set_changed(path: &Path, seconds: u64) {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(at)
        .unwrap();
}

#[test]
fn files_rotated_while_nobody_looked_are_read_in_order() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log.3", "read long ago\n");
    set_changed(&rig.path("app.log.3"), 1_000);
    rig.append("app.log", "a\n");
    rig.check(&["a"]);
    rig.append("app.log", "b\n");
    rig.rename("app.log", "app.log.2");
    set_changed(&rig.path("app.log.2"), 2_000);
    rig.append("app.log.1", "c\n");
    set_changed(&rig.path("app.log.1"), 3_000);
    rig.append("app.log", "d\n");
    rig.check(&["b", "c", "d"]);
}

#[test]
fn a_remembered_file_that_is_gone_does_not_hide_the_new_one() {
    let mut rig = Rig::new(Start::Beginning);
    rig.append("app.log", "a\n");
    rig.check(&["a"]);
    fs::remove_file(rig.path("app.log")).unwrap();
    rig.append("other", "keeps the inode from being used again\n");
    rig.restart();
    rig.check(&[]);
    rig.append("app.log", "b\n");
    rig.check(&["b"]);
}

#[test]
fn what_is_no_file_is_an_error() {
    let mut rig = Rig::new(Start::Beginning);
    fs::create_dir(rig.path("app.log")).unwrap();
    rig.tail.step().unwrap_err();
}

/// The whole source on the file `app.log` in `folder`.
fn begin(
    folder: &Path,
    channel: usize,
) -> (
    mpsc::Receiver<Input>,
    watch::Sender<bool>,
    tokio::task::JoinHandle<()>,
) {
    let text = format!(
        "paths = ['{}']\npoll_ms = 5",
        folder.join("app.log").display()
    );
    let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
    let source = Arc::new(Source {
        name: config.name().into(),
        index: 0,
        format: config.format,
    });
    let (inputs, outputs) = mpsc::channel(channel);
    let (stop, stopped) = watch::channel(false);
    let files = open(&config, folder).unwrap();
    (
        outputs,
        stop,
        tokio::spawn(run(files, source, inputs, stopped)),
    )
}

fn texts(input: &Input) -> Vec<String> {
    let text = |raw: &super::super::Raw| String::from_utf8(raw.bytes.to_vec()).unwrap();
    input.items.iter().map(text).collect()
}

#[tokio::test]
async fn only_what_is_safe_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.log"), "a\n").unwrap();
    let (mut outputs, stop, task) = begin(folder.path(), 4);
    let mut first = outputs.recv().await.unwrap();
    assert_eq!(texts(&first), ["a"]);
    first.done.take().unwrap().send(()).unwrap();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("app.log"))
        .unwrap();
    file.write_all(b"b\n").unwrap();
    let second = outputs.recv().await.unwrap();
    assert_eq!(texts(&second), ["b"]);
    stop.send(true).unwrap();
    // The agent stops without bringing the second into the spool.
    drop(second);
    task.await.unwrap();

    let (mut outputs, stop, task) = begin(folder.path(), 4);
    let mut again = outputs.recv().await.unwrap();
    assert_eq!(texts(&again), ["b"]);
    stop.send(true).unwrap();
    // A stop waits for the spool.
    again.done.take().unwrap().send(()).unwrap();
    task.await.unwrap();

    let (mut outputs, stop, task) = begin(folder.path(), 4);
    file.write_all(b"c\n").unwrap();
    assert_eq!(texts(&outputs.recv().await.unwrap()), ["c"]);
    stop.send(true).unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn a_large_file_waits_for_the_channel_and_comes_whole() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<_> = (0..60_000)
        .map(|number| format!("line {number} {}", "x".repeat(number % 97)))
        .collect();
    fs::write(folder.path().join("app.log"), lines.join("\n") + "\n").unwrap();
    let (mut outputs, stop, task) = begin(folder.path(), 1);
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    while found.len() < lines.len() {
        let mut input = outputs.recv().await.unwrap();
        found.extend(texts(&input));
        waiting.push(input.done.take().unwrap());
        // The spool takes several at once.
        if waiting.len() == IN_FLIGHT_MAX {
            waiting.drain(..).for_each(|done| done.send(()).unwrap());
        }
    }
    assert_eq!(found, lines);
    waiting.drain(..).for_each(|done| done.send(()).unwrap());
    stop.send(true).unwrap();
    task.await.unwrap();
}
