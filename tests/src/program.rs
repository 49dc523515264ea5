//! Programs as processes: the ones we built, and those of others.
//!
//! Each runs in a temporary folder of its own that lives as long as any handle to it, and in a
//! session of its own, so that killing reaches all of its children. Its output is read all the
//! time, so it never blocks on a full pipe, and shown when the test fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{binary, http, paths, reaper, wait_until};

/// How to start a program. Starting it twice gives two processes in the same folder.
#[derive(Clone)]
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    dir: Arc<TempDir>,
}

impl Launch {
    /// A program of ours, e.g. `weir-agent`; it has to be built and up to date.
    #[track_caller]
    pub fn ours(name: &str) -> Self {
        Self::at(name, binary::ours(name))
    }

    /// A program of somebody else, e.g. `mosquitto`.
    #[track_caller]
    pub fn tool(name: &str) -> Self {
        Self::at(name, paths::tool(&[name]))
    }

    /// The program in that file.
    pub fn at(name: &str, program: PathBuf) -> Self {
        let dir = crate::temp_dir(name);
        Self {
            name: name.to_string(),
            program,
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            dir: Arc::new(dir),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_os_string());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// An environment variable beside those of the test.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_string(), value.to_string()));
        self
    }

    /// What it reads from standard input, which then ends. Nothing by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Writes a file into its folder, e.g. the configuration.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.dir.path().join(name), content).unwrap();
        self
    }

    /// Its folder, which is also its working folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> Program {
        let output = Output::default();
        let (child, readers) = self.spawn(&output);
        Program { launch: self, child, readers, output, status: None }
    }

    /// Runs it to its end, which has to come within `timeout`.
    #[track_caller]
    pub fn run(self, timeout: Duration) -> Finished {
        let mut program = self.start();
        let status = program.wait_exit(timeout);
        let lines = program.lines();
        let of = |source: Source| {
            let some = lines.iter().filter(|line| line.source == source);
            some.map(|line| format!("{}\n", line.text)).collect::<String>()
        };
        Finished { status, stdout: of(Source::Stdout), stderr: of(Source::Stderr) }
    }

    #[track_caller]
    fn spawn(&self, output: &Output) -> (Child, Vec<JoinHandle<()>>) {
        // (not made a group leader by us, so setsid need not fork and the pid stays)
        let mut command = Command::new("setsid");
        command.arg(&self.program).args(&self.args).current_dir(self.dir.path());
        command.env("RUST_BACKTRACE", "1").envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{} did not start: {e}", self.name));
        reaper::watch(child.id());
        let mut stdin = child.stdin.take().unwrap();
        let bytes = self.stdin.clone();
        // On a thread: the program may answer before it has read everything.
        std::thread::spawn(move || {
            // A program that does not read it all is for the test to judge.
            let _ = stdin.write_all(&bytes);
        });
        let stdout = output.read(Source::Stdout, child.stdout.take().unwrap());
        let stderr = output.read(Source::Stderr, child.stderr.take().unwrap());
        (child, vec![stdout, stderr])
    }
}

/// A program that has run to its end.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard output, if it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        let Self { status, stdout, stderr } = self;
        assert!(status.success(), "ended with {status}\n{stdout}\n{stderr}");
        stdout
    }
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a program's output.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Where it was written to.
    pub source: Source,
    /// The line without its end; what is not UTF-8 is replaced.
    pub text: String,
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<Line>>>);

impl Output {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, source: Source, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                output.lines().push(Line { at: Instant::now(), source, text });
            }
        })
    }
}

/// A running program. Dropping it kills it and everything it started.
pub struct Program {
    launch: Launch,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    output: Output,
    status: Option<ExitStatus>,
}

impl Program {
    /// `weir-agent run` with this configuration; paths in it are relative to [`Program::dir`].
    #[track_caller]
    pub fn agent(config: &str) -> Self {
        let launch = Launch::ours("weir-agent").file("agent.toml", config);
        launch.args(["run", "-c", "agent.toml"]).start()
    }

    /// `weir-sink run` with this configuration; paths in it are relative to [`Program::dir`].
    #[track_caller]
    pub fn sink(config: &str) -> Self {
        let launch = Launch::ours("weir-sink").file("sink.toml", config);
        launch.args(["run", "-c", "sink.toml"]).start()
    }

    /// Its folder, with its configuration and whatever it writes beside.
    pub fn dir(&self) -> &Path {
        self.launch.dir()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written since it was started (last).
    pub fn lines(&self) -> Vec<Line> {
        self.output.lines().clone()
    }

    /// Waits for a line with `part` in it and gives it back; fails at once if the program ends
    /// without it.
    #[track_caller]
    pub fn wait_line(&mut self, part: &str, timeout: Duration) -> String {
        let what = format!("`{part}` in the output of {}", self.launch.name);
        self.wait(&what, timeout, |program| {
            let lines = program.output.lines();
            let line = lines.iter().find(|line| line.text.contains(part));
            match line {
                Some(line) => Ok(line.text.clone()),
                None => Err(lines.last().map_or("no output".to_string(), |l| l.text.clone())),
            }
        })
    }

    /// Waits until a GET of `url` answers 200; fails at once if the program ends.
    #[track_caller]
    pub fn wait_http(&mut self, url: &str, timeout: Duration) {
        self.wait(&format!("200 from {url}"), timeout, |_| match http::try_get(url) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(e) => Err(e.to_string()),
        });
    }

    /// Waits for something that this program is to bring about; fails at once if it ends.
    #[track_caller]
    pub fn wait<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut ask: impl FnMut(&Self) -> Result<T, String>,
    ) -> T {
        wait_until(what, timeout, || {
            // In this order: what it did just before it ended still counts.
            let status = self.try_status();
            let answer = ask(self);
            if let (Err(seen), Some(status)) = (&answer, status) {
                panic!("{what}: {} ended with {status}; last seen: {seen}", self.launch.name);
            }
            answer
        })
    }

    /// How it ended, if it has.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait().unwrap()
        {
            self.ended(status);
        }
        self.status
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.launch.name);
        wait_until(&what, timeout, || self.try_status().ok_or("still running"))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    #[track_caller]
    pub fn term(&mut self, timeout: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(timeout)
    }

    /// Kills it as a power cut would (SIGKILL), with its children, and waits for its end.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.kill_all();
    }

    /// Freezes it (SIGSTOP) until [`Program::resume`].
    #[track_caller]
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Program::pause`].
    #[track_caller]
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal, e.g. `Signal::HUP`.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.try_status().is_none(), "{} has ended already", self.launch.name);
        kill_process(self.id(), signal).unwrap();
    }

    /// Starts it again after its end, in the same folder with the same arguments. Its output
    /// begins anew.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.try_status().is_some(), "{} still runs", self.launch.name);
        self.show_output();
        self.output = Output::default();
        (self.child, self.readers) = self.launch.spawn(&self.output);
        self.status = None;
    }

    /// Starts it again with another value of an environment variable; the value stays for later starts.
    #[track_caller]
    pub fn restart_with(&mut self, key: &str, value: &str) {
        self.launch.env.retain(|(other, _)| other != key);
        self.launch.env.push((key.to_string(), value.to_string()));
        self.restart();
    }

    /// Starts it again without an environment variable.
    #[track_caller]
    pub fn restart_without(&mut self, key: &str) {
        self.launch.env.retain(|(other, _)| other != key);
        self.restart();
    }

    /// Memory that it holds now, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that it held so far, in bytes.
    pub fn rss_peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// CPU time that it has used so far, in seconds, in steps of 10 ms.
    pub fn cpu_seconds(&self) -> f64 {
        // "PID (NAME) STATE ...": utime and stime are the fields 14 and 15, and a name may hold
        // blanks. Their unit is 1/100 s on every architecture of Linux.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    fn memory(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill_all(&mut self) {
        if self.try_status().is_none() {
            // The group first, while its leader's number cannot be anybody else's. Errors are
            // races with its own end, which is what we want.
            let _ = kill_process_group(self.id(), Signal::KILL);
            let _ = kill_process(self.id(), Signal::KILL);
            let status = self.child.wait().unwrap();
            self.ended(status);
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        reaper::forget(self.child.id());
        self.status = Some(status);
        // Not when it left children behind that hold its output open: those would block us.
        let left = Instant::now() + Duration::from_secs(2);
        for reader in self.readers.drain(..) {
            while !reader.is_finished() && Instant::now() < left {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Shows the end of its output to the reader of a failed test.
    fn show_output(&self) {
        const SHOWN: usize = 100;
        let lines = self.output.lines();
        eprintln!("--- {} (the end of {} lines):", self.launch.name, lines.len());
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
            eprintln!("    {}", line.text);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            self.show_output();
        }
    }
}
