//! Reads fields off the front of a slice. Every read is checked; none panics, none allocates.

/// What is left to read. A read that does not fit returns `None` and takes nothing that matters:
/// the caller gives the whole message up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u48(&mut self) -> Option<u64> {
        self.array().map(|[a, b, c, d, e, f]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A little-endian number of 0 to 8 bytes.
    #[inline]
    pub(crate) fn uint(&mut self, len: usize) -> Option<u64> {
        let bytes = self.take(len)?;
        let mut all = [0; 8];
        all.get_mut(..len)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(all))
    }

    /// A length-encoded number. `None` also for the NULL mark, which is no number.
    #[inline]
    pub(crate) fn lenenc(&mut self) -> Option<u64> {
        match self.u8()? {
            byte @ 0..=0xfa => Some(u64::from(byte)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            0xfb | 0xff => None,
        }
    }

    /// Bytes behind their length-encoded length.
    #[inline]
    pub(crate) fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.lenenc()?).ok()?;
        self.take(len)
    }

    /// Bytes up to a zero byte, which is taken too.
    pub(crate) fn until_zero(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.iter().position(|byte| *byte == 0)?;
        let bytes = self.take(len)?;
        self.u8()?;
        Some(bytes)
    }

    /// A number in the variable-length form of MySQL's serialization library: the count of trailing
    /// ones of the first byte is the number of further bytes.
    pub(crate) fn varlen(&mut self) -> Option<u64> {
        let extra = self.rest.first()?.trailing_ones();
        if extra == 8 {
            self.u8()?;
            return self.u64();
        }
        let len = usize::try_from(extra + 1).ok()?;
        self.uint(len).map(|raw| raw >> (extra + 1))
    }

    /// A signed number of the serialization library (zigzag).
    pub(crate) fn varlen_signed(&mut self) -> Option<i64> {
        let raw = self.varlen()?;
        let magnitude = i64::try_from(raw >> 1).ok()?;
        Some(if raw & 1 == 0 { magnitude } else { -magnitude - 1 })
    }
}

/// Appends a length-encoded number.
pub(crate) fn put_lenenc(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_le_bytes();
    match number {
        0..=0xfa => out.extend(bytes.first()),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend(bytes.iter().take(2));
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend(bytes.iter().take(3));
        }
        _ => {
            out.push(0xfe);
            out.extend(bytes);
        }
    }
}

/// Appends bytes behind their length-encoded length.
pub(crate) fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn length_encoded_numbers_come_back(number: u64) {
            for shift in [0, 32, 40, 48, 56] {
                let number = number >> shift;
                let mut out = Vec::new();
                put_lenenc(&mut out, number);
                let mut cursor = Cursor::new(&out);
                prop_assert_eq!(cursor.lenenc(), Some(number));
                prop_assert!(cursor.is_empty());
            }
        }
    }

    #[test]
    fn serialized_numbers_follow_the_library() {
        for (bytes, number) in [
            (&[0x00_u8][..], 0_u64),
            (&[0xfe], 127),
            (&[0x01, 0x02], 128),
            (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
        ] {
            assert_eq!(Cursor::new(bytes).varlen(), Some(number));
        }
        assert_eq!(Cursor::new(&[0x02]).varlen_signed(), Some(-1));
        assert_eq!(Cursor::new(&[0x04]).varlen_signed(), Some(1));
    }
}
