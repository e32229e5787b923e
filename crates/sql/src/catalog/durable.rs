//! Definitions that outlive the process: what a server keeps of its catalogs.
//!
//! Every change of a catalog that lives in memory is stored before it is visible, so that what a
//! user was told is created is there after a crash. Values are stored as the user wrote them: a
//! secret that is given by reference is stored as the reference.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shardlake_connector::Options;

use super::{CatalogObject, Diagnostic};

/// What a definition is of: a catalog, a database of it, or an object in that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefinitionKey {
    /// The catalog.
    pub catalog: String,
    /// The database; none if the definition is the catalog's.
    pub database: Option<String>,
    /// The object; none if the definition is a catalog's or a database's.
    pub object: Option<String>,
}

impl DefinitionKey {
    /// The key of a catalog.
    #[must_use]
    pub fn catalog(catalog: &str) -> Self {
        Self { catalog: catalog.to_owned(), database: None, object: None }
    }

    /// The key of a database.
    #[must_use]
    pub fn database(catalog: &str, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..Self::catalog(catalog) }
    }

    /// The key of a table or view.
    #[must_use]
    pub fn object(catalog: &str, database: &str, object: &str) -> Self {
        Self { object: Some(object.to_owned()), ..Self::database(catalog, database) }
    }
}

/// A change of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefinitionChange {
    /// The definition is this text now.
    Put(DefinitionKey, String),
    /// The definition is gone, and so are those of everything in it.
    Remove(DefinitionKey),
}

/// Where definitions are kept.
pub trait DefinitionStorage: Send + Sync {
    /// All definitions, in the order of their keys: what contains comes before what is contained.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&self) -> Result<Vec<(DefinitionKey, String)>, Diagnostic>;

    /// Makes the changes, all or none, durably.
    ///
    /// # Errors
    /// They could not be made; nothing has changed.
    fn apply(&self, changes: &[DefinitionChange]) -> Result<(), Diagnostic>;
}

/// The text that is stored of options.
pub(crate) fn encode_options(options: &Options) -> Result<String, Diagnostic> {
    let pairs: Vec<(&str, &str)> = options.iter().collect();
    serde_json::to_string(&pairs).map_err(|error| Diagnostic::internal(error.to_string()))
}

/// The options that a stored text stands for.
pub(crate) fn decode_options(text: &str) -> Result<Options, Diagnostic> {
    let pairs: Vec<(String, String)> =
        serde_json::from_str(text).map_err(|error| damaged(&error))?;
    Ok(pairs.into_iter().collect())
}

/// The text that is stored of a table or view.
pub(crate) fn encode_object(object: &CatalogObject) -> Result<String, Diagnostic> {
    serde_json::to_string(object).map_err(|error| Diagnostic::internal(error.to_string()))
}

/// The table or view that a stored text stands for.
pub(crate) fn decode_object(text: &str) -> Result<CatalogObject, Diagnostic> {
    serde_json::from_str(text).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> Diagnostic {
    let place = format!("line {}, column {}", error.line(), error.column());
    Diagnostic::new(
        super::Code::CatalogAccess,
        format!("A stored definition cannot be read: it is damaged at {place}."),
    )
}

/// How options stand in a stored definition: as pairs, in their order.
pub(crate) mod pairs {
    use super::{Deserialize, Deserializer, Options, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        options: &Options,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        options.iter().collect::<Vec<(&str, &str)>>().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Options, D::Error> {
        Ok(Vec::<(String, String)>::deserialize(deserializer)?.into_iter().collect())
    }
}
