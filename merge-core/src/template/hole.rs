//! The meaning of a hole: the values of its numbers, and their spread over the tensors.

use super::{
    DimensionKind,
    spread::{Depth, Spread},
};
use crate::{
    method::{Domain, Value},
    model::layers::Layers,
    recipe::{Bounds, CheckDomain, Hole, Per, Scale, Setting, Slot},
    words::counted,
    yaml::{At, Mistake, Place},
};

impl CheckDomain for Slot {
    fn check_domain(&self, domain: Domain) -> std::result::Result<(), Mistake> {
        match self {
            Self::Set(setting) => setting.check_domain(domain),
            Self::Hole(hole) => hole.check_domain(domain),
        }
    }

    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole(_))
    }

    fn is_by_tensor(&self) -> bool {
        matches!(self, Self::Set(setting) if setting.is_by_tensor())
    }

    fn is_by_layer(&self) -> bool {
        matches!(self, Self::Hole(hole) if hole.is_spread())
    }
}

impl Hole {
    /// The values that each of its numbers may take.
    pub(super) fn kind(&self) -> DimensionKind {
        match self.search.value {
            Bounds::Flags => {
                let yes = self.init.map_or(0.5, |init| init.value);
                DimensionKind::Choice {
                    options: vec!["false".to_owned(), "true".to_owned()],
                    init: vec![1.0 - yes, yes],
                }
            }
            Bounds::Numbers([min, max]) if self.is_integer() => {
                let init = self.init.map_or(f64::midpoint(min, max).floor(), |init| init.value);
                DimensionKind::Whole { range: min as i64..=max as i64, init: init as i64 }
            }
            Bounds::Numbers([min, max]) => {
                let log = self.scale.is_some_and(|scale| scale.value == Scale::Log);
                let middle = if log { (min * max).sqrt() } else { f64::midpoint(min, max) };
                DimensionKind::Number { range: min..=max, log, init: self.init.map_or(middle, |init| init.value) }
            }
        }
    }

    /// The spread of its numbers over a model's tensors. Refuses more groups or knots than there are layers.
    pub(super) fn spread(&self, layers: &Layers) -> Result<Spread, Mistake> {
        let most = |key: &str, count: Option<At<usize>>| match count.filter(|count| count.value > layers.count) {
            Some(count) => {
                Err(Mistake::new(format!("only {} for {} {key}", counted(layers.count, "layer"), count.value))
                    .hint("`per: layer` gives each layer its own value")
                    .under(key)
                    .at(count.place))
            }
            None => Ok(()),
        };
        most("groups", self.groups)?;
        most("knots", self.knots)?;
        let per = self.per.map_or(Per { layer: false, component: false }, |per| per.value);
        let depth = match (self.groups, self.knots) {
            (Some(groups), _) => Depth::Groups(groups.value),
            (_, Some(knots)) => Depth::Knots(knots.value),
            _ if per.layer => Depth::Layers,
            _ => Depth::Whole,
        };
        let filters = self.filters.as_ref().map(|filters| &filters.value[..]);
        Ok(Spread::over(layers, depth, per.component, filters))
    }

    /// The parameter's setting, given the hole's coordinates in the order of the labels.
    pub(super) fn fill(&self, spread: &Spread, genome: &[f64]) -> Setting {
        let kind = self.kind();
        let values: Vec<Value> = genome.iter().map(|x| kind.value(*x)).collect();
        spread.setting(&values)
    }

    /// True if it may have more than one number.
    pub(super) fn is_spread(&self) -> bool {
        self.per.is_some() || self.groups.is_some() || self.knots.is_some() || self.filters.is_some()
    }

    fn is_integer(&self) -> bool {
        self.integer.is_some_and(|integer| integer.value)
    }

    fn check_numbers(&self, [min, max]: [f64; 2], domain: Domain) -> Result<(), Mistake> {
        let range = |mistake: Mistake| mistake.under("search").at(self.search.place);
        Value::Number(min).check_domain(domain).and(Value::Number(max).check_domain(domain)).map_err(range)?;
        if min >= max {
            return Err(range(Mistake::new(format!("{min} is not less than {max}")).hint("write [least, most]")));
        }
        if !(max - min).is_finite() {
            return Err(range(Mistake::new("the range is too wide to compute with")));
        }
        if self.is_integer() && [min, max].iter().any(|bound| bound.fract() != 0.0 || bound.abs() > 1e9) {
            return Err(range(Mistake::new(format!("[{min}, {max}] are not whole numbers"))));
        }
        if let Some(scale) = self.scale.filter(|scale| scale.value == Scale::Log) {
            if min <= 0.0 {
                let mistake = Mistake::new(format!("{min} has no logarithm")).hint("begin above 0, such as at 0.01");
                return Err(range(mistake));
            }
            if self.is_integer() {
                let mistake = Mistake::new("whole numbers are searched one by one, not by their logarithm");
                return Err(mistake.hint("remove it, or `integer`").under("scale").at(scale.place));
            }
        }
        let Some(init) = self.init else { return Ok(()) };
        let refused = |mistake: Mistake| Err(mistake.under("init").at(init.place));
        if !(min..=max).contains(&init.value) {
            let mistake = Mistake::new(format!("{} is not between {min} and {max}", init.value));
            return refused(mistake.hint("begin inside the range"));
        }
        if self.is_integer() && init.fract() != 0.0 {
            return refused(Mistake::new(format!("{} is not a whole number", init.value)));
        }
        Ok(())
    }

    fn check_flags(&self) -> Result<(), Mistake> {
        let pointless = [("scale", self.scale.map(|at| at.place)), ("integer", self.integer.map(|at| at.place))];
        if let Some((key, place)) = pointless.into_iter().find_map(|(key, place)| place.map(|place| (key, place))) {
            return Err(Mistake::new("true and false are no numbers").hint("remove the key").under(key).at(place));
        }
        match self.init.filter(|init| !(0.0..=1.0).contains(&init.value)) {
            Some(init) => Err(Mistake::new(format!("{} is not between 0 and 1", init.value))
                .hint("it is how probable `true` is at first")
                .under("init")
                .at(init.place)),
            None => Ok(()),
        }
    }
}

impl CheckDomain for Hole {
    fn check_domain(&self, domain: Domain) -> Result<(), Mistake> {
        match (self.search.value, domain) {
            (Bounds::Flags, Domain::Flag) => self.check_flags()?,
            (Bounds::Numbers(bounds), Domain::Number { .. }) => self.check_numbers(bounds, domain)?,
            (Bounds::Flags, Domain::Number { .. }) => {
                return Err(Mistake::new("true and false are no numbers")
                    .hint("write [least, most]")
                    .under("search")
                    .at(self.search.place));
            }
            (Bounds::Numbers(_), Domain::Flag) => {
                return Err(Mistake::new("this is true or false, not a number")
                    .hint("write [false, true]")
                    .under("search")
                    .at(self.search.place));
            }
        }
        let per = |wanted: fn(Per) -> bool| self.per.filter(|per| wanted(per.value)).map(|per| per.place);
        let by_depth = [
            ("per", per(|per| per.layer)),
            ("groups", self.groups.map(|groups| groups.place)),
            ("knots", self.knots.map(|knots| knots.place)),
        ];
        let by_name =
            [("per", per(|per| per.component)), ("filters", self.filters.as_ref().map(|filters| filters.place))];
        exclude(&by_depth, "each says how depth is divided")?;
        exclude(&by_name, "each says how a layer is divided")?;
        for (key, count, least) in [("groups", self.groups, 1), ("knots", self.knots, 2)] {
            if let Some(count) = count.filter(|count| count.value < least) {
                let few = format!("there must be at least {least} {}", if least == 1 { "group" } else { key });
                return Err(Mistake::new(few).under(key).at(count.place));
            }
        }
        if let (Some(knots), DimensionKind::Choice { .. } | DimensionKind::Whole { .. }) = (self.knots, self.kind()) {
            return Err(Mistake::new("this needs real numbers: nothing lies between two whole numbers or two options")
                .hint("`groups` gives neighbouring layers one value")
                .under("knots")
                .at(knots.place));
        }
        match &self.filters {
            Some(filters) if filters.is_empty() || filters.iter().any(String::is_empty) => {
                Err(Mistake::new("a filter is a part of tensors' names, such as `self_attn`")
                    .under("filters")
                    .at(filters.place))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses the second of several keys that exclude each other.
fn exclude(keys: &[(&str, Option<Place>)], why: &str) -> Result<(), Mistake> {
    let mut written = keys.iter().filter_map(|(key, place)| place.map(|place| (*key, place)));
    match (written.next(), written.next()) {
        (Some((one, _)), Some((other, place))) => {
            Err(Mistake::new(format!("`{one}` and `{other}` exclude each other")).hint(why).under(other).at(place))
        }
        _ => Ok(()),
    }
}
