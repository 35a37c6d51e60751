//! Brings a device into a known state with adverts alone.
//!
//! A device cannot be restarted. An advert with priority 255 and the declared interval has the same
//! effect for an observer on the wire as a startup: the device is Backup, and its master-down timer
//! runs for three intervals and Skew_Time. The advert also replaces an interval that the device
//! learned in the previous scenario.

use std::thread;

use anyhow::{Result, bail};

use super::{Device, elapsed};
use crate::conformance::sent::{self, Sent};
use crate::conformance::stage::{CAPTURE_DELAY, LATE, Started, Subject, Wire, mismatch};
use crate::conformance::syntax::{ReceivedAdvert, RouterSpec};
use crate::frame::Frame;
use crate::time::WallTime;

/// Priority of the address owner, which no other router preempts.
pub(super) const OWNER: u8 = 255;
/// Number of adverts after which the device must have become Backup.
const ADVERTS: u32 = 6;

impl Subject for Device {
    fn start(&mut self, wire: &Wire, router: &RouterSpec) -> Result<Started> {
        // An owner is still Master, as after its startup, unless it has yielded to another owner.
        // It then becomes master again when its master-down timer fires.
        if router.priority == OWNER {
            let now = WallTime::now();
            return Ok(Started { cursor: now, mark: now });
        }
        let advert = ReceivedAdvert { priority: OWNER, ..ReceivedAdvert::default() };
        for _ in 0..ADVERTS {
            let start = WallTime::now();
            wire.receive(&advert, router)?;
            // A master sends at least one advert in this time.
            let quiet = router.interval + LATE + CAPTURE_DELAY;
            thread::sleep(quiet.saturating_sub(elapsed(start)));
            let advertised = |frame: &Frame| match sent::read(frame, router) {
                Some(Sent::Advert(sent, _)) => sent.priority > 0,
                _ => false,
            };
            if !wire.capture.has(start, advertised) {
                let now = WallTime::now();
                wire.receive(&advert, router)?;
                return Ok(Started { cursor: now, mark: now });
            }
        }
        mismatch!(
            "the device remains master although {ADVERTS} adverts with priority {OWNER} were sent to it"
        )
    }

    fn stop(&mut self) -> Result<()> {
        bail!("a device cannot be shut down")
    }

    /// Checks nothing: counters are specific to vipd and not visible on the wire.
    fn counter(&self, _name: &str, _wanted: u64) -> Result<()> {
        Ok(())
    }
}
