//! What the two ends of a RELP session tell each other when it opens.
//!
//! In: the data of `open`, lines of `NAME=VALUE,VALUE`. Out: the answer. Pure. Offers that nobody
//! knows are left aside, as the specification has it.

/// The protocol's version that we speak, the only one there is.
const VERSION: u32 = 0;

/// The answer to `open`, or why there can be no session: a text for the peer, at most 76 characters,
/// because an answer holds 80.
pub(super) fn answer(offers: &[u8]) -> Result<String, &'static str> {
    let offers = String::from_utf8_lossy(offers);
    let value = |name: &str| {
        let mut pairs = offers.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    };
    match value("relp_version").map(str::parse::<u32>) {
        Some(Ok(_)) => {}
        _ => return Err("`open` has to offer `relp_version=0`"),
    }
    let commands = value("commands").unwrap_or_default();
    if !commands.split(',').any(|command| command.trim() == "syslog") {
        return Err("`open` has to offer `commands=syslog`: there is no other here");
    }
    Ok(format!(
        "200 OK\nrelp_version={VERSION}\nrelp_software=weir-agent,{}\ncommands=syslog",
        env!("CARGO_PKG_VERSION")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = concat!(
        "200 OK\nrelp_version=0\nrelp_software=weir-agent,",
        env!("CARGO_PKG_VERSION"),
        "\ncommands=syslog"
    );

    #[track_caller]
    fn check(offers: &str, expected: Result<&str, &str>) {
        let found = answer(offers.as_bytes());
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{offers}");
        if let Err(reason) = found {
            assert!(reason.len() <= 76);
        }
    }

    #[test]
    fn sessions_open_where_syslog_is_offered() {
        check(
            "relp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog",
            Ok(ANSWER),
        );
        check("commands=eventlog,syslog\nrelp_version=1\ncompression=zlib", Ok(ANSWER));
        let version = Err("`open` has to offer `relp_version=0`");
        check("", version);
        check("commands=syslog", version);
        check("relp_version=\ncommands=syslog", version);
        check("relp_version=x\ncommands=syslog", version);
        let commands = Err("`open` has to offer `commands=syslog`: there is no other here");
        check("relp_version=0", commands);
        check("relp_version=0\ncommands=eventlog", commands);
    }
}
