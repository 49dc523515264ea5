//! Dead letters: what the sink could not take, to be looked at and sent again.
//!
//! In: the topic of dead letters, read by nobody's group up to the end it has at the start. Out: lists,
//! single letters, and letters sent back to their topic. A letter that was sent back has a receipt behind
//! it in the same partition: a record without value that names it. So every command knows what is done,
//! and nothing is kept elsewhere. Promises: a crash between letter and receipt sends the letter again, and
//! the sink drops the second one; a letter that fails again is a new letter with the header `retried`,
//! which nobody sends a second time unasked.

mod command;
mod letter;

pub(crate) use command::{DlqCommand, run_dlq};
