//! What a statement does to the columns of a table.
//!
//! Invariant: whatever is not understood for certain is `None`, never a guess: the columns are then looked
//! up, or the table is refused.

use super::tokens::Tokens;
use crate::discovery::ServerColumn;

/// The columns of a table and the character set of those to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Layout {
    /// In the order of the binlog's row images.
    pub(crate) columns: Vec<ServerColumn>,
    /// The character set of text columns that are defined without one, if it is known.
    pub(crate) charset: Option<String>,
}

/// One action of `ALTER TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnChange {
    /// `ADD COLUMN`.
    Add {
        /// The new column.
        column: ServerColumn,
        /// Where it comes.
        place: Place,
        /// Nothing happens if there is one of that name (MariaDB's `IF NOT EXISTS`).
        unless_exists: bool,
    },
    /// `DROP COLUMN`.
    Drop {
        /// Its name.
        name: String,
        /// Nothing happens if there is none (MariaDB's `IF EXISTS`).
        if_exists: bool,
    },
    /// `RENAME COLUMN`.
    Rename {
        /// Its name so far.
        from: String,
        /// Its new name.
        to: String,
    },
    /// `MODIFY` and `CHANGE`.
    Redefine {
        /// Its name so far.
        from: String,
        /// What it is from now on.
        column: ServerColumn,
        /// Where it comes, if it moves.
        place: Option<Place>,
    },
    /// Text columns that are defined from now on have this character set.
    Charset(String),
    /// All text columns have this character set now.
    Convert(String),
}

/// Where a column comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind all others.
    Last,
    /// Before all others.
    First,
    /// Behind this one.
    After(String),
}

impl Layout {
    /// The columns after the changes of one statement, or `None` if they do not fit these columns.
    ///
    /// As MySQL does it (`prepare_fields_and_keys`): first every column of before is dropped, redefined in its
    /// place or kept; then new and moved columns come in, in their order. Names of before are looked up in the
    /// columns of before.
    pub(crate) fn altered(&self, changes: &[ColumnChange]) -> Option<Self> {
        let mut charset = self.charset.clone();
        let mut convert = None;
        let mut moved = vec![false; changes.len()];
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let mut kept = Some(column.clone());
            for (index, change) in changes.iter().enumerate() {
                match change {
                    ColumnChange::Drop { name, .. } if same(name, &column.name) => kept = None,
                    ColumnChange::Rename { from, to } if same(from, &column.name) => {
                        if let Some(kept) = &mut kept {
                            kept.name.clone_from(to);
                        }
                    }
                    ColumnChange::Redefine { from, column: new, place }
                        if same(from, &column.name) =>
                    {
                        kept = place.is_none().then(|| new.clone());
                        if let Some(moved) = moved.get_mut(index) {
                            *moved = place.is_some();
                        }
                    }
                    _ => {}
                }
            }
            columns.extend(kept);
        }
        for (change, moved) in changes.iter().zip(moved) {
            match change {
                ColumnChange::Add { column, place, unless_exists } => {
                    if *unless_exists && self.find(&column.name).is_some() {
                        continue;
                    }
                    insert(&mut columns, column.clone(), place)?;
                }
                ColumnChange::Redefine { column, place: Some(place), .. } if moved => {
                    insert(&mut columns, column.clone(), place)?;
                }
                ColumnChange::Redefine { from, .. } | ColumnChange::Rename { from, .. } => {
                    self.find(from)?;
                }
                ColumnChange::Drop { name, if_exists } => {
                    if !if_exists {
                        self.find(name)?;
                    }
                }
                ColumnChange::Charset(new) => charset = Some(new.clone()),
                ColumnChange::Convert(new) => {
                    charset = Some(new.clone());
                    convert = Some(new.clone());
                }
            }
        }
        for column in columns.iter_mut().filter(|column| is_text(&column.data_type)) {
            match &convert {
                Some(charset) => column.charset = Some(charset.clone()),
                None if column.charset.is_none() => column.charset.clone_from(&charset),
                None => {}
            }
        }
        Some(Self { columns, charset })
    }

    fn find(&self, name: &str) -> Option<&ServerColumn> {
        self.columns.iter().find(|column| same(&column.name, name))
    }
}

fn insert(columns: &mut Vec<ServerColumn>, column: ServerColumn, place: &Place) -> Option<()> {
    if columns.iter().any(|other| same(&other.name, &column.name)) {
        return None;
    }
    let at = match place {
        Place::Last => columns.len(),
        Place::First => 0,
        Place::After(name) => columns.iter().position(|other| same(&other.name, name))? + 1,
    };
    columns.insert(at, column);
    Some(())
}

/// Names of columns are compared without regard to case.
fn same(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// Whether a type holds text, so that it has a character set.
fn is_text(data_type: &str) -> bool {
    matches!(
        data_type,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
    )
}

/// Words that begin the definition of a key or constraint, not of a column. All but the last are reserved.
const NO_COLUMNS: [&str; 12] = [
    "INDEX",
    "KEY",
    "UNIQUE",
    "PRIMARY",
    "FULLTEXT",
    "SPATIAL",
    "FOREIGN",
    "CONSTRAINT",
    "CHECK",
    "PARTITION",
    "SYSTEM",
    "PERIOD",
];

fn begins_no_column(tokens: &Tokens<'_>) -> bool {
    tokens.peek_word().is_some_and(|word| NO_COLUMNS.contains(&word.as_str()))
}

/// The columns of `CREATE TABLE name (…) …`, read from the opening bracket on.
pub(super) fn read_created(tokens: &mut Tokens<'_>) -> Option<Layout> {
    let mut columns = Vec::new();
    if !tokens.skip_char('(') {
        return None;
    }
    loop {
        if begins_no_column(tokens) {
            if !tokens.skip_item() {
                return None;
            }
        } else {
            columns.push(read_definition(tokens)?.0);
        }
        if tokens.skip_char(')') {
            break;
        }
        if !tokens.skip_char(',') {
            return None;
        }
    }
    let mut charset = None;
    while !tokens.is_at_end() {
        if let Some(told) = read_charset(tokens) {
            charset = told.or(charset);
            continue;
        }
        match tokens.peek_word().as_deref() {
            // The query's columns come besides.
            Some("AS" | "SELECT" | "IGNORE" | "REPLACE") => return None,
            _ if !tokens.skip_one() => return None,
            _ => {}
        }
    }
    let mut layout = Layout { columns: Vec::new(), charset };
    for column in columns {
        let add = ColumnChange::Add { column, place: Place::Last, unless_exists: false };
        layout = layout.altered(&[add])?;
    }
    Some(layout)
}

/// The actions of `ALTER TABLE name …` that touch columns; other actions are passed over.
///
/// A new name of the table is handed to `renamed`.
pub(super) fn read_altered(
    tokens: &mut Tokens<'_>,
    mut renamed: impl FnMut(&mut Tokens<'_>),
) -> Option<Vec<ColumnChange>> {
    let mut changes = Vec::new();
    let mut understood = true;
    // `WAIT 5` and `NOWAIT` of MariaDB stand before the first action.
    if tokens.skip_word("WAIT") {
        tokens.word();
    }
    tokens.skip_word("NOWAIT");
    while !tokens.is_at_end() {
        let before = tokens.clone();
        if read_action(tokens, &mut changes, &mut renamed).is_none() {
            understood = false;
            *tokens = before;
        }
        if !tokens.skip_item() {
            return None;
        }
        if !tokens.skip_char(',') {
            break;
        }
    }
    (understood && tokens.is_at_end()).then_some(changes)
}

/// Reads one action. `None` if it is not known to leave the columns as they are.
fn read_action(
    tokens: &mut Tokens<'_>,
    changes: &mut Vec<ColumnChange>,
    renamed: &mut impl FnMut(&mut Tokens<'_>),
) -> Option<()> {
    if let Some(charset) = read_charset(tokens) {
        changes.push(ColumnChange::Charset(charset?));
        return Some(());
    }
    match tokens.word()?.as_str() {
        "ADD" => read_add(tokens, changes),
        "DROP" => {
            let column = tokens.skip_word("COLUMN");
            if !column && begins_no_column(tokens) {
                return Some(());
            }
            let if_exists = tokens.skip_phrase(&["IF", "EXISTS"]);
            changes.push(ColumnChange::Drop { name: tokens.name()?, if_exists });
            Some(())
        }
        verb @ ("CHANGE" | "MODIFY") => {
            tokens.skip_word("COLUMN");
            if tokens.skip_phrase(&["IF", "EXISTS"]) {
                return None;
            }
            let from = if verb == "CHANGE" { Some(tokens.name()?) } else { None };
            let (column, place) = read_definition(tokens)?;
            let from = from.unwrap_or_else(|| column.name.clone());
            changes.push(ColumnChange::Redefine { from, column, place });
            Some(())
        }
        "RENAME" => {
            if tokens.skip_word("COLUMN") {
                let from = tokens.name()?;
                let to = tokens.skip_word("TO").then(|| tokens.name()).flatten()?;
                changes.push(ColumnChange::Rename { from, to });
            } else if !tokens.skip_word("INDEX") && !tokens.skip_word("KEY") {
                tokens.skip_words(&["TO", "AS"]);
                tokens.skip_char('=');
                renamed(tokens);
            }
            Some(())
        }
        "CONVERT" => {
            if !tokens.skip_word("TO") {
                return Some(());
            }
            changes.push(ColumnChange::Convert(read_charset(tokens)??));
            Some(())
        }
        // Its list has commas of its own.
        "ORDER" => None,
        word => NEUTRAL.contains(&word).then_some(()),
    }
}

/// Actions and table options that leave the columns as they are.
const NEUTRAL: [&str; 54] = [
    "ALGORITHM",
    "ALTER",
    "ANALYZE",
    "AUTOEXTEND_SIZE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECK",
    "CHECKSUM",
    "COALESCE",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DATA",
    "DELAY_KEY_WRITE",
    "DISABLE",
    "DISCARD",
    "ENABLE",
    "ENCRYPTION",
    "ENGINE",
    "ENGINE_ATTRIBUTE",
    "EXCHANGE",
    "FORCE",
    "IMPORT",
    "INDEX",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "LOCK",
    "MAX_ROWS",
    "MIN_ROWS",
    "OPTIMIZE",
    "PACK_KEYS",
    "PARTITION",
    "PASSWORD",
    "REBUILD",
    "REMOVE",
    "REORGANIZE",
    "REPAIR",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
    "START",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "STORAGE",
    "TABLESPACE",
    "TRANSACTIONAL",
    "TRUNCATE",
    "TYPE",
    "UNION",
    "WITH",
    "WITHOUT",
];

fn read_add(tokens: &mut Tokens<'_>, changes: &mut Vec<ColumnChange>) -> Option<()> {
    let column = tokens.skip_word("COLUMN");
    if !column && begins_no_column(tokens) {
        return Some(());
    }
    let unless_exists = tokens.skip_phrase(&["IF", "NOT", "EXISTS"]);
    let mut add = |(column, place): (ServerColumn, Option<Place>)| {
        let place = place.unwrap_or(Place::Last);
        changes.push(ColumnChange::Add { column, place, unless_exists });
    };
    if !tokens.skip_char('(') {
        add(read_definition(tokens)?);
        return Some(());
    }
    loop {
        if begins_no_column(tokens) {
            if !tokens.skip_item() {
                return None;
            }
        } else {
            add(read_definition(tokens)?);
        }
        if tokens.skip_char(')') {
            return Some(());
        }
        if !tokens.skip_char(',') {
            return None;
        }
    }
}

/// `[DEFAULT] CHARACTER SET [=] x`, `[DEFAULT] COLLATE [=] x`: the character set, or that it is the server's.
fn read_charset(tokens: &mut Tokens<'_>) -> Option<Option<String>> {
    let before = tokens.clone();
    tokens.skip_word("DEFAULT");
    let mut charset = None;
    let mut found = false;
    loop {
        let is_collation = match () {
            () if tokens.skip_phrase(&["CHARACTER", "SET"]) || tokens.skip_word("CHARSET") => false,
            () if tokens.skip_word("COLLATE") => true,
            () if found => return Some(charset),
            () => {
                *tokens = before;
                return None;
            }
        };
        tokens.skip_char('=');
        let name = tokens.plain_text().or_else(|| tokens.name())?.to_ascii_lowercase();
        found = true;
        if !is_collation {
            charset = (name != "default").then_some(name);
        } else if charset.is_none() {
            charset = Some(charset_of_collation(&name));
        }
    }
}

/// Collations are named after their character set: `utf8mb4_0900_ai_ci`.
pub(crate) fn charset_of_collation(collation: &str) -> String {
    collation.split('_').next().unwrap_or(collation).to_owned()
}

/// A column's definition: `name type [attributes] [FIRST | AFTER other]`.
fn read_definition(tokens: &mut Tokens<'_>) -> Option<(ServerColumn, Option<Place>)> {
    let name = tokens.name()?;
    let mut kind = read_type(tokens)?;
    let mut place = None;
    while !tokens.is_at_item_end() {
        let before = tokens.clone();
        match tokens.word().as_deref() {
            Some("UNSIGNED" | "ZEROFILL") => kind.unsigned = true,
            Some("ASCII") => kind.charset = Some("latin1".to_owned()),
            Some("UNICODE") => kind.charset = Some("ucs2".to_owned()),
            Some("BYTE") => kind.make_binary()?,
            Some("FIRST") => place = Some(Place::First),
            Some("AFTER") => place = Some(Place::After(tokens.name()?)),
            Some("CHARACTER" | "CHARSET" | "COLLATE") => {
                *tokens = before;
                let charset = read_charset(tokens)??;
                if charset == "binary" && !matches!(kind.name.as_str(), "enum" | "set") {
                    kind.make_binary()?;
                } else if kind.charset.is_none() {
                    kind.charset = Some(charset);
                }
            }
            Some(_) => {}
            None if !tokens.skip_one() => return None,
            None => {}
        }
    }
    Some((kind.into_column(name), place))
}

/// A type while its attributes are read.
struct Kind {
    /// As information_schema writes it.
    name: String,
    arguments: Option<String>,
    unsigned: bool,
    charset: Option<String>,
}

impl Kind {
    /// A text type with the character set `binary` is a type of bytes.
    fn make_binary(&mut self) -> Option<()> {
        let name = match self.name.as_str() {
            "char" => "binary",
            "varchar" => "varbinary",
            "tinytext" => "tinyblob",
            "text" => "blob",
            "mediumtext" => "mediumblob",
            "longtext" => "longblob",
            _ => return None,
        };
        self.name = name.to_owned();
        self.charset = None;
        Some(())
    }

    fn into_column(self, name: String) -> ServerColumn {
        let arguments = self.arguments.map(|text| format!("({text})")).unwrap_or_default();
        let sign = if self.unsigned { " unsigned" } else { "" };
        ServerColumn {
            name,
            column_type: format!("{}{arguments}{sign}", self.name),
            charset: self.charset.filter(|_| is_text(&self.name)),
            data_type: self.name,
        }
    }
}

fn read_type(tokens: &mut Tokens<'_>) -> Option<Kind> {
    let word = tokens.word()?;
    let mut charset = None;
    let mut unsigned = false;
    let mut fixed = None;
    let name = match word.as_str() {
        "TINYINT" | "INT1" => "tinyint",
        "BOOL" | "BOOLEAN" => {
            fixed = Some("1".to_owned());
            "tinyint"
        }
        "SMALLINT" | "INT2" => "smallint",
        "MEDIUMINT" | "MIDDLEINT" | "INT3" => "mediumint",
        "INT" | "INTEGER" | "INT4" => "int",
        "BIGINT" | "INT8" => "bigint",
        "SERIAL" => {
            unsigned = true;
            "bigint"
        }
        "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" => "decimal",
        "FLOAT" | "FLOAT4" => "float",
        "DOUBLE" | "FLOAT8" => {
            tokens.skip_word("PRECISION");
            "double"
        }
        "REAL" => "double",
        "CHAR" | "CHARACTER" if tokens.skip_word("VARYING") => "varchar",
        "CHAR" | "CHARACTER" => "char",
        "VARCHAR" | "VARCHARACTER" => "varchar",
        "NCHAR" | "NVARCHAR" | "NATIONAL" => {
            charset = Some("utf8mb3".to_owned());
            tokens.skip_words(&["CHAR", "CHARACTER"]);
            let varying = tokens.skip_word("VARCHAR")
                || tokens.skip_word("VARCHARACTER")
                || tokens.skip_word("VARYING");
            if word == "NVARCHAR" || varying { "varchar" } else { "char" }
        }
        "LONG" if tokens.skip_word("VARBINARY") => "mediumblob",
        "LONG" => {
            tokens.skip_words(&["VARCHAR", "VARCHARACTER", "CHAR", "CHARACTER", "VARYING"]);
            "mediumtext"
        }
        "GEOMCOLLECTION" | "GEOMETRYCOLLECTION" => "geomcollection",
        "ENUM" | "SET" => {
            let group = tokens.group()?;
            fixed = Some(read_members(group)?);
            if word == "ENUM" { "enum" } else { "set" }
        }
        plain if PLAIN.contains(&plain) => return plain_kind(tokens, plain),
        _ => return None,
    };
    let arguments = match fixed {
        Some(fixed) => Some(fixed),
        None => tokens.group().map(|text| text.split_whitespace().collect()),
    };
    let name = if name == "float" && arguments.as_deref().is_some_and(is_double_precision) {
        "double"
    } else {
        name
    };
    Some(Kind { name: name.to_owned(), arguments, unsigned, charset })
}

/// Types that information_schema writes as statements do.
const PLAIN: [&str; 26] = [
    "BIT",
    "YEAR",
    "DATE",
    "TIME",
    "DATETIME",
    "TIMESTAMP",
    "TINYTEXT",
    "TEXT",
    "MEDIUMTEXT",
    "LONGTEXT",
    "BINARY",
    "VARBINARY",
    "TINYBLOB",
    "BLOB",
    "MEDIUMBLOB",
    "LONGBLOB",
    "JSON",
    "VECTOR",
    "GEOMETRY",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "UUID",
];

fn plain_kind(tokens: &mut Tokens<'_>, word: &str) -> Option<Kind> {
    let arguments: Option<String> = tokens.group().map(|text| text.split_whitespace().collect());
    let mut name = word.to_ascii_lowercase();
    if let ("text" | "blob", Some(length)) = (name.as_str(), &arguments) {
        // The smallest type that holds so many characters.
        let prefix = match length.parse::<u64>().ok()? {
            0..=63 => "tiny",
            64..=16_383 => "",
            16_384..=4_194_303 => "medium",
            _ => "long",
        };
        name = format!("{prefix}{name}");
        return Some(Kind { name, arguments: None, unsigned: false, charset: None });
    }
    Some(Kind { name, arguments, unsigned: false, charset: None })
}

fn is_double_precision(arguments: &str) -> bool {
    arguments.parse::<u32>().is_ok_and(|bits| bits > 24)
}

/// Members of ENUM or SET as information_schema writes them.
fn read_members(list: &str) -> Option<String> {
    let mut tokens = Tokens::new(list);
    let mut members = Vec::new();
    loop {
        // MySQL takes away blanks at the end.
        let member = tokens.plain_text()?;
        members.push(format!("'{}'", member.trim_end_matches(' ').replace('\'', "''")));
        if tokens.is_at_end() {
            return Some(members.join(","));
        }
        if !tokens.skip_char(',') {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
