//! The page is whole, small, and asks nobody else for anything.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::HeaderValue;

use super::*;

const PAGE_BYTES_MAX: usize = 150 * 1024;

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

#[test]
fn the_page_is_small_and_names_no_other_host() {
    let bytes: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
    assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
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
