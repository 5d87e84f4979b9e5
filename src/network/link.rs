//! The one link operation a new network namespace needs: its loopback up, by one rtnetlink message.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The loopback is the first link of every network namespace (`LOOPBACK_IFINDEX` of the kernel).
const LOOPBACK_INDEX: i32 = 1;
/// Length of `nlmsghdr` and of `ifinfomsg`, each.
const HEADER_BYTES: usize = 16;

/// Sets the loopback of the calling thread's network namespace up; the kernel then gives it its addresses.
pub(super) fn set_loopback_up() -> Result<(), Errno> {
    let route = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        Some(SockProtocol::NetlinkRoute),
    )?;
    sendto(route.as_raw_fd(), &set_up_message(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledgement(&answer[..length])
}

fn set_up_message() -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let up = libc::IFF_UP as u32;
    let mut message = Vec::with_capacity(2 * HEADER_BYTES);
    message.extend((2 * HEADER_BYTES as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one request on a fresh socket
    message.extend([0; 4]); // family and type: any
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    message.extend(up.to_ne_bytes()); // which flags change
    message
}

fn acknowledgement(answer: &[u8]) -> Result<(), Errno> {
    let code = answer
        .get(HEADER_BYTES..HEADER_BYTES + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
        .ok_or(Errno::EBADMSG)?;
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) }
}
