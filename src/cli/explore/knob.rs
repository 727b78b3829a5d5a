//! What can be changed on the screen, each with the key that changes it.

/// A setting of the inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knob {
    /// The machine.
    Mac,
    /// The model.
    Model,
    /// The format of its weights.
    Format,
    /// Tokens of the prompt.
    Context,
    /// The type of the cache.
    Kv,
    /// Tokens generated.
    Output,
    /// Sequences at once.
    Users,
    /// The program.
    Engine,
    /// What drafts tokens.
    Draft,
}

impl Knob {
    /// All, in the order in which the screen shows them: two in a row.
    pub const ALL: [Self; 9] = [
        Self::Mac,
        Self::Model,
        Self::Format,
        Self::Context,
        Self::Kv,
        Self::Output,
        Self::Users,
        Self::Engine,
        Self::Draft,
    ];

    /// What stands before its value. The capital letter is its key, small or, for the way back, large.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mac => "mAc",
            Self::Model => "Model",
            Self::Format => "Format",
            Self::Context => "conteXt",
            Self::Kv => "Kv cache",
            Self::Output => "Output",
            Self::Users => "Users",
            Self::Engine => "Engine",
            Self::Draft => "Draft",
        }
    }

    /// Its key.
    pub fn key(self) -> char {
        let capital = self.label().chars().find(char::is_ascii_uppercase);
        capital.map_or(' ', |c| c.to_ascii_lowercase())
    }

    /// The setting with that key.
    pub fn of_key(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.key() == key.to_ascii_lowercase())
    }

    /// Whether it is chosen from a list by typing.
    pub const fn is_picked(self) -> bool {
        matches!(self, Self::Mac | Self::Model)
    }

    /// Whether it is a number, which can be typed.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Context | Self::Output | Self::Users)
    }

    /// The setting so many places further in the list; none beyond its ends.
    pub fn moved(self, places: isize) -> Self {
        let at = Self::ALL.iter().position(|s| *s == self).unwrap_or_default();
        let to = at.checked_add_signed(places);
        to.and_then(|to| Self::ALL.get(to)).copied().unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Knob;

    #[test]
    fn every_setting_has_a_key_of_its_own() {
        for setting in Knob::ALL {
            assert_eq!(Knob::of_key(setting.key()), Some(setting));
            assert_eq!(Knob::of_key(setting.key().to_ascii_uppercase()), Some(setting));
        }
        assert_eq!(Knob::of_key('z'), None);
    }

    #[test]
    fn no_step_leaves_the_list() {
        assert_eq!(Knob::Mac.moved(-2), Knob::Mac);
        assert_eq!(Knob::Mac.moved(2), Knob::Format);
        assert_eq!(Knob::Draft.moved(1), Knob::Draft);
    }
}
