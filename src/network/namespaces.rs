//! Pinned namespaces: a Pod's network, IPC and UTS namespaces live as bind mounts and need no process.
//!
//! A thread of its own unshares, sets the namespaces up from inside and mounts them onto files; then it ends. What is
//! pinned outlives the agent, and every container of the Pod joins it by path.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use nix::unistd::sethostname;

use super::link::set_loopback_up;
use super::sysctl::{self, Sysctl};

/// A kind of namespace that a Pod's containers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Network.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
}

impl Kind {
    /// All kinds, in the order in which they are pinned.
    pub const ALL: [Self; 3] = [Self::Net, Self::Ipc, Self::Uts];

    /// Its name under `/proc/<pid>/ns`, and the name of its pin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    const fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        }
    }
}

/// What to pin and how the inside is set up.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which namespaces the Pod has of its own; it shares the rest with the node.
    pub kinds: Vec<Kind>,
    /// Node name of the UTS namespace, where that is pinned.
    pub host_name: String,
    /// Kernel settings of the pinned namespaces.
    pub sysctls: Vec<Sysctl>,
    /// Which settings outside the safe set the node's owner allows.
    pub allowed_sysctls: Vec<String>,
}

/// Why namespaces could not be pinned or unpinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A step inside the new namespaces failed.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A setting that none of the Pod's own namespaces holds.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Refused),
}

impl PinError {
    fn step(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Step { step: step.into(), source: source.into() }
    }
}

/// Whether [`pin`] made the namespaces or found them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// They are new: nothing is attached to them.
    Fresh,
    /// They were pinned before, with whatever was set up in them.
    Found,
}

/// The file that pins `kind` under `dir`.
pub fn pin_path(dir: &Path, kind: Kind) -> PathBuf {
    dir.join(kind.name())
}

/// Pins the wanted namespaces as files in `dir`, or finds them pinned. All or none: after an error none is left.
pub fn pin(dir: &Path, wanted: &Wanted) -> Result<Pinned, PinError> {
    sysctl::check(&wanted.sysctls, &wanted.kinds, &wanted.allowed_sysctls)?;
    if wanted.kinds.iter().all(|kind| is_pinned(&pin_path(dir, *kind))) {
        return Ok(Pinned::Found);
    }
    unpin(dir)?;
    fs::create_dir_all(dir).map_err(|e| PinError::step(format!("make {}", dir.display()), e))?;
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("pin".to_owned());
        let inside = thread
            .spawn_scoped(scope, || unshare_and_pin(dir, wanted))
            .map_err(|e| PinError::step("start a thread", e))?;
        inside.join().expect("the thread returns its failures")
    });
    if made.is_err() {
        unpin(dir)?;
    }
    made.map(|()| Pinned::Fresh)
}

/// Releases every pin in `dir`. A namespace ends with its last process. Idempotent.
pub fn unpin(dir: &Path) -> Result<(), PinError> {
    for kind in Kind::ALL {
        let path = pin_path(dir, kind);
        release(&path).map_err(|e| PinError::step(format!("release {}", path.display()), e))?;
    }
    Ok(())
}

/// Whether a namespace is mounted on this file.
pub fn is_pinned(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

fn unshare_and_pin(dir: &Path, wanted: &Wanted) -> Result<(), PinError> {
    let flags = wanted.kinds.iter().map(|kind| kind.flag()).collect();
    unshare(flags).map_err(|e| PinError::step("make namespaces", e))?;
    for kind in &wanted.kinds {
        set_up(*kind, wanted)?;
        let path = pin_path(dir, *kind);
        mount_namespace(*kind, &path)
            .map_err(|e| PinError::step(format!("pin a namespace at {}", path.display()), e))?;
    }
    wanted.sysctls.iter().try_for_each(|setting| {
        setting.write().map_err(|e| PinError::step(format!("set sysctl {:?}", setting.name), e))
    })
}

fn set_up(kind: Kind, wanted: &Wanted) -> Result<(), PinError> {
    match kind {
        Kind::Net => set_loopback_up().map_err(|e| PinError::step("set the loopback up", e)),
        Kind::Uts => sethostname(&wanted.host_name)
            .map_err(|e| PinError::step(format!("set the host name {:?}", wanted.host_name), e)),
        Kind::Ipc => Ok(()),
    }
}

fn mount_namespace(kind: Kind, path: &Path) -> io::Result<()> {
    File::create(path)?;
    let own = Path::new("/proc/thread-self/ns").join(kind.name());
    mount(Some(&own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn release(path: &Path) -> io::Result<()> {
    // Once per mount: a crash between two pins may have stacked them.
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unpinned(tempfile::TempDir);
    impl Drop for Unpinned {
        fn drop(&mut self) {
            let _ = unpin(self.0.path());
        }
    }

    fn dir() -> Unpinned {
        Unpinned(tempfile::tempdir().unwrap())
    }

    fn all() -> Wanted {
        Wanted { kinds: Kind::ALL.to_vec(), host_name: "web-0".to_owned(), ..Wanted::default() }
    }

    /// Runs `look` in a thread that has joined the pinned namespaces.
    fn inside<T: Send>(dir: &Path, kinds: &[Kind], look: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| {
                for kind in kinds {
                    let pin = File::open(pin_path(dir, *kind)).unwrap();
                    nix::sched::setns(pin, kind.flag()).unwrap();
                }
                look()
            });
            joined.join().unwrap()
        })
    }

    #[test]
    fn pinned_namespaces_have_the_pods_host_name_and_a_loopback_that_answers() {
        let dir = dir();
        assert_eq!(pin(dir.0.path(), &all()).unwrap(), Pinned::Fresh);
        let name = inside(dir.0.path(), &Kind::ALL, || {
            let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
            assert_eq!(server.recv(&mut [0; 8]).unwrap(), 1);
            nix::unistd::gethostname().unwrap()
        });
        assert_eq!(name, "web-0");
        assert_ne!(nix::unistd::gethostname().unwrap(), "web-0", "the node keeps its own name");
    }

    #[test]
    fn pinning_again_finds_the_same_namespaces() {
        use std::os::unix::fs::MetadataExt;
        let dir = dir();
        pin(dir.0.path(), &all()).unwrap();
        let inode = || fs::metadata(pin_path(dir.0.path(), Kind::Net)).unwrap().ino();
        let before = inode();
        assert_eq!(pin(dir.0.path(), &all()).unwrap(), Pinned::Found);
        assert_eq!(inode(), before);
    }

    #[test]
    fn half_a_set_of_pins_is_made_anew_whole() {
        let dir = dir();
        pin(dir.0.path(), &all()).unwrap();
        release(&pin_path(dir.0.path(), Kind::Uts)).unwrap();
        assert_eq!(pin(dir.0.path(), &all()).unwrap(), Pinned::Fresh);
        assert!(Kind::ALL.iter().all(|kind| is_pinned(&pin_path(dir.0.path(), *kind))));
    }

    #[test]
    fn a_failure_leaves_no_pin_behind() {
        let dir = dir();
        let wanted = Wanted { host_name: "x".repeat(65), ..all() };
        let error = pin(dir.0.path(), &wanted).unwrap_err();
        assert!(error.to_string().starts_with("cannot set the host name"), "{error}");
        assert_eq!(fs::read_dir(dir.0.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sysctl_is_set_inside_and_not_on_the_node() {
        let dir = dir();
        let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let node = fs::read_to_string(path).unwrap();
        let setting =
            Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "77".to_owned() };
        let shm = Sysctl { name: "kernel.shm_rmid_forced".to_owned(), value: "1".to_owned() };
        pin(dir.0.path(), &Wanted { sysctls: vec![setting, shm], ..all() }).unwrap();
        let (port, forced) = inside(dir.0.path(), &Kind::ALL, || {
            let forced = fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap();
            (fs::read_to_string(path).unwrap(), forced)
        });
        assert_eq!((port.trim(), forced.trim()), ("77", "1"));
        assert_eq!(fs::read_to_string(path).unwrap(), node);
    }

    #[test]
    fn unpinning_twice_is_harmless() {
        let dir = dir();
        pin(dir.0.path(), &all()).unwrap();
        unpin(dir.0.path()).unwrap();
        unpin(dir.0.path()).unwrap();
        assert_eq!(fs::read_dir(dir.0.path()).unwrap().count(), 0);
    }
}
