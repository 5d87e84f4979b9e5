//! HTTP faces: the coordinator's API over the table of kinds, and the node's own.

pub mod accounts;
pub mod api;
pub mod authentication;
pub mod bootstrap;
pub mod commands;
pub mod escalation;
pub mod kubeconfig;
pub mod listen;
pub mod node;
pub mod node_access;
pub mod rbac;
pub mod spdy;
pub mod tls;
pub mod tokens;
pub mod view;
