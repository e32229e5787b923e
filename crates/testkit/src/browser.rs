//! A real browser without a window, for tests of the page.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::package::run_script;
use crate::readers::python;
use crate::{Error, workspace_root};

/// A browser that shows the page of one server. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// Starts it; `url` is the server's, without a slash at its end.
    pub fn start(url: &str) -> Result<Self, Error> {
        let selenium = run_script("a browser", "get-browser.sh", &[])?;
        let mut process = Command::new(python()?)
            .arg("-B")
            .arg(workspace_root().join("tests/page/browser.py"))
            .arg(url)
            .env("SHARDLAKE_SELENIUM", selenium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(Error::io("start browser.py"))?;
        let (orders, answers) = (process.stdin.take(), process.stdout.take());
        let answers = answers.ok_or_else(|| Error::failed("browser.py", "no output"))?;
        Ok(Self { process, orders, answers: BufReader::new(answers) })
    }

    /// Shows the view of an address such as `#/jobs`.
    pub fn open(&mut self, hash: &str) -> Result<(), Error> {
        self.order(&json!({"do": "open", "hash": hash})).map(drop)
    }

    /// Replaces the text of the field that a CSS selector finds.
    pub fn write(&mut self, field: &str, text: &str) -> Result<(), Error> {
        self.order(&json!({"do": "write", "into": field, "text": text})).map(drop)
    }

    /// Clicks on what a CSS selector finds.
    pub fn click(&mut self, on: &str) -> Result<(), Error> {
        self.order(&json!({"do": "click", "on": on})).map(drop)
    }

    /// The texts of all that a CSS selector finds.
    pub fn read(&mut self, from: &str) -> Result<Vec<String>, Error> {
        let answer = self.order(&json!({"do": "read", "from": from}))?;
        serde_json::from_value(answer)
            .map_err(|error| Error::failed("browser.py", error.to_string()))
    }

    /// Takes a picture in the colours `light` or `dark`.
    pub fn shoot(&mut self, path: &Path, theme: &str) -> Result<(), Error> {
        self.order(&json!({"do": "shot", "path": path, "theme": theme})).map(drop)
    }

    /// Ends it; what its console complained about meanwhile (errors of scripts, refused requests).
    pub fn end(mut self) -> Result<Vec<String>, Error> {
        drop(self.orders.take());
        let answer = self.next()?;
        serde_json::from_value(answer["complaints"].clone())
            .map_err(|error| Error::failed("browser.py", error.to_string()))
    }

    fn order(&mut self, order: &Value) -> Result<Value, Error> {
        let orders = self.orders.as_mut();
        let orders = orders.ok_or_else(|| Error::failed("browser.py", "it has ended"))?;
        writeln!(orders, "{order}").map_err(Error::io("tell browser.py what to do"))?;
        let mut answer = self.next()?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(Error::failed("browser.py", format!("{order}: {error}"))),
            None => Ok(answer["answer"].take()),
        }
    }

    fn next(&mut self) -> Result<Value, Error> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Error::io("read what browser.py answers"))?;
        serde_json::from_str(&line).map_err(|_| Error::failed("browser.py", "it ended early"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its browser when its input ends.
        drop(self.orders.take());
        let _status = self.process.wait();
    }
}
