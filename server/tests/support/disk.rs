//! Disks of a test's own: one that can lose its power, and a small one that gets full.
//!
//! A power loss is a copy of the file below a mounted ext4: what the kernel has not written is not in it. The kernel
//! writes what is synced, and by itself only after times that no test lasts (`commit=`, and `noauto_da_alloc` so that
//! a rename writes nothing either). Mounting takes the rights of root: without them [`Disk`] says so on stderr, where
//! the test harness does not hide it, and the test has nothing to test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted disk; unmounted on drop.
pub struct Disk {
    /// Where the files below disks are: in memory if the machine allows, so that nothing waits for a real disk.
    store: TempDir,
    mount: PathBuf,
    image: Option<PathBuf>,
    losses: usize,
}

impl Disk {
    /// An empty ext4 that can lose its power; `None` where it cannot be mounted.
    pub fn ext4(mib: u64) -> Option<Disk> {
        let disk = Disk::unmounted();
        let image = disk.store.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,nodiscard", text(&image)]).unwrap();
        disk.mounted(Some(image), &["-o", "loop,noauto_da_alloc,commit=600"])
    }

    /// An empty disk of this size; `None` where it cannot be mounted.
    pub fn small(kib: u64) -> Option<Disk> {
        Disk::unmounted().mounted(None, &["-t", "tmpfs", "-o", &format!("size={kib}k")])
    }

    fn unmounted() -> Disk {
        let shared_memory = Path::new("/dev/shm");
        let store = match shared_memory.is_dir() {
            true => TempDir::new_in(shared_memory),
            false => TempDir::new(),
        };
        let store = store.unwrap();
        let mount = store.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        Disk { store, mount, image: None, losses: 0 }
    }

    fn mounted(mut self, image: Option<PathBuf>, options: &[&str]) -> Option<Disk> {
        let device = image.as_deref().unwrap_or(Path::new("tmpfs"));
        let arguments: Vec<&str> = [options, &[text(device), text(&self.mount)]].concat();
        if let Err(error) = run("mount", &arguments) {
            let skipped = format!("\nSKIPPED: this test has to mount a disk, which needs root: {error}\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return None;
        }
        self.image = image;
        Some(self)
    }

    /// The folder that is the disk.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// A copy of what is on the disk, as the power would leave it now.
    pub fn copy(&mut self) -> PathBuf {
        self.losses += 1;
        let copy = self.store.path().join(format!("image-{}", self.losses));
        run("cp", &["--sparse=always", text(self.image.as_deref().unwrap()), text(&copy)]).unwrap();
        copy
    }

    /// Goes on with a copy, in the same place; nobody uses the disk.
    pub fn go_on_with(&mut self, copy: PathBuf) {
        run("umount", &[text(&self.mount)]).unwrap();
        run("mount", &["-o", "loop,noauto_da_alloc,commit=600", text(&copy), text(&self.mount)]).unwrap();
        std::fs::remove_file(self.image.replace(copy).unwrap()).unwrap();
    }

    /// Loses everything that is not synced.
    pub fn lose_power(&mut self) {
        let copy = self.copy();
        self.go_on_with(copy);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails where it was never mounted. A server that a failed test has left still has files open.
        let _ = run("umount", &["-l", text(&self.mount)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a program; its complaint when it fails.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
