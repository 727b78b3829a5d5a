//! So many Macs of a kind, as they are typed: `2xm3ultra-80/512`.

use std::str::FromStr;

/// Most Macs of a cluster.
pub const MOST: usize = 32;

/// So many Macs of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// How many.
    pub count: usize,
    /// Which, as a specification of one Mac.
    pub mac: String,
}

impl FromStr for ClusterSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("write how many of which Mac, such as 2xm3ultra-80/512, with 2 to {MOST} Macs")
        };
        let (count, mac) = text.split_once(['x', 'X', '×', '*']).ok_or_else(wrong)?;
        let count: usize = count.trim().parse().map_err(|_| wrong())?;
        if !(2..=MOST).contains(&count) || mac.trim().is_empty() {
            return Err(wrong());
        }
        Ok(Self { count, mac: mac.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_a_number_of_macs() {
        let of = |text: &str| text.parse::<ClusterSpec>();
        let two = ClusterSpec { count: 2, mac: "m3ultra-80/512".to_owned() };
        assert_eq!(of("2xm3ultra-80/512"), Ok(two.clone()));
        assert_eq!(of("2 x m3ultra-80/512"), Ok(two));
        for wrong in ["", "2", "1xm3ultra-80/512", "x", "2x", "99xm4max-40/128", "-2xm4-10/16"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
