//! One node: its watches, its decisions, its Pods.

mod disk;
mod mirror;
mod watches;
