//! The files that the rules look at: what is tracked or would be, read once.
//!
//! Folders that git ignores hold nothing of the project, so they are never entered.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const IGNORED: [&str; 5] = [".git", "target", ".cache", ".shardlake", "results"];

/// One text file.
pub(crate) struct SourceFile {
    /// Relative to the workspace's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// The numbered lines before the file's own tests begin.
    pub(crate) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        // Attributes may stand between the two.
        let tests = lines.windows(3).position(|three| {
            three[0].trim() == "#[cfg(test)]" && three[1..].iter().any(|line| line.contains("mod "))
        });
        let end = if self.is_test() { 0 } else { tests.unwrap_or(lines.len()) };
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The crate's folder: `crates/change`, `xtask`.
    pub(crate) fn package(&self) -> &str {
        let depth = if self.path.starts_with("crates/") { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(depth - 1).map_or(0, |(index, _)| index);
        self.path.get(..end).unwrap_or_default()
    }
}

/// All text files of the project.
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, root, &mut files)?;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Self { files })
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // In a second working tree `.git` is a file.
        if path.is_symlink() || IGNORED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.push(SourceFile { path: relative, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    #[test]
    fn tests_do_not_count() {
        let text = "//! Header.\nfn a() {}\n#[cfg(test)]\npub(crate) mod tests {\n}\n";
        let text = text.to_owned();
        let file = SourceFile { path: "crates/change/src/a.rs".to_owned(), text };
        assert_eq!(file.production_lines().count(), 2);
        assert_eq!(file.package(), "crates/change");
        assert!(!file.is_test());
    }
}
