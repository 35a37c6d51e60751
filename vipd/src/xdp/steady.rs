//! The adverts that wake nobody.

use aya::maps::{Array, MapData, MapError};
use vipd_common::records::SteadyAdvert;

/// The map of steady adverts, one a row. The engine has it, because what is steady follows from what it has heard.
pub struct Steady(Array<MapData, [u8; 32]>);

impl Steady {
    pub(super) fn new(map: Array<MapData, [u8; 32]>) -> Self {
        Self(map)
    }

    /// From now on adverts of this row that are like `advert` wait in the ring without waking the reader; without one,
    /// every advert wakes it. To be followed by [`Feed::sleep`](super::Feed::sleep) and the look after it: what came just
    /// before has woken nobody.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn set(&mut self, row: u32, advert: Option<SteadyAdvert>) -> Result<(), MapError> {
        let advert = advert.unwrap_or(bytemuck::Zeroable::zeroed());
        self.0.set(row, bytemuck::cast::<_, [u8; 32]>(advert), 0)
    }
}
