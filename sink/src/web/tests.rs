//! The page is whole, small, and asks nobody else for anything.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::HeaderValue;

use super::*;

/// What a browser loads before it shows something: the page opened at any view.
const PAGE_BYTES_MAX: usize = 150 * 1024;
/// The same where it begins, at the fleet.
const FIRST_BYTES_MAX: usize = 64 * 1024;
/// All there is.
const ALL_BYTES_MAX: usize = 160 * 1024;

#[test]
fn every_file_that_is_asked_for_is_there() {
    for asset in ASSETS {
        let text = std::str::from_utf8(asset.bytes).unwrap();
        let asked = text
            .split(['"', '\''])
            .filter_map(|word| word.strip_prefix("/app/").or_else(|| word.strip_prefix("./")))
            .filter(|word| {
                word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg")
            });
        for name in asked {
            assert_eq!(
                serve(name, &HeaderMap::new()).status(),
                StatusCode::OK,
                "{name} in {}",
                asset.name
            );
        }
    }
    assert_eq!(serve("../mod.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
}

#[test]
fn every_file_of_the_folder_is_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
    let files = std::fs::read_dir(folder).unwrap();
    let files: BTreeSet<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let served: BTreeSet<_> =
        ASSETS.iter().map(|asset| asset.name.split('/').next().unwrap().to_owned()).collect();
    let code = ["mod.rs", "tests.rs"].map(str::to_owned).into();
    assert_eq!(files.difference(&code).cloned().collect::<BTreeSet<_>>(), served);
}

/// Size of a file as it is sent.
fn sent(name: &str) -> usize {
    let place = ASSETS.iter().position(|asset| asset.name == name);
    SENT[place.unwrap_or_else(|| panic!("{name}"))].0.len()
}

/// A module and what it imports, directly or not.
fn closure(name: &str, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap();
    let text = std::str::from_utf8(asset.bytes).unwrap();
    let imports = text.split(" from \"./").skip(1);
    imports.for_each(|rest| closure(rest.split('"').next().unwrap(), found));
}

#[test]
fn the_page_is_small_at_every_view() {
    let main = ASSETS.iter().find(|asset| asset.name == "main.js").unwrap();
    let main = std::str::from_utf8(main.bytes).unwrap();
    let views = main.split("import(\"./").skip(1).map(|rest| rest.split('"').next().unwrap());
    let views: Vec<&str> = views.collect();
    assert!(views.len() >= 8 && views.contains(&"fleet.js"), "{views:?}");
    for view in views {
        // The fleet is loaded ahead of any view.
        let mut modules = BTreeSet::new();
        ["main.js", "fleet.js", view].iter().for_each(|name| closure(name, &mut modules));
        let mut files: Vec<&str> = modules.iter().map(String::as_str).collect();
        files.extend(["index.html", "style.css", "icon.svg"]);
        if modules.contains("plot.js") {
            files.extend(["vendor/uPlot.iife.min.js", "vendor/uPlot.min.css"]);
        }
        let bytes: usize = files.into_iter().map(sent).sum();
        let most = if view == "fleet.js" { FIRST_BYTES_MAX } else { PAGE_BYTES_MAX };
        assert!(bytes <= most, "{view}: {bytes} bytes");
    }
    let all: usize = ASSETS.iter().map(|asset| sent(asset.name)).sum();
    assert!(all <= ALL_BYTES_MAX, "{all} bytes");
}

#[test]
fn what_is_sent_has_all_but_comments_and_indentation() {
    let text = "// a\n/**\n * b\n */\nconst a = `// c`; // d\n\n  f(/* e */);\n/* g */\nlast\n";
    assert_eq!(lean(text), "const a = `// c`; // d\nf(/* e */);\nlast\n");
    for asset in ASSETS.iter().filter(|asset| asset.kind == JS) {
        // A text over several lines would lose its indentation.
        let text = std::str::from_utf8(asset.bytes).unwrap();
        let is_open = |line: &&str| line.matches('`').count() % 2 == 1;
        let vendored = asset.name.starts_with("vendor/");
        assert_eq!(text.lines().find(is_open).filter(|_| !vendored), None, "{}", asset.name);
    }
}

#[test]
fn the_page_names_no_other_host() {
    for asset in ASSETS.iter().filter(|asset| !asset.name.starts_with("vendor/")) {
        let text = std::str::from_utf8(asset.bytes).unwrap().replace("http://www.w3.org/", "");
        assert!(!text.contains("://"), "{}", asset.name);
        assert!(!text.contains("innerHTML"), "{} writes markup", asset.name);
    }
}

#[test]
fn an_unchanged_file_is_not_sent_again() {
    let first = serve("main.js", &HeaderMap::new());
    let tag = first.headers()[header::ETAG].clone();
    assert_eq!(first.headers()[header::CONTENT_TYPE], JS);
    assert!(
        first.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    let ask = |tag: HeaderValue| {
        serve("main.js", &HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)])).status()
    };
    assert_eq!(ask(tag), StatusCode::NOT_MODIFIED);
    assert_eq!(ask(HeaderValue::from_static("\"other\"")), StatusCode::OK);
}
