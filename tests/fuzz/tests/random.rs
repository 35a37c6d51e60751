//! Runs the fuzz target `core` on random bytes.

/// Number of inputs; together, they take a few seconds.
const RUNS: u64 = 1_500;

#[test]
fn virtual_router_keeps_invariants_under_random_inputs() {
    for seed in 0..RUNS {
        let mut state = seed;
        let length = usize::try_from(64 + next(&mut state) % 4_000).expect("a short input");
        let input: Vec<u8> = (0..length).map(|_| next(&mut state).to_le_bytes()[0]).collect();
        let result = std::panic::catch_unwind(|| vipd_fuzz::core::run(&input));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Advances a SplitMix64 generator and returns its next number.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
