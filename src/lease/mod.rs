//! PURE.
