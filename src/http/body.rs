//! Reading an answer piece by piece, up to a deadline.

use super::chain;
use std::io::{ErrorKind, Read};
use std::time::Instant;

/// Why nothing more was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadProblem {
    /// The deadline has passed.
    Deadline,
    /// Nothing arrived for too long.
    Silent,
    /// The connection broke; what the system says about it.
    Broken(String),
}

/// Reads what has arrived, or waits for it; 0 at the end.
///
/// # Errors
/// When the deadline has passed, nothing arrives, or the connection breaks.
pub(crate) fn read(
    from: &mut impl Read,
    space: &mut [u8],
    deadline: Instant,
) -> Result<usize, ReadProblem> {
    loop {
        if Instant::now() > deadline {
            return Err(ReadProblem::Deadline);
        }
        match from.read(space) {
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                let text = chain(&e);
                let silent = e.kind() == ErrorKind::TimedOut || text.contains("timed out");
                return Err(if silent { ReadProblem::Silent } else { ReadProblem::Broken(text) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::time::Duration;

    struct Fails(Vec<ErrorKind>);

    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.pop().map_or(Ok(0), |kind| Err(kind.into()))
        }
    }

    #[test]
    fn problems_are_told_apart() {
        let later = Instant::now() + Duration::from_secs(60);
        let of =
            |kinds: &[ErrorKind], deadline| read(&mut Fails(kinds.to_vec()), &mut [0], deadline);
        assert_eq!(of(&[ErrorKind::Interrupted], later), Ok(0));
        assert_eq!(of(&[ErrorKind::TimedOut], later), Err(ReadProblem::Silent));
        assert!(matches!(of(&[ErrorKind::ConnectionReset], later), Err(ReadProblem::Broken(_))));
        let past = Instant::now() - Duration::from_millis(1);
        assert_eq!(of(&[], past), Err(ReadProblem::Deadline));
    }
}
