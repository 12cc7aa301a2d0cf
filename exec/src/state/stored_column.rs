//! One column of a [`super::RowStore`]: values by slot in their native type.
//!
//! Fixed-width values lie in a `Vec` of their Arrow native type, strings and bytes in a [`ByteArena`], lists
//! there too in the row encoding of `weir_common::row`. Two values are equal when they are identical bit for
//! bit: a deleted row is the very row that was inserted.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use weir_common::row::RowCodec;
use weir_common::{Error, Result};

use super::ByteArena;

/// A column of values by slot.
pub(super) trait StoredColumn: Send {
    /// Sets the values at `slots` to the rows of `array`, in order.
    fn write(&mut self, array: &ArrayRef, slots: &[u32]) -> Result<()>;
    /// The values at `slots`.
    fn gather(&self, slots: &[u32]) -> Result<ArrayRef>;
    /// Whether two slots hold the same.
    fn equal(&self, a: u32, b: u32) -> bool;
    /// A total order that is `Equal` exactly for slots that hold the same: NULLs last, floats by IEEE total order.
    fn compare(&self, a: u32, b: u32) -> Ordering;
    /// Frees what a slot holds outside its fixed width.
    fn clear(&mut self, _slot: u32) {}
    /// Bytes of memory.
    fn memory_bytes(&self) -> usize;
}

/// An empty column of this type.
pub(super) fn stored_column(ty: &DataType) -> Result<Box<dyn StoredColumn>> {
    Ok(match ty {
        DataType::Int16 => Primitive::<Int16Type>::boxed(ty),
        DataType::Int32 => Primitive::<Int32Type>::boxed(ty),
        DataType::Int64 => Primitive::<Int64Type>::boxed(ty),
        DataType::Float32 => Primitive::<Float32Type>::boxed(ty),
        DataType::Float64 => Primitive::<Float64Type>::boxed(ty),
        DataType::Decimal128(..) => Primitive::<Decimal128Type>::boxed(ty),
        DataType::Date32 => Primitive::<Date32Type>::boxed(ty),
        DataType::Time64(TimeUnit::Microsecond) => Primitive::<Time64MicrosecondType>::boxed(ty),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Primitive::<TimestampMicrosecondType>::boxed(ty),
        DataType::Interval(IntervalUnit::MonthDayNano) => Primitive::<IntervalMonthDayNanoType>::boxed(ty),
        DataType::Boolean => Box::new(Booleans::default()),
        DataType::Utf8 => Box::new(Bytes::new(BytesKind::Utf8)),
        DataType::Binary => Box::new(Bytes::new(BytesKind::Binary)),
        DataType::FixedSizeBinary(width) => Box::new(Bytes::new(BytesKind::Fixed(*width))),
        DataType::List(_) => Box::new(Bytes::new(BytesKind::Nested(RowCodec::new(&[(1, ty.clone())])?))),
        other => return Err(Error::internal(format!("rows with {other} cannot be stored"))),
    })
}

/// Whether rows with a column of this type can be kept.
pub fn can_store(ty: &DataType) -> bool {
    stored_column(ty).is_ok()
}

/// Which slots are NULL; no memory while none is.
#[derive(Default)]
struct Nulls {
    words: Vec<u64>,
}

impl Nulls {
    fn write(&mut self, array: &ArrayRef, slots: &[u32]) {
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None if self.words.is_empty() => {}
            None => slots.iter().for_each(|slot| self.set(*slot, false)),
            Some(nulls) => {
                slots.iter().enumerate().for_each(|(row, slot)| self.set(*slot, nulls.is_null(row)))
            }
        }
    }

    fn set(&mut self, slot: u32, null: bool) {
        let (word, bit) = (slot as usize / 64, slot % 64);
        if word >= self.words.len() {
            if !null {
                return;
            }
            self.words.resize(word + 1, 0);
        }
        self.words[word] = self.words[word] & !(1 << bit) | u64::from(null) << bit;
    }

    #[inline]
    fn is_null(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn gather(&self, slots: &[u32]) -> Option<NullBuffer> {
        if self.words.is_empty() {
            return None;
        }
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| !self.is_null(slots[i]));
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    fn memory_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// Values of a fixed width.
struct Primitive<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: Nulls,
    ty: DataType,
}

impl<T: ArrowPrimitiveType> Primitive<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn boxed(ty: &DataType) -> Box<dyn StoredColumn> {
        Box::new(Primitive::<T> { values: Vec::new(), nulls: Nulls::default(), ty: ty.clone() })
    }
}

impl<T: ArrowPrimitiveType> StoredColumn for Primitive<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn write(&mut self, array: &ArrayRef, slots: &[u32]) -> Result<()> {
        let values = array.as_primitive::<T>().values();
        extend_to(&mut self.values, slots);
        slots.iter().zip(values.iter()).for_each(|(slot, value)| self.values[*slot as usize] = *value);
        self.nulls.write(array, slots);
        Ok(())
    }

    fn gather(&self, slots: &[u32]) -> Result<ArrayRef> {
        let values: ScalarBuffer<T::Native> = slots.iter().map(|slot| self.values[*slot as usize]).collect();
        let array =
            PrimitiveArray::<T>::new(values, self.nulls.gather(slots)).with_data_type(self.ty.clone());
        Ok(Arc::new(array))
    }

    fn equal(&self, a: u32, b: u32) -> bool {
        match (self.nulls.is_null(a), self.nulls.is_null(b)) {
            (false, false) => self.values[a as usize].is_eq(self.values[b as usize]),
            (a, b) => a == b,
        }
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        match (self.nulls.is_null(a), self.nulls.is_null(b)) {
            (false, false) => self.values[a as usize].compare(self.values[b as usize]),
            (a, b) => a.cmp(&b),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.nulls.memory_bytes()
    }
}

/// Booleans, a byte each.
#[derive(Default)]
struct Booleans {
    values: Vec<bool>,
    nulls: Nulls,
}

impl StoredColumn for Booleans {
    fn write(&mut self, array: &ArrayRef, slots: &[u32]) -> Result<()> {
        extend_to(&mut self.values, slots);
        let values = array.as_boolean().values();
        slots.iter().zip(values.iter()).for_each(|(slot, value)| self.values[*slot as usize] = value);
        self.nulls.write(array, slots);
        Ok(())
    }

    fn gather(&self, slots: &[u32]) -> Result<ArrayRef> {
        let bits = BooleanBuffer::collect_bool(slots.len(), |i| self.values[slots[i] as usize]);
        Ok(Arc::new(BooleanArray::new(bits, self.nulls.gather(slots))))
    }

    fn equal(&self, a: u32, b: u32) -> bool {
        match (self.nulls.is_null(a), self.nulls.is_null(b)) {
            (false, false) => self.values[a as usize] == self.values[b as usize],
            (a, b) => a == b,
        }
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        match (self.nulls.is_null(a), self.nulls.is_null(b)) {
            (false, false) => self.values[a as usize].cmp(&self.values[b as usize]),
            (a, b) => a.cmp(&b),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.values.capacity() + self.nulls.memory_bytes()
    }
}

/// Values of any length.
struct Bytes {
    kind: BytesKind,
    arena: ByteArena,
    nulls: Nulls,
}

enum BytesKind {
    Utf8,
    Binary,
    Fixed(i32),
    /// The value as a row of one column with id 1.
    Nested(RowCodec),
}

impl Bytes {
    fn new(kind: BytesKind) -> Bytes {
        Bytes { kind, arena: ByteArena::default(), nulls: Nulls::default() }
    }

    /// The bytes at `slots` one behind the other, and where each ends.
    fn concatenated(&self, slots: &[u32]) -> Result<(OffsetBuffer<i32>, Buffer)> {
        let total: usize = slots.iter().map(|slot| self.arena.bytes(*slot).len()).sum();
        i32::try_from(total).map_err(|_| Error::internal("a batch of strings is larger than 2 GiB"))?;
        let mut bytes = Vec::with_capacity(total);
        let mut offsets = Vec::with_capacity(slots.len() + 1);
        offsets.push(0i32);
        for slot in slots {
            bytes.extend_from_slice(self.arena.bytes(*slot));
            offsets.push(bytes.len() as i32);
        }
        Ok((OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes)))
    }

    fn gather_fixed(&self, slots: &[u32], width: i32) -> Result<ArrayRef> {
        let mut bytes = Vec::with_capacity(slots.len() * width as usize);
        for (i, slot) in slots.iter().enumerate() {
            bytes.extend_from_slice(self.arena.bytes(*slot));
            bytes.resize((i + 1) * width as usize, 0);
        }
        let array = FixedSizeBinaryArray::try_new(width, bytes.into(), self.nulls.gather(slots));
        Ok(Arc::new(array.map_err(Error::internal)?))
    }
}

impl StoredColumn for Bytes {
    fn write(&mut self, array: &ArrayRef, slots: &[u32]) -> Result<()> {
        let valid = |row: &usize| array.is_valid(*row);
        let rows = (0..slots.len()).filter(valid);
        match &self.kind {
            BytesKind::Utf8 => {
                let values = array.as_string::<i32>();
                rows.for_each(|row| self.arena.set(slots[row], values.value(row).as_bytes()));
            }
            BytesKind::Binary => {
                let values = array.as_binary::<i32>();
                rows.for_each(|row| self.arena.set(slots[row], values.value(row)));
            }
            BytesKind::Fixed(_) => {
                let values = array.as_fixed_size_binary();
                rows.for_each(|row| self.arena.set(slots[row], values.value(row)));
            }
            BytesKind::Nested(codec) => {
                let values = codec.encode(std::slice::from_ref(array))?;
                (0..slots.len()).for_each(|row| self.arena.set(slots[row], values.row(row)));
            }
        }
        self.nulls.write(array, slots);
        Ok(())
    }

    fn gather(&self, slots: &[u32]) -> Result<ArrayRef> {
        let nulls = self.nulls.gather(slots);
        Ok(match &self.kind {
            BytesKind::Utf8 => {
                let (offsets, bytes) = self.concatenated(slots)?;
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(Error::internal)?)
            }
            BytesKind::Binary => {
                let (offsets, bytes) = self.concatenated(slots)?;
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(Error::internal)?)
            }
            BytesKind::Fixed(width) => self.gather_fixed(slots, *width)?,
            BytesKind::Nested(codec) => {
                let rows: Vec<&[u8]> = slots.iter().map(|slot| self.arena.bytes(*slot)).collect();
                let mut columns = codec.decode(&rows)?;
                columns.pop().ok_or_else(|| Error::internal("a row of one column decodes to one"))?
            }
        })
    }

    fn equal(&self, a: u32, b: u32) -> bool {
        self.nulls.is_null(a) == self.nulls.is_null(b) && self.arena.bytes(a) == self.arena.bytes(b)
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let nulls = self.nulls.is_null(a).cmp(&self.nulls.is_null(b));
        nulls.then_with(|| self.arena.bytes(a).cmp(self.arena.bytes(b)))
    }

    fn clear(&mut self, slot: u32) {
        self.arena.clear(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.arena.memory_bytes() + self.nulls.memory_bytes()
    }
}

/// Makes room for the highest of `slots`.
fn extend_to<V: Copy + Default>(values: &mut Vec<V>, slots: &[u32]) {
    let bound = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
    if values.len() < bound {
        values.resize(bound, V::default());
    }
}
