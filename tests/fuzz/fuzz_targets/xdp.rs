//! See [`vipd_fuzz::xdp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vipd_fuzz::xdp::run(input));
