//! args → config → telemetry → driver; nothing else.

fn main() {}
