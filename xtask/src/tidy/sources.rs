//! Rules about Rust files.

use std::collections::BTreeMap;

use super::tree::{SourceFile, Tree};

const MAX_FILE_LINES: usize = 1_000;
/// rustfmt keeps code at 100; comments and long literals may go a little further.
const MAX_LINE_CHARS: usize = 120;

/// Words that say nothing, and what to think of instead.
const EMPTY_WORDS: [&str; 5] = ["Manager", "Helper", "Util", "Utils", "Common"];
/// Words that say nothing as the last of a name.
const EMPTY_LAST_WORDS: [&str; 2] = ["Info", "Data"];
const EMPTY_MODULES: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "misc"];

pub(crate) fn file_length(tree: &Tree, findings: &mut Vec<String>) {
    for file in tree.rust() {
        let count = file.production_lines().count();
        if count > MAX_FILE_LINES {
            findings.push(format!("{}: {count} lines; split it below {MAX_FILE_LINES}", file.path));
        }
    }
}

pub(crate) fn line_length(tree: &Tree, findings: &mut Vec<String>) {
    for file in tree.rust() {
        for (number, line) in file.production_lines() {
            let count = line.chars().count();
            // A capital at the margin is no code: it is a screen's text within a literal.
            let is_screen = line.starts_with(|first: char| first.is_ascii_uppercase());
            if count > MAX_LINE_CHARS && !is_screen {
                findings.push(format!("{}:{number}: {count} characters; wrap it", file.path));
            }
        }
    }
}

pub(crate) fn module_header(tree: &Tree, findings: &mut Vec<String>) {
    // A file of a module's own tests belongs to the module, which has the header.
    for file in tree.rust().filter(|file| !file.path.ends_with("/tests.rs")) {
        if !file.text.starts_with("//!") {
            let path = &file.path;
            findings.push(format!("{path}:1: starts without a //! header that says what it owns"));
        }
    }
}

pub(crate) fn banned_names(tree: &Tree, findings: &mut Vec<String>) {
    for (file, number, keyword, name) in definitions(tree) {
        let path = &file.path;
        if keyword == "mod" {
            if EMPTY_MODULES.contains(&name) {
                findings.push(format!("{path}:{number}: module {name}: name it by its domain"));
            }
            continue;
        }
        let words = camel_words(name);
        let is_empty = words.iter().any(|word| EMPTY_WORDS.contains(&word.as_str()))
            || words.last().is_some_and(|word| EMPTY_LAST_WORDS.contains(&word.as_str()));
        if is_empty {
            findings.push(format!("{path}:{number}: {name}: say what it does or holds instead"));
        }
    }
}

pub(crate) fn unfinished_work(tree: &Tree, findings: &mut Vec<String>) {
    // Put together, so that this file does not find itself.
    let marks = [
        ["FIX", "ME"].concat(),
        ["db", "g!("].concat(),
        ["to", "do!("].concat(),
        ["unimplemented", "!("].concat(),
    ];
    for file in tree.rust() {
        for (index, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(mark.as_str())) {
                findings.push(format!("{}:{}: {mark}", file.path, index + 1));
            }
        }
    }
}

pub(crate) fn one_error_per_crate(tree: &Tree, findings: &mut Vec<String>) {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, number, keyword, name) in definitions(tree) {
        if name == "Error" && keyword != "type" {
            found.entry(file.package()).or_default().push(format!("{}:{number}", file.path));
        }
    }
    for places in found.values().filter(|places| places.len() > 1) {
        findings.push(format!("{}: more than one Error in a crate", places.join(" and ")));
    }
}

pub(crate) fn glossary(tree: &Tree, findings: &mut Vec<String>) {
    for file in tree.rust().filter(|file| !file.path.starts_with("xtask/")) {
        for (number, line) in file.production_lines() {
            let Some(name) = public_name(line) else { continue };
            if name.split('_').any(|word| word == "pk") {
                let path = &file.path;
                findings.push(format!("{path}:{number}: {name}: write key or equality_key for pk"));
            }
        }
    }
}

/// Every constant of a `failpoints.rs` must be named by some test.
pub(crate) fn failpoints_are_tested(tree: &Tree, findings: &mut Vec<String>) {
    for file in tree.rust().filter(|file| file.path.ends_with("/failpoints.rs")) {
        for (number, line) in file.production_lines() {
            let Some(name) = line.split("const ").nth(1).and_then(|rest| rest.split(':').next())
            else {
                continue;
            };
            let is_used = tree.rust().any(|other| {
                let tested = other.text.split("#[cfg(test)]").nth(1);
                let text = if other.is_test() { Some(other.text.as_str()) } else { tested };
                text.is_some_and(|text| text.contains(name))
            });
            if !is_used {
                findings.push(format!("{}:{number}: {name}: no test uses it", file.path));
            }
        }
    }
}

/// The types and modules that are defined outside of tests.
fn definitions(tree: &Tree) -> Vec<(&SourceFile, usize, &str, &str)> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for (number, line) in file.production_lines() {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let Some(keyword @ ("struct" | "enum" | "trait" | "type" | "mod")) = words.next()
            else {
                continue;
            };
            let name = words.next().unwrap_or_default();
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            found.push((file, number, keyword, name.get(..end).unwrap_or_default()));
        }
    }
    found
}

/// The name in a line that makes something public: `pub fn name(`, `pub name: Type`.
fn public_name(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let last = rest.split(['(', ':', '<', '=', '{', ';']).next()?;
    last.split_whitespace().next_back()
}

fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Tree, &mut Vec<String>), text: &str) -> Vec<String> {
        let path = "crates/change/src/a.rs".to_owned();
        let tree = Tree { files: vec![SourceFile { path, text: text.to_owned() }] };
        let mut findings = Vec::new();
        rule(&tree, &mut findings);
        findings
    }

    #[test]
    fn empty_names_are_found() {
        let text = "struct ConnectionManager;\npub(crate) enum RowData {}\nmod utils;\n";
        assert_eq!(check(banned_names, text).len(), 3);
        assert!(check(banned_names, "struct DataFile;\nstruct Information;\n").is_empty());
    }

    #[test]
    fn a_file_needs_a_header_and_an_end() {
        assert_eq!(check(module_header, "use std::fs;\n").len(), 1);
        assert!(check(module_header, "//! Owns a thing.\n").is_empty());
        assert_eq!(check(file_length, &"x\n".repeat(1_001)).len(), 1);
        assert!(check(file_length, &"x\n".repeat(1_000)).is_empty());
        assert_eq!(check(line_length, &"x".repeat(121)).len(), 1);
    }

    #[test]
    fn a_crate_has_one_error() {
        assert!(check(one_error_per_crate, "pub enum Error {}\n").is_empty());
        assert_eq!(check(one_error_per_crate, "pub enum Error {}\nstruct Error;\n").len(), 1);
    }

    #[test]
    fn public_names_use_the_glossary() {
        assert_eq!(check(glossary, "    pub fn pk_columns(&self) {}\n").len(), 1);
        assert_eq!(check(glossary, "    pub pk: Vec<u8>,\n").len(), 1);
        assert!(check(glossary, "    pub fn equality_key(&self) {}\n").is_empty());
    }
}
