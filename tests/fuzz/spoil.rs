//! Spoils files the way accidents and attackers do: bits, cuts, repeats, pieces of others, values at the edge.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Values at the edge, and signs with a meaning in the formats that are read.
const EDGES: [&[u8]; 30] = [
    b"0",
    b"-1",
    b"1e300",
    b"-1e300",
    b"1e-300",
    b"nan",
    b"inf",
    b"NaN",
    b"Infinity",
    b"2147483647",
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551615",
    b"18446744073709551616",
    b"null",
    b"true",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[",
    b"\\u0000",
    b"\n",
    b"\r\n",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"../../",
    b"=1+1",
];

/// Longest input.
const LONGEST: usize = 1 << 16;

/// Makes inputs of seeds, the same ones for the same number.
pub struct Spoiler<'a> {
    random: fastrand::Rng,
    seeds: &'a [Vec<u8>],
}

impl<'a> Spoiler<'a> {
    pub fn new(number: u64, seeds: &'a [Vec<u8>]) -> Self {
        Self { random: fastrand::Rng::with_seed(number), seeds }
    }

    /// The next input.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seeds[self.random.usize(..self.seeds.len())].clone();
        for _ in 0..self.random.usize(1..6) {
            self.spoil(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn spoil(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.random.u8(..8) {
            0 if from < input.len() => input[from] ^= 1 << self.random.u8(..8),
            1 if from < input.len() => input[from] = self.random.u8(..),
            2 => drop(input.drain(from..to)),
            3 => input.truncate(from),
            4 => {
                let piece = input[from..to].repeat(self.random.usize(1..9));
                input.splice(from..from, piece);
            }
            5 => {
                let other = &self.seeds[self.random.usize(..self.seeds.len())];
                let (a, b) = range(&mut self.random, other.len());
                input.splice(from..to, other[a..b].iter().copied());
            }
            6 => self.number(input),
            _ => {
                let edge = EDGES[self.random.usize(..EDGES.len())];
                input.splice(from..to.min(from + 4), edge.iter().copied());
            }
        }
    }

    /// Puts a value at the edge in the place of a number that is written in digits.
    fn number(&mut self, input: &mut Vec<u8>) {
        let digit = |b: &u8| b.is_ascii_digit();
        let starts: Vec<usize> = (0..input.len())
            .filter(|&i| digit(&input[i]) && !i.checked_sub(1).is_some_and(|j| digit(&input[j])))
            .collect();
        if starts.is_empty() {
            return;
        }
        let from = starts[self.random.usize(..starts.len())];
        let length = input[from..].iter().take_while(|b| digit(b)).count();
        let edge = EDGES[self.random.usize(..16)];
        input.splice(from..from + length, edge.iter().copied());
    }

    fn range(&mut self, length: usize) -> (usize, usize) {
        range(&mut self.random, length)
    }
}

/// A short range more often than a long one.
fn range(random: &mut fastrand::Rng, length: usize) -> (usize, usize) {
    let from = random.usize(..=length);
    let most = if random.bool() { 8 } else { length };
    (from, from + random.usize(..=most.min(length - from)))
}

/// A number that names an input.
pub fn fingerprint(input: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
}
