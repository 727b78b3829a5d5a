//! What the words of a free-form specification say.

/// The letters and digits of a text, in lower case: what is left when case and separators are alike.
pub(super) fn key(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The parts of a specification. Numbers without a unit stay apart, because only the catalog can tell what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Chip family: `m4`, `a18`.
    pub family: Option<String>,
    /// Tier word after the family: `pro`, `max`, `ultra`, or empty for the base tier.
    pub tier: Option<&'static str>,
    /// Product line, in lower case: `macbook pro`.
    pub product: Option<&'static str>,
    /// Model identifier or other id word that stands for a product, as a key.
    pub ids: Vec<String>,
    /// GPU cores.
    pub gpu_cores: Option<u32>,
    /// CPU cores.
    pub cpu_cores: Option<u32>,
    /// Numbers of gigabytes: memory, then perhaps storage.
    pub gigabytes: Vec<u64>,
    /// Display size in inches.
    pub size_in: Option<u32>,
    /// Numbers without a unit.
    pub numbers: Vec<u64>,
    /// Words that are not understood.
    pub unknown: Vec<String>,
}

#[rustfmt::skip]
const FILLERS: &[&str] = &[
    "apple", "chip", "soc", "silicon", "gpu", "cpu", "ram", "unified", "memory", "with", "and", "of", "the", "a", "an",
    "core", "cores", "gb", "gib", "inch", "in",
];

impl Words {
    /// Reads the words of `text`. `is_id` tells whether a word with inner punctuation (`Mac16,9`) is a known identifier.
    pub fn read(text: &str, is_id: impl Fn(&str) -> bool) -> Self {
        let mut words = Self::default();
        let mut rest = String::new();
        for word in text.split(|c: char| c.is_whitespace() || c == '/') {
            let id = key(word);
            if word.contains([',', '.', '-', '_']) && is_id(&id) {
                words.ids.push(id);
                rest.push(' ');
            } else {
                rest.extend(word.chars().map(|c| c.to_ascii_lowercase()));
                rest.push(' ');
            }
        }
        let separated: String =
            rest.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
        let tokens: Vec<&str> = separated.split_whitespace().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += words.take(token, tokens.get(at + 1..).unwrap_or_default());
        }
        words
    }

    /// Takes a token, and those after it that belong to it; returns how many.
    fn take(&mut self, token: &str, next: &[&str]) -> usize {
        let following = next.first().copied().unwrap_or_default();
        let (digits, unit) = split_number(token);
        if let Some(number) = digits {
            return self.take_number(number, unit, token, next);
        }
        if let Some((product, used)) = product(token, following) {
            self.product = Some(product);
            return used;
        }
        if let Some((product, size)) = product_with_size(token) {
            self.product = Some(product);
            self.size_in = Some(size);
            return 1;
        }
        if let Some((family, tier)) = family(token) {
            if self.family.is_some() {
                self.unknown.push(token.to_owned());
                return 1;
            }
            self.family = Some(family);
            let after = tier_word(following).filter(|_| tier.is_empty());
            self.tier = Some(after.unwrap_or(tier));
            return if after.is_some() { 2 } else { 1 };
        }
        if !FILLERS.contains(&token) {
            self.unknown.push(token.to_owned());
        }
        1
    }

    fn take_number(&mut self, number: u64, unit: &str, token: &str, next: &[&str]) -> usize {
        // "40core" and "40 core" are alike.
        let (unit, used) = match (unit, next.first()) {
            ("", Some(word)) if UNITS.contains(word) => (*word, 2),
            _ => (unit, 1),
        };
        let after = next.get(used - 1).copied().unwrap_or_default();
        let small = u32::try_from(number).ok();
        match unit {
            "" => self.numbers.push(number),
            "gb" | "gib" | "g" => match after {
                "ssd" | "storage" => return used + 1,
                _ => self.gigabytes.push(number),
            },
            // Memory has not been sold by the terabyte, so this is storage.
            "tb" => match after {
                "ssd" | "storage" => return used + 1,
                _ => {}
            },
            "core" | "cores" | "c" | "gpu" if after == "cpu" => self.cpu_cores = small,
            // "16-core 40-core": the CPU stands first on Apple's pages.
            "core" | "cores" | "c" | "gpu" => {
                self.cpu_cores = self.cpu_cores.or(self.gpu_cores);
                self.gpu_cores = small;
            }
            "cpu" => self.cpu_cores = small,
            "inch" | "in" => self.size_in = small,
            _ => self.unknown.push(token.to_owned()),
        }
        used
    }
}

const UNITS: &[&str] = &["gb", "gib", "g", "tb", "core", "cores", "c", "gpu", "cpu", "inch", "in"];

/// Leading digits and what follows them.
fn split_number(token: &str) -> (Option<u64>, &str) {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = token.split_at(digits);
    (number.parse().ok(), unit)
}

fn tier_word(word: &str) -> Option<&'static str> {
    ["pro", "max", "ultra"].into_iter().find(|tier| *tier == word)
}

/// `m4max` is M4 and Max, `a18` is A18 without a tier.
fn family(token: &str) -> Option<(String, &'static str)> {
    let rest = token.strip_prefix(['m', 'a'])?;
    let (number, tier) = split_number(rest);
    let number = number?;
    let tier = if tier.is_empty() { "" } else { tier_word(tier)? };
    Some((format!("{}{number}", token.get(..1)?), tier))
}

/// A product line and how many words it took.
fn product(word: &str, next: &str) -> Option<(&'static str, usize)> {
    match (word, next) {
        ("macbook", "pro") => Some(("macbook pro", 2)),
        ("macbook", "air") => Some(("macbook air", 2)),
        ("macbook", "neo") => Some(("macbook neo", 2)),
        ("mac", "studio") => Some(("mac studio", 2)),
        ("mac", "mini") => Some(("mac mini", 2)),
        ("mac", "pro") => Some(("mac pro", 2)),
        ("mbp", _) => Some(("macbook pro", 1)),
        ("mba" | "air", _) => Some(("macbook air", 1)),
        ("neo", _) => Some(("macbook neo", 1)),
        ("studio", _) => Some(("mac studio", 1)),
        ("mini" | "macmini", _) => Some(("mac mini", 1)),
        ("macpro", _) => Some(("mac pro", 1)),
        ("imac", _) => Some(("imac", 1)),
        _ => None,
    }
}

/// `mbp16`, `air13`, as in the catalog's ids.
fn product_with_size(token: &str) -> Option<(&'static str, u32)> {
    let letters = token.trim_end_matches(|c: char| c.is_ascii_digit());
    let size = token.get(letters.len()..)?.parse().ok()?;
    Some((product(letters, "")?.0, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Words {
        Words::read(text, |id| id == "mac169")
    }

    #[test]
    fn words_fall_into_their_places() {
        let words = read("Apple M4 Max 16-core CPU, 40-core GPU, 128GB unified memory, 1TB SSD");
        assert_eq!((words.family.as_deref(), words.tier), (Some("m4"), Some("max")));
        assert_eq!((words.cpu_cores, words.gpu_cores), (Some(16), Some(40)));
        assert_eq!(words.gigabytes, [128]);
        assert!(words.unknown.is_empty() && words.numbers.is_empty());

        let words = read("MacBook Pro 16\" M4 Max 64 GB 512GB SSD");
        assert_eq!(words.product, Some("macbook pro"));
        assert_eq!((words.numbers, words.gigabytes), (vec![16], vec![64]));

        let words = read("mbp16 m1pro_16core 32gib");
        assert_eq!((words.size_in, words.tier, words.gpu_cores), (Some(16), Some("pro"), Some(16)));
        assert_eq!(words.gigabytes, [32]);
    }

    #[test]
    fn pro_belongs_to_what_stands_before_it() {
        let words = read("MacBook Pro M3 8GB");
        assert_eq!((words.product, words.tier), (Some("macbook pro"), Some("")));
        let words = read("Mac Pro M2 Ultra");
        assert_eq!((words.product, words.tier), (Some("mac pro"), Some("ultra")));
        let words = read("M3 Pro");
        assert_eq!((words.product, words.tier), (None, Some("pro")));
    }

    #[test]
    fn identifiers_and_unknown_words_are_kept_apart() {
        assert_eq!(read("Mac16,9 128GB").ids, ["mac169"]);
        assert_eq!(read("M4 Maxx 64GB").unknown, ["maxx"]);
        assert_eq!(read("M4 M5").unknown, ["m5"]);
        assert_eq!(read("40-cored M4").unknown, ["cored"]);
    }
}
