//! Writes binlog events for tests, as a server does.

use super::{HEADER_BYTES, code};

/// Writes events one after the other, with checksums.
pub(crate) struct Scribe {
    pub(crate) events: Vec<Vec<u8>>,
    checksums: bool,
    position: u32,
}

impl Scribe {
    /// Begins with a format description.
    pub(crate) fn new(checksums: bool) -> Self {
        let mut scribe = Self { events: Vec::new(), checksums: true, position: 4 };
        let mut body = 4_u16.to_le_bytes().to_vec();
        let mut version = b"9.7.4".to_vec();
        version.resize(50, 0);
        body.extend(version);
        body.extend([0, 0, 0, 0, 19]);
        // Post-header lengths of types 1 to 42; 8 for TABLE_MAP, 10 for rows events.
        let lengths = (1..=42_u8).map(|kind| match kind {
            code::TABLE_MAP | code::WRITE_ROWS_V1 | code::UPDATE_ROWS_V1 | code::DELETE_ROWS_V1 => {
                8
            }
            code::WRITE_ROWS
            | code::UPDATE_ROWS
            | code::DELETE_ROWS
            | code::PARTIAL_UPDATE_ROWS => 10,
            code::QUERY => 13,
            code::ROTATE => 8,
            code::FORMAT_DESCRIPTION => 95,
            _ => 0,
        });
        body.extend(lengths);
        body.push(u8::from(checksums));
        scribe.write(code::FORMAT_DESCRIPTION, &body);
        scribe.checksums = checksums;
        scribe
    }

    pub(crate) fn write(&mut self, type_code: u8, body: &[u8]) {
        self.write_flagged(type_code, 0, body);
    }

    pub(crate) fn write_flagged(&mut self, type_code: u8, flags: u16, body: &[u8]) {
        let size = HEADER_BYTES + body.len() + if self.checksums { 4 } else { 0 };
        let size = u32::try_from(size).unwrap();
        self.position += size;
        let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
        event.push(type_code);
        event.extend(1_u32.to_le_bytes());
        event.extend(size.to_le_bytes());
        event.extend(self.position.to_le_bytes());
        event.extend(flags.to_le_bytes());
        event.extend_from_slice(body);
        if self.checksums {
            event.extend(crc32fast::hash(&event).to_le_bytes());
        }
        self.events.push(event);
    }

    /// The events as a packet each.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        self.events.iter().map(|event| [&[0], &event[..]].concat()).collect()
    }
}

/// The body of a TABLE_MAP: type numbers with their metadata, and the optional metadata's fields.
pub(crate) fn table_map(
    table_id: u8,
    columns: &[(u8, &[u8])],
    optional: &[(u8, Vec<u8>)],
) -> Vec<u8> {
    let mut body = vec![table_id, 0, 0, 0, 0, 0, 1, 0];
    body.extend(b"\x04shop\0\x06orders\0");
    body.push(u8::try_from(columns.len()).unwrap());
    body.extend(columns.iter().map(|(type_code, _)| type_code));
    let metadata: Vec<u8> =
        columns.iter().flat_map(|(_, metadata)| metadata.iter().copied()).collect();
    body.push(u8::try_from(metadata.len()).unwrap());
    body.extend(metadata);
    body.extend(vec![0xff; columns.len().div_ceil(8)]);
    for (field, value) in optional {
        body.push(*field);
        body.push(u8::try_from(value.len()).unwrap());
        body.extend(value);
    }
    body
}

/// The body of a rows event with whole images.
pub(crate) fn rows(type_code: u8, table_id: u8, columns: usize, images: &[u8]) -> Vec<u8> {
    let mut body = vec![table_id, 0, 0, 0, 0, 0, 1, 0];
    if type_code >= code::WRITE_ROWS {
        body.extend([2, 0]);
    }
    body.push(u8::try_from(columns).unwrap());
    body.extend(vec![0xff; columns.div_ceil(8)]);
    if matches!(type_code, code::UPDATE_ROWS | code::UPDATE_ROWS_V1) {
        body.extend(vec![0xff; columns.div_ceil(8)]);
    }
    body.extend_from_slice(images);
    body
}

/// An image: the NULL bits and the cells that are not NULL.
pub(crate) fn image(cells: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut out = vec![0_u8; cells.len().div_ceil(8)];
    // The bits past the last column are set, as the server does.
    for bit in cells.len()..out.len() * 8 {
        out[bit / 8] |= 1 << (bit % 8);
    }
    for (index, cell) in cells.iter().enumerate() {
        match cell {
            None => out[index / 8] |= 1 << (index % 8),
            Some(cell) => out.extend(cell),
        }
    }
    out
}

/// Names as the optional metadata has them.
pub(crate) fn names(names: &[&str]) -> (u8, Vec<u8>) {
    let bytes = names.iter().flat_map(|name| {
        let mut bytes = vec![u8::try_from(name.len()).unwrap()];
        bytes.extend(name.as_bytes());
        bytes
    });
    (4, bytes.collect())
}
