//! One statement of a session: its life and the pages of its result.
//!
//! A page has a token. The client asks for the next page, or once more for the one it got last, when
//! the answer was lost on the way; any other token is a mistake. So one page is all that is kept here:
//! a client that does not fetch holds its own query up, and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use shardlake_change::{ChangeBatch, Column};
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::print::{self, CellFormat};
use shardlake_sql::session::{Layout, ResultTable};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::page::{Page, RowFormat, Shape};
use crate::collect::Delivery;
use crate::engine::{Answer, QueryResult};
use crate::failure::{Failure, Outcome};

/// The most rows that a page holds, as in Flink.
const PAGE_ROWS: usize = 5_000;
/// How long a fetch waits for the first rows before it answers with an empty page.
const ROWS_WAIT: Duration = Duration::from_millis(50);

/// Where an operation stands; the names are Flink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It waits for the statements before it.
    Pending,
    /// It is being run.
    Running,
    /// It was run; rows may still come.
    Finished,
    /// The client ended it.
    Canceled,
    /// It failed.
    Error,
    /// It took longer than the client allowed.
    Timeout,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Canceled => "CANCELED",
            Self::Error => "ERROR",
            Self::Timeout => "TIMEOUT",
        }
    }

    pub(crate) const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

struct State {
    status: Status,
    failure: Option<Diagnostic>,
    task: Option<AbortHandle>,
}

/// A statement that was submitted.
pub(crate) struct Operation {
    pub(crate) handle: Uuid,
    state: Mutex<State>,
    result: AsyncMutex<Option<Pages>>,
}

/// The result of an operation, page by page.
struct Pages {
    shape: Shape,
    source: Source,
    /// What is left of a batch that was larger than a page.
    rest: Option<ChangeBatch>,
    /// The token of the next page.
    token: u64,
    /// The rows of the page before.
    last: Option<ChangeBatch>,
    ended: bool,
}

enum Source {
    Fixed(VecDeque<ChangeBatch>),
    Query(Box<QueryResult>),
}

/// What a fetch came to.
pub(crate) enum Fetched {
    /// The statement has not been run yet.
    NotReady,
    /// The whole answer.
    Page(String),
}

impl Operation {
    pub(crate) fn new() -> Self {
        Self {
            handle: Uuid::new_v4(),
            state: Mutex::new(State { status: Status::Pending, failure: None, task: None }),
            result: AsyncMutex::new(None),
        }
    }

    /// The task that runs it, which a cancellation ends.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let mut state = self.state.lock();
        if state.status == Status::Canceled {
            task.abort();
        }
        state.task = Some(task);
    }

    pub(crate) fn status(&self) -> Status {
        self.state.lock().status
    }

    /// Moves on, unless it has ended.
    pub(crate) fn advance(&self, status: Status) {
        let mut state = self.state.lock();
        if !state.status.is_terminal() {
            state.status = status;
        }
    }

    /// It failed.
    pub(crate) fn fail(&self, status: Status, failure: Diagnostic) {
        let mut state = self.state.lock();
        if !state.status.is_terminal() {
            state.status = status;
            state.failure = Some(failure);
        }
    }

    /// It was run, with this answer.
    pub(crate) async fn finish(&self, answer: Answer, cells: CellFormat) -> Result<(), Diagnostic> {
        let pages = Pages::new(answer, cells)?;
        *self.result.lock().await = Some(pages);
        self.advance(Status::Finished);
        Ok(())
    }

    /// Ends it; refused when it has ended.
    pub(crate) fn cancel(&self) -> Outcome<Status> {
        let task = {
            let mut state = self.state.lock();
            if state.status.is_terminal() {
                let cause = format!(
                    "Failed to convert the Operation Status from {} to CANCELED for {}.",
                    state.status.as_str(),
                    self.handle
                );
                return Err(Failure::gateway("cancelOperation", &cause));
            }
            state.status = Status::Canceled;
            state.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
        Ok(Status::Canceled)
    }

    /// Ends it whatever it does; its result is dropped with it.
    pub(crate) fn close(&self) {
        let task = {
            let mut state = self.state.lock();
            if !state.status.is_terminal() {
                state.status = Status::Canceled;
            }
            state.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Whether the client has fetched everything, so that it may be forgotten.
    pub(crate) fn is_spent(&self) -> bool {
        if !self.status().is_terminal() {
            return false;
        }
        self.result.try_lock().is_ok_and(|pages| pages.as_ref().is_none_or(|pages| pages.ended))
    }

    /// The page of this token. `place` makes the path of a page of its token.
    pub(crate) async fn fetch(
        &self,
        token: u64,
        format: RowFormat,
        place: impl Fn(u64) -> String,
    ) -> Outcome<Fetched> {
        {
            let state = self.state.lock();
            match state.status {
                Status::Pending | Status::Running => return Ok(Fetched::NotReady),
                Status::Finished => {}
                Status::Canceled => {
                    let cause = format!("The operation {} was cancelled.", self.handle);
                    return Err(Failure::gateway("fetchResults", &cause));
                }
                Status::Error | Status::Timeout => {
                    let failure = state.failure.clone();
                    let failure =
                        failure.unwrap_or_else(|| Diagnostic::internal("no reason is known"));
                    return Err(Failure::statement("fetchResults", failure));
                }
            }
        }
        let mut result = self.result.lock().await;
        let Some(pages) = result.as_mut() else { return Ok(Fetched::NotReady) };
        pages.fetch(token, format, place).await.map(Fetched::Page)
    }
}

impl Pages {
    fn new(answer: Answer, cells: CellFormat) -> Result<Self, Diagnostic> {
        let shape = |columns: Vec<Column>| Shape {
            columns,
            is_query: false,
            has_content: true,
            job: None,
            cells,
            lines: None,
            layout: Layout::Table,
            shows_op: false,
        };
        let of_table = |table: ResultTable| {
            let shape = Shape { layout: table.layout, ..shape(table.columns) };
            (shape, vec![ChangeBatch::inserts(table.rows)])
        };
        let (shape, rows) = match answer {
            Answer::Done(lines) => {
                let (shape, rows) = of_table(print::text_table("result", "OK")?);
                (Shape { has_content: false, lines: Some(lines), ..shape }, rows)
            }
            Answer::Submitted { job, lines } => {
                let (shape, rows) = of_table(print::text_table("job id", &job)?);
                (Shape { job: Some(job), lines: Some(lines), ..shape }, rows)
            }
            Answer::Table(table) => of_table(table),
            Answer::Rows(result) => {
                let job = result.job_id().map(str::to_owned);
                let columns = result.columns.clone();
                let shows_op = result.shows_op;
                let shape = Shape { is_query: true, job, shows_op, ..shape(columns) };
                return Ok(Self::over(shape, Source::Query(Box::new(result))));
            }
            Answer::Help => {
                let (shape, rows) = of_table(print::text_table("result", print::HELP)?);
                (Shape { layout: Layout::Text, ..shape }, rows)
            }
            Answer::Clear | Answer::Quit => {
                let (shape, rows) = of_table(print::text_table("result", "OK")?);
                (Shape { has_content: false, lines: Some(Vec::new()), ..shape }, rows)
            }
        };
        let rows = rows.into_iter().filter(|batch| batch.row_count() > 0).collect();
        Ok(Self::over(shape, Source::Fixed(rows)))
    }

    const fn over(shape: Shape, source: Source) -> Self {
        Self { shape, source, rest: None, token: 0, last: None, ended: false }
    }

    async fn fetch(
        &mut self,
        token: u64,
        format: RowFormat,
        place: impl Fn(u64) -> String,
    ) -> Outcome<String> {
        if token + 1 == self.token {
            let page = Page {
                shape: &self.shape,
                rows: self.last.as_ref(),
                format,
                next: Some(place(self.token)),
            };
            return Ok(page.to_json());
        }
        if token != self.token {
            let cause = format!("Expecting token to be {}, but found {token}.", self.token);
            return Err(Failure::server_side(
                "fetchResults",
                "org.apache.flink.table.gateway.api.utils.SqlGatewayException",
                &cause,
            ));
        }
        let rows = match self.ended {
            true => None,
            false => self
                .next_rows()
                .await
                .map_err(|failure| Failure::statement("fetchResults", failure))?,
        };
        let page = Page {
            shape: &self.shape,
            rows: rows.as_ref(),
            format,
            next: (!self.ended).then(|| place(self.token + 1)),
        };
        let answer = page.to_json();
        if !self.ended {
            self.token += 1;
            self.last = rows;
        }
        Ok(answer)
    }

    /// The rows of the next page; none if there are none yet, or no more: then the end is noted.
    async fn next_rows(&mut self) -> Result<Option<ChangeBatch>, Diagnostic> {
        let mut batches = Vec::new();
        let mut row_count = 0;
        while row_count < PAGE_ROWS {
            let Some(batch) = self.next_batch(row_count == 0).await? else { break };
            let room = PAGE_ROWS - row_count;
            if batch.row_count() > room {
                self.rest = Some(batch.slice(room, batch.row_count() - room));
                batches.push(batch.slice(0, room));
                break;
            }
            row_count += batch.row_count();
            batches.push(batch);
        }
        let Some(first) = batches.first() else { return Ok(None) };
        let schema = first.schema();
        let page = ChangeBatch::concat(&schema, &batches);
        page.map(Some).map_err(|error| Diagnostic::internal(error.to_string()))
    }

    async fn next_batch(&mut self, may_wait: bool) -> Result<Option<ChangeBatch>, Diagnostic> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        let query = match &mut self.source {
            Source::Fixed(batches) => {
                let batch = batches.pop_front();
                self.ended = batch.is_none() && may_wait;
                return Ok(batch);
            }
            Source::Query(query) => query,
        };
        let delivery: Option<Delivery> = match query.try_next() {
            Some(delivery) => Some(delivery),
            None if may_wait => match tokio::time::timeout(ROWS_WAIT, query.next()).await {
                Err(_) => return Ok(None),
                Ok(delivery) => {
                    self.ended = delivery.is_none();
                    delivery
                }
            },
            None => None,
        };
        delivery.transpose()
    }
}
