//! A catalog from the options of `CREATE CATALOG` or of a table, named as Iceberg and Flink name
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Catalog, RestCatalog, SqlCatalog, SqlConnection};
use crate::{Error, Storage};

/// The kind of the catalog.
const CATALOG_TYPE: &str = "catalog-type";
const CATALOG_IMPL: &str = "catalog-impl";
const IO_IMPL: &str = "io-impl";
const URI: &str = "uri";
const WAREHOUSE: &str = "warehouse";
const USER: &str = "jdbc.user";
const PASSWORD: &str = "jdbc.password";

/// Keys that some catalog reads, beside those of storage. One that ends in a dot stands for all
/// that begin with it.
const KEYS: [&str; 24] = [
    CATALOG_TYPE,
    CATALOG_IMPL,
    IO_IMPL,
    URI,
    WAREHOUSE,
    USER,
    PASSWORD,
    "jdbc.schema-version",
    "credential",
    "token",
    "token-refresh-enabled",
    "scope",
    "audience",
    "resource",
    "prefix",
    "oauth2-server-uri",
    "rest.auth.type",
    "rest.sigv4-enabled",
    "rest.signing-name",
    "rest.signing-region",
    "rest.access-key-id",
    "rest.secret-access-key",
    "rest.session-token",
    "header.",
];

/// Whether an option says where the catalog and its files are and how they are reached. Such
/// options are never stored in a table.
#[must_use]
pub fn is_catalog_option(key: &str) -> bool {
    let known = |known: &&str| match known.strip_suffix('.') {
        Some(_) => key.starts_with(*known),
        None => *known == key,
    };
    KEYS.iter().any(known) || Storage::is_option(key)
}

/// The keys of [`is_catalog_option`] that may be given, for a list in a message.
#[must_use]
pub fn catalog_option_keys() -> Vec<String> {
    let shown = |key: &str| if key.ends_with('.') { format!("{key}*") } else { key.to_owned() };
    KEYS.iter().map(|key| shown(key)).chain(Storage::option_keys().map(str::to_owned)).collect()
}

/// The catalog that these options describe; others are passed over. `name` is the name under which
/// an SQL catalog keeps its rows. Does no I/O.
///
/// # Errors
/// [`Error::Invalid`] names the option that is wrong, missing or not supported, and never shows a
/// value that may be a secret.
pub fn open_catalog<'a>(
    name: &str,
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Arc<dyn Catalog>, Error> {
    let options: BTreeMap<&str, &str> =
        options.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let storage = Storage::from_options(options.iter().map(|(key, value)| (*key, *value)))?;
    check_io(&options)?;
    let get = |key: &str| options.get(key).copied();
    match kind(&options)? {
        Kind::Hadoop => {
            if get(URI).is_some() {
                return Err(Error::Invalid(
                    "'uri' means nothing to a catalog of type 'hadoop'; leave it out, or name another \
                     'catalog-type'"
                        .to_owned(),
                ));
            }
            let warehouse = get(WAREHOUSE).ok_or_else(|| {
                Error::Invalid(
                    "Cannot initialize HadoopCatalog because warehousePath must not be null or empty: \
                     set the 'warehouse' option"
                        .to_owned(),
                )
            })?;
            super::open_hadoop(warehouse, storage)
        }
        Kind::Sql => {
            let uri = get(URI).ok_or_else(|| missing_uri("sql"))?;
            let connection = SqlConnection {
                uri: uri.to_owned(),
                user: get(USER).map(str::to_owned),
                password: get(PASSWORD).map(str::to_owned),
            };
            Ok(Arc::new(SqlCatalog::new(name, &connection, get(WAREHOUSE), storage)?))
        }
        Kind::Rest => Ok(Arc::new(RestCatalog::new(&options, storage)?)),
    }
}

enum Kind {
    Hadoop,
    Sql,
    Rest,
}

fn kind(options: &BTreeMap<&str, &str>) -> Result<Kind, Error> {
    let java = options.get(CATALOG_IMPL).map(|class| match *class {
        "org.apache.iceberg.hadoop.HadoopCatalog" => Ok("hadoop"),
        "org.apache.iceberg.jdbc.JdbcCatalog" => Ok("jdbc"),
        "org.apache.iceberg.rest.RESTCatalog" => Ok("rest"),
        "org.apache.iceberg.aws.glue.GlueCatalog" => Ok("glue"),
        "org.apache.iceberg.nessie.NessieCatalog" => Ok("nessie"),
        "org.apache.iceberg.hive.HiveCatalog" => Ok("hive"),
        other => Err(Error::Invalid(format!(
            "'{CATALOG_IMPL}' = '{other}' is a Java class, which is not supported; use '{CATALOG_TYPE}' = \
             'hadoop', 'rest' or 'sql'"
        ))),
    });
    let name = match (options.get(CATALOG_TYPE), java.transpose()?) {
        (Some(_), Some(_)) => {
            return Err(Error::Invalid(format!(
                "only one of '{CATALOG_TYPE}' and '{CATALOG_IMPL}' can be given"
            )));
        }
        (Some(name), None) => (*name).to_ascii_lowercase(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "hadoop".to_owned(),
    };
    let refused = |way_out: &str| {
        Err(Error::Invalid(format!("catalog type '{name}' is not supported; {way_out}")))
    };
    match name.as_str() {
        "hadoop" => Ok(Kind::Hadoop),
        "sql" | "jdbc" => Ok(Kind::Sql),
        "rest" => Ok(Kind::Rest),
        "hive" => refused(
            "use 'rest' (for example Hive's own Iceberg REST endpoint, Lakekeeper or Polaris), 'sql' or \
             'hadoop', and register the tables there",
        ),
        "glue" => refused(
            "use 'rest' with Glue's Iceberg endpoint ('uri' = 'https://glue.<region>.amazonaws.com/iceberg', \
             'rest.sigv4-enabled' = 'true', 'rest.signing-name' = 'glue')",
        ),
        "nessie" => refused(
            "use 'rest' with Nessie's Iceberg endpoint ('uri' = 'http://host:19120/iceberg')",
        ),
        _ => refused("possible are 'hadoop', 'rest' and 'sql' (or 'jdbc')"),
    }
}

/// The scheme of a location says how it is read, so a class for it says nothing new.
fn check_io(options: &BTreeMap<&str, &str>) -> Result<(), Error> {
    match options.get(IO_IMPL).copied() {
        None
        | Some(
            "org.apache.iceberg.aws.s3.S3FileIO"
            | "org.apache.iceberg.hadoop.HadoopFileIO"
            | "org.apache.iceberg.io.ResolvingFileIO",
        ) => Ok(()),
        Some(other) => Err(Error::Invalid(format!(
            "'{IO_IMPL}' = '{other}' is a Java class, which is not supported; leave it out: the scheme of \
             'warehouse' says how files are reached"
        ))),
    }
}

pub(super) fn missing_uri(kind: &str) -> Error {
    Error::Invalid(format!("a catalog of type '{kind}' needs the option 'uri'"))
}
