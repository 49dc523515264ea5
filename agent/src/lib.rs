//! Edge agent.

pub mod parse;
