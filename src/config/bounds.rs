//! Lower bounds that the types alone do not have.
//!
//! Owns: refusing zero and nothing while reading (and spare room); each use stands beside the same bound for the schema
//! (`range`, `length`), and a property test holds the two together.

use serde::de::{Deserialize, Deserializer, Error};

/// What can be too little.
pub(super) trait Amount {
    /// Whether there is at least one.
    fn at_least_one(&self) -> bool;
}

impl Amount for u32 {
    fn at_least_one(&self) -> bool {
        *self >= 1
    }
}

impl Amount for String {
    fn at_least_one(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Amount for Vec<T> {
    fn at_least_one(&self) -> bool {
        !self.is_empty()
    }
}

impl<T: Amount> Amount for Option<T> {
    fn at_least_one(&self) -> bool {
        self.as_ref().is_none_or(T::at_least_one)
    }
}

/// A number that is not 0, a text or list that is not empty; `None` is fine.
pub(super) fn at_least_one<'de, D: Deserializer<'de>, T: Deserialize<'de> + Amount>(
    from: D,
) -> Result<T, D::Error> {
    let value = T::deserialize(from)?;
    if value.at_least_one() { Ok(value) } else { Err(D::Error::custom("expected at least 1")) }
}

/// A list without spare room: there may be 100,000 recipes, and most lists are short.
pub(super) fn compact<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(from)?;
    list.shrink_to_fit();
    Ok(list)
}

/// A list without spare room, of at least one element.
pub(super) fn compact_some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let list = compact(from)?;
    if list.at_least_one() { Ok(list) } else { Err(D::Error::custom("expected at least 1")) }
}

/// A finite number above 0; `None` is fine.
pub(super) fn above_zero<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<f64>::deserialize(from)?;
    if value.is_none_or(|number| number.is_finite() && number > 0.0) {
        Ok(value)
    } else {
        Err(D::Error::custom("expected a number above 0"))
    }
}
