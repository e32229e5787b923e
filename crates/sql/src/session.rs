//! A session: what a user has set, created and chosen, and the statements that change it.
//!
//! A session runs everything that needs no job. Queries and inserts are planned here and handed to
//! whoever runs jobs; so are `SHOW JOBS` and `STOP JOB`.

mod alter;
mod configuration;
mod ddl;
mod frozen;
mod maintenance;
mod result_table;
mod show;

use std::sync::Arc;

use futures::FutureExt as _;

pub use configuration::{CONFIGURATION_KEYS, Configuration, SessionZone};
pub use frozen::FrozenSession;
pub use result_table::{Layout, ResultTable};

use crate::catalog::{
    CatalogStore, Connectors, DEFAULT_CATALOG, DEFAULT_DATABASE, DefinitionStorage, PlannerContext,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::plan::JobPlan;
use crate::planner::{self, PlannedQuery};
use crate::statement::{Explain, Insert, Statement, StopJob};
use crate::verify;

/// What came of a statement.
pub enum StatementOutcome {
    /// It is done.
    Done {
        /// Something that the user should know.
        warning: Option<String>,
    },
    /// It is done, and answers with rows.
    Table(ResultTable),
    /// A query to be run.
    Query(Box<PlannedQuery>),
    /// A job to be submitted.
    SubmitJob {
        /// The job.
        plan: Box<JobPlan>,
        /// What the statement saw of its session, to plan it again later.
        scope: Box<FrozenSession>,
    },
    /// The jobs are to be listed; see [`crate::print::jobs_table`].
    ShowJobs,
    /// A job is to be described; see [`crate::print::jobs_table`].
    DescribeJob(String),
    /// A job's splits are to be listed; see [`crate::print::splits_table`].
    ShowSplits(String),
    /// A job is to be stopped.
    StopJob(StopJob),
    /// The help is to be shown; see [`crate::print::HELP`].
    Help,
    /// The screen is to be cleared.
    Clear,
    /// The client is to be left.
    Quit,
}

impl StatementOutcome {
    const fn done() -> Self {
        Self::Done { warning: None }
    }
}

/// A user's session.
pub struct Session {
    catalogs: Arc<CatalogStore>,
    connectors: Connectors,
    configuration: Configuration,
    catalog: String,
    database: String,
    /// The inserts since `BEGIN STATEMENT SET`.
    statement_set: Option<Vec<Insert>>,
}

impl Session {
    /// A new session with an empty `default_catalog.default_database`.
    #[must_use]
    pub fn new(connectors: Connectors, configuration: Configuration) -> Self {
        Self {
            catalogs: Arc::new(CatalogStore::new()),
            connectors,
            configuration,
            catalog: DEFAULT_CATALOG.to_owned(),
            database: DEFAULT_DATABASE.to_owned(),
            statement_set: None,
        }
    }

    /// A new session whose catalogs are those that were stored, and are stored from now on.
    ///
    /// # Errors
    /// What was stored cannot be read.
    pub fn durable(
        connectors: Connectors,
        configuration: Configuration,
        storage: Arc<dyn DefinitionStorage>,
    ) -> Result<Self, Diagnostic> {
        let catalogs = Arc::new(CatalogStore::durable(storage)?);
        Ok(Self { catalogs, ..Self::new(connectors, configuration) })
    }

    /// Another session over the same catalogs: with a configuration, temporary objects and a current
    /// database of its own.
    #[must_use]
    pub fn beside(&self, configuration: Configuration) -> Self {
        let catalogs = Arc::new(self.catalogs.sharing());
        Self { catalogs, ..Self::new(self.connectors.clone(), configuration) }
    }

    /// Replaces what `SET` has set; answers with what was set before.
    pub fn replace_configuration(&mut self, configuration: Configuration) -> Configuration {
        std::mem::replace(&mut self.configuration, configuration)
    }

    /// What `SET` has set.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The current catalog.
    #[must_use]
    pub fn current_catalog(&self) -> &str {
        &self.catalog
    }

    /// The current database.
    #[must_use]
    pub fn current_database(&self) -> &str {
        &self.database
    }

    /// Whether a statement set is open, so that an interactive client can show it.
    #[must_use]
    pub const fn in_statement_set(&self) -> bool {
        self.statement_set.is_some()
    }

    /// What planning needs to know of this session.
    #[must_use]
    pub fn planner_context(&self) -> PlannerContext {
        PlannerContext {
            catalogs: Arc::clone(&self.catalogs),
            connectors: self.connectors.clone(),
            configuration: self.configuration.clone(),
            catalog: self.catalog.clone(),
            database: self.database.clone(),
            seen: Arc::default(),
        }
    }

    /// The names of the tables and views of the current database, for completion.
    pub async fn object_names(&self) -> Vec<String> {
        let listed = self.catalogs.list(&self.catalog, &self.database).await;
        listed.unwrap_or_default().into_iter().map(|(name, _)| name).collect()
    }

    /// Runs one statement, given as text.
    ///
    /// # Errors
    /// Why it was not run. Places are bytes of `text`.
    pub async fn execute(&mut self, text: &str) -> Result<StatementOutcome, Diagnostic> {
        let statement = crate::parser::parse_statement(text)?;
        self.execute_statement(statement).await
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Why it was not run.
    pub async fn execute_statement(
        &mut self,
        statement: Statement,
    ) -> Result<StatementOutcome, Diagnostic> {
        self.check_statement_set(&statement)?;
        match statement {
            Statement::SetList => show::settings(&self.configuration).map(StatementOutcome::Table),
            Statement::Set { key, value } => {
                let warning = self.configuration.set(&key, &value)?;
                Ok(StatementOutcome::Done { warning })
            }
            Statement::Reset(Some(key)) => {
                self.configuration.reset(&key);
                Ok(StatementOutcome::done())
            }
            Statement::Reset(None) => {
                self.configuration.reset_all();
                Ok(StatementOutcome::done())
            }
            Statement::CreateTable(create) => self.create_table(create).boxed().await,
            Statement::CreateView(create) => self.create_view(create).await,
            Statement::CreateCatalog(create) => self.create_catalog(create),
            Statement::CreateDatabase(create) => self.create_database(create).await,
            Statement::AlterTable(alter) => self.alter_table(alter).boxed().await,
            Statement::RenameView { name, to } => self.rename_view(&name, &to).await,
            Statement::Drop(drop) => self.drop_object(drop).await,
            Statement::UseCatalog(name) => self.use_catalog(&name),
            Statement::UseDatabase(name) => self.use_database(&name).await,
            Statement::Show(show) => self.show(show).await,
            Statement::Describe(name) => {
                self.describe(&name, None).await.map(StatementOutcome::Table)
            }
            Statement::DescribeJob(id) => Ok(StatementOutcome::DescribeJob(id)),
            Statement::ShowSplits(id) => Ok(StatementOutcome::ShowSplits(id)),
            Statement::Explain(explain) => self.explain(&explain).await,
            Statement::Insert(insert) => self.insert(insert).await,
            Statement::ChangeRows(change) => {
                let context = self.planner_context();
                let count = planner::change_rows(&context, &change).boxed().await?;
                ResultTable::count("rows affected", count).map(StatementOutcome::Table)
            }
            Statement::Verify(statement) => {
                let context = self.planner_context();
                let verified = verify::verify(&context, &statement).boxed().await?;
                verified.table().map(StatementOutcome::Table)
            }
            Statement::StatementSet(inserts) => self.submit(&inserts).await,
            Statement::BeginStatementSet => {
                self.statement_set = Some(Vec::new());
                Ok(StatementOutcome::done())
            }
            Statement::EndStatementSet => self.end_statement_set().await,
            Statement::Query(query) => {
                let planned = planner::plan_query(&self.planner_context(), &query).await?;
                Ok(StatementOutcome::Query(Box::new(planned)))
            }
            Statement::Maintain(maintain) => self.maintain(maintain).boxed().await,
            Statement::StopJob(stop) => Ok(StatementOutcome::StopJob(stop)),
            Statement::Help => Ok(StatementOutcome::Help),
            Statement::Clear => Ok(StatementOutcome::Clear),
            Statement::Quit => Ok(StatementOutcome::Quit),
        }
    }

    /// Inside a statement set only inserts are possible.
    fn check_statement_set(&self, statement: &Statement) -> Result<(), Diagnostic> {
        let allowed = matches!(
            statement,
            Statement::Insert(_)
                | Statement::EndStatementSet
                | Statement::Help
                | Statement::Clear
                | Statement::Quit
        );
        if self.statement_set.is_none() || allowed {
            return Ok(());
        }
        let message = "Only INSERT statement is allowed in Statement Set or use 'END' to submit \
                       Statement Set.";
        Err(Diagnostic::new(Code::SessionState, message))
    }

    async fn insert(&mut self, insert: Insert) -> Result<StatementOutcome, Diagnostic> {
        if let Some(inserts) = &mut self.statement_set {
            inserts.push(insert);
            return Ok(StatementOutcome::done());
        }
        self.submit(&[insert]).await
    }

    async fn end_statement_set(&mut self) -> Result<StatementOutcome, Diagnostic> {
        match self.statement_set.take() {
            None => {
                let message = "No Statement Set to submit. \"END\" statement should be used after \
                               \"BEGIN STATEMENT SET\".";
                Err(Diagnostic::new(Code::SessionState, message))
            }
            Some(inserts) if inserts.is_empty() => {
                let message = "No statement in the statement set, skip submit.";
                Ok(StatementOutcome::Done { warning: Some(message.to_owned()) })
            }
            Some(inserts) => self.submit(&inserts).await,
        }
    }

    async fn submit(&self, inserts: &[Insert]) -> Result<StatementOutcome, Diagnostic> {
        let context = self.planner_context();
        let plan = planner::plan_insert(&context, inserts).await?;
        let scope = Box::new(self.freeze(&context, inserts)?);
        Ok(StatementOutcome::SubmitJob { plan: Box::new(plan), scope })
    }

    async fn explain(&self, explain: &Explain) -> Result<StatementOutcome, Diagnostic> {
        let text = planner::explain(&self.planner_context(), explain).await?;
        ResultTable::text(text).map(StatementOutcome::Table)
    }
}
