//! Grouping, identity and bounds of the miner.

mod grouping;

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const AUTH_LOG: &str = include_str!("../../../../fixtures/syslog/auth.rfc3164.log");

/// The message of a line of a syslog file: behind the tag.
fn message(line: &str) -> &str {
    line.get(16..).and_then(|rest| rest.split_once(": ")).map_or("", |(_, message)| message)
}

#[track_caller]
fn check(messages: &[&str], expected: Expect) {
    let mut miner = Miner::new(16);
    let ids: Vec<u64> = messages.iter().map(|m| miner.learn(m).id).collect();
    let texts: HashMap<u64, &str> = miner.templates().collect();
    let got: String =
        messages.iter().zip(ids).map(|(m, id)| format!("{m} => {}\n", texts[&id])).collect();
    expected.assert_eq(&got);
}

#[test]
fn groups_by_what_stays() {
    check(
        &[
            "login of 7 ok",
            "login of 8 ok",
            "login of ann ok",
            "login failed for ann",
            "logout of ann ok",
            "login of",
            "file main opened by 10.0.0.1",
            "file main closed by 10.0.0.1",
            "file side closed by 10.0.0.2",
        ],
        expect![[r#"
            login of 7 ok => login of <*> ok
            login of 8 ok => login of <*> ok
            login of ann ok => login of <*> ok
            login failed for ann => login failed for ann
            logout of ann ok => logout of ann ok
            login of => login of
            file main opened by 10.0.0.1 => file main opened by <ip>
            file main closed by 10.0.0.1 => file <*> closed by <ip>
            file side closed by 10.0.0.2 => file <*> closed by <ip>
        "#]],
    );
}

#[test]
fn words_that_vary_become_one_template() {
    let mut miner = Miner::new(16);
    let services = ["cups", "ssh", "cron", "dhcp"];
    let ids: Vec<u64> =
        services.iter().map(|s| miner.learn(&format!("start of {s} was ok")).id).collect();
    assert_eq!(miner.len(), 4);
    let fifth = miner.learn("start of ntp was ok");
    assert_eq!((fifth.id, fifth.is_new, fifth.generalised), (ids[0], false, true));
    assert_eq!(fifth.text(), "start of <*> was ok");
    let mut absorbed = fifth.absorbed().to_vec();
    absorbed.sort_unstable();
    let mut others = ids[1..].to_vec();
    others.sort_unstable();
    assert_eq!(absorbed, others);
    let sixth = miner.learn("start of smtp was ok");
    assert_eq!((sixth.id, sixth.is_new, sixth.absorbed().len()), (ids[0], false, 0));
    assert_eq!(miner.len(), 1);
}

#[test]
fn a_user_varies_at_once_and_a_verb_does_not() {
    let mut miner = Miner::new(16);
    miner.learn("session opened for user ann by root");
    miner.learn("session closed for user ann by root");
    miner.learn("session opened for user bob by root");
    let texts: Vec<String> = miner.templates().map(|(_, text)| text.to_owned()).collect();
    assert_eq!(miner.len(), 2, "{texts:?}");
    assert!(texts.contains(&"session opened for user <*> by root".to_owned()), "{texts:?}");
}

#[test]
fn the_first_id_stays_and_says_when_the_text_changes() {
    let mut miner = Miner::new(16);
    let first = miner.learn("job backup of disk 7 done");
    assert!(first.is_new && !first.generalised);
    assert_eq!(first.id, first.text_id());
    let id = first.id;
    let again = miner.learn("job backup of disk 8 done");
    assert_eq!((again.id, again.is_new, again.generalised), (id, false, false));
    let wider = miner.learn("job backup of disk main done");
    assert_eq!((wider.id, wider.is_new, wider.generalised), (id, false, true));
    assert_eq!(wider.text(), "job backup of disk <*> done");
    let text_id = wider.text_id();
    // What is masked is anything already: the id is that of the general text.
    assert_eq!(text_id, id);

    // Another gateway that saw them the other way round: another id, the same text.
    let mut other = Miner::new(16);
    assert_ne!(other.learn("job backup of disk main done").id, id);
    assert_eq!(other.learn("job backup of disk 1 done").text_id(), text_id);
}

#[test]
fn the_identity_never_changes() {
    // Stored for years by others: these are contracts, not observations.
    let mut miner = Miner::new(1);
    assert_eq!(miner.learn("New session 17 of user ubuntu.").id, 0x3f95_c3a7_a383_5ab9);
}

#[test]
fn the_least_recently_used_leaves() {
    let mut miner = Miner::new(2);
    let a = miner.learn("alpha").id;
    miner.learn("beta");
    miner.learn("alpha");
    miner.learn("gamma");
    assert_eq!((miner.len(), miner.evicted()), (2, 1));
    assert!(!miner.learn("alpha").is_new);
    let beta = miner.learn("beta");
    assert!(beta.is_new);
    assert_eq!(miner.learn("alpha").id, a);
}

#[test]
fn a_crowded_row_gives_up_its_oldest_only() {
    let mut miner = Miner::new(4 * ROW_TEMPLATES);
    miner.learn("elsewhere");
    let word =
        |i: usize| format!("same {} {} {}", letters(3 * i), letters(3 * i + 1), letters(3 * i + 2));
    for i in 0..=ROW_TEMPLATES {
        assert!(miner.learn(&word(i)).is_new);
    }
    assert_eq!((miner.len(), miner.evicted()), (ROW_TEMPLATES + 1, 1));
    assert!(!miner.learn("elsewhere").is_new);
    assert!(!miner.learn(&word(1)).is_new);
    assert!(miner.learn(&word(0)).is_new);
}

/// A word of letters for a number.
fn letters(mut i: usize) -> String {
    let mut word = String::from("w");
    while i > 0 {
        word.push(char::from(b'a' + (i % 26) as u8));
        i /= 26;
    }
    word
}

#[test]
fn groups_a_real_log() {
    let mut miner = Miner::new(DEFAULT_TEMPLATES);
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for line in AUTH_LOG.lines() {
        let found = miner.learn(message(line));
        for id in found.absorbed() {
            let n = counts.remove(id).unwrap();
            *counts.entry(found.id).or_default() += n;
        }
        *counts.entry(found.id).or_default() += 1;
    }
    let texts: HashMap<u64, &str> = miner.templates().collect();
    let mut rows: Vec<(usize, &str)> = counts.iter().map(|(id, n)| (*n, texts[id])).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut got = format!("{} templates of {} lines\n", rows.len(), AUTH_LOG.lines().count());
    for (n, text) in rows.iter().take(25) {
        got.push_str(&format!("{n:5} {text}\n"));
    }
    expect![[r#"
        78 templates of 4500 lines
          407 pam_unix(chpasswd:chauthtok): user "<*>" does not exist in <path>
          248 Connection closed by <ip> port <num> [preauth]
          211 New session <num> of user <*>
          211 Removed session <num>.
          211 pam_unix(sshd:session): session closed for user <*>
          211 pam_unix(sshd:session): session opened for user <*> by (uid=<num>)
          209 Disconnected from <ip> port <num>
          209 Received disconnect from <ip> port <num>:<num>: disconnected by user
          209 pam_unix(systemd-user:session): session opened for user <*> by (uid=<num>)
          187 Accepted password for elastic_user_<num> from <ip> port <num> ssh<num>
          187 pam_unix(cron:session): session closed for user root
          187 pam_unix(cron:session): session opened for user root by (uid=<num>)
          180 Failed password for <*> from <ip> port <num> ssh<num>
          169 pam_unix(sshd:auth): authentication failure; logname=<*> uid=<num> euid=<num> tty=<*> ruser=<*> rhost=<ip> user=<*>
          133 pam_unix(sudo:session): session closed for user root
          133 pam_unix(sudo:session): session opened for user root by ubuntu(uid=<num>)
          104 Failed password for invalid user <*> from <ip> port <num> ssh<num>
          104 Invalid user <*> from <ip>
          104 input_userauth_request: invalid user <*> [preauth]
          104 pam_unix(sshd:auth): check pass; user unknown
           89 Disconnected from <ip> port <num> [preauth]
           83 Disconnecting: Too many authentication failures [preauth]
           81 Received disconnect from <ip> port <num>:<num>: [preauth]
           61 ubuntu : TTY=<*> ; PWD=<path> ; USER=<*> ; COMMAND=<path> <*>
           43 error: maximum authentication attempts exceeded for invalid user <*> from <ip> port <num> ssh<num> [preauth]
    "#]].assert_eq(&got);
}

#[test]
fn a_million_random_lines_stay_within_bounds() {
    let mut miner = Miner::new(256);
    let words: Vec<String> = (0..512).map(letters).collect();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut line = String::new();
    for _ in 0..1_000_000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        line.clear();
        for i in 0..2 + (x & 1) as usize {
            line.push_str(&words[(x >> (9 * i + 8)) as usize % words.len()]);
            line.push(' ');
        }
        miner.learn(&line);
    }
    assert_eq!(miner.len(), 256);
    assert_eq!(miner.templates.len(), 256);
    assert!(miner.frames.len() <= FRAMES * 256);
    assert_eq!(miner.rows.values().map(|row| row.slots().len()).sum::<usize>(), 256);
    assert!(miner.evicted() > 10_000);
}

proptest! {
    #[test]
    fn the_same_messages_give_the_same_templates(
        messages in proptest::collection::vec("[ab1 ]{0,12}|\\PC{0,40}", 0..60), cap in 1..8usize,
    ) {
        let (mut one, mut other) = (Miner::new(cap), Miner::new(cap));
        for message in &messages {
            let a = one.learn(message);
            let b = other.learn(message);
            prop_assert_eq!(a, b);
            let (id, text) = (a.id, a.text().to_owned());
            prop_assert!(one.len() <= cap);
            // What was just learnt is found again, unchanged.
            let again = one.learn(message);
            prop_assert_eq!((again.id, again.is_new, again.generalised, again.text()), (id, false, false, text.as_str()));
            other.learn(message);
        }
    }
}
