//! libFuzzer on `weir_fuzz::syslog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::syslog(bytes));
