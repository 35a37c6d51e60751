//! See [`vipd_fuzz::parser`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vipd_fuzz::parser::run(input));
