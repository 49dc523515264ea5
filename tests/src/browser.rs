//! A real browser: headless Chromium, driven by chromedriver's WebDriver interface.
//!
//! It reaches this machine only: a page that loads something from elsewhere shows an error in
//! [`Browser::console`].

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::paths::tool;
use crate::{Launch, Program, free_port, http, wait_until};

const TIMEOUT: Duration = Duration::from_secs(30);

/// One browser with one window and an empty profile.
pub struct Browser {
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    /// (dropped after the session was ended)
    _driver: Program,
}

impl Browser {
    /// Starts one, with a window of 1280 by 900 pixels.
    #[track_caller]
    pub fn start() -> Self {
        let port = free_port();
        let launch = Launch::at("chromedriver", tool(&["chromedriver"]));
        let profile = launch.dir().join("profile");
        // chromedriver and the browser put their own temporary files here as well.
        let temporary = launch.dir().display().to_string();
        let launch = launch.env("TMPDIR", &temporary).env("HOME", &temporary);
        let mut driver = launch.arg(format!("--port={port}")).start();
        let base = format!("http://127.0.0.1:{port}");
        driver.wait_http(&format!("{base}/status"), TIMEOUT);
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let body = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {
                "binary": tool(&["chromium", "chromium-browser", "google-chrome"]),
                "args": args,
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = call(&format!("{base}/session"), &body);
        let id = answer["sessionId"].as_str().unwrap();
        Self { session: format!("{base}/session/{id}"), _driver: driver }
    }

    /// Opens a page and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    /// What a piece of JavaScript returns, e.g. `return document.title`.
    #[track_caller]
    pub fn script(&self, script: &str, args: &[Value]) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": args}))
    }

    /// The text, as a reader sees it, of the first element that the CSS selector finds.
    #[track_caller]
    pub fn text(&self, css: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.innerText ?? null";
        self.script(script, &[json!(css)]).as_str().map(str::to_string)
    }

    /// The texts of all elements that the CSS selector finds.
    #[track_caller]
    pub fn texts(&self, css: &str) -> Vec<String> {
        let script =
            "return Array.from(document.querySelectorAll(arguments[0]), e => e.innerText ?? '')";
        let found = self.script(script, &[json!(css)]);
        let found = found.as_array().into_iter().flatten();
        found.map(|text| text.as_str().unwrap_or_default().to_string()).collect()
    }

    /// Waits until the element is there and its text is as wanted; gives the text back.
    #[track_caller]
    pub fn wait_text(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_until(&format!("the text of `{css}`"), TIMEOUT, || match self.text(css) {
            Some(text) if wanted(&text) => Ok(text),
            seen => Err(format!("{seen:?}")),
        })
    }

    /// Clicks an element as a person would: it has to be visible and not covered.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let found = self.post("element", &json!({"using": "css selector", "value": css}));
        // The key is fixed by the WebDriver standard (W3C WebDriver, section 12.1).
        let id = found["element-6066-11e4-a52e-4f735466cecf"].as_str().unwrap();
        self.post(&format!("element/{id}/click"), &json!({}));
    }

    /// What the page wrote to the console since the last call, errors of loading included:
    /// `LEVEL MESSAGE`.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_string();
        entries.iter().map(|e| format!("{} {}", text(e, "level"), text(e, "message"))).collect()
    }

    /// Makes the window as wide and high as this, in pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        self.post("window/rect", &json!({"width": width, "height": height}));
    }

    /// Writes a PNG picture of the window.
    #[track_caller]
    pub fn screenshot(&self, file: &Path) {
        let answer = value(&http::get(&format!("{}/screenshot", self.session)));
        let png = base64::engine::general_purpose::STANDARD.decode(answer.as_str().unwrap());
        std::fs::write(file, png.unwrap()).unwrap();
    }

    #[track_caller]
    fn post(&self, command: &str, body: &Value) -> Value {
        call(&format!("{}/{command}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, which is in a process group of its own. If the driver is gone, so is it.
        let _ = http::try_delete(&self.session);
    }
}

#[track_caller]
fn call(url: &str, body: &Value) -> Value {
    value(&http::post(url, "application/json", body.to_string().as_bytes()))
}

#[track_caller]
fn value(answer: &http::Answer) -> Value {
    let value = answer.json()["value"].take();
    assert_eq!(answer.status, 200, "the browser: {} {}", value["error"], value["message"]);
    value
}
