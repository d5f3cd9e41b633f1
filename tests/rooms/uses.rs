//! Which files of a crate use which: imports and paths, followed through re-exports to the file that defines a name.
//!
//! Tests are no part of a crate here. Whose method is called only types tell: that is not seen.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemMod, Macro, Meta, Token, UseTree, Visibility};

/// For each file those that it uses, each with a path by which it does.
pub type Uses = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// What the files of the crate in this folder use whose root is this file of it.
pub fn uses(crate_folder: &Path, root: &str) -> Uses {
    let mut reader = Reader { crate_folder, scopes: Vec::new(), at: 0, local: false };
    reader.read(Path::new(root), Path::new(""), None);
    let mut uses = Uses::new();
    for (at, scope) in reader.scopes.iter().enumerate() {
        let user = uses.entry(scope.file.clone()).or_default();
        for path in &scope.paths {
            match reader.resolve(at, path, false, &mut HashSet::new()) {
                Some(Found::Item(file)) if file != scope.file => user.insert(file, path.join("::")),
                _ => None,
            };
        }
    }
    uses
}

/// Each file's shortest way back to itself, in words, the shortest first; one circle is told once.
pub fn circles(uses: &Uses) -> Vec<String> {
    let mut circles: Vec<Vec<&Path>> = uses.keys().filter_map(|file| way_back(uses, file)).collect();
    circles.sort_by_key(Vec::len);
    let mut told = HashSet::new();
    circles.retain(|circle| told.insert(BTreeSet::from_iter(circle.clone())));
    let in_words = |circle: &Vec<&Path>| {
        let nexts = circle.iter().cycle().skip(1);
        let steps = circle.iter().zip(nexts);
        let steps = steps.map(|(&from, &to)| format!("{} uses {} of {}", from.display(), uses[from][to], to.display()));
        steps.collect::<Vec<_>>().join(", ")
    };
    circles.iter().map(in_words).collect()
}

fn way_back<'u>(uses: &'u Uses, start: &'u Path) -> Option<Vec<&'u Path>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut met = HashSet::new();
    while let Some(way) = ways.pop_front() {
        for next in uses[*way.last()?].keys() {
            if next == start {
                return Some(way);
            }
            if met.insert(next) {
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    None
}

/// A module, whether it has a file of its own or not.
struct Scope {
    file: PathBuf,
    /// Where its modules' files lie.
    folder: PathBuf,
    parent: Option<usize>,
    modules: HashMap<String, usize>,
    items: HashSet<String>,
    /// Each name with what it stands for.
    imports: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    /// What its code names.
    paths: Vec<Vec<String>>,
}

/// What a path leads to.
enum Found {
    Module(usize),
    /// An item of that file.
    Item(PathBuf),
}

/// Reads a crate's modules, the root first.
struct Reader<'c> {
    crate_folder: &'c Path,
    scopes: Vec<Scope>,
    /// The module that is being read.
    at: usize,
    /// Whether what is read stands inside a function, where others cannot name it.
    local: bool,
}

impl Reader<'_> {
    fn read(&mut self, file: &Path, folder: &Path, parent: Option<usize>) -> usize {
        let code = syn::parse_file(&fs::read_to_string(self.crate_folder.join(file)).unwrap()).unwrap();
        self.inside(file, folder, parent, |reader| reader.visit_file(&code))
    }

    fn inside(&mut self, file: &Path, folder: &Path, parent: Option<usize>, read: impl FnOnce(&mut Self)) -> usize {
        let scope = Scope {
            file: file.into(),
            folder: folder.into(),
            parent,
            modules: HashMap::new(),
            items: HashSet::new(),
            imports: Vec::new(),
            globs: Vec::new(),
            paths: Vec::new(),
        };
        let (outer, inner) = (self.at, self.scopes.len());
        self.scopes.push(scope);
        self.at = inner;
        read(self);
        self.at = outer;
        inner
    }

    fn scope(&mut self) -> &mut Scope {
        &mut self.scopes[self.at]
    }

    fn module(&mut self, item: &ItemMod) {
        let (at, name) = (self.at, item.ident.to_string());
        let (file, folder) = (self.scopes[at].file.clone(), self.scopes[at].folder.join(&name));
        let inner = match &item.content {
            Some((_, items)) => {
                let read = |reader: &mut Self| items.iter().for_each(|item| reader.visit_item(item));
                self.inside(&file, &folder, Some(at), read)
            }
            None => {
                let files = [folder.with_extension("rs"), folder.join("mod.rs")];
                let file = files.iter().find(|file| self.crate_folder.join(file).exists());
                self.read(file.unwrap_or_else(|| panic!("none of {files:?}")), &folder, Some(at))
            }
        };
        self.scope().modules.insert(name, inner);
    }

    /// Imports what a tree names behind `prefix`; a private import is a use itself.
    fn import(&mut self, prefix: &[String], tree: &UseTree, private: bool) {
        let below = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(tree) => return self.import(&below(&tree.ident), &tree.tree, private),
            UseTree::Group(trees) => return trees.items.iter().for_each(|tree| self.import(prefix, tree, private)),
            UseTree::Glob(_) => return self.scope().globs.push(prefix.to_vec()),
            UseTree::Name(tree) if tree.ident == "self" => (prefix.last().unwrap().clone(), below(&tree.ident)),
            UseTree::Name(tree) => (tree.ident.to_string(), below(&tree.ident)),
            UseTree::Rename(tree) => (tree.rename.to_string(), below(&tree.ident)),
        };
        if private {
            self.scope().paths.push(path.clone());
        }
        self.scope().imports.push((name, path));
    }

    /// Where a path leads that stands in a module; `more` follows it. `None` for what is of another crate, or local.
    fn resolve(&self, at: usize, path: &[String], more: bool, seen: &mut Seen) -> Option<Found> {
        let mut found = Found::Module(at);
        for (place, name) in path.iter().enumerate() {
            // Behind an item stand its variants and what is associated with it.
            let Found::Module(module) = found else { break };
            found = match name.as_str() {
                "crate" => Found::Module(0),
                "self" => Found::Module(module),
                "super" => Found::Module(self.scopes[module].parent?),
                name => match self.find(module, name, more || place + 1 < path.len(), seen) {
                    Some(found) => found,
                    None if place == 0 => return None,
                    // The module has it from another crate, or of a macro.
                    None => Found::Item(self.scopes[module].file.clone()),
                },
            };
        }
        Some(found)
    }

    /// What a name is in a module: where more follows rather a module, at a path's end rather an item.
    fn find(&self, module: usize, name: &str, more: bool, seen: &mut Seen) -> Option<Found> {
        let question = (module, name.to_owned(), more);
        if !seen.insert(question.clone()) {
            return None;
        }
        let scope = &self.scopes[module];
        let own = scope.items.contains(name).then(|| Found::Item(scope.file.clone()));
        let mut all: Vec<Found> = own.into_iter().chain(scope.modules.get(name).copied().map(Found::Module)).collect();
        for (_, path) in scope.imports.iter().filter(|(known, _)| known == name) {
            all.extend(self.resolve(module, path, more, seen));
        }
        for path in &scope.globs {
            if let Some(Found::Module(of)) = self.resolve(module, path, true, seen) {
                all.extend(self.find(of, name, more, seen));
            }
        }
        seen.remove(&question);
        let fits = all.iter().position(|found| matches!(found, Found::Module(_)) == more).unwrap_or(0);
        (!all.is_empty()).then(|| all.swap_remove(fits))
    }

    /// The paths among tokens that nobody parses: those of a macro or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        // What stands before a token: `.` before a field or a method, `'` before a lifetime, `::` inside a path.
        let mut before = String::new();
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if before != "::" {
                        self.scope().paths.push(std::mem::take(&mut path));
                    }
                    if before != "." && before != "'" && (before != "::" || !path.is_empty()) {
                        path.push(name.to_string());
                    }
                    before.clear();
                }
                TokenTree::Punct(mark) => {
                    if mark.as_char() != ':' {
                        before.clear();
                    }
                    before.push(mark.as_char());
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    before.clear();
                    self.scope().paths.push(std::mem::take(&mut path));
                }
                TokenTree::Literal(text) => {
                    // `with = "module::function"`
                    let path = syn::parse_str(&text.to_string()).ok().and_then(|text: syn::LitStr| text.parse().ok());
                    if let Some(path) = path.filter(|path: &syn::Path| path.segments.len() > 1) {
                        self.visit_path(&path);
                    }
                    before.clear();
                }
            }
        }
        self.scope().paths.push(path);
    }
}

/// The questions that are being answered, for names that are imported in a round.
type Seen = HashSet<(usize, String, bool)>;

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if tests_only(attributes) {
            return;
        }
        let name = name.filter(|_| !self.local).map(ToString::to_string);
        self.scope().items.extend(name);
        match item {
            Item::Mod(item) => self.module(item),
            Item::Use(item) => self.import(&[], &item.tree, matches!(item.vis, Visibility::Inherited)),
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !tests_only(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let outer = std::mem::replace(&mut self.local, true);
        visit::visit_block(self, block);
        self.local = outer;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.scope().paths.push(names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// Whether something is compiled for tests alone.
fn tests_only(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.filter_map(|attribute| attribute.parse_args().ok()).any(|condition| asks_for_tests(&condition))
}

fn asks_for_tests(condition: &Meta) -> bool {
    match condition {
        Meta::List(list) if list.path.is_ident("all") => {
            let all = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            all.is_ok_and(|all| all.iter().any(asks_for_tests))
        }
        condition => condition.path().is_ident("test"),
    }
}
