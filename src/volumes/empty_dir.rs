//! emptyDir volumes: on disk, in memory, or of huge pages.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs};

use super::mounts;
use crate::api::pod_resources;
use crate::api::quantity::Quantity;

/// Everybody may write, as upstream.
const MODE: u32 = 0o777;
/// The Pod's group owns what is made in it.
const SET_GROUP: u32 = 0o2000;

/// Why an emptyDir volume cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EmptyDirError {
    /// No such medium.
    #[error("unknown storage medium {0:?}")]
    NoSuchMedium(String),
    /// Huge pages that no container asks for.
    #[error("medium {0}: hugePages storage requested, but there is no resource request for huge pages")]
    NoHugePages(String),
    /// Several page sizes and no word which.
    #[error("medium: {0} can't be used if container requests multiple huge page sizes")]
    ManyPageSizes(String),
    /// The directory or its mount.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes the volume at `dir`, or finds it: what was written into it stays.
pub(super) fn ensure(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    pod: &Pod,
    memory: Option<u64>,
    group: Option<u32>,
) -> Result<(), EmptyDirError> {
    let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    let limit = limit.map(|limit| limit.value().max(0) as u64).filter(|bytes| *bytes > 0);
    match source.medium.as_deref().unwrap_or_default() {
        "" => Ok(on_disk(dir, group)?),
        "Memory" => {
            // As much as the Pod may use anyway, less where the volume says so.
            let size = limit.into_iter().chain(memory).min();
            Ok(in_memory(dir, MODE, size, group)?)
        }
        medium if medium == "HugePages" || medium.starts_with("HugePages-") => {
            let page = page_size(medium, pod)?;
            Ok(of_huge_pages(dir, &page, limit, group)?)
        }
        other => Err(EmptyDirError::NoSuchMedium(other.to_owned())),
    }
}

/// Made under another name first, so that a directory by this name is always complete.
pub(super) fn on_disk(dir: &Path, group: Option<u32>) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let unfinished = dir.with_extension("unfinished~");
    match fs::create_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    chown(&unfinished, None, group)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(mode(MODE, group)))?;
    fs::rename(&unfinished, dir)
}

/// A tmpfs of at most `size` bytes; without one, half of the machine's memory, as the kernel does.
pub(super) fn in_memory(dir: &Path, mode_bits: u32, size: Option<u64>, group: Option<u32>) -> io::Result<()> {
    if is_mounted(dir, TMPFS_MAGIC) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let options = [size.map(|size| format!("size={size}")), Some(ownership(mode_bits, group))];
    let options = options.into_iter().flatten().collect::<Vec<_>>().join(",");
    // Secrets must not reach a swap device; kernels before 6.4 cannot promise that.
    match mount_at(dir, "tmpfs", &format!("{options},noswap")) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => mount_at(dir, "tmpfs", &options),
        other => other,
    }
}

fn of_huge_pages(dir: &Path, page: &Quantity, size: Option<u64>, group: Option<u32>) -> io::Result<()> {
    if is_mounted(dir, HUGETLBFS_MAGIC) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let options = [
        Some(format!("pagesize={}", page.value())),
        size.map(|size| format!("size={size}")),
        Some(ownership(MODE, group)),
    ];
    mount_at(dir, "hugetlbfs", &options.into_iter().flatten().collect::<Vec<_>>().join(","))
}

fn mount_at(dir: &Path, kind: &str, options: &str) -> io::Result<()> {
    mount(Some(kind), dir, Some(kind), MsFlags::empty(), Some(options))?;
    Ok(())
}

fn is_mounted(dir: &Path, kind: FsType) -> bool {
    mounts::is_mount_point(dir) && statfs(dir).is_ok_and(|found| found.filesystem_type() == kind)
}

fn mode(bits: u32, group: Option<u32>) -> u32 {
    bits | group.map_or(0, |_| SET_GROUP | 0o770)
}

fn ownership(bits: u32, group: Option<u32>) -> String {
    let group_option = group.map(|group| format!(",gid={group}")).unwrap_or_default();
    format!("mode={:o}{group_option}", mode(bits, group))
}

/// The page size that the medium names, or the only one that the Pod's containers ask for.
fn page_size(medium: &str, pod: &Pod) -> Result<Quantity, EmptyDirError> {
    let asked = pod_resources::requests(pod);
    let mut sizes: Vec<Quantity> =
        asked.keys().filter_map(|name| Quantity::parse(name.strip_prefix("hugepages-")?).ok()).collect();
    if let Some(named) = medium.strip_prefix("HugePages-") {
        let named = Quantity::parse(named).map_err(|_| EmptyDirError::NoSuchMedium(medium.to_owned()))?;
        sizes.retain(|size| *size == named);
    }
    match sizes.as_slice() {
        [size] => Ok(*size),
        [] => Err(EmptyDirError::NoHugePages(medium.to_owned())),
        _ => Err(EmptyDirError::ManyPageSizes(medium.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use serde_json::{Value, json};

    use super::*;

    struct Unmounted(tempfile::TempDir);
    impl Drop for Unmounted {
        fn drop(&mut self) {
            let _ = mounts::unmount_below(self.0.path());
        }
    }

    fn pod(requests: &Value) -> Pod {
        let container = json!({"name": "c", "resources": {"requests": requests, "limits": requests}});
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [container]}})).unwrap()
    }

    fn make(dir: &Path, source: Value, requests: &Value, group: Option<u32>) -> Result<(), EmptyDirError> {
        ensure(dir, &serde_json::from_value(source).unwrap(), &pod(requests), Some(64 << 20), group)
    }

    #[test]
    fn on_disk_everybody_may_write_and_what_is_written_stays() {
        let bed = Unmounted(tempfile::tempdir().unwrap());
        let dir = bed.0.path().join("v");
        make(&dir, json!({}), &json!({}), Some(2000)).unwrap();
        fs::write(dir.join("kept"), "x").unwrap();
        make(&dir, json!({}), &json!({}), Some(2000)).unwrap();
        let found = fs::metadata(&dir).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (0o2777, 2000));
        assert_eq!(fs::metadata(dir.join("kept")).unwrap().gid(), 2000, "new files belong to the group");
    }

    #[test]
    fn in_memory_the_size_is_the_least_that_anything_says() {
        let bed = Unmounted(tempfile::tempdir().unwrap());
        for (name, limit, expected) in
            [("a", json!("1Mi"), 1 << 20), ("b", json!("1Gi"), 64 << 20), ("c", Value::Null, 64 << 20)]
        {
            let dir = bed.0.path().join(name);
            make(&dir, json!({"medium": "Memory", "sizeLimit": limit}), &json!({}), None).unwrap();
            make(&dir, json!({"medium": "Memory", "sizeLimit": limit}), &json!({}), None).unwrap();
            let found = statfs(&dir).unwrap();
            assert_eq!(found.blocks() * found.block_size() as u64, expected);
            assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o777);
        }
        assert_eq!(mounts::below(bed.0.path()).unwrap().len(), 3, "mounted once each");
    }

    #[test]
    fn huge_pages_need_a_request_that_says_which() {
        let bed = Unmounted(tempfile::tempdir().unwrap());
        let dir = bed.0.path().join("v");
        let error = |medium: &str, requests: Value| {
            make(&dir, json!({"medium": medium}), &requests, None).unwrap_err().to_string()
        };
        assert!(error("HugePages", json!({})).contains("there is no resource request for huge pages"));
        assert!(error("HugePages-1Gi", json!({"hugepages-2Mi": "2Mi"})).starts_with("medium HugePages-1Gi:"));
        let two = json!({"hugepages-2Mi": "2Mi", "hugepages-1Gi": "1Gi"});
        assert!(error("HugePages", two).contains("multiple huge page sizes"));
        assert_eq!(error("Disk", json!({})), "unknown storage medium \"Disk\"");
        make(&dir, json!({"medium": "HugePages-2Mi"}), &json!({"hugepages-2Mi": "2Mi"}), None).unwrap();
        assert_eq!(statfs(&dir).unwrap().filesystem_type(), HUGETLBFS_MAGIC);
        assert_eq!(statfs(&dir).unwrap().block_size(), 2 << 20);
    }
}
