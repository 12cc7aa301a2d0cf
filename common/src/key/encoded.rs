//! `EncodedKeys`: many byte strings in one buffer, in the layout of an Arrow binary array.

/// Byte strings one after the other; `offsets` has one entry more than there are strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedKeys {
    /// All strings.
    pub bytes: Vec<u8>,
    /// Where each string starts; the last entry is where the last one ends.
    pub offsets: Vec<u32>,
}

impl Default for EncodedKeys {
    fn default() -> Self {
        EncodedKeys { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl EncodedKeys {
    /// String `i`.
    #[inline]
    pub fn row(&self, i: usize) -> &[u8] {
        &self.bytes[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// How many strings.
    #[inline]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.offsets.windows(2).map(|ends| &self.bytes[ends[0] as usize..ends[1] as usize])
    }

    /// Adds a string at the end. The strings together stay below 4 GiB: the caller's to see to.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let end = u32::try_from(self.bytes.len()).expect("strings of one buffer stay below 4 GiB");
        self.offsets.push(end);
    }

    /// Bytes of memory held.
    pub fn memory_size(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>()
    }
}
