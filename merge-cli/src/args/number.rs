//! Parsers of numbers on the command line, whose errors say what may be written.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// Returns a parser of the whole numbers in a range. With `allow_negative_numbers`, a negative
/// number reaches it too and gets the same error message.
pub(super) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            if *most == u64::MAX {
                format!("write a whole number, {least} or more and less than 2^64")
            } else {
                format!("write a whole number from {least} to {most}")
            }
        })
    }
}

/// Reads resources, such as `GPU: 1, CPU: 4`.
pub(super) fn resources(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let one = |part: &str| {
        let (name, amount) = part.split_once(':')?;
        let amount: f64 = amount.trim().parse().ok()?;
        let is_right = !name.trim().is_empty() && amount.is_finite() && amount >= 0.0;
        is_right.then(|| (name.trim().to_owned(), amount))
    };
    let all: Option<BTreeMap<String, f64>> = text.split(',').map(one).collect();
    let all = all.ok_or("write names with numbers, such as `GPU: 1, CPU: 4`")?;
    // Ray would wait for a resource of this name for ever.
    let misspelt =
        |name: &&String| ["gpu", "cpu"].contains(&name.to_lowercase().as_str()) && **name != name.to_uppercase();
    match all.keys().find(misspelt) {
        Some(name) => Err(format!("Ray's name for `{name}` is `{}`", name.to_uppercase())),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::{resources, whole};

    #[test]
    fn resources_are_names_with_numbers() {
        let read: Vec<(String, f64)> = resources("GPU: 0.5,accelerator:1").unwrap().into_iter().collect();
        assert_eq!(read, [("GPU".to_owned(), 0.5), ("accelerator".to_owned(), 1.0)]);
        assert_eq!(resources("gpu: 1").unwrap_err(), "Ray's name for `gpu` is `GPU`");
        for wrong in ["", "GPU", "GPU: one", "GPU: -1", "GPU: inf", ": 1", "GPU: 1,"] {
            assert_eq!(resources(wrong).unwrap_err(), "write names with numbers, such as `GPU: 1, CPU: 4`", "{wrong}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_told_the_range() {
        let read = whole::<u16>(1..=1024);
        assert_eq!((read("1"), read("1024")), (Ok(1), Ok(1024)));
        for wrong in ["0", "1025", "-5", "", "1.5", "x", "18446744073709551616"] {
            assert_eq!(read(wrong), Err("write a whole number from 1 to 1024".to_owned()), "{wrong}");
        }
        let seed = whole::<u64>(0..=u64::MAX);
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(seed("-1"), Err("write a whole number, 0 or more and less than 2^64".to_owned()));
    }
}
