//! Differences of JSON documents (`binlog_row_value_options=PARTIAL_JSON`): a document and what changed in it → the
//! new document, in binary form.
//!
//! A difference is an operation, the path of the value that it concerns, and the new value. The document is read
//! into a tree, changed, and written again with wide offsets, which any document may have.
//!
//! Why it ends on any input: as in the writer of text, depth is limited and every value is paid for from a budget of
//! the document's size.

use super::{
    INT16, INT32, INT64, LARGE_ARRAY, LARGE_OBJECT, LITERAL, Layout, MAX_DEPTH, OPAQUE,
    SMALL_ARRAY, SMALL_OBJECT, STRING, UINT16, UINT32, UINT64, counted,
};
use crate::cursor::Cursor;
use crate::value::jsonb::DOUBLE;

/// A document as a tree.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// Members in MySQL's order: by the length of the key, then by its bytes.
    Object(Vec<(Vec<u8>, Node)>),
    Array(Vec<Node>),
    /// Its kind and its bytes.
    Scalar(u8, Vec<u8>),
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Leg {
    Member(Vec<u8>),
    Cell(usize),
}

/// Applies the differences of an event to a document; `None` if either is malformed or they do not fit together.
pub(crate) fn apply(document: &[u8], differences: &[u8]) -> Option<Vec<u8>> {
    const REPLACE: u8 = 0;
    const INSERT: u8 = 1;
    const REMOVE: u8 = 2;
    let mut root = parse(document)?;
    let mut cursor = Cursor::new(differences);
    while !cursor.is_empty() {
        let operation = cursor.u8()?;
        let path = legs(cursor.lenenc_bytes()?)?;
        let value = if operation == REMOVE { None } else { Some(parse(cursor.lenenc_bytes()?)?) };
        match (operation, value) {
            (REPLACE, Some(value)) => *find(&mut root, &path)? = value,
            (INSERT, Some(value)) => insert(&mut root, &path, value)?,
            (REMOVE, None) => remove(&mut root, &path)?,
            _ => return None,
        }
    }
    let mut out = Vec::with_capacity(document.len() + differences.len());
    write_document(&root, &mut out)?;
    Some(out)
}

fn parse(document: &[u8]) -> Option<Node> {
    let (kind, value) = document.split_first()?;
    let mut budget = document.len().saturating_mul(2);
    parse_value(*kind, value, 0, &mut budget)
}

fn parse_value(kind: u8, value: &[u8], depth: u32, budget: &mut usize) -> Option<Node> {
    *budget = budget.checked_sub(1)?;
    if depth > MAX_DEPTH {
        return None;
    }
    let mut cursor = Cursor::new(value);
    let len = match kind {
        SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => {
            let layout = Layout {
                large: matches!(kind, LARGE_OBJECT | LARGE_ARRAY),
                object: matches!(kind, SMALL_OBJECT | LARGE_OBJECT),
            };
            return parse_container(layout, value, depth, budget);
        }
        LITERAL => 1,
        INT16 | UINT16 => 2,
        INT32 | UINT32 => 4,
        INT64 | UINT64 | DOUBLE => 8,
        STRING => {
            counted(&mut cursor)?;
            value.len() - cursor.len()
        }
        OPAQUE => {
            cursor.u8()?;
            counted(&mut cursor)?;
            value.len() - cursor.len()
        }
        _ => return None,
    };
    *budget = budget.checked_sub(len)?;
    Some(Node::Scalar(kind, value.get(..len)?.to_vec()))
}

fn parse_container(layout: Layout, value: &[u8], depth: u32, budget: &mut usize) -> Option<Node> {
    let mut cursor = Cursor::new(value);
    let count = layout.offset(&mut cursor)?;
    let size = layout.offset(&mut cursor)?;
    let bytes = value.get(..size)?;
    let key_bytes = if layout.object { layout.offset_bytes() + 2 } else { 0 };
    let mut keys = Cursor::new(cursor.take(count.checked_mul(key_bytes)?)?);
    let (mut members, mut items) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let kind = cursor.u8()?;
        let place = cursor.take(layout.offset_bytes())?;
        let node = if layout.is_inlined(kind) {
            parse_value(kind, place, depth + 1, budget)?
        } else {
            let offset = layout.offset(&mut Cursor::new(place))?;
            parse_value(kind, bytes.get(offset..)?, depth + 1, budget)?
        };
        if layout.object {
            let start = layout.offset(&mut keys)?;
            let len = usize::from(keys.u16()?);
            *budget = budget.checked_sub(len)?;
            members.push((bytes.get(start..start.checked_add(len)?)?.to_vec(), node));
        } else {
            items.push(node);
        }
    }
    Some(if layout.object { Node::Object(members) } else { Node::Array(items) })
}

/// Reads a path: `$`, then `.name`, `."name"` or `[number]`.
fn legs(path: &[u8]) -> Option<Vec<Leg>> {
    let text = std::str::from_utf8(path).ok()?;
    let mut rest = text.strip_prefix('$')?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(cell) = rest.strip_prefix('[') {
            let (number, later) = cell.split_once(']')?;
            legs.push(Leg::Cell(number.trim().parse().ok()?));
            rest = later;
            continue;
        }
        let name = rest.strip_prefix('.')?;
        if name.starts_with('"') {
            // A quoted name is a JSON string.
            let mut strings = serde_json::Deserializer::from_str(name).into_iter::<String>();
            let key = strings.next()?.ok()?;
            rest = name.get(strings.byte_offset()..)?;
            legs.push(Leg::Member(key.into_bytes()));
        } else {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (key, later) = name.split_at_checked(end)?;
            legs.push(Leg::Member(key.as_bytes().to_vec()));
            rest = later;
        }
    }
    Some(legs)
}

/// Where a key is among an object's members, or where it belongs.
fn place(members: &[(Vec<u8>, Node)], key: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(other, _)| (other.len(), other.as_slice()).cmp(&(key.len(), key)))
}

fn find<'a>(root: &'a mut Node, path: &[Leg]) -> Option<&'a mut Node> {
    let mut node = root;
    for leg in path {
        node = match (node, leg) {
            (Node::Object(members), Leg::Member(key)) => {
                let index = place(members, key).ok()?;
                &mut members.get_mut(index)?.1
            }
            (Node::Array(items), Leg::Cell(index)) => items.get_mut(*index)?,
            // A value that is no array counts as one of itself.
            (node, Leg::Cell(0)) => node,
            _ => return None,
        };
    }
    Some(node)
}

fn insert(root: &mut Node, path: &[Leg], value: Node) -> Option<()> {
    let (last, parents) = path.split_last()?;
    match (find(root, parents)?, last) {
        (Node::Object(members), Leg::Member(key)) => {
            let index = place(members, key).err()?;
            members.insert(index, (key.clone(), value));
        }
        (Node::Array(items), Leg::Cell(index)) => items.insert((*index).min(items.len()), value),
        _ => return None,
    }
    Some(())
}

fn remove(root: &mut Node, path: &[Leg]) -> Option<()> {
    let (last, parents) = path.split_last()?;
    match (find(root, parents)?, last) {
        (Node::Object(members), Leg::Member(key)) => {
            let index = place(members, key).ok()?;
            members.remove(index);
        }
        (Node::Array(items), Leg::Cell(index)) if *index < items.len() => {
            items.remove(*index);
        }
        _ => return None,
    }
    Some(())
}

fn write_document(node: &Node, out: &mut Vec<u8>) -> Option<()> {
    out.push(kind(node));
    write_content(node, out)
}

const fn kind(node: &Node) -> u8 {
    match node {
        Node::Object(_) => LARGE_OBJECT,
        Node::Array(_) => LARGE_ARRAY,
        Node::Scalar(kind, _) => *kind,
    }
}

fn write_content(node: &Node, out: &mut Vec<u8>) -> Option<()> {
    match node {
        Node::Scalar(_, bytes) => {
            out.extend_from_slice(bytes);
            Some(())
        }
        Node::Array(items) => write_container(&[], &items.iter().collect::<Vec<_>>(), out),
        Node::Object(members) => {
            let keys: Vec<&[u8]> = members.iter().map(|(key, _)| key.as_slice()).collect();
            write_container(&keys, &members.iter().map(|(_, node)| node).collect::<Vec<_>>(), out)
        }
    }
}

/// Writes an object, or an array if there are no keys, with offsets of four bytes.
fn write_container(keys: &[&[u8]], values: &[&Node], out: &mut Vec<u8>) -> Option<()> {
    const HEAD: usize = 8;
    const KEY_ENTRY: usize = 6;
    const VALUE_ENTRY: usize = 5;
    let layout = Layout { large: true, object: true };
    let offset = |place: usize| u32::try_from(place).ok().map(u32::to_le_bytes);
    let start = out.len();
    out.extend(offset(values.len())?);
    out.resize(start + HEAD, 0);
    let mut place = HEAD + keys.len() * KEY_ENTRY + values.len() * VALUE_ENTRY;
    for key in keys {
        out.extend(offset(place)?);
        out.extend(u16::try_from(key.len()).ok()?.to_le_bytes());
        place += key.len();
    }
    let entries = out.len();
    out.resize(entries + values.len() * VALUE_ENTRY, 0);
    keys.iter().for_each(|key| out.extend_from_slice(key));
    for (index, node) in values.iter().enumerate() {
        let inlined = match node {
            Node::Scalar(kind, bytes) if layout.is_inlined(*kind) => Some(bytes),
            _ => None,
        };
        let here = out.len() - start;
        let entry = out.get_mut(entries + index * VALUE_ENTRY..)?.get_mut(..VALUE_ENTRY)?;
        let (first, rest) = entry.split_first_mut()?;
        *first = kind(node);
        match inlined {
            Some(bytes) => rest.get_mut(..bytes.len())?.copy_from_slice(bytes),
            None => {
                rest.copy_from_slice(&offset(here)?);
                write_content(node, out)?;
            }
        }
    }
    let size = offset(out.len() - start)?;
    out.get_mut(start + 4..)?.get_mut(..4)?.copy_from_slice(&size);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::jsonb::write_json;
    use proptest::prelude::*;

    /// `{"a": [1, 2], "bb": "x"}` in MySQL's small form.
    fn document() -> Vec<u8> {
        [
            &[SMALL_OBJECT, 2, 0, 35, 0, 18, 0, 1, 0, 19, 0, 2, 0][..],
            &[SMALL_ARRAY, 21, 0, STRING, 33, 0],
            b"abb",
            &[2, 0, 12, 0, INT16, 1, 0, INT16, 2, 0, 0, 0],
            &[1, b'x'],
        ]
        .concat()
    }

    fn text(document: &[u8]) -> String {
        let mut out = Vec::new();
        write_json(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn difference(operation: u8, path: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![operation, u8::try_from(path.len()).unwrap()];
        bytes.extend(path.as_bytes());
        if operation != 2 {
            bytes.push(u8::try_from(value.len()).unwrap());
            bytes.extend(value);
        }
        bytes
    }

    #[test]
    fn differences_are_applied_in_order() {
        assert_eq!(text(&document()), r#"{"a": [1, 2], "bb": "x"}"#);
        let seven = [INT16, 7, 0];
        for (differences, expected) in [
            (vec![], r#"{"a": [1, 2], "bb": "x"}"#),
            (difference(0, "$.a[1]", &seven), r#"{"a": [1, 7], "bb": "x"}"#),
            (difference(0, "$", &seven), "7"),
            (
                difference(0, "$.bb", &document()),
                r#"{"a": [1, 2], "bb": {"a": [1, 2], "bb": "x"}}"#,
            ),
            (difference(1, "$.a[1]", &seven), r#"{"a": [1, 7, 2], "bb": "x"}"#),
            (difference(1, "$.a[9]", &seven), r#"{"a": [1, 2, 7], "bb": "x"}"#),
            (difference(1, "$.\"ü \\\"\"", &seven), r#"{"a": [1, 2], "bb": "x", "ü \"": 7}"#),
            (difference(1, "$.c", &seven), r#"{"a": [1, 2], "c": 7, "bb": "x"}"#),
            (difference(2, "$.a[0]", &[]), r#"{"a": [2], "bb": "x"}"#),
            ([difference(2, "$.a", &[]), difference(0, "$.bb", &seven)].concat(), r#"{"bb": 7}"#),
        ] {
            let changed = apply(&document(), &differences).unwrap();
            assert_eq!(text(&changed), expected);
        }
        for differences in [
            difference(0, "$.missing", &seven),
            difference(2, "$.a[2]", &[]),
            difference(1, "$.a", &seven),
            difference(3, "$.a", &seven),
            difference(0, "a", &seven),
            vec![0, 200],
        ] {
            assert_eq!(apply(&document(), &differences), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_difference_or_none(
            kind in 0_u8..16,
            document in prop::collection::vec(0_u8..40, 0..60),
            differences in prop::collection::vec(0_u8..40, 0..60),
        ) {
            let document = [&[kind], &document[..]].concat();
            drop(apply(&document, &differences));
            // What can be read at all comes back as the same text.
            if let Some(same) = apply(&document, &[]) {
                let (mut before, mut after) = (Vec::new(), Vec::new());
                if write_json(&document, &mut before).is_some() {
                    prop_assert_eq!(write_json(&same, &mut after), Some(()));
                    prop_assert_eq!(before, after);
                }
            }
        }
    }
}
