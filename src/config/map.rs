//! A map that refuses a key which occurs twice.
//!
//! Owns: reading it. Does not know: where a key stands in a file (the walk names both lines).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A map, sorted by key, which refuses a key that occurs twice.
#[derive(Debug, Clone, PartialEq)]
pub struct UniqueMap<V, K: Ord = String>(pub BTreeMap<K, V>);

impl<V, K: Ord> Default for UniqueMap<V, K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V, K: Ord> Deref for UniqueMap<V, K> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<'a, V, K: Ord> IntoIterator for &'a UniqueMap<V, K> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<V, K: Ord> FromIterator<(K, V)> for UniqueMap<V, K> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'de, V: Deserialize<'de>, K: Deserialize<'de> + Ord + Display> Deserialize<'de> for UniqueMap<V, K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<V, K>(PhantomData<(V, K)>);

        impl<'de, V: Deserialize<'de>, K: Deserialize<'de> + Ord + Display> Visitor<'de> for Entries<V, K> {
            type Value = UniqueMap<V, K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(key) = from.next_key::<K>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("key `{key}` occurs twice")));
                    }
                    map.insert(key, from.next_value()?);
                }
                Ok(UniqueMap(map))
            }
        }

        from.deserialize_map(Entries(PhantomData))
    }
}

impl<V: Serialize, K: Serialize + Ord> Serialize for UniqueMap<V, K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(&self.0)
    }
}

impl<V: JsonSchema, K: JsonSchema + Ord> JsonSchema for UniqueMap<V, K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("MapFrom{}To{}", K::schema_name(), V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<K>(),
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}
