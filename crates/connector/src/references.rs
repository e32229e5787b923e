//! Secrets by reference: `'password' = '${env:MYSQL_PASSWORD}'` and `'${file:/run/secrets/mysql}'`.
//!
//! A reference is resolved when the option is used, and only in options that hold credentials: no
//! other option, whose value may be shown, can read the environment or a file.

use std::{env, fs};

use crate::{Error, Options};

/// The longest file that a reference reads.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Options besides the secret ones in which references are resolved.
const USER_KEYS: [&str; 2] = ["username", "user"];

impl Options {
    /// The same options with every reference replaced by what it refers to.
    ///
    /// # Errors
    /// A variable is not set, a file cannot be read, or a reference is of no known kind.
    pub fn resolved(&self) -> Result<Self, Error> {
        let resolve = |(key, value): (&str, &str)| {
            let applies = Self::is_secret(key) || USER_KEYS.contains(&key);
            let value = if applies { resolved_text(key, value)? } else { value.to_owned() };
            Ok((key.to_owned(), value))
        };
        self.iter().map(resolve).collect()
    }
}

/// The value with its references replaced.
fn resolved_text(key: &str, value: &str) -> Result<String, Error> {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, behind)) = after.split_once('}') else { break };
        text.push_str(before);
        text.push_str(&referred(key, reference)?);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

fn referred(key: &str, reference: &str) -> Result<String, Error> {
    match reference.split_once(':') {
        Some(("env", name)) => env::var(name).map_err(|_| {
            Error::job(format!(
                "option '{key}' refers to the environment variable {name}, which is not set for \
                 this process"
            ))
        }),
        Some(("file", path)) => {
            let failed = |error: std::io::Error| {
                let message =
                    format!("option '{key}' refers to the file {path}, which cannot be read");
                Error::job(message).caused_by(error)
            };
            if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
                return Err(Error::job(format!(
                    "option '{key}' refers to the file {path}, which is longer than 64 kb"
                )));
            }
            let text = fs::read_to_string(path).map_err(failed)?;
            Ok(text.trim_end_matches(['\n', '\r']).to_owned())
        }
        _ => Err(Error::job(format!(
            "option '{key}' holds a reference of no known kind: write ${{env:NAME}} or \
             ${{file:PATH}}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> String {
        let options: Options = [(key.to_owned(), value.to_owned())].into_iter().collect();
        match options.resolved() {
            Ok(options) => options.get(key).unwrap_or_default().to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn references_in_credentials_are_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "käse\n").unwrap();
        let from_file = format!("a-${{file:{}}}-b", path.display());
        assert_eq!(check("password", &from_file), "a-käse-b");
        let manifest = env!("CARGO_MANIFEST_DIR");
        assert_eq!(check("s3.secret-access-key", "${env:CARGO_MANIFEST_DIR}"), manifest);
        assert_eq!(check("password", "plain ${ text"), "plain ${ text");
    }

    #[test]
    fn other_options_stay_as_they_are() {
        assert_eq!(check("hostname", "${env:HOME}"), "${env:HOME}");
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        insta::assert_snapshot!(check("password", "${env:SHARDLAKE_NO_SUCH}"), @"error: option 'password' refers to the environment variable SHARDLAKE_NO_SUCH, which is not set for this process");
        insta::assert_snapshot!(check("password", "${vault:x}"), @"error: option 'password' holds a reference of no known kind: write ${env:NAME} or ${file:PATH}");
        assert!(check("password", "${file:/no/such}").contains("cannot be read"));
    }
}
