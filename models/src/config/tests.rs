#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use expect_test::{Expect, expect};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    #[expect(dead_code, reason = "only read by Debug")]
    listen: String,
    #[serde(default)]
    #[expect(dead_code, reason = "only read by Debug")]
    max_bytes: u64,
}

#[track_caller]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&parse::<Example>("agent.toml", text).unwrap_err().to_string());
}

#[test]
fn an_unknown_key_names_the_nearest() {
    check(
        "listen = 'x'\nmax_byte = 1\n",
        expect![[r#"
            agent.toml:2:1: unknown field `max_byte`, expected `listen` or `max_bytes`
              hint: did you mean `max_bytes`?"#]],
    );
    check(
        "lisetn = 'x'\n",
        expect![[r#"
            agent.toml:1:1: unknown field `lisetn`, expected `listen` or `max_bytes`
              hint: did you mean `listen`?"#]],
    );
}

#[test]
fn a_key_like_no_other_gets_no_guess() {
    check(
        "listen = 'x'\nzzz = 1\n",
        expect!["agent.toml:2:1: unknown field `zzz`, expected `listen` or `max_bytes`"],
    );
}

#[test]
fn a_wrong_kind_names_line_and_kind() {
    check(
        "listen = 'x'\nmax_bytes = 'big'\n",
        expect![[r#"agent.toml:2:13: invalid type: string "big", expected u64"#]],
    );
}

#[test]
fn a_missing_key_is_named() {
    check("max_bytes = 1\n", expect!["agent.toml:1:1: missing field `listen`"]);
}

#[test]
fn a_secret_comes_from_a_file_or_the_environment_and_hides() {
    let file = SecretRef { file: Some("f".into()), env: None };
    let secret = file.resolve(|_| Ok("s3cret\n".into()), |_| None).unwrap();
    assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("s3cret", "<secret>"));
    let env = SecretRef { file: None, env: Some("PW".into()) };
    let missing = env.resolve(|_| Ok(String::new()), |_| None).unwrap_err();
    assert_eq!(missing, "environment variable `PW` is not set");
}
