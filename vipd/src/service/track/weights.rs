//! The effect of the readings of tracked objects on a virtual router.

use super::object::Reading;

/// Maximum amount by which a file can raise or lower the priority.
const MAX_FILE: i64 = 254;

/// The effect of all tracked objects of a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Sum of the contributions of all objects to the priority.
    pub(super) sum: i64,
    /// Whether an object without a weight is down or has not been read yet.
    pub(super) is_fault: bool,
}

impl Effect {
    /// Computes the effect of objects, given as pairs of weight and reading. The reading is `None`
    /// if the object has not been read yet.
    pub(super) fn of(objects: impl IntoIterator<Item = (Option<i16>, Option<Reading>)>) -> Self {
        let mut effect = Self::default();
        for (weight, reading) in objects {
            let Some(weight) = weight.map(i64::from) else {
                effect.is_fault |= matches!(reading, None | Some(Reading::Down));
                continue;
            };
            effect.sum += match reading {
                Some(Reading::Value(number)) => (weight * i64::from(number)).clamp(-MAX_FILE, MAX_FILE),
                Some(Reading::Up) => weight.max(0),
                Some(Reading::Down) => weight.min(0),
                None => 0,
            };
        }
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_of_a_weight_selects_the_state_in_which_it_counts() {
        let (up, down) = (Some(Reading::Up), Some(Reading::Down));
        let value = |number| Some(Reading::Value(number));
        for (objects, sum, is_fault) in [
            (&[][..], 0, false),
            (&[(None, up)], 0, false),
            (&[(None, down)], 0, true),
            (&[(None, None)], 0, true),
            (&[(Some(-60), up)], 0, false),
            (&[(Some(-60), down)], -60, false),
            (&[(Some(20), up)], 20, false),
            (&[(Some(20), down)], 0, false),
            (&[(Some(20), None), (Some(-20), None)], 0, false),
            (&[(Some(-60), down), (Some(20), up), (None, up)], -40, false),
            (&[(Some(1), value(-30))], -30, false),
            (&[(Some(-2), value(10))], -20, false),
            (&[(Some(253), value(i32::MAX))], 254, false),
            (&[(Some(-253), value(i32::MAX)), (Some(5), value(1))], -249, false),
        ] {
            assert_eq!(Effect::of(objects.iter().copied()), Effect { sum, is_fault }, "{objects:?}");
        }
    }
}
