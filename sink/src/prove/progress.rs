//! Progress: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error for so many steps; invisible where that is no terminal.
pub(super) fn bar(what: &'static str, steps: u64) -> ProgressBar {
    let style = "{msg} {bar:30} {pos}/{len}, {elapsed}, {eta} to go";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_message(what)
}
