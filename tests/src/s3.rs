//! An S3 store: a real server of the protocol (s3s) over a folder, which checks signatures, and refuses when a test wants it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::free_port;

/// The id of the key that it knows.
pub const ACCESS_KEY: &str = "weir-access";
/// The secret of that key.
pub const SECRET_KEY: &str = "weir-very-secret";
/// The bucket that it has.
pub const BUCKET: &str = "weir";

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// What was asked.
    Works,
    /// Answers with this status and S3's code.
    Refuses(u16, &'static str),
    /// The same for what would write or remove only.
    RefusesToWrite(u16, &'static str),
    /// Does what was asked, and never says so.
    Hangs,
}

/// A store on a port of its own.
pub struct S3 {
    /// Its port.
    pub port: u16,
    folder: TempDir,
    mood: Arc<Mutex<Mood>>,
    stop: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl S3 {
    /// A store with an empty bucket.
    #[track_caller]
    pub fn start() -> Self {
        let folder = crate::temp_dir("s3");
        fs::create_dir(folder.path().join(BUCKET)).unwrap();
        for (name, secret) in [("access", ACCESS_KEY), ("secret", SECRET_KEY), ("wrong", "wrong")] {
            fs::write(folder.path().join(format!(".{name}")), format!("{secret}\n")).unwrap();
        }
        let mut store =
            Self { port: free_port(), folder, mood: Arc::new(Mutex::new(Mood::Works)), stop: None };
        store.come_back();
        store
    }

    /// From now on it does this.
    pub fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Nobody listens any more.
    pub fn leave(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }

    /// Listens again, on the same port.
    #[track_caller]
    pub fn come_back(&mut self) {
        let mut builder = S3ServiceBuilder::new(FileSystem::new(self.folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let (service, mood) = (builder.build(), Arc::clone(&self.mood));
        let (stop, stopped) = oneshot::channel();
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind(address).await.unwrap();
                ready.send(()).unwrap();
                tokio::select! {
                    () = serve(listener, service, mood) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        self.stop = Some((stop, thread));
    }

    /// `[archive.s3]` for a folder of the bucket.
    pub fn config(&self, prefix: &str) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[archive.s3]\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\nbucket = \"{BUCKET}\"\n\
             prefix = \"{prefix}\"\naccess_key = {{ file = \"{}\" }}\nsecret_key = {{ file = \"{}\" }}\n\
             timeout_s = 5\n",
            self.port,
            file(".access"),
            file(".secret"),
        )
    }

    /// Where the objects of the bucket lie.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// A file with a secret that opens nothing.
    pub fn wrong_secret(&self) -> PathBuf {
        Path::new(self.folder.path()).join(".wrong")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn serve(listener: TcpListener, service: S3Service, mood: Arc<Mutex<Mood>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, mood) = (service.clone(), Arc::clone(&mood));
        let answer = service_fn(move |request| {
            let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
            answer(request, service.clone(), mood)
        });
        tokio::spawn(async move {
            // Whoever is killed leaves in the middle of a request.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    service: S3Service,
    mood: Mood,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let request = request.map(s3s::Body::from);
    let reads = matches!(request.method().as_str(), "GET" | "HEAD");
    match mood {
        Mood::Refuses(status, code) => Ok(refusal(status, code)),
        Mood::RefusesToWrite(status, code) if !reads => Ok(refusal(status, code)),
        Mood::Works | Mood::RefusesToWrite(..) => service.call(request).await,
        Mood::Hangs => {
            let _done = service.call(request).await;
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok(refusal(504, "Late"))
        }
    }
}

fn refusal(status: u16, code: &str) -> Response<s3s::Body> {
    let xml = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Not now.</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(xml));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    response
}
