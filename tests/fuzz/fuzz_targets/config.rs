//! See [`vipd_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vipd_fuzz::config::run(input));
