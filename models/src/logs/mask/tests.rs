use super::*;
use proptest::prelude::*;

fn text(masked: &Masked, message: &str) -> String {
    let mut text = String::new();
    masked.write_text(message, &mut text);
    assert_eq!(text.len(), masked.text_bytes);
    text
}

#[track_caller]
fn check(message: &str, expected: &str) {
    let mut masked = Masked::default();
    masked.fill(message);
    assert_eq!(text(&masked, message), expected);
}

#[test]
fn masks_what_varies() {
    for (message, expected) in [
        ("", ""),
        ("  two   blanks ", "two blanks"),
        ("port 22 ssh2", "port <num> ssh<num>"),
        ("took 12ms, 1.5GiB, -3.2%", "took <num>ms, <num>GiB, <num>%"),
        ("temp=-40.5 (x=+3)", "temp=<num> (x=<num>)"),
        ("1,234,567 rows", "<num> rows"),
        ("from 10.77.20.248:8080.", "from <ip>:<num>."),
        ("at 10.77.20.248.", "at <ip>."),
        ("version 1.2.3.4.5", "version <num>"),
        ("on :: port 22.", "on <ip> port <num>."),
        ("[fe80::1c2:3%eth0]: up", "[<ip>%eth<num>]: up"),
        ("2001:db8::8:800:200c:417a: gone", "<ip>: gone"),
        ("std::vector Foo::Bar a::b", "std::vector Foo::Bar a::b"),
        ("at 12:30:45", "at <num>:<num>:<num>"),
        ("MAC=00:1a:2b:3c:4d:5e:ff:ff:ff:ff:ff:ff:08:00 SRC", "MAC=<mac> SRC"),
        ("00-1A-2B-3C-4D-5E", "<mac>"),
        ("id 123e4567-e89b-12d3-a456-426614174000!", "id <uuid>!"),
        ("at 0xdeadBEEF and deadbeef01", "at <hex> and <hex>"),
        ("deadbeef facade decade", "deadbeef facade decade"),
        ("blk_38865049064139660 user_7", "blk_<num> user_<num>"),
        ("SHA256:Kl8kPGZrTiz7g4FO1hyqHdsSBBb5Fge6NWOobN03XJg", "SHA<num>:<id>"),
        ("on /dev/input/event0 (/usr/bin/curl)", "on <path> (/usr/bin/curl)"),
        ("TTY=pts/0 ; PWD=/home/u1/x.", "TTY=pts/<num> ; PWD=<path>."),
        ("to=<some.one@example.com>, x@y", "to=<<mail>>, x@y"),
        ("müller7 größe=9µs", "müller<num> größe=<num>µs"),
        ("a-5 5-a", "a-<num> <num>-a"),
    ] {
        check(message, expected);
    }
}

#[test]
fn is_bounded() {
    check(&"x".repeat(65), "<*>");
    check(&"1:".repeat(5000), "<*>");
    let mut masked = Masked::default();
    let message = "word ".repeat(500);
    masked.fill(&message);
    assert_eq!(masked.tokens.len(), MAX_TOKENS + 1);
    assert!(text(&masked, &message).ends_with(" word <...>"));
    masked.fill(&format!("{} ", "x".repeat(60)).repeat(90));
    assert!(masked.text_bytes < MAX_TEXT_BYTES + 64 + 8, "{}", masked.text_bytes);
}

#[test]
fn the_hash_never_changes() {
    // Identities of templates are stored for years: these two values are a contract.
    assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
    assert_eq!(hash(b"New session <num> of user <*>."), 0xf32f_3815_7974_4176);
}

proptest! {
    #[test]
    fn takes_anything(message in "\\PC{0,80}|[0-9a-f:.@/+,-]{0,60}") {
        let mut masked = Masked::default();
        masked.fill(&message);
        let words = message.split(|c| c <= ' ').filter(|word| !word.is_empty());
        prop_assert_eq!(masked.tokens.len(), words.count());
        let text = text(&masked, &message);
        let tokens = masked.tokens.iter().map(|token| token.hash);
        let again: Vec<_> = text.split(' ').map(|word| eights::token(word.as_bytes()).hash).collect();
        prop_assert_eq!(if text.is_empty() { vec![] } else { again }, tokens.collect::<Vec<_>>());
    }
}
