//! Which file imports which.
//!
//! An import counts for the file that declares what is imported, through whatever it is re-exported; a re-export by
//! itself counts for nothing. A module and those within it may know one another.

use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// The files with what they import, by their places.
pub struct Imports<'s> {
    sources: &'s [Source],
    modules: BTreeMap<&'s [String], usize>,
}

impl<'s> Imports<'s> {
    /// Of these files.
    pub fn of(sources: &'s [Source]) -> Self {
        let modules = sources.iter().enumerate().map(|(i, s)| (s.module.as_slice(), i)).collect();
        Self { sources, modules }
    }

    /// Groups of files that import one another, in circles.
    pub fn circles(&self) -> Vec<Vec<&'s str>> {
        let targets: Vec<BTreeSet<usize>> =
            (0..self.sources.len()).map(|i| self.targets(i)).collect();
        let reached: Vec<BTreeSet<usize>> =
            (0..targets.len()).map(|i| reach(&targets, i)).collect();
        let mut circles: BTreeSet<Vec<usize>> = BTreeSet::new();
        for (i, from) in reached.iter().enumerate() {
            let circle: Vec<usize> =
                from.iter().copied().filter(|&j| reached[j].contains(&i)).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let names = |circle: Vec<usize>| {
            circle.into_iter().map(|i| self.sources[i].file.as_str()).collect()
        };
        circles.into_iter().map(names).collect()
    }

    /// The files that a file imports from, without those of modules around it and within it.
    fn targets(&self, i: usize) -> BTreeSet<usize> {
        let source = &self.sources[i];
        let imports =
            source.imports.iter().filter(|import| !import.reexported).map(|import| &import.path);
        let found = imports
            .chain(&source.paths)
            .filter_map(|path| self.declared(&self.absolute(i, path), 0));
        let apart = |&j: &usize| {
            let (a, b) = (&source.module, &self.sources[j].module);
            !a.starts_with(b) && !b.starts_with(a)
        };
        found.filter(apart).collect()
    }

    /// A path of a file from the root of the crate.
    fn absolute(&self, i: usize, path: &[String]) -> Vec<String> {
        let source = &self.sources[i];
        let mut module = source.module.clone();
        let mut rest = path;
        match path[0].as_str() {
            "crate" | "mlxplan" => return path[1..].to_vec(),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|s| s == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                if let Some(import) = source
                    .imports
                    .iter()
                    .find(|import| import.name == first && import.path[0] != first)
                {
                    return [self.absolute(i, &import.path), path[1..].to_vec()].concat();
                }
            }
        }
        module.extend_from_slice(rest);
        module
    }

    /// The file that declares what a path, or the longest part of it, names.
    fn declared(&self, path: &[String], depth: usize) -> Option<usize> {
        (1..=path.len()).rev().find_map(|n| self.declares(&path[..n], depth))
    }

    fn declares(&self, path: &[String], depth: usize) -> Option<usize> {
        // Longer chains of re-exports than this are circles of their own.
        if depth > 8 {
            return None;
        }
        if let Some(&file) = self.modules.get(path) {
            return Some(file);
        }
        let (name, module) = path.split_last()?;
        let &file = self.modules.get(module)?;
        let source = &self.sources[file];
        let reexports = source.imports.iter().filter(|import| import.reexported);
        let through = |import: &super::source::Import| {
            let mut target = self.absolute(file, &import.path);
            if import.name == "*" {
                target.push(name.clone());
            } else if import.name != *name {
                return None;
            }
            self.declares(&target, depth + 1)
        };
        reexports.clone().find_map(through).or_else(|| source.items.contains(name).then_some(file))
    }
}

/// The files that can be reached from one.
fn reach(targets: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(i) = next.pop() {
        next.extend(targets[i].iter().copied().filter(|&j| found.insert(j)));
    }
    found
}
