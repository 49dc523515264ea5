//! Somebody who is told over HTTP: takes requests, and answers, hangs or is away as a test wants it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value;

use crate::free_port;

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Answers with this status.
    Answers(u16),
    /// Takes it and never answers.
    Hangs,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// What was answered.
    pub mood: Mood,
}

impl Request {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug)]
struct State {
    mood: Mood,
    requests: Vec<Request>,
    is_there: bool,
}

/// A receiver on a port of its own.
pub struct Receiver {
    /// Its port.
    pub port: u16,
    state: Arc<Mutex<State>>,
    listening: Option<JoinHandle<()>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Listens, and answers 200.
    #[track_caller]
    pub fn start() -> Self {
        let state = State { mood: Mood::Answers(200), requests: Vec::new(), is_there: false };
        let mut receiver =
            Self { port: free_port(), state: Arc::new(Mutex::new(state)), listening: None };
        receiver.come_back();
        receiver
    }

    /// From now on it does this.
    pub fn mood(&self, mood: Mood) {
        lock(&self.state).mood = mood;
    }

    /// Nobody listens any more, and open connections end.
    pub fn leave(&mut self) {
        lock(&self.state).is_there = false;
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap();
        }
    }

    /// Listens again, on the same port.
    #[track_caller]
    pub fn come_back(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        lock(&self.state).is_there = true;
        let state = Arc::clone(&self.state);
        self.listening = Some(spawn(move || listen(&listener, &state)));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// The requests that were taken, which is answered with 200.
    pub fn taken(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.mood == Mood::Answers(200));
        requests
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.leave();
    }
}

fn listen(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    while lock(state).is_there {
        match listener.accept() {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                spawn(move || {
                    // The other side may go at any time.
                    let _ = serve(&stream, &state);
                });
            }
            Err(_) => sleep(LOOK_EVERY),
        }
    }
}

fn serve(stream: &TcpStream, state: &Arc<Mutex<State>>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read(&mut reader)? {
        let mood = {
            let mut state = lock(state);
            if !state.is_there {
                return Ok(());
            }
            request.mood = state.mood;
            state.requests.push(request);
            state.mood
        };
        match mood {
            Mood::Answers(status) => {
                let answer = format!("HTTP/1.1 {status} As wanted\r\ncontent-length: 0\r\n\r\n");
                (&*stream).write_all(answer.as_bytes())?;
            }
            // Until the other side has enough.
            Mood::Hangs => return reader.read_to_end(&mut Vec::new()).map(|_| ()),
        }
    }
    Ok(())
}

/// The next request; none when the connection ends.
fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { path, headers, body, mood: Mood::Hangs }))
}
