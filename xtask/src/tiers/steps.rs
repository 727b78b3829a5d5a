//! The steps of a tier: timed, counted, and with what had to be left out.

use crate::packages::Missing;
use anyhow::{Context, Result, bail};
use std::time::Instant;

/// What the steps of a tier have found so far.
#[derive(Default)]
pub struct Steps {
    passed: u64,
    /// What and why, with the way to get it.
    left_out: Vec<String>,
}

impl Steps {
    /// A step that has to succeed. What it returns is the number of tests that passed.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<u64>) -> Result<()> {
        eprintln!("── {name}");
        let start = Instant::now();
        self.passed += work().with_context(|| format!("{name}: failed"))?;
        eprintln!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// A step that is left out where the machine lacks what it needs; says whether it was done.
    pub fn run_if_there(&mut self, name: &str, work: impl FnOnce() -> Result<u64>) -> Result<bool> {
        let Err(error) = self.run(name, work) else { return Ok(true) };
        let Some(missing) = error.downcast_ref::<Missing>() else { return Err(error) };
        eprintln!("── {name}: left out, {missing}");
        self.left_out.push(format!("{name}: {missing}"));
        Ok(false)
    }

    /// Notes that something else is left out because `reason` was.
    pub fn leave_out(&mut self, name: &str, reason: &str) {
        self.left_out.push(format!("{name}: {reason}"));
    }

    /// Prints what was left out, and the number of tests that passed as the last line.
    ///
    /// # Errors
    /// With `complete`, when anything was left out.
    pub fn finish(self, complete: bool) -> Result<()> {
        for what in &self.left_out {
            eprintln!("left out: {what}");
        }
        if complete && !self.left_out.is_empty() {
            bail!("{} left out, and --complete allows none", self.left_out.len());
        }
        println!("{} passed, 0 failed", self.passed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Steps;
    use crate::packages::Missing;
    use anyhow::{Context, bail};

    #[test]
    fn what_a_machine_lacks_is_left_out_and_named() {
        let mut steps = Steps::default();
        let lacks = || Err::<u64, _>(Missing::error("a tool", "get it")).context("set-up");
        assert!(!steps.run_if_there("types", lacks).expect("left out"));
        assert_eq!(steps.left_out, ["types: a tool is missing: get it"]);
        assert!(steps.run_if_there("lints", || bail!("wrong")).is_err());
        assert!(steps.finish(true).is_err());
    }
}
