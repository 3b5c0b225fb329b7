//! Reads the source of a token's embedding and tells its kind by its keys.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Error as _, value::MapAccessDeserializer},
};

use super::{
    parts::{TokenName, TokenSource},
    reference::WrittenReference,
};

/// All keys that a token's source may have; without `kind` it is a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenForm {
    kind: Option<TokenKind>,
    model: Option<WrittenReference>,
    lora: Option<WrittenReference>,
    token_id: Option<usize>,
    token: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TokenKind {
    Zero,
    ModelToken,
}

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> de::Visitor<'de> for SourceVisitor {
    type Value = TokenSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model, `{kind: zero}` or `{kind: model_token, model: …, token: …}`")
    }

    fn visit_str<E: de::Error>(self, model: &str) -> Result<TokenSource, E> {
        Ok(TokenSource::Model(model.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TokenSource, A::Error> {
        match TokenForm::deserialize(MapAccessDeserializer::new(map))? {
            TokenForm { kind: Some(TokenKind::Zero), model: None, lora: None, token_id: None, token: None } => {
                Ok(TokenSource::Zero)
            }
            TokenForm {
                kind: Some(TokenKind::ModelToken),
                model: Some(WrittenReference(model)),
                lora: None,
                token_id,
                token,
            } => {
                let token = match (token_id, token) {
                    (Some(id), None) => TokenName::Id(id),
                    (None, Some(text)) => TokenName::Text(text),
                    _ => return Err(A::Error::custom("give one of `token` and `token_id`\n`token` is its text")),
                };
                Ok(TokenSource::Token { model, token })
            }
            TokenForm { kind: None, model: Some(WrittenReference(model)), lora, token_id: None, token: None } => {
                Ok(TokenSource::Model(match lora {
                    Some(WrittenReference(lora)) => format!("{model}+{lora}"),
                    None => model,
                }))
            }
            TokenForm { kind: Some(TokenKind::ModelToken), model: None, .. } => Err(A::Error::missing_field("model")),
            TokenForm { kind: None, .. } => Err(A::Error::missing_field("kind")),
            _ => Err(A::Error::custom(
                "these keys do not go together\nwrite `{kind: zero}` or `{kind: model_token, model: …, token: …}`",
            )),
        }
    }
}

impl Serialize for TokenSource {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Model(model) => serializer.serialize_str(model),
            Self::Zero => serializer.collect_map([("kind", "zero")]),
            Self::Token { model, token } => {
                let (key, token) = match token {
                    TokenName::Id(id) => ("token_id", Scalar::Id(*id)),
                    TokenName::Text(text) => ("token", Scalar::Text(text)),
                };
                let kind = Scalar::Text("model_token");
                serializer.collect_map([("kind", kind), ("model", Scalar::Text(model)), (key, token)])
            }
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Scalar<'a> {
    Id(usize),
    Text(&'a str),
}

impl JsonSchema for TokenSource {
    fn schema_name() -> Cow<'static, str> {
        "TokenSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let model = generator.subschema_for::<WrittenReference>();
        let token = |key: &str, kind: &str| {
            json_schema!({
                "type": "object",
                "properties": { "kind": { "const": "model_token" }, "model": model, key: { "type": kind } },
                "required": ["kind", "model", key],
                "additionalProperties": false,
            })
        };
        let zero = json_schema!({
            "type": "object",
            "properties": { "kind": { "const": "zero" } },
            "required": ["kind"],
            "additionalProperties": false,
        });
        json_schema!({
            "description": "Where an embedding comes from: a model, zeros, or another token of a model.",
            "anyOf": [model, zero, token("token", "string"), token("token_id", "integer")],
        })
    }
}
