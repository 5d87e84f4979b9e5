//! HTTP faces: the coordinator's API over the table of kinds, and the node's own.

pub mod api;
pub mod commands;
pub mod kubeconfig;
pub mod listen;
pub mod node;
pub mod tls;
pub mod view;
