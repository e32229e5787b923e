//! The bodies of requests and answers, as the REST catalog specification names them.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{MAIN_BRANCH, PartitionSpec, Schema, SortOrder, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

use crate::{Table, TableName};

/// The levels of a namespace, which we write with dots between them.
pub(super) fn levels(namespace: &str) -> Vec<&str> {
    namespace.split('.').collect()
}

/// A table's name on the wire.
#[derive(Serialize)]
pub(super) struct WireName<'a> {
    namespace: Vec<&'a str>,
    name: &'a str,
}

impl<'a> WireName<'a> {
    pub(super) fn of(name: &'a TableName) -> Self {
        Self { namespace: levels(&name.namespace), name: &name.name }
    }
}

#[derive(Serialize)]
pub(super) struct RenameRequest<'a> {
    pub(super) source: WireName<'a>,
    pub(super) destination: WireName<'a>,
}

/// `GET /v1/config`.
#[derive(Default, Deserialize)]
pub(super) struct ServerConfig {
    #[serde(default)]
    pub(super) defaults: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, String>,
}

/// `POST /v1/oauth/tokens`.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: String,
    #[serde(default)]
    pub(super) expires_in: Option<u64>,
}

/// A failure in the server's words.
#[derive(Deserialize)]
pub(super) struct ErrorAnswer {
    pub(super) error: ErrorModel,
}

#[derive(Deserialize)]
pub(super) struct ErrorModel {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) r#type: String,
}

/// A table as it is loaded, created or committed.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadedTable {
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) storage_credentials: Vec<StorageCredential>,
}

/// Credentials for the files below a prefix.
#[derive(Clone, Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
}

/// `GET …/tables/{table}/credentials`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadedCredentials {
    pub(super) storage_credentials: Vec<StorageCredential>,
}

/// One page of a list.
pub(super) trait Page {
    type Item;
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListNamespaces {
    #[serde(default)]
    namespaces: Vec<Vec<String>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

impl Page for ListNamespaces {
    type Item = Vec<String>;

    fn into_parts(self) -> (Vec<Vec<String>>, Option<String>) {
        (self.namespaces, self.next_page_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListTables {
    #[serde(default)]
    identifiers: Vec<ListedTable>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListedTable {
    pub(super) name: String,
}

impl Page for ListTables {
    type Item = ListedTable;

    fn into_parts(self) -> (Vec<ListedTable>, Option<String>) {
        (self.identifiers, self.next_page_token)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateRequest<'a> {
    name: &'a str,
    schema: &'a Schema,
    partition_spec: &'a PartitionSpec,
    write_order: &'a SortOrder,
    stage_create: bool,
    properties: HashMap<String, String>,
}

impl<'a> CreateRequest<'a> {
    /// Asks for a table like `metadata`.
    pub(super) fn of(
        name: &'a TableName,
        metadata: &'a TableMetadata,
        properties: &HashMap<String, String>,
    ) -> Self {
        let mut properties = properties.clone();
        // The protocol's way to say it: the server makes no property of it.
        let version = (metadata.format_version() as u8).to_string();
        properties.insert("format-version".to_owned(), version);
        Self {
            name: &name.name,
            schema: metadata.current_schema(),
            partition_spec: metadata.default_partition_spec(),
            write_order: metadata.default_sort_order(),
            stage_create: false,
            properties,
        }
    }
}

#[derive(Serialize)]
pub(super) struct CommitRequest<'a> {
    identifier: WireName<'a>,
    requirements: Vec<TableRequirement>,
    updates: &'a [TableUpdate],
}

impl<'a> CommitRequest<'a> {
    /// Asks for `changes` of `base`, and for nothing if somebody else has changed what they build
    /// on: the main branch, the branches and tags that are moved, the current schema, the default
    /// spec or order.
    pub(super) fn of(base: &'a Table, changes: &'a [TableUpdate]) -> Self {
        let metadata = base.metadata();
        let mut requirements = vec![TableRequirement::UuidMatch { uuid: metadata.uuid() }];
        let mut names: Vec<&str> = vec![MAIN_BRANCH];
        for change in changes {
            if let TableUpdate::SetSnapshotRef { ref_name, .. } = change {
                names.push(ref_name);
            }
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            requirements.push(TableRequirement::RefSnapshotIdMatch {
                r#ref: name.to_owned(),
                snapshot_id: metadata.snapshot_for_ref(name).map(|found| found.snapshot_id()),
            });
        }
        for change in changes {
            match change {
                TableUpdate::AddSchema { .. } => {
                    let last_assigned_field_id = metadata.last_column_id();
                    requirements.push(TableRequirement::LastAssignedFieldIdMatch {
                        last_assigned_field_id,
                    });
                }
                TableUpdate::SetCurrentSchema { .. } => {
                    let current_schema_id = metadata.current_schema_id();
                    requirements.push(TableRequirement::CurrentSchemaIdMatch { current_schema_id });
                }
                TableUpdate::AddSpec { .. } => {
                    let last_assigned_partition_id = metadata.last_partition_id();
                    requirements.push(TableRequirement::LastAssignedPartitionIdMatch {
                        last_assigned_partition_id,
                    });
                }
                TableUpdate::SetDefaultSpec { .. } => {
                    let default_spec_id = metadata.default_partition_spec_id();
                    requirements.push(TableRequirement::DefaultSpecIdMatch { default_spec_id });
                }
                TableUpdate::SetDefaultSortOrder { .. } => {
                    let default_sort_order_id = metadata.default_sort_order_id();
                    requirements
                        .push(TableRequirement::DefaultSortOrderIdMatch { default_sort_order_id });
                }
                _ => {}
            }
        }
        Self { identifier: WireName::of(base.name()), requirements, updates: changes }
    }
}
