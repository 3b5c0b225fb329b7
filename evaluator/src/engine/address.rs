//! An engine on the command line: `vllm=http://127.0.0.1:8000`, or a command that starts one.

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
    /// SGLang 0.5 or newer.
    Sglang,
    /// llama.cpp's `llama-server`, with adapters.
    LlamaCpp,
}

/// Kind of an engine, and where it is or how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// Kind of engine.
    pub kind: EngineKind,
    /// Where it is, or how it is started.
    pub place: EnginePlace,
}

/// Where an engine is, or how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePlace {
    /// It runs at this URL.
    Url(String),
    /// This command of a shell starts it, with `{model}` and `{port}` replaced.
    Command(String),
}

impl EngineKind {
    const ALL: [(Self, &str); 3] = [(Self::Vllm, "vllm"), (Self::Sglang, "sglang"), (Self::LlamaCpp, "llama.cpp")];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl FromStr for EngineAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "it is vllm=http://127.0.0.1:8000, or 'vllm: vllm serve {model} --port {port}' to start one";
        let Some(at) = text.find(['=', ':']) else {
            return Err(Error::user(format!("`{text}` is not the address of an engine")).hint(form));
        };
        if ["http", "https"].contains(&&text[..at]) {
            return Err(Error::user(format!("`{text}`: the kind of engine is missing"))
                .hint(format!("is it vLLM? then write vllm={text}; or sglang={text}")));
        }
        let (kind, place) = (text[..at].trim(), text[at + 1..].trim().to_owned());
        let Some((kind, _)) = EngineKind::ALL.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(kind)) else {
            let names = EngineKind::ALL.map(|(_, name)| name);
            let meant = did_you_mean(kind, names).map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
            return Err(Error::user(format!("`{kind}` is not a kind of engine{meant}")).hint(form));
        };
        let is_url = text[at..].starts_with('=');
        if !is_url && ["http:", "https:"].iter().any(|scheme| place.starts_with(scheme)) {
            return Err(Error::user(format!("`{text}` is neither an address nor a command"))
                .hint(format!("an address follows `=`: {}={place}", kind.name())));
        }
        Ok(Self { kind, place: if is_url { EnginePlace::Url(place) } else { EnginePlace::Command(place) } })
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            EnginePlace::Url(url) => write!(f, "{}={url}", self.kind.name()),
            EnginePlace::Command(command) => write!(f, "{}: {command}", self.kind.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_at_an_address_or_is_started() {
        let url = EnginePlace::Url("http://127.0.0.1:8000".to_owned());
        let parsed: EngineAddress = "vLLM=http://127.0.0.1:8000".parse().unwrap();
        assert_eq!(parsed, EngineAddress { kind: EngineKind::Vllm, place: url });
        let command = "sglang: python -m sglang.launch_server --model-path {model} --port {port} --tp=2";
        let parsed: EngineAddress = command.parse().unwrap();
        assert_eq!((parsed.kind, parsed.to_string().as_str()), (EngineKind::Sglang, command));
        let refused = |text: &str| text.parse::<EngineAddress>().unwrap_err().to_string();
        assert_eq!(refused("vlm=http://a"), "`vlm` is not a kind of engine (did you mean `vllm`?)");
        assert_eq!(refused("http://a"), "`http://a`: the kind of engine is missing");
        let error = "llama.cpp: http://a".parse::<EngineAddress>().unwrap_err();
        assert_eq!(error.advice(), Some("an address follows `=`: llama.cpp=http://a"));
        assert_eq!(refused("8000"), "`8000` is not the address of an engine");
    }
}
