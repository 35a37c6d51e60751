//! See [`vipd_fuzz::core`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vipd_fuzz::core::run(input));
