//! How the columns of a Parquet file become columns of the table: by field id, never by name.
//!
//! The footer of a file is rewritten as it is opened: a column with a field id that is wanted gets
//! the name that the reader calls it by, every other column a name that nobody asks for. From then
//! on names are right, also inside of structs, lists and maps, and DataFusion's reader, pruning and
//! struct casts, which go by name, work unchanged. Neither a renamed column nor a new column with an
//! old name can be mistaken.
//!
//! The types that an Arrow writer wished for (large strings, views, dictionaries) are dropped, so
//! that all files read alike.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use iceberg::spec::{MappedField, NameMapping, NestedFieldRef, Type as IcebergType};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use parquet::basic::Repetition;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::Error;

/// A column that is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadColumn {
    /// The name that the reader calls it by.
    pub(crate) name: String,
    /// The column of the table.
    pub(crate) field: NestedFieldRef,
}

/// The columns that are read, and how columns without ids are recognised.
#[derive(Debug)]
pub(crate) struct ReadSchema {
    names: HashMap<i32, String>,
    mapping: Option<Vec<Arc<MappedField>>>,
}

/// The table property that maps names to ids for files that were written without ids.
const NAME_MAPPING: &str = "schema.name-mapping.default";

impl ReadSchema {
    /// Reads these columns of files of a table with these properties.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table's name mapping is malformed.
    pub(crate) fn try_new(
        columns: &[ReadColumn],
        properties: &HashMap<String, String>,
    ) -> Result<Self, Error> {
        let mut names = HashMap::new();
        for column in columns {
            names.insert(column.field.id, column.name.clone());
            nested_names(&column.field.field_type, &mut names);
        }
        let mapping = properties
            .get(NAME_MAPPING)
            .map(|text| {
                let mapping: NameMapping = serde_json::from_str(text).map_err(|error| {
                    Error::Invalid(format!("table property '{NAME_MAPPING}' is malformed: {error}"))
                })?;
                Ok::<_, Error>(mapping.fields().iter().cloned().map(Arc::new).collect())
            })
            .transpose()?;
        Ok(Self { names, mapping })
    }

    /// The footer with the names of this schema.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub(crate) fn apply(&self, footer: &ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
        let file = footer.file_metadata();
        let root = file.schema_descr().root_schema();
        let Type::GroupType { fields, .. } = root else {
            return Err(ParquetError::General("the schema is no group of columns".to_owned()));
        };
        let mapping = if fields.iter().any(|field| has_id(field)) {
            None
        } else if let Some(mapping) = &self.mapping {
            Some(mapping.as_slice())
        } else if fields.is_empty() {
            None
        } else {
            return Err(ParquetError::General(format!(
                "its columns carry no field ids, and the table has no '{NAME_MAPPING}'"
            )));
        };
        let mut taken = HashSet::new();
        let fields = fields
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let renamed = self.rename(field, mapping, true)?;
                if taken.insert(renamed.name().to_owned()) {
                    return Ok(renamed);
                }
                // Of two columns with one id the first counts.
                rebuild(&renamed, &format!("{UNREAD}{index}"), None).map(Arc::new)
            })
            .collect::<Result<Vec<TypePtr>, ParquetError>>()?;
        let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
        let hints = arrow_hints(&schema)?.map(|hints| vec![hints]);
        let file = FileMetaData::new(
            file.version(),
            file.num_rows(),
            file.created_by().map(str::to_owned),
            hints,
            schema,
            file.column_orders().cloned(),
        );
        Ok(ParquetMetaDataBuilder::new(file)
            .set_row_groups(footer.row_groups().to_vec())
            .set_column_index(footer.column_index().cloned())
            .set_offset_index(footer.offset_index().cloned())
            .build())
    }

    fn rename(
        &self,
        field: &TypePtr,
        mapping: Option<&[Arc<MappedField>]>,
        top_level: bool,
    ) -> Result<TypePtr, ParquetError> {
        let info = field.get_basic_info();
        let mapped = mapping.and_then(|fields| {
            fields.iter().find(|mapped| mapped.names().iter().any(|name| name == field.name()))
        });
        let id = if info.has_id() { Some(info.id()) } else { mapped.and_then(|m| m.field_id()) };
        // The repeated groups of lists and maps have no ids and no mapping of their own.
        let below = mapped.map(|mapped| mapped.fields()).or(mapping);
        let fields = match field.as_ref() {
            Type::GroupType { fields, .. } => {
                Some(fields.iter().map(|field| self.rename(field, below, false)).collect::<Result<
                    Vec<_>,
                    _,
                >>(
                )?)
            }
            Type::PrimitiveType { .. } => None,
        };
        let name = match id {
            Some(id) => self.names.get(&id).cloned().unwrap_or_else(|| format!("{UNREAD}{id}")),
            None if top_level => format!("{UNREAD}{}", field.name()),
            None => field.name().to_owned(),
        };
        rebuild(field, &name, fields).map(Arc::new)
    }
}

/// How columns that are not read are called; no table has such a name.
const UNREAD: &str = "\u{1}unread ";

fn has_id(field: &Type) -> bool {
    field.get_basic_info().has_id()
        || match field {
            Type::GroupType { fields, .. } => fields.iter().any(|field| has_id(field)),
            Type::PrimitiveType { .. } => false,
        }
}

fn nested_names(field_type: &IcebergType, names: &mut HashMap<i32, String>) {
    let mut add = |field: &NestedFieldRef, name: &str| {
        names.insert(field.id, name.to_owned());
        nested_names(&field.field_type, names);
    };
    match field_type {
        IcebergType::Primitive(_) => {}
        IcebergType::Struct(fields) => {
            for field in fields.fields() {
                add(field, &field.name);
            }
        }
        IcebergType::List(list) => add(&list.element_field, "element"),
        IcebergType::Map(map) => {
            add(&map.key_field, "key");
            add(&map.value_field, "value");
        }
    }
}

/// The same type under another name, without id, with other fields inside if these are given.
fn rebuild(
    field: &Type,
    name: &str,
    new_fields: Option<Vec<TypePtr>>,
) -> Result<Type, ParquetError> {
    let info = field.get_basic_info();
    let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
    match field {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            Type::primitive_type_builder(name, *physical_type)
                .with_repetition(repetition)
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_length(*type_length)
                .with_precision(*precision)
                .with_scale(*scale)
                .build()
        }
        Type::GroupType { fields, .. } => Type::group_type_builder(name)
            .with_repetition(repetition)
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(new_fields.unwrap_or_else(|| fields.clone()))
            .build(),
    }
}

/// Asks the reader for the time zone that our schemas have. Parquet only knows "in UTC", which Arrow
/// names otherwise, and two names of one zone are two types.
fn arrow_hints(schema: &SchemaDescriptor) -> Result<Option<KeyValue>, ParquetError> {
    let plain = parquet_to_arrow_schema(schema, None)?;
    let fields: Vec<FieldRef> = plain.fields().iter().map(in_our_zone).collect();
    let wanted = Schema::new(fields);
    if wanted.fields() == plain.fields() {
        return Ok(None);
    }
    Ok(Some(KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&wanted))))
}

fn in_our_zone(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(in_our_zone).collect()),
        DataType::List(element) => DataType::List(in_our_zone(element)),
        DataType::Map(entries, sorted) => DataType::Map(in_our_zone(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
