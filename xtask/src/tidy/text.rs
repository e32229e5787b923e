//! Rules about everything that is text: pages, scripts, paths.

use std::collections::BTreeSet;

use super::tree::Tree;

/// A diagnostic's code and its page in `docs/errors` exist together.
pub(crate) fn error_pages(tree: &Tree, findings: &mut Vec<String>) {
    let mut used = BTreeSet::new();
    for file in tree.rust().filter(|file| file.path.starts_with("crates/")) {
        for (_, line) in file.production_lines() {
            used.extend(codes(line));
        }
    }
    let pages: BTreeSet<String> = tree
        .files
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/errors/")?.strip_suffix(".md"))
        .filter(|name| codes(name).next().is_some_and(|code| code == *name))
        .map(str::to_owned)
        .collect();
    for code in used.difference(&pages) {
        findings.push(format!("docs/errors/{code}.md: missing, but the code is used"));
    }
    for code in pages.difference(&used) {
        findings.push(format!("docs/errors/{code}.md: no diagnostic has this code"));
    }
}

/// `SL` and four digits.
fn codes(line: &str) -> impl Iterator<Item = String> {
    line.match_indices("SL").filter_map(|(start, _)| {
        let code = line.get(start..start + 6)?;
        let is_alone = !line.get(..start)?.ends_with(|c: char| c.is_alphanumeric())
            && !line.get(start + 6..)?.starts_with(|c: char| c.is_alphanumeric());
        let digits = code.get(2..)?;
        (is_alone && digits.chars().all(|c| c.is_ascii_digit())).then(|| code.to_owned())
    })
}

/// Every test script lies in a folder that a test of its package names.
pub(crate) fn scripts_are_reached(tree: &Tree, findings: &mut Vec<String>) {
    for file in &tree.files {
        if !(file.path.ends_with(".slt") || file.path.ends_with(".script")) {
            continue;
        }
        let package = file.package();
        let inside = file.path.strip_prefix(package).unwrap_or_default().trim_start_matches('/');
        let folders: Vec<&str> =
            inside.match_indices('/').filter_map(|(end, _)| inside.get(..end)).collect();
        let is_reached = tree.rust().filter(|other| other.package() == package).any(|other| {
            folders.iter().filter(|folder| folder.contains('/')).any(|f| other.text.contains(f))
        });
        if !is_reached {
            findings.push(format!("{}: no test of {package} runs this folder", file.path));
        }
    }
}

/// A metric of the server is documented, and what the dashboards show is a metric.
pub(crate) fn metrics(tree: &Tree, findings: &mut Vec<String>) {
    const PAGE: &str = "docs/metrics.md";
    let names = |path: &str| -> BTreeSet<String> {
        let files = tree.files.iter().filter(|file| file.path.starts_with(path));
        files.flat_map(|file| metric_names(&file.text)).collect()
    };
    let (documented, given) = (names(PAGE), names("crates/server/src/metrics.rs"));
    for name in given.difference(&documented) {
        findings.push(format!("{PAGE}: the metric {name} is missing"));
    }
    for name in documented.difference(&given) {
        findings.push(format!("{PAGE}: the server has no metric {name}"));
    }
    for name in names("deploy/grafana/").difference(&given) {
        findings.push(format!("deploy/grafana: the server has no metric {name}"));
    }
}

/// `shardlake_` and more, except names of crates.
fn metric_names(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(move |c: char| !is_part(c)).filter_map(|word| {
        let subject = word.strip_prefix("shardlake_")?.split('_').next()?;
        let subjects = [
            "build",
            "process",
            "sessions",
            "operations",
            "http",
            "jobs",
            "job",
            "lane",
            "operator",
            "sink",
        ];
        let is_metric = subjects.contains(&subject) && word != "shardlake_job";
        is_metric.then(|| word.to_owned())
    })
}

/// Nothing may depend on, or speak of, the machine on which it was written.
pub(crate) fn machine_paths(tree: &Tree, findings: &mut Vec<String>) {
    // Put together, so that this file does not find itself.
    let prefixes = ["work", "root", "Users"].map(|folder| format!("/{folder}/"));
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            for prefix in &prefixes {
                let is_path = line.match_indices(prefix.as_str()).any(|(start, _)| {
                    let before = line.get(..start).unwrap_or_default();
                    !before.ends_with(|c: char| c.is_alphanumeric() || "._-}>)*".contains(c))
                });
                if is_path {
                    let number = index + 1;
                    findings.push(format!("{}:{number}: a path of one machine", file.path));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::SourceFile;
    use super::*;

    fn check(rule: fn(&Tree, &mut Vec<String>), files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut findings = Vec::new();
        rule(&Tree { files }, &mut findings);
        findings
    }

    #[test]
    fn a_code_and_its_page_exist_together() {
        let used = ("crates/sql/src/a.rs", "code: \"SL0042\"");
        let page = ("docs/errors/SL0042.md", "");
        assert!(check(error_pages, &[used, page]).is_empty());
        assert_eq!(check(error_pages, &[used]).len(), 1);
        assert_eq!(check(error_pages, &[page]).len(), 1);
    }

    #[test]
    fn a_script_without_a_runner_is_found() {
        let script = ("crates/sql/tests/slt/select/a.slt", "");
        let runner = ("crates/sql/tests/it/main.rs", "\"tests/slt\"");
        assert!(check(scripts_are_reached, &[script, runner]).is_empty());
        assert_eq!(check(scripts_are_reached, &[script]).len(), 1);
    }

    #[test]
    fn metrics_code_page_and_dashboard_agree() {
        let code = ("crates/server/src/metrics.rs", "use shardlake_job::Job; \"shardlake_job_up\"");
        let page = ("docs/metrics.md", "| `shardlake_job_up` |");
        let board = ("deploy/grafana/a.json", "sum(shardlake_job_up)");
        assert!(check(metrics, &[code, page, board]).is_empty());
        assert_eq!(check(metrics, &[code, board]).len(), 1);
        assert_eq!(check(metrics, &[page, board]).len(), 2);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let text = ["cd /", "root/thing"].concat();
        assert_eq!(check(machine_paths, &[("README.md", text.as_str())]).len(), 1);
        let harmless = ["crates/", "work/thing"].concat();
        assert!(check(machine_paths, &[("README.md", harmless.as_str())]).is_empty());
    }
}
