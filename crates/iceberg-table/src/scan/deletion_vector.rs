//! Reading deletion vectors: the blob `deletion-vector-v1` of a Puffin file.
//!
//! Layout (Puffin specification): the length of magic and vector as four bytes, big endian; the magic
//! `D1 D3 39 64`; the vector, a portable 64-bit Roaring bitmap; the CRC-32 of magic and vector, four
//! bytes, big endian. The manifest says where in the file the blob is, so the footer is not read.

use iceberg::spec::DataFile;
use roaring::RoaringTreemap;

use crate::{Error, Storage};

const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];

/// The positions in a blob.
///
/// # Errors
/// Says what is wrong with the blob.
pub(crate) fn decode(blob: &[u8]) -> Result<RoaringTreemap, String> {
    let Some((length, rest)) = blob.split_first_chunk::<4>() else {
        return Err("the deletion vector is cut short".to_owned());
    };
    let Some((body, checksum)) = rest.split_last_chunk::<4>() else {
        return Err("the deletion vector is cut short".to_owned());
    };
    let length = u32::from_be_bytes(*length);
    if usize::try_from(length).ok() != Some(body.len()) {
        return Err(format!(
            "the deletion vector states a length of {length} bytes but has {}",
            body.len()
        ));
    }
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Err("the checksum of the deletion vector is wrong".to_owned());
    }
    let Some(mut vector) = body.strip_prefix(&MAGIC) else {
        return Err("the deletion vector does not start with its magic number".to_owned());
    };
    let positions = RoaringTreemap::deserialize_from(&mut vector)
        .map_err(|error| format!("the bitmap of the deletion vector is damaged: {error}"))?;
    if vector.is_empty() {
        Ok(positions)
    } else {
        Err(format!("{} bytes follow the bitmap of the deletion vector", vector.len()))
    }
}

/// A blob that holds these positions.
///
/// # Errors
/// [`Error::Bug`] if it would be larger than its length can say.
pub(crate) fn encode(positions: &RoaringTreemap) -> Result<Vec<u8>, Error> {
    let mut body = MAGIC.to_vec();
    positions.serialize_into(&mut body).map_err(Error::bug)?;
    let mut blob = u32::try_from(body.len()).map_err(Error::bug)?.to_be_bytes().to_vec();
    blob.extend_from_slice(&body);
    blob.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    Ok(blob)
}

/// The positions of the deletion vector that `file`, an entry of a manifest, stands for.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Storage`], naming the file.
pub(crate) fn read(storage: &Storage, file: &DataFile) -> Result<RoaringTreemap, Error> {
    let path = file.file_path();
    let range = file.content_offset().zip(file.content_size_in_bytes());
    let range = range.and_then(|(offset, size)| {
        Some((u64::try_from(offset).ok()?, usize::try_from(size).ok()?))
    });
    let (offset, size) = range.ok_or_else(|| {
        Error::corrupt(path, "a deletion vector does not say where in the file it is")
    })?;
    let blob = storage.open(path)?.read_at(offset, size)?;
    decode(&blob).map_err(|reason| Error::corrupt(path, reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_blob_is_read_as_the_specification_lays_it_out() {
        // Positions 0 and 2^32 + 1, written byte by byte.
        let mut body = MAGIC.to_vec();
        body.extend(2_u64.to_le_bytes());
        for (high, low) in [(0_u32, 0_u16), (1, 1)] {
            body.extend(high.to_le_bytes());
            // Cookie without run containers, one container: key, cardinality - 1, offset, values.
            body.extend(12_346_u32.to_le_bytes());
            body.extend(1_u32.to_le_bytes());
            body.extend([0_u16.to_le_bytes(), 0_u16.to_le_bytes()].concat());
            body.extend(16_u32.to_le_bytes());
            body.extend(low.to_le_bytes());
        }
        let mut blob = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(&body);
        blob.extend(crc32fast::hash(&body).to_be_bytes());
        let positions: Vec<u64> = decode(&blob).unwrap().into_iter().collect();
        assert_eq!(positions, [0, (1 << 32) + 1]);
    }

    #[test]
    fn damage_is_named() {
        let blob = encode(&[1_u64, 5].into_iter().collect()).unwrap();
        assert_eq!(decode(&blob[..3]).unwrap_err(), "the deletion vector is cut short");
        let error = decode(&blob[..blob.len() - 1]).unwrap_err();
        assert!(error.starts_with("the deletion vector states a length"), "{error}");
        let mut flipped = blob;
        flipped[9] ^= 1;
        assert_eq!(decode(&flipped).unwrap_err(), "the checksum of the deletion vector is wrong");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(positions: std::collections::BTreeSet<u64>) {
            let vector: RoaringTreemap = positions.iter().copied().collect();
            let read: Vec<u64> = decode(&encode(&vector).unwrap()).unwrap().into_iter().collect();
            prop_assert_eq!(read, positions.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn noise_with_a_good_checksum_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut body = MAGIC.to_vec();
            body.extend(noise);
            let mut blob = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            blob.extend(&body);
            blob.extend(crc32fast::hash(&body).to_be_bytes());
            drop(decode(&blob));
        }
    }
}
