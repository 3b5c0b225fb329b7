//! The address of an engine on the command line: `vllm=http://127.0.0.1:8000`.

use merge_core::{
    error::{Error, Result},
    words::did_you_mean,
};
use std::{fmt, str::FromStr};

/// Kinds of engine that take weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// vLLM 0.32 or newer, in its development mode.
    Vllm,
    /// `SGLang` 0.5 or newer.
    Sglang,
}

/// Kind and URL of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// Kind of engine.
    pub kind: EngineKind,
    /// URL of its server.
    pub url: String,
}

impl EngineKind {
    const ALL: [(Self, &str); 2] = [(Self::Vllm, "vllm"), (Self::Sglang, "sglang")];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl FromStr for EngineAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "it is KIND=URL, such as vllm=http://127.0.0.1:8000 or sglang=http://127.0.0.1:30000";
        let Some((kind, url)) = text.split_once('=').map(|(kind, url)| (kind.trim(), url.trim())) else {
            return Err(Error::user(format!("`{text}` is not the address of an engine")).hint(form));
        };
        let Some((kind, _)) = EngineKind::ALL.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(kind)) else {
            let names = EngineKind::ALL.map(|(_, name)| name);
            let meant = did_you_mean(kind, names).map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
            return Err(Error::user(format!("`{kind}` is not a kind of engine{meant}")).hint(form));
        };
        Ok(Self { kind, url: url.to_owned() })
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind.name(), self.url)
    }
}
