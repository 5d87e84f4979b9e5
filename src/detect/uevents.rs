//! What the kernel tells of devices and drivers that come and go.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// The kernel's own announcements; udev's copies go to another group.
const KERNEL_GROUP: u32 = 1;

/// Largest announcement, as the kernel's `UEVENT_BUFFER_SIZE` and its header.
const MESSAGE_BYTES_MAX: usize = 8192;

/// Kinds of devices that facts are read from. GPUs and accelerators are functions of the PCI bus, and what they get from
/// a driver comes with its module.
const SUBSYSTEMS: [&str; 11] =
    ["pci", "module", "drm", "accel", "cpu", "memory", "node", "net", "block", "nd", "infiniband"];

/// The kernel's announcements of changes that facts may depend on.
#[derive(Debug)]
pub struct Uevents {
    socket: AsyncFd<Socket>,
}

#[derive(Debug)]
struct Socket(OwnedFd);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Uevents {
    /// Listens. Must be called within a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        // Port 0: the kernel gives this socket one.
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; this descriptor is owned and never exchanged"
        )]
        let socket = AsyncFd::new(Socket(fd))?;
        Ok(Self { socket })
    }

    /// Returns after the next change that facts may depend on.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut message = [0; MESSAGE_BYTES_MAX];
            match recv(ready.get_inner().as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(length) if concerns_facts(&message[..length]) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                // Some were lost: anything may have changed.
                Err(Errno::ENOBUFS) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `ACTION@DEVPATH` and then `KEY=VALUE`, each ended by a NUL.
fn concerns_facts(message: &[u8]) -> bool {
    let fields = || message.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok());
    let value = |key: &str| fields().find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
    // Virtual devices come and go with every Pod.
    let is_virtual = value("DEVPATH").is_none_or(|path| path.starts_with("/devices/virtual/"));
    !is_virtual && value("SUBSYSTEM").is_some_and(|subsystem| SUBSYSTEMS.contains(&subsystem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_drivers_count_and_what_containers_bring_does_not() {
        let message = |text: &str| concerns_facts(text.replace('|', "\0").as_bytes());
        for (text, counts) in [
            (
                "add@/devices/pci0/0000:01:00.0|ACTION=add|DEVPATH=/devices/pci0/0000:01:00.0|SUBSYSTEM=pci|",
                true,
            ),
            ("add@/module/nvidia|ACTION=add|DEVPATH=/module/nvidia|SUBSYSTEM=module|", true),
            (
                "add@/devices/virtual/net/veth1|ACTION=add|DEVPATH=/devices/virtual/net/veth1|SUBSYSTEM=net|",
                false,
            ),
            ("change@/devices/x|ACTION=change|DEVPATH=/devices/x|SUBSYSTEM=power_supply|", false),
            ("libudev|\u{1}", false),
            ("", false),
        ] {
            assert_eq!(message(text), counts, "{text}");
        }
    }
}
