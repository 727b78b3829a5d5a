//! The order in which CPython lists a small set of pairs of whole numbers.
//!
//! A processor that takes the best of a set takes the first of several that are equally good, and which one is first is
//! decided by hashes: `tuplehash` of `Objects/tupleobject.c` (xxHash) and the probing of `Objects/setobject.c`, both
//! since CPython 3.8.

const PRIMES: [u64; 3] =
    [11_400_714_785_074_694_791, 14_029_467_366_897_019_727, 2_870_177_450_012_600_261];
/// Slots of a set of at most four items.
const SLOTS: usize = 8;

fn hash(pair: [u64; 2]) -> u64 {
    let [first, second, fifth] = PRIMES;
    let mixed = pair.iter().fold(fifth, |acc, &lane| {
        acc.wrapping_add(lane.wrapping_mul(second)).rotate_left(31).wrapping_mul(first)
    });
    mixed.wrapping_add(2 ^ (fifth ^ 3_527_539))
}

/// At most four pairs, in the order of a set to which they were added one by one.
pub(super) fn listed(pairs: [[u64; 2]; 4]) -> Vec<[u64; 2]> {
    let mask = SLOTS as u64 - 1;
    let mut slots: [Option<[u64; 2]>; SLOTS] = [None; SLOTS];
    for pair in pairs {
        let mut perturb = hash(pair);
        let mut at = perturb & mask;
        while let Some(slot) = slots.get_mut(at as usize) {
            match slot {
                Some(other) if *other == pair => break,
                Some(_) => {
                    perturb >>= 5;
                    at = at.wrapping_mul(5).wrapping_add(1).wrapping_add(perturb) & mask;
                }
                None => {
                    *slot = Some(pair);
                    break;
                }
            }
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn pairs_come_as_python_lists_them() {
        for (pairs, order) in CASES {
            assert_eq!(listed(pairs), order, "{pairs:?}");
        }
    }

    type Pairs = [[u64; 2]; 4];

    /// `list(set(itertools.product((a, b), (c, d))))` of CPython 3.11.
    const CASES: [(Pairs, Pairs); 3] = [
        ([[11, 11], [11, 12], [12, 11], [12, 12]], [[11, 12], [12, 11], [12, 12], [11, 11]]),
        ([[7, 20], [7, 21], [8, 20], [8, 21]], [[7, 21], [8, 20], [8, 21], [7, 20]]),
        ([[63, 63], [63, 64], [64, 63], [64, 64]], [[64, 63], [63, 63], [63, 64], [64, 64]]),
    ];
}
