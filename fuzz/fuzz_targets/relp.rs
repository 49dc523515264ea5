//! libFuzzer on `weir_fuzz::relp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::relp(bytes));
