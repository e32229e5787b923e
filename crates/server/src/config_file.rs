//! Configuration files in the form of Flink's `config.yaml`, and the older `key: value` lines of `flink-conf.yaml`.
//!
//! The part of YAML that such files use: nested maps by indentation, plain and quoted scalars, lists in both
//! forms (joined by `;`, as Flink joins them), comments. Anything else is an error that names the line.

/// The keys and values of a file, in their order; nested keys are joined by dots.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse_config(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    // The keys that contain the current line, each with its indentation.
    let mut path: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if content.starts_with('\t') {
            return Err(wrong("indent with spaces, not with tabs"));
        }
        let content = without_comment(content).trim_end();
        if content.is_empty() || content == "---" {
            continue;
        }
        if let Some(item) = content.strip_prefix("- ") {
            let containing = path.iter().rev().find(|(at, _)| *at <= indent);
            let containing = containing.ok_or_else(|| wrong("a list needs a key above it"))?;
            let key = full_key(&path, containing.0);
            add_item(&mut pairs, key, scalar(item).map_err(|what| wrong(&what))?);
            continue;
        }
        path.retain(|(at, _)| *at < indent);
        let (key, value) = content
            .split_once(": ")
            .or_else(|| content.strip_suffix(':').map(|key| (key, "")))
            .ok_or_else(|| wrong("write 'key: value'"))?;
        let key = scalar(key).map_err(|what| wrong(&what))?;
        path.push((indent, key));
        let value = value.trim();
        if !value.is_empty() {
            let full = full_key(&path, indent);
            pairs.push((full, value_text(value).map_err(|what| wrong(&what))?));
        }
    }
    Ok(pairs)
}

/// The keys down to the one at this indentation, joined.
fn full_key(path: &[(usize, String)], indent: usize) -> String {
    let keys = path.iter().take_while(|(at, _)| *at <= indent).map(|(_, key)| key.as_str());
    keys.collect::<Vec<_>>().join(".")
}

fn add_item(pairs: &mut Vec<(String, String)>, key: String, item: String) {
    match pairs.iter_mut().find(|(known, _)| *known == key) {
        Some((_, list)) => {
            list.push(';');
            list.push_str(&item);
        }
        None => pairs.push((key, item)),
    }
}

/// The line without a comment: `#` at its start or after a space, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (index, letter) in line.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '#' && before == ' ' => {
                return line.get(..index).unwrap_or_default();
            }
            None if matches!(letter, '"' | '\'') && matches!(before, ' ' | '[' | ',') => {
                quote = Some(letter);
            }
            None => {}
        }
        before = letter;
    }
    line
}

fn value_text(value: &str) -> Result<String, String> {
    if value.starts_with(['{', '|', '>', '&', '*', '!']) {
        return Err("this form of YAML is not read here: write a plain or quoted value".to_owned());
    }
    let Some(list) = value.strip_prefix('[') else { return scalar(value) };
    let list = list.strip_suffix(']').ok_or("a list ends with ']'")?;
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(scalar);
    Ok(items.collect::<Result<Vec<_>, _>>()?.join(";"))
}

/// A scalar without its quotes.
fn scalar(text: &str) -> Result<String, String> {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let inner = rest.strip_suffix(quote).ok_or("a quote is not closed")?;
            return Ok(match quote {
                '\'' => inner.replace("''", "'"),
                _ => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            });
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match parse_config(text) {
            Ok(pairs) => {
                let lines: Vec<String> = pairs.iter().map(|(k, v)| format!("{k} = {v}")).collect();
                lines.join("\n")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn nested_and_flat_keys_are_read() {
        let text = "
# a comment
execution:
  checkpointing:
    interval: 3s   # often
    dir: 'file:///cp#1'
rest.port: 8081
parallelism:
  default: 2
pipeline.jars: [a, \"b\"]
env:
  java:
    - x
    - y
state:
";
        insta::assert_snapshot!(check(text), @"
        execution.checkpointing.interval = 3s
        execution.checkpointing.dir = file:///cp#1
        rest.port = 8081
        parallelism.default = 2
        pipeline.jars = a;b
        env.java = x;y
        ");
    }

    #[test]
    fn mistakes_name_the_line() {
        assert_eq!(check("a: 1\nb"), "error: line 2: write 'key: value'");
        assert_eq!(check("a: 'x"), "error: line 1: a quote is not closed");
        assert_eq!(check("\ta: x"), "error: line 1: indent with spaces, not with tabs");
        assert!(check("a: {b: 1}").starts_with("error: line 1: this form"));
        assert_eq!(check("- x"), "error: line 1: a list needs a key above it");
    }
}
