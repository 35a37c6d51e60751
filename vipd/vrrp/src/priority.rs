//! Priorities (RFC 9568 section 5.2.4), including the effective priority of a router with tracked
//! objects.

/// Priority of the router that owns the virtual addresses.
pub const PRIORITY_OWNER: u8 = 255;
/// Priority of an advert whose sender relinquishes mastership.
pub const PRIORITY_ZERO: u8 = 0;
/// Default priority of a router that is not the owner.
pub const PRIORITY_DEFAULT: u8 = 100;

/// Lowest and highest priority of a router that is not the owner.
const MIN: u8 = 1;
const MAX: u8 = PRIORITY_OWNER - 1;

/// Returns the effective priority: `base` plus the sum of `weights`, clamped to the range 1 to 254.
/// Weights do not apply to the owner (255), which always has the highest priority.
pub fn effective(base: u8, weights: impl IntoIterator<Item = i64>) -> u8 {
    if base == PRIORITY_OWNER {
        return base;
    }
    let sum = weights.into_iter().fold(i64::from(base), i64::saturating_add);
    clamped(u8::try_from(sum.clamp(MIN.into(), MAX.into())).unwrap_or(base))
}

/// Clamps a priority to the range of a router that is not the owner: 1 to 254.
pub(crate) fn clamped(priority: u8) -> u8 {
    priority.clamp(MIN, MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_with_weights_is_clamped_to_1_to_254() {
        for (base, weights, priority) in [
            (100, &[][..], 100),
            (100, &[-50, 20], 70),
            (100, &[-200, 150], 50),
            (100, &[-100], 1),
            (100, &[-99], 1),
            (100, &[154], 254),
            (100, &[155], 254),
            (254, &[i64::MAX, i64::MAX], 254),
            (1, &[i64::MIN, i64::MIN], 1),
        ] {
            assert_eq!(effective(base, weights.iter().copied()), priority, "{base} + {weights:?}");
        }
    }

    #[test]
    fn weights_do_not_apply_to_the_owner() {
        for weight in [0, -1, -254, i64::MIN, i64::MAX] {
            assert_eq!(effective(PRIORITY_OWNER, [weight]), PRIORITY_OWNER);
        }
    }
}
