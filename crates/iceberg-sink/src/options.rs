//! The options of `'connector' = 'iceberg'` that a sink knows.

use shardlake_connector::{OptionKind, OptionSpec, SchemaChangeBehavior};

pub(crate) const CATALOG_NAME: OptionSpec = OptionSpec::new(
    "catalog-name",
    OptionKind::Text,
    "A name for the catalog. It must be given, as in Flink; an SQL catalog keeps its rows under it.",
);
pub(crate) const CATALOG_TYPE: OptionSpec = OptionSpec::new(
    "catalog-type",
    OptionKind::Text,
    "How tables are found: hadoop (by their folder in the warehouse), rest or sql (also called jdbc).",
)
.default_value("hadoop");
pub(crate) const CATALOG_IMPL: OptionSpec = OptionSpec::new(
    "catalog-impl",
    OptionKind::Text,
    "Iceberg's Java name of the catalog type, as an alternative to it.",
);
pub(crate) const URI: OptionSpec = OptionSpec::new(
    "uri",
    OptionKind::Text,
    "The address of a REST catalog, or of the database of an SQL catalog.",
);
pub(crate) const WAREHOUSE: OptionSpec = OptionSpec::new(
    "warehouse",
    OptionKind::Text,
    "The folder of the warehouse: a path on a local disk, a file: URI or s3://bucket/folder. For a REST \
     catalog, its name there.",
);
pub(crate) const CATALOG_DATABASE: OptionSpec = OptionSpec::new(
    "catalog-database",
    OptionKind::Text,
    "The namespace of the Iceberg table; by default the database of the SQL table.",
);
pub(crate) const CATALOG_TABLE: OptionSpec = OptionSpec::new(
    "catalog-table",
    OptionKind::Text,
    "The name of the Iceberg table; by default the name of the SQL table.",
);
pub(crate) const FORMAT_VERSION: OptionSpec = OptionSpec::new(
    "format-version",
    OptionKind::Integer { min: 1, max: 3 },
    "The format version of a new table.",
)
.default_value("2");
pub(crate) const SORT_ORDER: OptionSpec = OptionSpec::new(
    "shardlake.table.sort-order",
    OptionKind::Text,
    "How rows are sorted in the data files of a new table, for example 'day(ts) DESC, id NULLS LAST'.",
);
pub(crate) const BRANCH: OptionSpec = OptionSpec::new(
    "branch",
    OptionKind::Text,
    "The branch that is written; one that the table does not have begins at the main branch.",
);
pub(crate) const UPSERT: OptionSpec = OptionSpec::new(
    "write.upsert.enabled",
    OptionKind::Boolean,
    "Accepted for Flink's sake: a table with a primary key is always written by key.",
);
pub(crate) const DISTRIBUTION_MODE: OptionSpec = OptionSpec::new(
    "write.distribution-mode",
    OptionKind::Word(&["none", "hash", "range"]),
    "Accepted for Flink's sake: rows are always distributed by the primary key.",
);
pub(crate) const WRITE_FORMAT: OptionSpec = OptionSpec::new(
    "write.format.default",
    OptionKind::Word(&["parquet"]),
    "The format of data files: parquet.",
);
pub(crate) const DELETE_MODE: OptionSpec = OptionSpec::new(
    "shardlake.delete-mode",
    OptionKind::Word(&["position", "deletion-vector", "equality"]),
    "How deletes are written: position, through the key index, in format version 3 as deletion vectors; \
     deletion-vector, which needs version 3; equality, by key as Flink does it, without an index, which \
     readers have to join.",
);
pub(crate) const INDEX_MEMORY: OptionSpec = OptionSpec::new(
    "shardlake.index.memory",
    OptionKind::Size,
    "Memory that the key index of the table may take; a key takes about 24 bytes. What does not fit goes \
     to a store on local disk, in TMPDIR or /var/tmp.",
)
.default_value("1gb");
pub(crate) const ENCODERS: OptionSpec = OptionSpec::new(
    "shardlake.write.encoders",
    OptionKind::Integer { min: 1, max: 64 },
    "Threads of each writer that encode data files. The second and further ones are used only while \
     the others are busy.",
)
.default_value("2");
pub(crate) const POSITION_COMMIT_INTERVAL: OptionSpec = OptionSpec::new(
    "shardlake.position-commit-interval",
    OptionKind::Duration,
    "How long the position may move without rows before a snapshot without rows stores it.",
)
.default_value("10 min");

pub(crate) const COMPACTION: OptionSpec = OptionSpec::new(
    "shardlake.compaction.enabled",
    OptionKind::Boolean,
    "Whether small files, deleted rows and delete files are rewritten beside the stream.",
)
.default_value("true");
pub(crate) const COMPACTION_CPU: OptionSpec = OptionSpec::new(
    "shardlake.compaction.cpu-percent",
    OptionKind::Integer { min: 1, max: 100 },
    "The share of one processor that compaction may use, in percent.",
)
.default_value("50");
pub(crate) const COMPACTION_GROUP: OptionSpec = OptionSpec::new(
    "shardlake.compaction.max-group-size",
    OptionKind::Size,
    "How much data is rewritten in one commit. Rows of a table with a sort order are sorted in memory, a \
     group at a time; they take a few times as much there.",
)
.default_value("256 mb");
pub(crate) const FILE_RETENTION: OptionSpec = OptionSpec::new(
    "shardlake.expired-files.retention",
    OptionKind::Duration,
    "How long files that only expired snapshots refer to are kept, for queries that are still reading \
     them.",
)
.default_value("10 min");

/// Every option that the sink knows.
pub const OPTIONS: &[OptionSpec] = &[
    SchemaChangeBehavior::OPTIONS[0],
    SchemaChangeBehavior::OPTIONS[1],
    CATALOG_NAME,
    CATALOG_TYPE,
    CATALOG_IMPL,
    URI,
    WAREHOUSE,
    CATALOG_DATABASE,
    CATALOG_TABLE,
    FORMAT_VERSION,
    SORT_ORDER,
    BRANCH,
    UPSERT,
    DISTRIBUTION_MODE,
    WRITE_FORMAT,
    DELETE_MODE,
    INDEX_MEMORY,
    ENCODERS,
    POSITION_COMMIT_INTERVAL,
    COMPACTION,
    COMPACTION_CPU,
    COMPACTION_GROUP,
    FILE_RETENTION,
    OptionSpec::new(
        "credential",
        OptionKind::Text,
        "The OAuth2 client of a REST catalog: its id, a colon and its secret.",
    )
    .secret(),
    OptionSpec::new("token", OptionKind::Text, "A bearer token for a REST catalog.").secret(),
    OptionSpec::new(
        "oauth2-server-uri",
        OptionKind::Text,
        "Where tokens are given; by default the REST catalog itself.",
    ),
    OptionSpec::new("scope", OptionKind::Text, "OAuth2's scope; by default `catalog`."),
    OptionSpec::new("audience", OptionKind::Text, "OAuth2's audience."),
    OptionSpec::new("resource", OptionKind::Text, "OAuth2's resource."),
    OptionSpec::new("prefix", OptionKind::Text, "A prefix of a REST catalog's paths."),
    OptionSpec::new("header.*", OptionKind::Text, "A header of each request to a REST catalog."),
    OptionSpec::new(
        "rest.*",
        OptionKind::Text,
        "How requests to a REST catalog are signed: rest.sigv4-enabled, rest.signing-name, \
         rest.signing-region.",
    ),
    OptionSpec::new(
        "token-refresh-enabled",
        OptionKind::Boolean,
        "Accepted for Iceberg's sake: tokens of a client are always renewed.",
    ),
    OptionSpec::new("jdbc.*", OptionKind::Text, "jdbc.user and jdbc.password of an SQL catalog."),
    OptionSpec::new(
        "s3.*",
        OptionKind::Text,
        "How buckets are reached: s3.endpoint, s3.access-key-id, s3.secret-access-key, s3.region, …",
    ),
    OptionSpec::new("client.region", OptionKind::Text, "Java's name of s3.region."),
    OptionSpec::new(
        "io-impl",
        OptionKind::Text,
        "Iceberg's Java name of the storage; the scheme of the warehouse says the same.",
    ),
    OptionSpec::new("write.*", OptionKind::Text, "Stored as a property of a new table."),
    OptionSpec::new("read.*", OptionKind::Text, "Stored as a property of a new table."),
    OptionSpec::new("commit.*", OptionKind::Text, "Stored as a property of a new table."),
    OptionSpec::new("history.*", OptionKind::Text, "Stored as a property of a new table."),
    OptionSpec::new("gc.*", OptionKind::Text, "Stored as a property of a new table."),
    OptionSpec::new("shardlake.table.*", OptionKind::Text, "Stored as a property of a new table."),
];
