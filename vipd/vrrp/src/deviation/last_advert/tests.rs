//! The last advert of a master that yields (S22).

use crate::Policy;
use crate::tests::*;

#[test]
fn a_master_that_yields_sends_one_last_advert() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        assert_eq!(
            script.advert(200, HIGHER),
            [ADVERT, Action::RemoveAddresses],
            "VRRPv{version}: one last advert"
        );
        assert_eq!(script.advert(200, HIGHER), [], "no further adverts");
    }
}

#[test]
fn without_the_deviation_a_master_yields_without_an_advert() {
    let policy = Policy { last_advert_on_yield: false, ..Policy::VIPD };
    for version in VERSIONS {
        let mut script = Script::master_with(config(version, SECOND), policy);
        assert_eq!(script.advert(200, HIGHER), [Action::RemoveAddresses], "S22, VRRPv{version}");
    }
}
