//! A network file system whose server stops answering: whoever asks it waits in the kernel, where no signal reaches.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounted until it is dropped; then all who wait are let go.
pub struct Silent {
    server: File,
    dir: PathBuf,
}

impl Silent {
    /// None (with the reason printed) where this machine has no FUSE.
    pub fn mount(dir: &Path) -> Option<Self> {
        fs::create_dir_all(dir).expect("made");
        let server = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(server) => server,
            Err(error) => {
                eprintln!("skipped: /dev/fuse: {error}");
                return None;
            }
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        if let Err(error) =
            mount(Some("far"), dir, Some("fuse.far"), MsFlags::empty(), Some(options.as_str()))
        {
            eprintln!("skipped: FUSE: {error}");
            return None;
        }
        let mut silent = Self { server, dir: dir.to_owned() };
        silent.greet();
        Some(silent)
    }

    /// Answers the kernel's first request, so that it passes on others.
    fn greet(&mut self) {
        let mut request = vec![0_u8; 1 << 16];
        let count = self.server.read(&mut request).expect("the kernel asks first");
        assert!(count >= 48, "a whole request");
        let mut reply = Vec::new();
        // Header: length, error, the number of what is answered. Body: version 7.23, and sizes.
        reply.extend(80_u32.to_le_bytes());
        reply.extend(0_i32.to_le_bytes());
        reply.extend(&request[8..16]);
        for word in [7_u32, 23, 1 << 16, 0, 0x000c_0010, 1 << 12] {
            reply.extend(word.to_le_bytes());
        }
        reply.resize(80, 0);
        self.server.write_all(&reply).expect("the kernel listens");
    }

    /// Takes the next request in and never answers it.
    pub fn swallow(&mut self) {
        let mut request = vec![0_u8; 1 << 16];
        let _ = self.server.read(&mut request).expect("somebody asks");
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = umount2(&self.dir, MntFlags::MNT_FORCE);
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
    }
}
