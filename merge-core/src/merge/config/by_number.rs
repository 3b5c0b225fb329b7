//! Table of the configuration keys that name layers by a number, a step or a pattern.
//!
//! From `configuration_*.py` and what they read in transformers 4.57 and 5.24, and models with code of their own.

use super::by_layer::is_nothing;
use serde_json::Value;

/// The way in which a key's value names layers. Layers are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The first layers: the value plus `more`; for a list, as many as its entries.
    First { more: usize },
    /// Layers whose number plus `ahead` is a multiple of the value. A text or a list is repeated over the layers.
    Every { ahead: usize },
    /// Layers whose number modulo the value is `offset`, another key (or its `default`).
    EveryFrom { offset: &'static str, default: u64 },
    /// Layers in turn: those with the same number modulo the value are alike. A list is repeated over the layers.
    Turn,
    /// The layers with these numbers, counted from `from`.
    Numbers { from: usize },
    /// The last layer.
    Last,
    /// One letter for each layer.
    Letters,
    /// Lists of entries, each with a number of repetitions.
    Repeats,
    /// Entries for some layers, by their numbers.
    Map,
    /// A layer's computation depends on its number.
    Number,
    /// A layer's computation depends on its number and on the number of layers.
    NumberAndTotal,
    /// A layer's computation depends on the number of layers.
    Total,
}

/// A key, and the way in which it names layers.
pub(super) struct LayerKey {
    /// The key, with a dot if it is within another; `model_type` for facts about kinds of models that no key gives.
    pub(super) key: &'static str,
    pub(super) says: Says,
    /// Lists with an entry for each layer; loaders use such a list, if there is one, instead of this key.
    pub(super) unless: &'static [&'static str],
    /// Key that this one needs for an effect: it must be there, and not be false or null.
    pub(super) needs: &'static str,
    /// Kinds of models that have a default for this key, with the default.
    pub(super) kinds: &'static [(&'static str, u64)],
}

const fn key(key: &'static str, says: Says) -> LayerKey {
    LayerKey { key, says, unless: &[], needs: "", kinds: &[] }
}

impl LayerKey {
    const fn unless(self, unless: &'static [&'static str]) -> Self {
        Self { unless, ..self }
    }

    const fn needs(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    const fn kinds(self, kinds: &'static [(&'static str, u64)]) -> Self {
        Self { kinds, ..self }
    }
}

impl Says {
    /// True if a difference between two values shows when each layer is looked at.
    fn tells_apart(self, values: [&Value; 2]) -> bool {
        let all = |is: &dyn Fn(&Value) -> bool| values.iter().all(|value| is(value));
        match self {
            Self::First { .. } | Self::EveryFrom { .. } => all(&Value::is_number),
            Self::Every { .. } => all(&|value| value.is_number() || value.is_string() || value.is_array()),
            Self::Turn | Self::Numbers { .. } => all(&|value| value.is_string() || value.is_array()),
            Self::Letters => all(&Value::is_string),
            Self::Repeats => all(&Value::is_array),
            Self::Map => true,
            Self::Last | Self::Number | Self::NumberAndTotal | Self::Total => false,
        }
    }

    /// True if the key is not about single layers: how all of them compute follows from it.
    fn is_of_all(self) -> bool {
        matches!(self, Self::Turn | Self::Number | Self::NumberAndTotal | Self::Total)
    }
}

impl LayerKey {
    /// True if a key of a block is this one, or within this one if that has an entry for each layer.
    fn has(&self, name: &str) -> bool {
        let within = || name.strip_prefix(self.key).is_some_and(|rest| rest.starts_with('.'));
        name == self.key || self.says == Says::Map && within()
    }
}

/// True if each layer of a stack is checked against its own model's value of this key.
pub(super) fn is_held(name: &str, values: [&Value; 2]) -> bool {
    KEYS.iter().any(|known| known.has(name) && known.says.tells_apart(values))
}

/// True if a key, given with its prefix, decides by number how all layers compute.
pub(super) fn is_of_all_layers(key: &str) -> bool {
    let is_it = |known: &LayerKey| {
        let before = key.strip_suffix(known.key).filter(|_| known.key != "model_type" && known.says.is_of_all());
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    KEYS.iter().any(is_it)
}

/// True if a block without this key says the same with another: with a list instead of a pattern,
/// or with a pattern, perhaps its class's default, instead of a list.
pub(super) fn is_in_other_words<'b>(name: &str, said: &dyn Fn(&str) -> Option<&'b Value>, class: Option<&str>) -> bool {
    let is_listed = |known: &LayerKey| known.unless.iter().any(|list| said(list).is_some_and(|list| !is_nothing(list)));
    let is_pattern = |known: &LayerKey| {
        let of_class = known.kinds.iter().any(|(kind, _)| Some(*kind) == class);
        known.key != "model_type" && said(known.key).is_some() || said(known.needs).is_some() || of_class
    };
    KEYS.iter().any(|known| {
        let is_list = known.unless.contains(&name);
        (known.key == name || is_list) && is_listed(known) || is_list && is_pattern(known)
    })
}

/// True if a key has no effect because another key, which it needs, is not there.
pub(super) fn lacks_what_it_needs<'b>(name: &str, said: &dyn Fn(&str) -> Option<&'b Value>) -> bool {
    let lacks = |needs: &str| !needs.is_empty() && said(needs).is_none_or(is_nothing);
    KEYS.iter().any(|known| known.key == name && name != "model_type" && lacks(known.needs))
}

const FIRST: Says = Says::First { more: 0 };
/// Layers `n - 1`, `2n - 1` and so on.
const EVERY: Says = Says::Every { ahead: 1 };
const NUMBERS: Says = Says::Numbers { from: 0 };

const TYPES: &[&str] = &["layer_types", "layers_block_type"];
const MLP_TYPES: &[&str] = &["mlp_layer_types"];

pub(super) const KEYS: &[LayerKey] = &[
    // Layers with experts.
    key("first_k_dense_replace", FIRST).unless(MLP_TYPES).kinds(&[
        ("deepseek_v3", 3),
        ("glm4_moe", 1),
        ("kimi_linear", 1),
    ]),
    key("num_dense_layers", FIRST).unless(MLP_TYPES),
    key("n_dense_layers", FIRST),
    key("dense_mlp_idx", FIRST).unless(MLP_TYPES),
    key("num_hash_layers", FIRST).unless(MLP_TYPES).kinds(&[("deepseek_v4", 3)]),
    key("moe_layer_start_index", FIRST).kinds(&[("ernie4_5_moe", 1)]),
    key("moe_layer_end_index", Says::First { more: 1 }),
    key("moe_layer_interval", EVERY),
    key("moe_layer_freq", Says::Every { ahead: 0 }).unless(MLP_TYPES),
    key("decoder_sparse_step", EVERY).unless(MLP_TYPES),
    key("mlp_only_layers", NUMBERS).unless(MLP_TYPES),
    key("interleave_moe_layer_step", EVERY).unless(&["moe_layers"]),
    key("moe_layers", NUMBERS),
    key("moe_layer_num_skipped", FIRST),
    key("moe_layers_enum", NUMBERS),
    key("expert_layer_period", Says::EveryFrom { offset: "expert_layer_offset", default: 1 }).kinds(&[("jamba", 2)]),
    key("moe_layer_frequency", EVERY),
    key("num_sparse_decoder_layers", Says::NumberAndTotal),
    // Attention of layers, or its replacement.
    key("full_attention_interval", EVERY).unless(TYPES).kinds(&[
        ("qwen3_next", 4),
        ("qwen3_5_text", 4),
        ("qwen3_5_moe_text", 4),
    ]),
    key("sliding_window_pattern", EVERY).unless(TYPES).kinds(&[
        ("gemma2", 2),
        ("gemma3_text", 6),
        ("gemma3n_text", 5),
        ("gemma4_text", 6),
        ("cohere2", 4),
        ("gpt_oss", 2),
        ("olmo3", 4),
        ("cwm", 4),
        ("exaone4", 4),
        ("modernbert-decoder", 3),
    ]),
    key("_sliding_window_pattern", EVERY).unless(TYPES),
    key("prefix_dense_sliding_window_pattern", Says::Number).unless(TYPES).needs("first_k_dense_replace"),
    key("max_window_layers", FIRST).unless(TYPES).needs("use_sliding_window"),
    // In these, every other layer below `max_window_layers` has the window.
    key("model_type", Says::Turn).unless(TYPES).needs("use_sliding_window").kinds(&[("qwen2_moe", 2)]),
    // Counted from 0 in one kind and from 1 in another.
    key("global_attn_every_n_layers", Says::Turn).unless(TYPES).kinds(&[("modernbert", 3), ("afmoe", 4)]),
    key("dense_attention_every_n_layers", EVERY),
    key("layer_group_size", EVERY).unless(TYPES),
    key("attn_layer_period", Says::EveryFrom { offset: "attn_layer_offset", default: 4 })
        .unless(&["layers_block_type"])
        .kinds(&[("jamba", 8), ("zamba", 6)]),
    key("attn_layer_indices", NUMBERS),
    key("full_attn_idxs", NUMBERS).unless(TYPES),
    key("local_layer_ids", NUMBERS).unless(TYPES),
    key("ple_layer_ids", NUMBERS),
    key("cross_attention_layers", NUMBERS),
    key("linear_attn_config.full_attn_layers", Says::Numbers { from: 1 }),
    key("linear_attn_config.kda_layers", Says::Numbers { from: 1 }),
    key("sparse_attention_config.sparse_attention_freq", Says::Turn),
    key("hybrid_override_pattern", Says::Letters),
    key("index_topk_pattern", Says::Letters),
    key("index_topk_freq", Says::Turn).unless(&["indexer_types"]),
    key("index_skip_topk_offset", Says::Number).unless(&["indexer_types"]),
    key("block_types", Says::Turn),
    key("attention_types", Says::Repeats),
    key("no_rope_layer_interval", EVERY).unless(&["no_rope_layers"]).kinds(&[("smollm3", 4), ("llama4_text", 4)]),
    key("mb_per_layer", Says::Turn),
    key("mamba_step", Says::Turn),
    key("full_attention_idx", NUMBERS),
    key("global_attn_idx", NUMBERS),
    key("attn_layer_idxs", NUMBERS),
    key("attn_layer_idx", NUMBERS),
    key("attn.layers", NUMBERS),
    key("hcl_layer_idxs", NUMBERS),
    key("hcm_layer_idxs", NUMBERS),
    key("hcs_layer_idxs", NUMBERS),
    key("slstm_at", NUMBERS),
    key("conv_dim", Says::Map),
    key("pruned_heads", Says::Map),
    key("per_layer_config", Says::Map),
    key("rope_scaling_layers", NUMBERS),
    // Sharing between layers, and parts between them.
    key("num_kv_shared_layers", Says::NumberAndTotal),
    key("kv_source_layers", Says::Number),
    key("kv_reuse_group", Says::Number),
    // A tensor outside the layers has a part for each layer.
    key("hidden_size_per_layer_input", Says::NumberAndTotal),
    key("cla_share_factor", Says::Turn).needs("use_cla"),
    key("hybrid_layer_ids", Says::Number),
    key("num_mem_blocks", Says::Number),
    key("cross_layer_interval", Says::NumberAndTotal),
    key("cross_attn_every_n_layers", Says::NumberAndTotal),
    key("n_input_layers", Says::NumberAndTotal),
    key("n_output_layers", Says::NumberAndTotal),
    key("num_layers_per_stack", Says::NumberAndTotal),
    key("n_layers_in_prelude", Says::NumberAndTotal),
    key("loop_layer_index_start", Says::Number),
    key("loop_layer_index_end", Says::Number),
    key("n_layers_per_attn_res_block", Says::Turn),
    key("aligner_num_add_layers", Says::NumberAndTotal),
    key("vision_config.deepstack_visual_indexes", FIRST),
    key("deepstack_layer_map", Says::Number),
    key("spatial_target_layers", Says::Number).needs("use_spatial_sampling"),
    // Computations with the number of a layer, or with the number of layers.
    key("scale_attn_by_inverse_layer_idx", Says::Number),
    key("scale_depth", Says::Total),
    key("model_type", Says::NumberAndTotal).kinds(&[
        ("diffllama", 1),
        ("minimax", 1),
        ("minimax_text_01", 1),
        ("minimax_m1", 1),
        ("phi4flash", 1),
        ("zamba", 1),
        ("zamba2", 1),
    ]),
    // Layers that have a tensor that others lack (a bias of positions, a bias), or that lack a norm.
    key("model_type", FIRST).kinds(&[
        ("longt5", 1),
        ("modernbert", 1),
        ("modernbert-decoder", 1),
        ("mt5", 1),
        ("switch_transformers", 1),
        ("t5", 1),
    ]),
    key("model_type", Says::Last).kinds(&[("gpt_neox_japanese", 1)]),
];

/// Keys whose lists have no entry for each layer, even if they happen to be as long.
pub(super) const NO_LAYERS: [&str; 12] = [
    "architectures",
    "image_grid_pinpoints",
    "image_size",
    "keys_to_ignore_at_inference",
    "long_factor",
    "mrope_section",
    "out_features",
    "out_indices",
    "patch_size",
    "short_factor",
    "time_step_limit",
    "vision_feature_layer",
];
