pub(crate) mod double;
