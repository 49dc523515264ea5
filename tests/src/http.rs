//! HTTP as a client of ours would speak it. A status is an answer here, never an error.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The media type, with its parameters.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(e) => panic!("no JSON ({e}) in the answer {}: {}", self.status, self.text()),
        }
    }
}

/// Who asks: for so long and no longer, and nobody elsewhere.
pub fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            // Nothing here is elsewhere than on this machine.
            .proxy(None)
            .build();
        config.into()
    })
}

fn answer(response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, ureq::Error> {
    let mut response = response?;
    let content_type = response.headers().get("content-type");
    Ok(Answer {
        status: response.status().as_u16(),
        content_type: content_type.and_then(|v| v.to_str().ok()).unwrap_or_default().to_string(),
        body: response.body_mut().with_config().limit(1 << 30).read_to_vec()?,
    })
}

/// GET; the error is that there was no answer.
pub fn try_get(url: &str) -> Result<Answer, ureq::Error> {
    answer(agent().get(url).call())
}

/// GET.
#[track_caller]
pub fn get(url: &str) -> Answer {
    check("GET", url, try_get(url))
}

/// GET with a status of 200 and a JSON body.
#[track_caller]
pub fn get_json(url: &str) -> Value {
    let answer = get(url);
    assert_eq!(answer.status, 200, "GET {url} answered {}", answer.text());
    answer.json()
}

/// POST; the error is that there was no answer.
pub fn try_post(url: &str, content_type: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
    answer(agent().post(url).content_type(content_type).send(body))
}

/// POST.
#[track_caller]
pub fn post(url: &str, content_type: &str, body: &[u8]) -> Answer {
    check("POST", url, try_post(url, content_type, body))
}

/// PUT of a JSON body.
#[track_caller]
pub fn put_json(url: &str, body: &Value) -> Answer {
    check("PUT", url, answer(agent().put(url).send_json(body)))
}

/// Any method, with headers.
#[track_caller]
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_vec()).unwrap();
    check(method, url, answer(agent().run(request)))
}

/// DELETE.
pub(crate) fn try_delete(url: &str) -> Result<Answer, ureq::Error> {
    answer(agent().delete(url).call())
}

#[track_caller]
fn check(method: &str, url: &str, answer: Result<Answer, ureq::Error>) -> Answer {
    match answer {
        Ok(answer) => answer,
        Err(e) => panic!("{method} {url}: {e}"),
    }
}
