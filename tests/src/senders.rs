//! Syslog senders that nobody here wrote. (`logger` needs no more than `Launch::tool("logger")`.)

use crate::{Launch, Program};

/// rsyslogd in the foreground with this configuration (its modern form). It opens nothing by
/// itself: no system log, no kernel log. Its work directory is its temporary folder.
#[track_caller]
pub fn rsyslog(config: &str) -> Program {
    let launch = Launch::tool("rsyslogd");
    let work = launch.dir().display();
    let config = format!("global(workDirectory=\"{work}\")\n{config}\n");
    launch.file("rsyslog.conf", config).args(["-n", "-i", "NONE", "-f", "rsyslog.conf"]).start()
}

/// syslog-ng in the foreground with this configuration, which must not have an `@version` line.
#[track_caller]
pub fn syslog_ng(config: &str) -> Program {
    let version = Launch::tool("syslog-ng").arg("-V").run(std::time::Duration::from_secs(20)).ok();
    // "Config version: 3.35"; without the line in the file it would warn and guess.
    let version = version.lines().find_map(|line| line.strip_prefix("Config version: ")).unwrap();
    let launch = Launch::tool("syslog-ng");
    launch
        .file("syslog-ng.conf", format!("@version: {version}\n{config}\n"))
        .args(["--foreground", "--no-caps", "--cfgfile=syslog-ng.conf", "--pidfile=pid"])
        .args(["--persist-file=persist", "--control=control"])
        .start()
}
