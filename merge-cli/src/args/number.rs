//! Parser of whole numbers on the command line, whose error names the allowed range.

use std::ops::RangeInclusive;

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

#[cfg(test)]
mod tests {
    use super::whole;

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
