//! Where the names of points stand, so that none covers another or a point.

/// Height of the names of points, in pixels.
pub(super) const LABEL_SIZE: i32 = 12;
/// Width of a letter over the height of a line, generously.
const LETTER: f64 = 0.5;
/// Pixels between a point and its name.
const GAP: i32 = 8;
/// Half the width of a point.
const POINT: i32 = 4;

/// A point in pixels, from the upper left, with its name.
pub(super) struct Anchor {
    /// The point.
    pub at: (i32, i32),
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// Left, top, right and bottom.
type Frame = [i32; 4];

fn overlap(a: &Frame, b: &Frame) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// The names with their upper left corners. Of the places around a point, the first that is free in a picture of this
/// width; the first of all when none is.
pub(super) fn places(anchors: &[Anchor], width: i32) -> Vec<(String, (i32, i32))> {
    let point = |a: &Anchor| {
        let (x, y) = a.at;
        [x - POINT, y - POINT, x + POINT, y + POINT]
    };
    let mut taken: Vec<Frame> = anchors.iter().map(point).collect();
    let mut out = Vec::new();
    for anchor in anchors {
        let Some(name) = &anchor.name else { continue };
        let (x, y) = anchor.at;
        let long = (name.chars().count() as f64 * LETTER * f64::from(LABEL_SIZE)).ceil() as i32;
        // Below and above, to the right and to the left, then further away.
        let (right, left) = (x + GAP, x - GAP - long);
        let (below, above) = (y + POINT, y - POINT - LABEL_SIZE);
        let candidates = [
            (right, below),
            (right, above),
            (left, above),
            (left, below),
            (right, below + LABEL_SIZE + 2),
            (left, above - LABEL_SIZE - 2),
        ];
        let frame = |&(x, y): &(i32, i32)| [x, y, x + long, y + LABEL_SIZE];
        let free = |place: &&(i32, i32)| {
            let f = frame(place);
            f[0] >= 0 && f[2] <= width && !taken.iter().any(|t| overlap(t, &f))
        };
        let place = *candidates.iter().find(free).unwrap_or(&candidates[0]);
        taken.push(frame(&place));
        out.push((name.clone(), place));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_avoid_each_other_and_the_edge() {
        let anchor = |x, y| Anchor { at: (x, y), name: Some("m5max-40/64".to_owned()) };
        let all = [anchor(100, 100), anchor(110, 101), anchor(120, 99), anchor(880, 300)];
        let placed = places(&all, 900);
        let frame = |(_, (x, y)): &(String, (i32, i32))| [*x, *y, x + 66, y + LABEL_SIZE];
        for (i, a) in placed.iter().enumerate() {
            for b in &placed[i + 1..] {
                assert!(!overlap(&frame(a), &frame(b)), "{a:?} {b:?}");
            }
        }
        assert!(placed[3].1.0 < 880 - 66);
        assert!(places(&[Anchor { at: (1, 1), name: None }], 900).is_empty());
    }
}
