//! Spatial values → GeoJSON text, with the number of the reference system beside it, as Flink CDC writes it:
//! `{"coordinates":[1,2],"type":"Point","srid":0}`.
//!
//! In MySQL a spatial value is that number and a value in the well-known binary form, whose first coordinate is always
//! the longitude where there is one.

use super::float::write_f64;
use super::temporal::write_number;
use crate::cursor::Cursor;

/// Collections within collections.
const MAX_DEPTH: u32 = 64;

const POINT: u32 = 1;
const LINE_STRING: u32 = 2;
const POLYGON: u32 = 3;
const MULTI_POINT: u32 = 4;
const MULTI_LINE_STRING: u32 = 5;
const MULTI_POLYGON: u32 = 6;
const COLLECTION: u32 = 7;

/// Appends the text of a value; `None` if it is malformed.
pub(crate) fn write_geometry(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut cursor = Cursor::new(value);
    let srid = cursor.u32()?;
    let kind = head(&mut cursor)?;
    out.push(b'{');
    write_parts(kind, &mut cursor, out, 0)?;
    out.push(b',');
    write_type(kind, out)?;
    out.extend_from_slice(b",\"srid\":");
    write_number(u64::from(srid), 1, out);
    out.push(b'}');
    cursor.is_empty().then_some(())
}

/// The byte order, which MySQL keeps little-endian, and the kind.
fn head(cursor: &mut Cursor<'_>) -> Option<u32> {
    const LITTLE_ENDIAN: u8 = 1;
    if cursor.u8()? != LITTLE_ENDIAN {
        return None;
    }
    cursor.u32()
}

fn write_type(kind: u32, out: &mut Vec<u8>) -> Option<()> {
    let name: &[u8] = match kind {
        POINT => b"Point",
        LINE_STRING => b"LineString",
        POLYGON => b"Polygon",
        MULTI_POINT => b"MultiPoint",
        MULTI_LINE_STRING => b"MultiLineString",
        MULTI_POLYGON => b"MultiPolygon",
        COLLECTION => b"GeometryCollection",
        _ => return None,
    };
    out.extend_from_slice(b"\"type\":\"");
    out.extend_from_slice(name);
    out.push(b'"');
    Some(())
}

/// The coordinates, or the members of a collection, with their name.
fn write_parts(kind: u32, cursor: &mut Cursor<'_>, out: &mut Vec<u8>, depth: u32) -> Option<()> {
    if kind != COLLECTION {
        out.extend_from_slice(b"\"coordinates\":");
        return write_coordinates(kind, cursor, out);
    }
    if depth > MAX_DEPTH {
        return None;
    }
    out.extend_from_slice(b"\"geometries\":");
    write_list(cursor, out, |cursor, out| {
        let kind = head(cursor)?;
        out.push(b'{');
        write_type(kind, out)?;
        out.push(b',');
        write_parts(kind, cursor, out, depth + 1)?;
        out.push(b'}');
        Some(())
    })
}

fn write_coordinates(kind: u32, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<()> {
    match kind {
        POINT => write_point(cursor, out),
        LINE_STRING => write_list(cursor, out, write_point),
        POLYGON => write_list(cursor, out, |cursor, out| write_list(cursor, out, write_point)),
        MULTI_POINT | MULTI_LINE_STRING | MULTI_POLYGON => {
            let part = kind - (MULTI_POINT - POINT);
            write_list(cursor, out, |cursor, out| {
                if head(cursor)? != part {
                    return None;
                }
                write_coordinates(part, cursor, out)
            })
        }
        _ => None,
    }
}

/// A list behind its count. Each element takes bytes, so a false count ends with them.
fn write_list(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    mut element: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    out.push(b'[');
    for index in 0..cursor.u32()? {
        if index > 0 {
            out.push(b',');
        }
        element(cursor, out)?;
    }
    out.push(b']');
    Some(())
}

fn write_point(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    write_f64(f64::from_le_bytes(cursor.array()?), out);
    out.push(b',');
    write_f64(f64::from_le_bytes(cursor.array()?), out);
    out.push(b']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(kind: u32, content: &[u8]) -> Vec<u8> {
        [&[1][..], &kind.to_le_bytes(), content].concat()
    }

    fn point(x: f64, y: f64) -> Vec<u8> {
        [x.to_le_bytes(), y.to_le_bytes()].concat()
    }

    fn list(parts: &[Vec<u8>]) -> Vec<u8> {
        [&u32::try_from(parts.len()).unwrap().to_le_bytes()[..], &parts.concat()].concat()
    }

    fn text(srid: u32, wkb: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        write_geometry(&[&srid.to_le_bytes()[..], wkb].concat(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_print_as_in_flink_cdc() {
        let ring = list(&[point(1., 1.), point(2., 1.), point(1., 1.)]);
        let line = list(&[point(15., 15.5), point(20., -20.)]);
        for (srid, wkb, expected) in [
            (0, part(POINT, &point(3., 1.)), r#"{"coordinates":[3,1],"type":"Point","srid":0}"#),
            (
                4326,
                part(POLYGON, &list(&[ring])),
                r#"{"coordinates":[[[1,1],[2,1],[1,1]]],"type":"Polygon","srid":4326}"#,
            ),
            (
                0,
                part(MULTI_POINT, &list(&[part(POINT, &point(0., 1e300))])),
                r#"{"coordinates":[[0,1e300]],"type":"MultiPoint","srid":0}"#,
            ),
            (
                0,
                part(COLLECTION, &list(&[part(POINT, &point(10., 10.)), part(LINE_STRING, &line)])),
                r#"{"geometries":[{"type":"Point","coordinates":[10,10]},{"type":"LineString","coordinates":[[15,15.5],[20,-20]]}],"type":"GeometryCollection","srid":0}"#,
            ),
            (
                0,
                part(COLLECTION, &list(&[])),
                r#"{"geometries":[],"type":"GeometryCollection","srid":0}"#,
            ),
        ] {
            assert_eq!(text(srid, &wkb).as_deref(), Some(expected));
        }
        assert_eq!(text(0, &part(9, &[])), None);
        assert_eq!(text(0, &[part(POINT, &point(0., 0.)), vec![0]].concat()), None);
        let deep = (0..100)
            .fold(part(COLLECTION, &list(&[])), |inner, _| part(COLLECTION, &list(&[inner])));
        assert_eq!(text(0, &deep), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_none(kind in 0_u32..9, content in prop::collection::vec(0_u8..4, 0..200)) {
            drop(text(0, &part(kind, &content)));
        }
    }
}
