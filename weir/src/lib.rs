//! Agent and sink in one process on an embedded broker and store: a demo, a small site, tests on a
//! laptop. The stages are those of `weir-agent` and `weir-sink`.

pub mod broker;
pub mod site;

pub mod cli;
pub mod demo;
pub mod up;

#[cfg(test)]
mod asyncapi;
#[cfg(test)]
mod expressions;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod settings;
