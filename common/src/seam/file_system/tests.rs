//! One suite over the file systems, and the faults that two of them can cause.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::*;

fn check_contract(fs: &dyn FileSystem, root: &Path) -> io::Result<()> {
    let dir = root.join("a/b");
    fs.create_dir_all(&dir)?;
    assert!(fs.is_dir(&dir) && fs.exists(&root.join("a")));
    let (one, two) = (dir.join("1"), dir.join("2"));
    assert_eq!(fs.read(&one).expect_err("not there yet").kind(), ErrorKind::NotFound);
    assert_eq!(fs.open_read(&one).err().expect("not there yet").kind(), ErrorKind::NotFound);

    let mut file = fs.open_append(&one)?;
    assert!(file.is_empty()?);
    file.append(b"hello ")?;
    file.append(b"world")?;
    file.sync()?;
    let mut buffer = [0; 8];
    assert_eq!(fs.open_read(&one)?.read_at(6, &mut buffer)?, 5);
    assert_eq!(&buffer[..5], b"world");
    assert_eq!(file.read_at(100, &mut buffer)?, 0);
    file.truncate(5)?;
    fs.open_append(&one)?.append(b"!")?;
    assert_eq!(fs.read(&one)?, b"hello!");

    fs.open_append(&two)?.append(b"old")?;
    assert_eq!(fs.list(&dir)?, [(one.clone(), 6), (two.clone(), 3)]);
    fs.rename(&one, &two)?;
    fs.sync_dir(&dir)?;
    assert!(!fs.exists(&one));
    assert_eq!(fs.read(&two)?, b"hello!");
    fs.remove(&two)?;
    assert!(fs.list(&dir)?.is_empty());
    assert_eq!(fs.remove(&two).expect_err("removed already").kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn files_of_the_machine_keep_the_contract() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    check_contract(&OsFileSystem, dir.path())
}

#[test]
fn files_in_memory_keep_the_contract() -> io::Result<()> {
    check_contract(&MemoryFileSystem::default(), Path::new("/data"))
}

#[test]
fn each_operation_fails_once_in_turn() -> io::Result<()> {
    let mut failures = 0;
    for nth in 1.. {
        let fs = FailingFileSystem::new(Arc::new(MemoryFileSystem::default()), nth, ErrorKind::StorageFull);
        let run = || -> io::Result<()> {
            let mut file = fs.open_append(Path::new("/f"))?;
            file.append(b"x")?;
            file.sync()?;
            fs.rename(Path::new("/f"), Path::new("/g"))
        };
        match run() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
            Ok(()) => break,
        }
        assert!(fs.has_failed());
        failures += 1;
    }
    assert_eq!(failures, 4);
    Ok(())
}

#[test]
fn a_power_loss_takes_what_was_not_synced() -> io::Result<()> {
    let fs = MemoryFileSystem::default();
    let mut file = fs.open_append(Path::new("/f"))?;
    file.append(b"kept")?;
    file.sync()?;
    file.append(b"lost")?;
    fs.lose_unsynced();
    assert_eq!(fs.read(Path::new("/f"))?, b"kept");
    Ok(())
}
