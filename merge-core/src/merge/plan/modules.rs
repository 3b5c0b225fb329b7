//! Finds the module of a model that a tensor belongs to, by its name.

/// Module names of mergekit that are not parts of tensor names, with the parts to look for instead.
const MODULES: [(&str, &[&str]); 3] = [
    ("text_decoder", &["language_model", "text_model"]),
    ("vision_tower", &["vision_tower", "vision_model", "visual"]),
    ("multi_modal_projector", &["multi_modal_projector", "connector"]),
];

/// The first module whose name is a part of the tensor's name; `default` and `text_decoder` take the rest.
pub(super) fn module_of<'m>(tensor: &str, modules: &[&'m str]) -> Option<&'m str> {
    let parts = |module: &'m str| {
        MODULES.iter().find(|(name, _)| *name == module).map_or_else(|| vec![module], |(_, parts)| parts.to_vec())
    };
    let named = |module: &&&'m str| tensor.split('.').any(|part| parts(module).contains(&part));
    let rest = || modules.iter().find(|module| ["default", "text_decoder"].contains(*module));
    modules.iter().find(named).or_else(rest).copied()
}

#[cfg(test)]
mod tests {
    use super::module_of;

    #[test]
    fn a_module_is_a_part_of_the_name_and_default_is_the_rest() {
        let vision = ["text_decoder", "vision_tower", "multi_modal_projector"];
        let of = |tensor| module_of(tensor, &vision);
        assert_eq!(of("model.language_model.layers.0.mlp.up_proj.weight"), Some("text_decoder"));
        assert_eq!(of("model.vision_tower.encoder.layers.3.norm.weight"), Some("vision_tower"));
        assert_eq!(of("visual.blocks.1.attn.proj.bias"), Some("vision_tower"));
        assert_eq!(of("multi_modal_projector.linear_1.weight"), Some("multi_modal_projector"));
        assert_eq!(of("lm_head.weight"), Some("text_decoder"), "what no other module names");
        let halves = ["encoder", "decoder"];
        assert_eq!(module_of("encoder.block.0.layer.0.weight", &halves), Some("encoder"));
        assert_eq!(module_of("shared.weight", &halves), None);
        assert_eq!(module_of("shared.weight", &["encoder", "default"]), Some("default"));
    }
}
