//! What a Pod's containers find mounted: volumes by type, their contents and their owners.

pub mod mounts;
