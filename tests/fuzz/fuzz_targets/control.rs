//! See [`vipd_fuzz::control`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vipd_fuzz::control::run(input));
