//! Tokens and roles over HTTP.

use weir_models::config::Secret;

use super::*;
use crate::access::{Access, Role, TokenConfig, TokenHash, need};

const JSON: (&str, &str) = ("content-type", "application/json");

fn with_token(server: &Server, method: &str, path: &str, token: &str) -> Answer {
    server.request(method, path, &[("authorization", &format!("Bearer {token}")), JSON], "{}")
}

fn roles() -> Access {
    let tokens = [Role::Read, Role::Devices, Role::Admin].map(|role| TokenConfig {
        name: format!("the {role}"),
        role,
        hash: TokenHash::of(&format!("weir_{role}")),
    });
    Access::new(None, &tokens, false)
}

#[test]
fn a_token_guards_everything_or_only_writes() {
    let start = |open_reads| {
        let access = Access::new(Some(&Secret::new("s3cret")), &[], open_reads);
        Server::start_with(rows(), move |api| api.access(access))
    };
    let with = |server: &Server, method: &str, path: &str, value: &str| {
        server.request(method, path, &[("authorization", value), JSON], "{}").status
    };
    let server = start(false);
    server.get("/v1/sites").is_problem(401, "unauthorized");
    server.get("/v1/live").is_problem(401, "unauthorized");
    for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer ", "s3cret", "Basic s3cret", "Bearer"] {
        assert_eq!(with(&server, "GET", "/v1/sites", wrong), 401, "{wrong}");
    }
    assert_eq!(with(&server, "GET", "/v1/sites", "Bearer s3cret"), 200);
    assert_eq!(with(&server, "GET", "/v1/sites", "bearer s3cret"), 200);
    assert_eq!(server.get("/v1/openapi.json").status, 200);
    assert_eq!(server.get("/").status, 200);

    let server = start(true);
    assert_eq!(server.get("/v1/sites").status, 200);
    let put = server.request("PUT", "/v1/devices/hall/press", &[JSON], "{}");
    put.is_problem(401, "unauthorized");
    assert!(put.text.contains("`devices` or `admin`"), "{}", put.text);
    server.request("DELETE", "/v1/devices/hall/press", &[], "").is_problem(401, "unauthorized");
    assert!(server.producer.sent.lock().unwrap().is_empty());
    assert_eq!(with(&server, "PUT", "/v1/devices/hall/press", "Bearer s3cret"), 202);
}

#[test]
fn a_role_that_is_too_low_is_told_and_changes_nothing() {
    let server = Server::start_with(rows(), |api| api.access(roles()));
    for role in ["read", "devices", "admin"] {
        let token = format!("weir_{role}");
        assert_eq!(with_token(&server, "GET", "/v1/sites", &token).status, 200);
        // A query that comes as a POST is one all the same.
        let query = with_token(&server, "POST", "/api/v1/query", &token);
        assert_ne!(query.status, 403, "{}", query.text);
    }
    for (method, path) in [("PUT", "/v1/devices/hall/press"), ("DELETE", "/v1/devices/hall/press")]
    {
        let answer = with_token(&server, method, path, "weir_read");
        answer.is_problem(403, "forbidden");
        let detail = "the token `the read` has the role `read`, this needs `devices`";
        assert_eq!(answer.json()["detail"], detail);
        assert!(answer.json()["hint"].as_str().unwrap().contains("`devices` or `admin`"));
        assert!(server.producer.sent.lock().unwrap().is_empty());
    }
    for token in ["weir_devices", "weir_admin"] {
        let device = format!("/v1/devices/hall/{token}");
        assert_eq!(with_token(&server, "PUT", &device, token).status, 202);
    }
    // What nobody thought of is for the highest role only.
    with_token(&server, "PUT", "/v1/sites", "weir_devices").is_problem(403, "forbidden");
    with_token(&server, "PUT", "/v1/sites", "weir_admin").is_problem(405, "method-not-allowed");
}

#[test]
fn the_header_says_which_role_is_missing() {
    let server = Server::start_with(rows(), |api| api.access(roles()));
    let asked = |token: &str| {
        let headers = [("authorization", token), JSON];
        let answer = server.raw("PUT", "/v1/devices/hall/press", &headers, "{}");
        answer.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };
    let scope = "Bearer realm=\"weir\", error=\"insufficient_scope\", scope=\"devices\"";
    assert_eq!(asked("Bearer weir_read"), scope);
    assert_eq!(asked("Bearer weir_other"), "Bearer realm=\"weir\"");
    // In Prometheus' form, too.
    let fault = with_token(&server, "DELETE", "/api/v1/query", "weir_read");
    assert_eq!((fault.status, &fault.json()["errorType"]), (403, &"forbidden".into()));
}

/// A route that changes something and is forgotten in the table would need `admin`.
#[test]
fn the_table_of_roles_has_every_route_that_changes_something() {
    let server = Server::start(Batch::default());
    let description = server.get("/v1/openapi.json").json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = axum::http::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            assert_ne!(need(&method, path), Role::Admin, "{method} {path} is not in the table");
        }
    }
}

#[test]
fn the_description_says_what_needs_a_token_here() {
    let described = |access: Access| {
        let server = Server::start_with(rows(), move |api| api.access(access));
        let description = server.get("/v1/openapi.json").json();
        let of = |method: &str, path: &str| {
            let own = &description["paths"][path][method]["security"];
            let asked = if own.is_null() { &description["security"] } else { own };
            asked.as_array().unwrap().contains(&json!({}))
        };
        let device = "/v1/devices/{site}/{device}";
        [
            of("get", "/v1/openapi.json"),
            of("get", "/v1/sites"),
            of("post", "/api/v1/query"),
            of("put", device),
        ]
    };
    let whole = Secret::new("s3cret");
    assert_eq!(described(Access::default()), [true; 4]);
    assert_eq!(described(Access::new(Some(&whole), &[], false)), [true, false, false, false]);
    assert_eq!(described(Access::new(Some(&whole), &[], true)), [true, true, true, false]);
}
