//! The list of what a program is made of, as CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>).
//!
//! In: what `cargo tree` says of a package's dependencies. Out: JSON, a component for each crate with its
//! version, licence and package URL, in order and without the time, so that the same sources give the
//! same bytes.

use std::collections::BTreeSet;

/// `tree` has a line for each crate: name, version, licence, divided by tabs.
pub(super) fn cyclonedx(program: &str, version: &str, tree: &str) -> Result<String, String> {
    let mut components = BTreeSet::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let mut fields = line.split('\t');
        let (Some(name), Some(version), Some(licence)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("cargo tree said `{line}`"));
        };
        components.insert((name, version.trim_start_matches('v'), licence));
    }
    if components.len() < 2 {
        return Err("cargo tree named no dependencies".into());
    }
    let component = |&(name, version, licence): &(&str, &str, &str)| {
        let licences = match licence {
            "" => String::new(),
            some => format!(", \"licenses\": [{{\"expression\": {}}}]", quoted(&expression(some))),
        };
        format!(
            "    {{\"type\": \"library\", \"name\": {}, \"version\": {}, \"purl\": {}{licences}}}",
            quoted(name),
            quoted(version),
            quoted(&format!("pkg:cargo/{name}@{version}"))
        )
    };
    let components: Vec<String> =
        components.iter().filter(|(name, ..)| *name != program).map(component).collect();
    Ok(format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \
         \"metadata\": {{\"component\": {{\"type\": \"application\", \"name\": {}, \"version\": {}}}}},\n  \
         \"components\": [\n{}\n  ]\n}}\n",
        quoted(program),
        quoted(version),
        components.join(",\n")
    ))
}

/// Old crates write `MIT/Apache-2.0` for a choice.
fn expression(licence: &str) -> String {
    licence.replace('/', " OR ")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_is_named_once() {
        let tree = "sink\tv1.0.0\tMIT\nb\tv2.0.0\tMIT/Apache-2.0\na\tv0.1.0\t\nb\tv2.0.0\tMIT/Apache-2.0\n";
        let json = cyclonedx("sink", "1.0.0", tree).unwrap_or_default();
        let a = "{\"type\": \"library\", \"name\": \"a\", \"version\": \"0.1.0\", \"purl\": \"pkg:cargo/a@0.1.0\"}";
        assert!(json.contains(a), "{json}");
        assert_eq!(json.matches("pkg:cargo/b@2.0.0").count(), 1);
        assert!(json.contains("{\"expression\": \"MIT OR Apache-2.0\"}"), "{json}");
        assert!(!json.contains("pkg:cargo/sink"), "{json}");
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert!(cyclonedx("sink", "1", "").is_err());
        assert!(cyclonedx("sink", "1", "a b c\n").is_err());
    }
}
