//! vipd's XDP program.
fn main() {}
