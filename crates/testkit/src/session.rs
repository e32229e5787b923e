//! A connection to a server that plain test code can use: every call blocks until the answer is there.
//!
//! The connection lives on a thread and a runtime of its own, so it can be used inside and outside of async tests.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value};
use tokio::runtime;

use crate::Error;

type Rows = Vec<Vec<String>>;
type Request = (String, Sender<Result<Rows, mysql_async::Error>>);

/// One session of a server. Transactions, `SET` and locks last from call to call.
///
/// After an error that broke the connection, the next call opens a new one.
#[derive(Debug)]
pub struct Session {
    requests: Sender<Request>,
}

impl Session {
    pub(crate) fn open(options: Opts) -> Self {
        let (requests, inbox) = channel();
        thread::spawn(move || serve(&options, &inbox));
        Self { requests }
    }

    /// Runs one or several statements, and forgets their results.
    pub fn execute(&self, sql: &str) -> Result<(), Error> {
        self.query(sql).map(drop)
    }

    /// Runs one or several statements, and returns all their rows as text; NULL reads `NULL`.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let gone = || Error::failed("asking the server", "the session's thread has ended");
        let (reply, answer) = channel();
        self.requests.send((sql.to_owned(), reply)).map_err(|_| gone())?;
        let result = answer.recv().map_err(|_| gone())?;
        result.map_err(|source| Error::Statement { sql: sql.chars().take(300).collect(), source })
    }
}

fn serve(options: &Opts, inbox: &Receiver<Request>) {
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else { return };
    let mut connection = None;
    while let Ok((sql, reply)) = inbox.recv() {
        let result = runtime.block_on(answer(options, &mut connection, &sql));
        if reply.send(result).is_err() {
            break;
        }
    }
    if let Some(open) = connection {
        drop(runtime.block_on(open.disconnect()));
    }
}

async fn answer(
    options: &Opts,
    connection: &mut Option<Conn>,
    sql: &str,
) -> Result<Rows, mysql_async::Error> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Conn::new(options.clone()).await?,
    };
    let result = all_rows(&mut open, sql).await;
    if matches!(result, Ok(_) | Err(mysql_async::Error::Server(_))) {
        *connection = Some(open);
    }
    result
}

async fn all_rows(connection: &mut Conn, sql: &str) -> Result<Rows, mysql_async::Error> {
    let mut rows = Vec::new();
    let mut result = connection.query_iter(sql).await?;
    while !result.is_empty() {
        let set: Vec<Row> = result.collect().await?;
        rows.extend(set.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()));
    }
    Ok(rows)
}

fn text(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true),
    }
}
