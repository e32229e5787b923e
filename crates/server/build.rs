//! Lists the files of the page, which are checked in, so that they are part of the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let page = root.join("../../web/page").canonicalize()?;
    println!("cargo:rerun-if-changed={}", page.display());
    let mut paths = Vec::new();
    collect(&page, &mut paths)?;
    paths.sort_unstable();
    let mut text = String::from("&[\n");
    for path in paths {
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path.strip_prefix(&page).map_err(io::Error::other)?.to_string_lossy();
        let full = path.to_string_lossy();
        writeln!(text, "    (\"{name}\", include_bytes!({full:?}) as &[u8]),")
            .map_err(io::Error::other)?;
    }
    text.push_str("]\n");
    let target = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(target.join("page_files.rs"), text)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}
