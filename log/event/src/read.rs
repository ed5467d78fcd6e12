//! Reads what postcard wrote, and nothing else that would stand for the same value.
//!
//! postcard's own reader takes integers that are longer than they need be, so two frames could hold one turn. Here such a
//! frame is refused while it is read, and whoever has a frame has its events' canonical bytes.

use crate::codec::DecodeError;
use crate::digest::{self, Digest};
use core::fmt::Display;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, IntoDeserializer, SeqAccess, Visitor};

/// Reads values one behind the other.
#[derive(Debug)]
pub(crate) struct Reading<'de> {
    rest: &'de [u8],
}

impl<'de> Reading<'de> {
    pub fn new(bytes: &'de [u8]) -> Self {
        Reading { rest: bytes }
    }

    /// How many bytes were not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// # Errors
    /// [`DecodeError::Malformed`] and [`DecodeError::NotCanonical`].
    pub fn value<T: Deserialize<'de>>(&mut self) -> Result<T, DecodeError> {
        T::deserialize(self)
    }

    /// How many items follow; no more than there are bytes, since each takes one.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)?;
        if count > self.rest.len() { Err(DecodeError::Malformed) } else { Ok(count) }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.byte()? {
            byte @ 0..0x80 => Ok(u64::from(byte)),
            first => self.varint_behind(first),
        }
    }

    fn varint_behind(&mut self, first: u8) -> Result<u64, DecodeError> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(DecodeError::Malformed);
            }
            value |= part << shift;
            if byte < 0x80 {
                return last_of(byte, value);
            }
        }
        Err(DecodeError::Malformed)
    }

    fn long_varint(&mut self) -> Result<u128, DecodeError> {
        let mut value = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(DecodeError::Malformed);
            }
            value |= part << shift;
            if byte < 0x80 {
                return if shift == 0 { Ok(value) } else { last_of(byte, value) };
            }
        }
        Err(DecodeError::Malformed)
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)
    }

    /// The next `count` values as a list.
    fn items(&mut self, count: usize) -> Items<'_, 'de> {
        Items { reading: self, left: count }
    }
}

/// The value, unless its last byte adds nothing: one byte less would have done.
fn last_of<T>(byte: u8, value: T) -> Result<T, DecodeError> {
    if byte == 0 { Err(DecodeError::NotCanonical) } else { Ok(value) }
}

impl de::Error for DecodeError {
    fn custom<T: Display>(_: T) -> Self {
        DecodeError::Malformed
    }
}

/// What no event has.
macro_rules! refused {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
            Err(DecodeError::Malformed)
        }
    )*};
}

macro_rules! integers {
    ($($method:ident $visit:ident $read:ident,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.$read()?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reading<'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    integers! {
        deserialize_u8 visit_u8 byte,
        deserialize_u16 visit_u16 narrow,
        deserialize_u32 visit_u32 narrow,
        deserialize_u64 visit_u64 varint,
        deserialize_u128 visit_u128 long_varint,
    }

    refused! {
        deserialize_any deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.count()?;
        visitor.visit_borrowed_bytes(self.take(count)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.count()?;
        let text = core::str::from_utf8(self.take(count)?).map_err(|_| DecodeError::Malformed)?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            digest::NAME => visitor.visit_borrowed_bytes(self.take(size_of::<Digest>())?),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.count()?;
        visitor.visit_seq(self.items(count))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items(count))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items(count))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items(fields.len()))
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(self)
    }
}

/// The items of a list, or the fields of a value.
struct Items<'a, 'de> {
    reading: &'a mut Reading<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reading).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reading<'de> {
    type Error = DecodeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let number: u32 = self.narrow()?;
        Ok((seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(number))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reading<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items(count))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items(fields.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
        Reading::new(bytes).value()
    }

    #[test]
    fn an_integer_reads_in_its_shortest_form_alone() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::MAX >> 1, u64::MAX] {
            let bytes = postcard::to_allocvec(&value).expect("it can be written");
            assert_eq!(read::<u64>(&bytes), Ok(value));
            assert_eq!(read::<u128>(&bytes), Ok(u128::from(value)));
            let mut longer = bytes;
            *longer.last_mut().expect("not empty") |= 0x80;
            longer.push(0);
            let refusal = if longer.len() > 10 { DecodeError::Malformed } else { DecodeError::NotCanonical };
            assert_eq!(read::<u64>(&longer), Err(refusal), "{value}");
            assert_eq!(read::<u128>(&longer), Err(DecodeError::NotCanonical), "{value}");
        }
        let most = postcard::to_allocvec(&u128::MAX).expect("it can be written");
        assert_eq!(read::<u128>(&most), Ok(u128::MAX));
    }

    #[test]
    fn an_integer_that_is_too_large_is_refused() {
        assert_eq!(read::<u16>(&[0xff, 0xff, 0x03]), Ok(u16::MAX));
        assert_eq!(read::<u16>(&[0x80, 0x80, 0x04]), Err(DecodeError::Malformed));
        assert_eq!(read::<u32>(&[0x80, 0x80, 0x80, 0x80, 0x10]), Err(DecodeError::Malformed));
        let past = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(read::<u64>(&past), Err(DecodeError::Malformed));
        let past: [u8; 19] = core::array::from_fn(|at| if at < 18 { 0xff } else { 0x04 });
        assert_eq!(read::<u128>(&past), Err(DecodeError::Malformed));
    }
}
