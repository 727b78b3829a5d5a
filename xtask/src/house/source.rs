//! What a file of the crate declares, imports and names.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A file of the crate.
pub struct Source {
    /// Its path, from the root of the repository.
    pub file: String,
    /// Its module.
    pub module: Vec<String>,
    /// Its lines.
    pub lines: usize,
    /// Its lines without blanks, comments and tests.
    pub code: usize,
    /// Items that are `pub` without restriction.
    pub public: usize,
    /// Calls of `json!`.
    pub json: usize,
    /// Types that other files can see.
    pub types: BTreeSet<String>,
    /// Types that they cannot see.
    pub own_types: BTreeSet<String>,
    /// Everything that it declares at its top.
    pub items: BTreeSet<String>,
    /// What it imports.
    pub imports: Vec<Import>,
    /// Paths in its code, absolute or from its module.
    pub paths: Vec<Vec<String>>,
    /// Modules that only tests have.
    pub tests: Vec<String>,
    /// How many modules of its own the reader is in.
    inner: usize,
}

/// One name of a `use`.
pub struct Import {
    /// Where it comes from, as written.
    pub path: Vec<String>,
    /// Its name here; `*` of a whole module.
    pub name: String,
    /// Whether others may use it from here.
    pub reexported: bool,
}

/// Every file under `src`, without those that only tests have.
pub fn read(root: &Path) -> Result<Vec<Source>> {
    let mut all = Vec::new();
    read_folder(root, "src", &mut all)?;
    let tests: Vec<Vec<String>> = all
        .iter()
        .flat_map(|s: &Source| {
            s.tests.iter().map(|name| [s.module.as_slice(), std::slice::from_ref(name)].concat())
        })
        .collect();
    all.retain(|s| !tests.iter().any(|t| s.module.starts_with(t)));
    Ok(all)
}

fn read_folder(root: &Path, folder: &str, all: &mut Vec<Source>) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(root.join(folder))?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            read_folder(root, &path, all)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(root.join(&path))?;
            all.push(Source::parse(&path, &text)?);
        }
    }
    Ok(())
}

impl Source {
    /// Reads a file.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let parsed = syn::parse_file(text).with_context(|| format!("cannot read {file}"))?;
        let stem = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let module = match stem {
            "lib" | "main" => Vec::new(),
            stem => stem.split('/').map(str::to_owned).collect(),
        };
        let mut source = Self {
            file: file.to_owned(),
            module,
            lines: text.lines().count(),
            code: code_lines(text),
            public: 0,
            json: 0,
            types: BTreeSet::new(),
            own_types: BTreeSet::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
            tests: Vec::new(),
            inner: 0,
        };
        source.visit_file(&parsed);
        Ok(source)
    }

    fn declare(&mut self, name: &syn::Ident, vis: &Visibility, is_type: bool) {
        let (name, visible) = (name.to_string(), !matches!(vis, Visibility::Inherited));
        self.public += usize::from(matches!(vis, Visibility::Public(_)));
        if is_type {
            let types = if visible { &mut self.types } else { &mut self.own_types };
            types.insert(name.clone());
        }
        self.items.insert(name);
    }

    fn import(&mut self, tree: &UseTree, path: &mut Vec<String>, reexported: bool) {
        let mut add = |path: &[String], name: String| {
            self.imports.push(Import { path: outward(path, self.inner), name, reexported });
        };
        match tree {
            UseTree::Path(p) => {
                path.push(p.ident.to_string());
                self.import(&p.tree, path, reexported);
                path.pop();
            }
            UseTree::Name(n) if n.ident == "self" => {
                add(path, path.last().cloned().unwrap_or_default());
            }
            UseTree::Name(n) => {
                let name = n.ident.to_string();
                add(&[path.as_slice(), std::slice::from_ref(&name)].concat(), name.clone());
            }
            UseTree::Rename(r) if r.ident == "self" => add(path, r.rename.to_string()),
            UseTree::Rename(r) => {
                add(&[path.as_slice(), &[r.ident.to_string()]].concat(), r.rename.to_string());
            }
            UseTree::Glob(_) => add(path, "*".to_owned()),
            UseTree::Group(g) => {
                g.items.iter().for_each(|tree| self.import(tree, path, reexported));
            }
        }
    }
}

/// Lines that are neither blank nor comments, up to the tests, which stand at the end.
fn code_lines(text: &str) -> usize {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// A path within modules of a file, as it is at the top of the file.
fn outward(path: &[String], inner: usize) -> Vec<String> {
    let above = path.iter().take_while(|s| *s == "super").count().min(inner);
    let rest = &path[above..];
    if above > 0 && rest.first().is_none_or(|first| first != "super") {
        [&["self".to_owned()], rest].concat()
    } else {
        rest.to_vec()
    }
}

/// Whether an item is there for tests only.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        let cfg = a.path().is_ident("cfg")
            && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test"));
        cfg || a.path().is_ident("test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(x) => &x.attrs,
        Item::Enum(x) => &x.attrs,
        Item::Fn(x) => &x.attrs,
        Item::Impl(x) => &x.attrs,
        Item::Mod(x) => &x.attrs,
        Item::Static(x) => &x.attrs,
        Item::Struct(x) => &x.attrs,
        Item::Trait(x) => &x.attrs,
        Item::Type(x) => &x.attrs,
        Item::Use(x) => &x.attrs,
        _ => &[],
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item(&mut self, item: &'a Item) {
        if for_tests(attributes(item)) {
            if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
                self.tests.push(ident.to_string());
            }
            return;
        }
        match item {
            Item::Const(x) => self.declare(&x.ident, &x.vis, false),
            Item::Static(x) => self.declare(&x.ident, &x.vis, false),
            Item::Fn(x) => self.declare(&x.sig.ident, &x.vis, false),
            Item::Struct(x) => self.declare(&x.ident, &x.vis, true),
            Item::Enum(x) => self.declare(&x.ident, &x.vis, true),
            Item::Trait(x) => self.declare(&x.ident, &x.vis, true),
            Item::Type(x) => self.declare(&x.ident, &x.vis, true),
            Item::Union(x) => self.declare(&x.ident, &x.vis, true),
            _ => {}
        }
        let inner = usize::from(matches!(item, Item::Mod(_)));
        self.inner += inner;
        visit::visit_item(self, item);
        self.inner -= inner;
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let reexported = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, &mut Vec::new(), reexported);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1 {
            let path: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.paths.push(outward(&path, self.inner));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.json += usize::from(call.path.is_ident("json"));
        visit::visit_macro(self, call);
    }
}
