//! thin
pub(super) fn start(_: &crate::client::Connection, _: &str) -> anyhow::Result<()> {
    Ok(())
}
