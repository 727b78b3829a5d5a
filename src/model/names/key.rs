//! The spelling under which names are compared.

/// Names longer than this, in bytes, are no model names.
pub const MAX_NAME_BYTES: usize = 300;

/// Whether a character separates the words of a name.
pub(super) const fn is_separator(c: char) -> bool {
    matches!(c, '/' | '_' | '.' | '-' | ' ' | ':' | '@')
}

/// The words of a name in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    name.split(is_separator).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

/// The words, with a digit behind a letter beginning a word of its own: `qwen3` is `qwen 3`, but `32b` stays.
pub(super) fn fine_words(name: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for word in words(name) {
        let mut current = String::new();
        let mut before = ' ';
        for c in word.chars() {
            if c.is_ascii_digit() && before.is_alphabetic() {
                list.push(std::mem::take(&mut current));
            }
            current.push(c);
            before = c;
        }
        list.push(current);
    }
    list
}

/// The spelling under which two names are the same: case does not matter, `/`, `_`, `.`, `-`, space, `:` and `@` are
/// alike, and so are `llama3`, `llama-3` and `llama 3`.
#[must_use]
pub fn key(name: &str) -> String {
    fine_words(name).join("-")
}

/// Whether the [`key`] of a name is `wanted`, without building it.
pub(crate) fn has_key(name: &str, wanted: &str) -> bool {
    if !name.is_ascii() {
        return key(name) == wanted;
    }
    let mut rest = wanted.bytes();
    let mut before = None;
    for b in name.bytes() {
        let parted = is_separator(char::from(b));
        if !parted {
            let begins = match before {
                None => rest.len() < wanted.len(),
                Some(last) => b.is_ascii_digit() && u8::is_ascii_alphabetic(&last),
            };
            if (begins && rest.next() != Some(b'-')) || rest.next() != Some(b.to_ascii_lowercase())
            {
                return false;
            }
        }
        before = (!parted).then_some(b);
    }
    rest.len() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_have_one_key() {
        for name in [
            "Qwen/Qwen3-32B",
            "qwen-qwen3-32b",
            "QWEN_Qwen3_32B",
            "qwen.qwen 3.32b",
            "Qwen//Qwen-3--32B",
        ] {
            assert_eq!(key(name), "qwen-qwen-3-32b", "{name}");
        }
        let all = crate::model::catalog::Models::built_in().expect("built in");
        let names: Vec<&str> = all
            .models()
            .iter()
            .flat_map(|m| m.aliases.iter().chain([&m.id, &m.name]))
            .map(|n| &**n)
            .collect();
        for odd in
            names.iter().copied().chain(["", "-", "a--b", "-a", "a-", "ÄB4", "3b4b", "a1b2 c3"])
        {
            assert!(has_key(odd, &key(odd)), "{odd}");
            assert!(!has_key(odd, &format!("{}-", key(odd))), "{odd}");
            for other in names.iter().step_by(17) {
                assert_eq!(has_key(other, &key(odd)), key(other) == key(odd), "{other} {odd}");
            }
        }
        assert_eq!(key("llama3.1:8b"), key("Llama-3.1-8B"));
        assert_eq!(key("30b-a3b"), "30b-a-3b");
        assert_eq!(key("-./_"), "");
        assert_ne!(key("qwen2.5-7b"), key("qwen25-7b"));
    }
}
