//! The graph of a job as others see it: operators, and the ways of rows between them.

use serde::Serialize;
use shardlake_connector::ObjectName;
use shardlake_dataflow::{StageInput, transforms};
use shardlake_sql::plan::JobPlan;

/// What an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorKind {
    /// Reads a table.
    Source,
    /// Transforms rows.
    Transform,
    /// Writes a table and commits.
    Sink,
}

/// An operator of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// What it is.
    pub kind: OperatorKind,
    /// Its place among those of its kind: its counters are at the same place in [`crate::JobCounters`].
    pub index: usize,
    /// The table that it reads or writes.
    pub table: Option<ObjectName>,
    /// Its name, for example `Source: default_catalog.default_database.users`.
    pub name: String,
    /// On how many workers it runs.
    pub parallelism: usize,
    /// Places in the graph of the operators whose rows it takes.
    pub inputs: Vec<usize>,
    /// Whether rows are told apart by a key, so that a row that is written again replaces the former.
    pub is_keyed: bool,
}

/// The operators of a plan: sources, transformations and sinks, in this order.
pub(crate) fn graph(plan: &JobPlan, source_names: &[String], parallelism: usize) -> Vec<Operator> {
    let (chains, sink_inputs) = transforms(plan);
    let (source_count, chain_count) = (source_names.len(), chains.len());
    let place = |input: &StageInput| match input {
        StageInput::Source(index) => *index,
        StageInput::Transform(index) => source_count + *index,
    };
    let mut operators = Vec::with_capacity(source_count + chain_count + plan.sinks.len());
    let operator = |kind, index, name, inputs| Operator {
        kind,
        index,
        table: None,
        name,
        parallelism,
        inputs,
        is_keyed: false,
    };
    for (index, name) in source_names.iter().enumerate() {
        let name = format!("Source: {name}");
        let table = plan.sources.get(index).map(|source| source.name.clone());
        let source = operator(OperatorKind::Source, index, name, Vec::new());
        operators.push(Operator { table, ..source });
    }
    for (index, chain) in chains.into_iter().enumerate() {
        let inputs = chain.inputs.iter().map(place).collect();
        operators.push(operator(OperatorKind::Transform, index, chain.description, inputs));
    }
    for (index, (sink, inputs)) in plan.sinks.iter().zip(&sink_inputs).enumerate() {
        let name = format!("Sink: {}", sink.name);
        let inputs = inputs.iter().map(place).collect();
        let is_keyed = !sink.equality_key.is_empty();
        let table = Some(sink.name.clone());
        let operator = operator(OperatorKind::Sink, index, name, inputs);
        operators.push(Operator { table, is_keyed, ..operator });
    }
    operators
}
