//! `$manifests`: the manifests of a snapshot with summaries of their partitions.

use std::sync::Arc;

use arrow::array::{BooleanBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use iceberg::spec::{Datum, Literal, ManifestContentType, ManifestFile, Type};

use super::MetadataColumn;
use super::columns::{column, numbers, optional_bytes, texts};
use crate::scan::plan;
use crate::{AsOf, Error, Table};

pub(super) async fn manifests(table: &Table, as_of: &AsOf) -> Result<Vec<MetadataColumn>, Error> {
    let manifests = match as_of.snapshot(table)? {
        Some(snapshot) => plan::manifest_list(table, &snapshot).await?,
        None => Arc::default(),
    };
    let rows = || manifests.iter();
    // Each count is given for the kind of files that the manifest lists, and is 0 for the other.
    let count = |name: &str, content: ManifestContentType, of: fn(&ManifestFile) -> Option<u32>| {
        let counts = manifests.iter().map(|manifest| {
            let count = if manifest.content == content { of(manifest) } else { None };
            i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX)
        });
        numbers::<Int32Type>(name, counts)
    };
    let data = ManifestContentType::Data;
    let deletes = ManifestContentType::Deletes;
    Ok(vec![
        numbers::<Int32Type>("content", rows().map(|manifest| manifest.content as i32)),
        texts("path", rows().map(|manifest| &manifest.manifest_path)),
        numbers::<Int64Type>("length", rows().map(|manifest| manifest.manifest_length)),
        numbers::<Int32Type>("partition_spec_id", rows().map(|m| m.partition_spec_id)),
        numbers::<Int64Type>("added_snapshot_id", rows().map(|m| m.added_snapshot_id)),
        count("added_data_files_count", data, |manifest| manifest.added_files_count),
        count("existing_data_files_count", data, |manifest| manifest.existing_files_count),
        count("deleted_data_files_count", data, |manifest| manifest.deleted_files_count),
        count("added_delete_files_count", deletes, |manifest| manifest.added_files_count),
        count("existing_delete_files_count", deletes, |manifest| manifest.existing_files_count),
        count("deleted_delete_files_count", deletes, |manifest| manifest.deleted_files_count),
        summaries(table, &manifests),
        optional_bytes("key_metadata", rows().map(|manifest| manifest.key_metadata.as_deref())),
    ])
}

fn summaries(table: &Table, manifests: &[ManifestFile]) -> MetadataColumn {
    let fields = vec![
        Field::new("contains_null", DataType::Boolean, false),
        Field::new("contains_nan", DataType::Boolean, true),
        Field::new("lower_bound", DataType::Utf8, true),
        Field::new("upper_bound", DataType::Utf8, true),
    ];
    let element = Field::new("element", DataType::Struct(fields.clone().into()), false);
    let row = StructBuilder::from_fields(fields, manifests.len());
    let mut builder = ListBuilder::new(row).with_field(element);
    for manifest in manifests {
        let texts = bound_texts(table, manifest);
        let summaries = manifest.partitions.iter().flatten();
        for (summary, (lower, upper)) in summaries.zip(texts) {
            let row = builder.values();
            if let Some(field) = row.field_builder::<BooleanBuilder>(0) {
                field.append_value(summary.contains_null);
            }
            if let Some(field) = row.field_builder::<BooleanBuilder>(1) {
                field.append_option(summary.contains_nan);
            }
            if let Some(field) = row.field_builder::<StringBuilder>(2) {
                field.append_option(lower);
            }
            if let Some(field) = row.field_builder::<StringBuilder>(3) {
                field.append_option(upper);
            }
            row.append(true);
        }
        builder.append(true);
    }
    column("partition_summaries", false, Arc::new(builder.finish()))
}

/// The bounds of each partition field as people read them.
fn bound_texts(table: &Table, manifest: &ManifestFile) -> Vec<(Option<String>, Option<String>)> {
    let metadata = table.metadata();
    let spec = metadata.partition_spec_by_id(manifest.partition_spec_id);
    let summaries = manifest.partitions.iter().flatten().enumerate();
    summaries
        .map(|(index, summary)| {
            let field = spec.and_then(|spec| spec.fields().get(index));
            let text = |bytes: Option<&[u8]>| {
                let field = field?;
                let source = metadata
                    .schemas_iter()
                    .find_map(|schema| schema.field_by_id(field.source_id))?;
                let result = field.transform.result_type(&source.field_type).ok()?;
                let Type::Primitive(kind) = &result else { return None };
                let datum = Datum::try_from_bytes(bytes?, kind.clone()).ok()?;
                let literal = Literal::Primitive(datum.literal().clone());
                Some(field.transform.to_human_string(&source.field_type, Some(&literal)))
            };

            let lower = summary.lower_bound.as_ref();
            let upper = summary.upper_bound.as_ref();
            (text(lower.map(|b| b.as_slice())), text(upper.map(|b| b.as_slice())))
        })
        .collect()
}
