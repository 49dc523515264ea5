//! libFuzzer on `weir_fuzz::framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::framing(bytes));
