//! `weir-sink token`: makes tokens.
//!
//! In: a name and a role. Out: the token, shown this once and kept nowhere, and the lines for the configuration,
//! which have its hash only. What can go wrong: a name that the configuration would not take.

use clap::{Args, Subcommand};
use serde_json::json;

use super::token::draw;
use super::{Role, TokenConfig, TokenHash, check};

/// Tokens for the API.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token: prints it, this once, and the lines for the configuration, which have its hash.
    New(New),
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Who will have it; is noted with the changes that it makes.
    #[arg(long)]
    name: String,
    /// What it may do; each role may do what those before it may.
    #[arg(long, value_enum)]
    role: Role,
    /// Writes one JSON object: name, role, token, hash.
    #[arg(long)]
    json: bool,
}

/// Does the command.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn run_token(command: &TokenCommand, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let TokenCommand::New(New { name, role, json }) = command;
    let token = draw().map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let hash = TokenHash::of(token.expose());
    let config = TokenConfig { name: name.clone(), role: *role, hash: hash.clone() };
    check(&[config]).map_err(|(message, hint)| format!("{message}: {hint}"))?;
    let hash = hash.to_string();
    if *json {
        let made = json!({ "name": name, "role": role, "token": token.expose(), "hash": hash });
        say(&made.to_string());
        return Ok(());
    }
    say(&format!(
        "{}\n\n\
         This is the token; it is shown this once. In the sink's configuration, before its next start:\n\n\
         [[http.tokens]]\nname = {}\nrole = \"{role}\"\nhash = \"{hash}\"",
        token.expose(),
        // A JSON text is one of TOML, too.
        json!(name),
    ));
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn said(name: &str, json: bool) -> Result<String, String> {
        let mut said = String::new();
        let new = New { name: name.into(), role: Role::Devices, json };
        run_token(&TokenCommand::New(new), &mut |text| said.push_str(text))?;
        Ok(said)
    }

    #[derive(serde::Deserialize)]
    struct Http {
        tokens: Vec<TokenConfig>,
    }

    #[derive(serde::Deserialize)]
    struct File {
        http: Http,
    }

    #[test]
    fn the_lines_are_taken_as_they_are_and_have_no_token() {
        for name in ["ann", "Ann's \"laptop\" \\ 2", "zoë"] {
            let said = said(name, false).unwrap();
            let (token, rest) = said.split_once('\n').unwrap();
            let lines = &rest[rest.find("[[http.tokens]]").unwrap()..];
            assert!(!rest.contains(token));
            let file: File = toml::from_str(lines).unwrap();
            let made = &file.http.tokens[0];
            assert_eq!((&*made.name, made.role), (name, Role::Devices));
            assert_eq!(made.hash, TokenHash::of(token));
        }
    }

    #[test]
    fn a_program_gets_one_object() {
        let made: serde_json::Value = serde_json::from_str(&said("ci", true).unwrap()).unwrap();
        let token = made["token"].as_str().unwrap();
        assert!(token.starts_with("weir_") && token.len() == 48, "{token}");
        assert_eq!(made["hash"], TokenHash::of(token).to_string());
        assert_eq!((&made["name"], &made["role"]), (&"ci".into(), &"devices".into()));
    }

    #[test]
    fn a_name_that_the_configuration_would_not_take_makes_no_token() {
        assert!(said("", false).unwrap_err().contains("1 to 64 bytes"));
    }
}
