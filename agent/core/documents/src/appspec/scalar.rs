//! The incumbent's reading of a scalar: YAML 1.1 as Ruby's Psych 4.0.3 resolves it.
//!
//! It serves to reach the same verdicts, and to warn where that reader understands a value differently.

use crate::yaml::Scalar;

/// A scalar as the incumbent resolves it.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number, in any of the notations of YAML 1.1; kept within the bounds of the type.
    Integer(i64),
    /// A number with a point; infinite and not-a-number too.
    Float(f64),
    /// Text.
    Text,
}

/// Resolves a scalar as the incumbent does.
pub fn resolve(scalar: &Scalar) -> Resolved {
    if scalar.is_null() {
        return Resolved::Null;
    }
    let text = scalar.text.as_str();
    if scalar.is_text() || text.contains('\n') {
        return Resolved::Text;
    }
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "yes" | "true" | "on" => return Resolved::Bool(true),
        "no" | "false" | "off" => return Resolved::Bool(false),
        ".inf" | "+.inf" => return Resolved::Float(f64::INFINITY),
        "-.inf" => return Resolved::Float(f64::NEG_INFINITY),
        ".nan" => return Resolved::Float(f64::NAN),
        _ => {}
    }
    sexagesimal(text)
        .or_else(|| float(text).map(Resolved::Float))
        .or_else(|| integer(text).map(Resolved::Integer))
        .unwrap_or(Resolved::Text)
}

/// `1:30` and `1:30:00`. The reader always counts the first part as hours, so `1:30` is 5400.
fn sexagesimal(text: &str) -> Option<Resolved> {
    let (negative, digits) = sign(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let parts: Vec<&str> = whole.split(':').collect();
    let (first, rest) = parts.split_first()?;
    let first_ok =
        first.starts_with(|c: char| c.is_ascii_digit()) && first.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let rest_ok = (1..=2).contains(&rest.len())
        && rest.iter().all(|part| {
            part.bytes().all(|b| b.is_ascii_digit())
                && (part.len() == 1 || (part.len() == 2 && part.as_bytes().first().is_some_and(|b| *b < b'6')))
        });
    if !first_ok || !rest_ok || !fraction.is_none_or(|f| f.bytes().all(|b| b.is_ascii_digit() || b == b'_')) {
        return None;
    }
    // Ruby stops at a second underscore in a row; such a number is too rare to handle exactly.
    let value = |part: &str| part.replace('_', "").parse::<i64>().unwrap_or(i64::MAX);
    // The sign applies to the first part alone, as the reader adds the parts up.
    let first = if negative { value(first).saturating_neg() } else { value(first) };
    let mut total = first.saturating_mul(3600);
    for (part, factor) in rest.iter().zip([60, 1]) {
        total = total.saturating_add(value(part).saturating_mul(factor));
    }
    Some(match fraction {
        None => Resolved::Integer(total),
        #[allow(clippy::cast_precision_loss, reason = "YAML 1.1 has such numbers as floating-point ones too")]
        Some(fraction) => {
            let fraction: f64 = format!("0.{}", fraction.replace('_', "")).parse().unwrap_or(0.0);
            Resolved::Float(total as f64 + if rest.len() == 1 { fraction * 60.0 } else { fraction })
        }
    })
}

/// Needs a point; an exponent needs its sign: `1e3` and `1.0e3` are text to this reader.
fn float(text: &str) -> Option<f64> {
    let (negative, digits) = sign(text);
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(place) => (rest.get(..place)?, Some(rest.get(place + 1..)?)),
        None => (rest, None),
    };
    let whole_ok = whole.is_empty()
        || (whole.starts_with(|c: char| c.is_ascii_digit())
            && whole.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b','));
    let exponent_ok = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    let nothing = whole.is_empty() && fraction.is_empty();
    if nothing || !whole_ok || !exponent_ok || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = format!("0{}.{fraction}0e{}", whole.replace(['_', ','], ""), exponent.unwrap_or("0"));
    number.parse::<f64>().ok().map(|value| if negative { -value } else { value })
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = sign(text);
    let radix = |prefix: &str, radix: u32| {
        let rest = digits.strip_prefix(prefix)?;
        let fits = !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix) || c == '_' || c == ',');
        fits.then(|| (rest.replace(['_', ','], ""), radix))
    };
    let (digits, radix) =
        radix("0b", 2).or_else(|| radix("0x", 16)).or_else(|| radix("0", 8)).or_else(|| decimal(digits))?;
    if digits.is_empty() {
        return None;
    }
    let value = i64::from_str_radix(&digits, radix).unwrap_or(i64::MAX);
    Some(if negative { value.saturating_neg() } else { value })
}

/// `0`, or digits that begin with 1 to 9, with single commas and underscores between them.
fn decimal(digits: &str) -> Option<(String, u32)> {
    let bytes = digits.as_bytes();
    let starts = digits == "0" || bytes.first().is_some_and(|b| (b'1'..=b'9').contains(b));
    let separated = bytes.windows(2).all(|pair| match pair {
        [first, second] => {
            first.is_ascii_digit() && (second.is_ascii_digit() || *second == b'_' || *second == b',')
                || second.is_ascii_digit() && (*first == b'_' || *first == b',')
        }
        _ => true,
    });
    let ends = bytes.last().is_some_and(u8::is_ascii_digit);
    (starts && separated && ends).then(|| (digits.replace(['_', ','], ""), 10))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// The number at the beginning of a text, as Ruby's `to_i` reads it; 0 without one.
pub fn leading_integer(text: &str) -> i64 {
    let (negative, digits) = sign(text.trim_start());
    let mut value: i64 = 0;
    let mut after_digit = false;
    for c in digits.chars() {
        match c.to_digit(10) {
            Some(digit) => {
                value = value.saturating_mul(10).saturating_add(i64::from(digit));
                after_digit = true;
            }
            None if c == '_' && after_digit => after_digit = false,
            None => break,
        }
    }
    if negative { value.saturating_neg() } else { value }
}

/// The value as text, as the incumbent's reader writes it, for modes: `0644` is 420 there.
pub fn text_of(scalar: &Scalar) -> String {
    match resolve(scalar) {
        Resolved::Integer(number) => number.to_string(),
        Resolved::Bool(value) => value.to_string(),
        Resolved::Null | Resolved::Float(_) | Resolved::Text => scalar.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Style;

    fn plain(text: &str) -> Resolved {
        resolve(&Scalar { text: text.into(), style: Style::Plain, tag: None })
    }

    #[test]
    fn scalars_resolve_as_the_incumbents_reader_does() {
        use Resolved::{Bool, Float, Integer, Null, Text};
        for (text, expected) in [
            ("", Null),
            ("~", Null),
            ("Null", Null),
            ("yes", Bool(true)),
            ("OFF", Bool(false)),
            ("y", Text),
            ("0", Integer(0)),
            ("-0", Integer(0)),
            ("0,0", Integer(0)),
            ("0644", Integer(420)),
            ("0600", Integer(384)),
            ("0o644", Text),
            ("0689", Text),
            ("755", Integer(755)),
            ("1,200", Integer(1200)),
            ("1_000", Integer(1000)),
            ("1__0", Text),
            ("0b101", Integer(5)),
            ("0x1ff", Integer(511)),
            ("1:30", Integer(5400)),
            ("1:30:05", Integer(5405)),
            ("1:99", Text),
            ("1e3", Text),
            ("1.5", Float(1.5)),
            ("0.0e+0", Float(0.0)),
            ("1.0e3", Text),
            (".5", Float(0.5)),
            ("5.", Float(5.0)),
            (".", Text),
            ("-0.0", Float(0.0)),
            ("300s", Text),
            ("+3", Integer(3)),
            ("99999999999999999999", Integer(i64::MAX)),
            (".inf", Float(f64::INFINITY)),
            ("2024-01-01", Text),
            ("äöü", Text),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        let quoted = Scalar { text: "0.0".into(), style: Style::Quoted, tag: None };
        assert_eq!(resolve(&quoted), Text);
    }

    #[test]
    fn text_is_read_up_to_what_is_no_digit() {
        for (text, expected) in [
            ("90 seconds", 90),
            ("300s", 300),
            ("1e3", 1),
            ("forever", 0),
            (" 7", 7),
            ("-3x", -3),
            ("1_0", 10),
            ("1__0", 1),
        ] {
            assert_eq!(leading_integer(text), expected, "{text:?}");
        }
    }
}
