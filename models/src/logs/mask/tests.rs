use super::*;
use proptest::prelude::*;

fn text(masked: &Masked, message: &str) -> String {
    let mut text = String::new();
    masked.write_text(message, &mut text);
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
        ("took 12ms, 1.5GiB, -3.2%", "took <time>, <size>, <num>%"),
        ("temp=-40.5 (x=+3)", "temp=<num> (x=<num>)"),
        ("1,234,567 rows", "<num> rows"),
        ("from 10.77.20.248:8080.", "from <ip>:<num>."),
        ("at 10.77.20.248.", "at <ip>."),
        ("version 1.2.3.4.5", "version <num>"),
        ("on :: port 22.", "on <ip> port <num>."),
        ("[fe80::1c2:3%eth0]: up", "[<ip>%eth<num>]: up"),
        ("2001:db8::8:800:200c:417a: gone", "<ip>: gone"),
        ("std::vector Foo::Bar a::b", "std::vector Foo::Bar a::b"),
        ("at 12:30:45", "at <time>"),
        ("MAC=00:1a:2b:3c:4d:5e:ff:ff:ff:ff:ff:ff:08:00 SRC", "MAC=<mac> SRC"),
        ("00-1A-2B-3C-4D-5E", "<mac>"),
        ("id 123e4567-e89b-12d3-a456-426614174000!", "id <uuid>!"),
        ("at 0xdeadBEEF and deadbeef01", "at <hex> and <hex>"),
        ("deadbeef facade decade", "deadbeef facade decade"),
        ("blk_38865049064139660 user_7", "blk_<num> user_<num>"),
        ("SHA256:Kl8kPGZrTiz7g4FO1hyqHdsSBBb5Fge6NWOobN03XJg", "SHA<num>:<id>"),
        ("on /dev/input/event0 (/usr/bin/curl)", "on <path> (<path>)"),
        ("TTY=pts/0 ; PWD=/home/u1/x.", "TTY=<*> ; PWD=<*>"),
        ("to=<some.one@example.com>, x@y", "to=<*>, x@y"),
        ("for <some.one@example.com>", "for <<mail>>"),
        ("müller7 größe=9µs", "müller<num> größe=<*>"),
        ("lifetime <1 sec, then 00:02", "lifetime <time>, then <time>"),
        ("since Sun Jul 10 03:55:15 2005", "since <time>"),
        ("used 317.1 KB of 2 GB (3 bytes)", "used <size> of <size> (<size>)"),
        ("client www.example.com:443 open", "client <name>:<num> open"),
        ("example.com:443 java.io.tmpdir=/tmp", "<name>:<num> java.io.tmpdir=<path>"),
        ("see https://example.com/a?b=1, please", "see <path>, please"),
        ("at C:\\Windows\\x.dll, ok", "at <path>, ok"),
        ("tag=\"View Lock\", ws=W{12}, u= root", "tag=<*>, ws=<*>, u=<*> <*>"),
        ("user 'ann' gone, isn't she", "user '<*>' gone, isn't she"),
        ("armed = yes, hot = false", "armed = <*>, hot = <*>"),
        ("it is true", "it is <*>"),
        ("blk_1 blk_-2, blk_3 left", "blk_<num> left"),
        ("(1, 2, 3) [4] 10.0.0.1,10.0.0.2", "(<num>) [<num>] <ip>"),
        ("n1 0x1f ok n2 0x2f ok n3 0x3f ok.", "n<num> <hex> ok n<num> <hex> ok."),
        ("steps 15##7##2", "steps <num>"),
        ("5 (6) of 7", "<num> (<num>) of <num>"),
        ("core...........1", "core...........<num>"),
        ("speeds 7 **** 8", "speeds <*>"),
        ("at 2015-03-17T12:34:56.7Z, 19-Oct-2022 05:34:02.425", "at <time>"),
        ("port 38926:11: bye", "port <num>:<num>: bye"),
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

proptest! {
    #[test]
    fn takes_anything(message in "\\PC{0,80}|[0-9a-f:.@/+,-]{0,60}") {
        let mut masked = Masked::default();
        masked.fill(&message);
        let words = message.split(|c| c <= ' ').filter(|word| !word.is_empty());
        prop_assert!(masked.tokens.len() <= words.count());
        let text = text(&masked, &message);
        prop_assert_eq!(text.split(' ').filter(|word| !word.is_empty()).count(), masked.tokens.len());
        // Nothing of the one before is left.
        let mut again = Masked::default();
        again.fill(&message);
        masked.fill("blk_1 blk_2 key='open");
        masked.fill(&message);
        prop_assert_eq!(&again.tokens, &masked.tokens);
    }
}

proptest! {
    /// Tokens of what logs have, so that many are marked and some are of one outline.
    #[test]
    fn what_is_remembered_is_what_a_scan_gives(
        messages in prop::collection::vec(
            prop::collection::vec(
                "[0-9]{1,4}|[0-9x.:/=-]{1,12}|[a-f0-9]{6,9}|([0-9]{1,3}\\.){3}[0-9]{1,3}|0x[0-9a]{2}|k=['\"]?[a-z0-9]{1,3}['\"]?|pid[0-9]{1,2}[:,]|[Tt]rue|ms|Jan",
                1..8,
            ),
            1..40,
        )
    ) {
        let mut kept = Masked::default();
        for message in messages {
            let message = message.join(" ");
            let mut fresh = Masked::default();
            fresh.fill(&message);
            kept.fill(&message);
            prop_assert_eq!(&kept.tokens, &fresh.tokens, "{}", message);
            prop_assert_eq!(text(&kept, &message), text(&fresh, &message));
        }
    }
}
