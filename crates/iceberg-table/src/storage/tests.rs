use std::io::{Read, Write};

use futures::executor::block_on;
use object_store::memory::InMemory;
use parquet::file::reader::ChunkReader;
use tempfile::TempDir;

use super::*;

/// The same storage twice: on a disk, and as objects.
fn places() -> (TempDir, Vec<(Storage, String)>) {
    let dir = TempDir::new().unwrap();
    let on_disk = (Storage::local(), dir.path().to_str().unwrap().to_owned());
    let store = Storage::local().with_bucket("lake", Arc::new(InMemory::new()));
    let with_scheme = (Storage::local(), format!("file://{}/b", dir.path().display()));
    (dir, vec![on_disk, with_scheme, (store, "s3a://lake/a".to_owned())])
}

fn names(root: &str, files: &[StoredFile]) -> Vec<String> {
    let mut names: Vec<String> = files
        .iter()
        .map(|file| {
            let name = file.location.strip_prefix(root).unwrap();
            format!("{name} {}", file.size_bytes)
        })
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_written_listed_read_and_removed_alike() {
    let (_dir, places) = places();
    for (storage, root) in places {
        check_files(&storage, &root);
    }
}

/// What every storage must do.
pub(crate) fn check_files(storage: &Storage, root: &str) {
    {
        block_on(async {
            let at = |name: &str| format!("{root}/{name}");
            assert_eq!(storage.list(&at("t")).await.unwrap(), []);
            assert!(storage.list_folders(&at("t")).await.unwrap().is_empty());
            storage.put(&at("t/data/a b%20c#1"), Bytes::from("one")).await.unwrap();
            storage.put(&at("t/data/a b%20c#1"), Bytes::from("three")).await.unwrap();
            storage.put(&at("t/x"), Bytes::from("0123456789")).await.unwrap();
            storage.put(&at("tt/x"), Bytes::new()).await.unwrap();
            let found = storage.list(&at("t")).await.unwrap();
            assert_eq!(names(root, &found), ["/t/data/a b%20c#1 5", "/t/x 10"]);
            assert!(found.iter().all(|file| file.modified_ms > 1_700_000_000_000));
            assert_eq!(storage.list_folders(root).await.unwrap(), ["t", "tt"]);
            assert_eq!(storage.read(&at("t/data/a b%20c#1")).await.unwrap(), "three");
            assert_eq!(storage.read_range(&at("t/x"), 3..6).await.unwrap(), "345");
            assert_eq!(storage.size(&at("t/x")).await.unwrap(), Some(10));
            assert_eq!(storage.size(&at("t/y")).await.unwrap(), None);
            assert!(storage.read_range(&at("t/x"), 8..12).await.is_err());
            assert!(storage.read(&at("t/y")).await.unwrap_err().is_missing_file());
            storage.delete(&[at("t/x"), at("t/y"), at("no/such")]).await.unwrap();
            assert_eq!(names(root, &storage.list(&at("t")).await.unwrap()).len(), 1);
        });
    }
}

#[test]
fn of_two_exclusive_writes_one_is_made() {
    let (_dir, places) = places();
    for (storage, root) in places {
        let path = format!("{root}/t/v1.json");
        block_on(async {
            assert!(storage.put_if_absent(&path, Bytes::from("ours")).await.unwrap());
            assert!(!storage.put_if_absent(&path, Bytes::from("theirs")).await.unwrap());
            // The same bytes again: as when the first answer was lost.
            assert!(storage.put_if_absent(&path, Bytes::from("ours")).await.unwrap());
            assert_eq!(storage.read(&path).await.unwrap(), "ours");
            assert_eq!(storage.list(&root).await.unwrap().len(), 1);
        });
    }
}

#[test]
fn a_large_file_goes_through_in_pieces() {
    let (_dir, places) = places();
    for (storage, root) in places {
        check_large_file(&storage, &root);
    }
}

/// A file of several parts is written, and read in pieces.
pub(crate) fn check_large_file(storage: &Storage, root: &str) {
    let piece: Vec<u8> = (0..1_000_003_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    {
        let path = format!("{root}/t/large");
        let mut writer = storage.create(&path).unwrap();
        for _ in 0..40 {
            writer.write_all(&piece).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), 40_000_120);
        drop(writer);
        let whole = block_on(storage.read(&path)).unwrap();
        assert_eq!(whole, piece.repeat(40));
        let reader = storage.open(&path).unwrap();
        assert_eq!(reader.size_bytes(), 40_000_120);
        for (start, length) in [(0, 7), (4_194_300, 20), (4_194_304, 9_000_000), (40_000_110, 10)] {
            let end = usize::try_from(start).unwrap() + length;
            let expected = whole.slice(usize::try_from(start).unwrap()..end);
            assert_eq!(reader.get_bytes(start, length).unwrap(), expected);
        }
        let mut tail = Vec::new();
        reader.get_read(39_990_000).unwrap().read_to_end(&mut tail).unwrap();
        assert_eq!(tail, whole[39_990_000..]);
    }
}

#[test]
fn a_file_that_is_given_up_is_gone() {
    let (_dir, places) = places();
    for (storage, root) in places {
        let path = format!("{root}/t/half");
        let mut writer = storage.create(&path).unwrap();
        writer.write_all(&vec![1; 20_000_000]).unwrap();
        drop(writer);
        assert_eq!(block_on(storage.size(&path)).unwrap(), None);
    }
}

#[test]
fn other_places_are_refused_by_name() {
    let refusal =
        |location: &str| block_on(Storage::local().size(location)).unwrap_err().to_string();
    insta::assert_snapshot!(refusal("hdfs://name/wh"), @"location 'hdfs://name/wh' is on HDFS, which is not supported; use a local path, or object storage that speaks S3 (s3://bucket/…)");
    insta::assert_snapshot!(refusal("gs://b/wh"), @"location 'gs://b/wh' has the scheme 'gs', which is not supported; use a local path, file:///… or s3://bucket/…");
    insta::assert_snapshot!(refusal("s3:///wh"), @"location 's3:///wh' names no bucket");
    insta::assert_snapshot!(refusal("wh"), @"location 'wh' is not on a local disk; only absolute paths and file: locations are supported");
}
