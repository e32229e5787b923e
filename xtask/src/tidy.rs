//! The rules of STYLE.md that a machine can hold. Each rule is one function from the tree to its findings.
//!
//! A finding reads `path:line: what is wrong`; an empty list is a tidy tree.

mod edges;
mod sources;
mod text;
mod tree;

use std::path::Path;

use anyhow::Result;

use tree::Tree;

/// All findings of all rules.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    for rule in [
        sources::file_length,
        sources::line_length,
        sources::module_header,
        sources::banned_names,
        sources::unfinished_work,
        sources::one_error_per_crate,
        sources::glossary,
        sources::failpoints_are_tested,
        text::error_pages,
        text::scripts_are_reached,
        text::machine_paths,
        text::metrics,
    ] {
        rule(&tree, &mut findings);
    }
    edges::check(&tree, &mut findings);
    findings.sort();
    Ok(findings)
}
