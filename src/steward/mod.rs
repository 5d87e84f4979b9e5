//! What must be done once per cluster, by whoever stewards. PURE.
//!
//! A steward's functions see the objects of one owner and say what is to be written. Each write carries what it rests
//! on (a uid or a resourceVersion), so that doing it twice or late is harmless.

pub mod belongings;
pub mod daemon_set;
pub mod garbage;
