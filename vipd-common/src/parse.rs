//! The parser.
/// x
pub enum ChecksumForm {}
/// x
pub fn address_digest(){}