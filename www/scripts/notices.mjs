/** Gathers the licences of the code that is compiled in: of every crate of a build, as the crate ships them, and of Rust's
 * standard library. Equal texts are said once, with the names of those whose they are.
 *
 * `node scripts/notices.mjs FILE` writes those of the command line's build, to go with its program. */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** A build as cargo is asked about it: its target and its features, the default ones where none are named.
 * @typedef {{target: string, features?: string}} Build */

/** Files of a crate that hold a licence or a notice. */
const LICENCE_FILE = /^(licen[cs]e|copying|copyright|notice|unlicense|patents)/i;

const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

function cargo(...args) {
  const stdio = ['ignore', 'pipe', 'inherit'];
  return execFileSync(process.env.CARGO ?? 'cargo', ['--quiet', ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio,
  });
}

function compiler(...args) {
  return execFileSync('rustc', args, { cwd: root, encoding: 'utf8' });
}

/** The crates of a build, ours left out: the tree says which, the metadata where they lie.
 * @param {Build} build */
function crates({ target, features }) {
  const chosen = ['--locked', ...(features === undefined ? [] : ['--no-default-features', '--features', features])];
  const tree = cargo('tree', ...chosen, '--target', target, '--edges', 'normal', '--prefix', 'none', '--format', '{p}');
  const metadata = cargo('metadata', ...chosen, '--filter-platform', target, '--format-version', '1');
  const known = new Map(JSON.parse(metadata).packages.map((each) => [`${each.name} v${each.version}`, each]));
  const names = new Set(
    tree
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ').slice(0, 2).join(' ')),
  );
  return [...names].sort().flatMap((name) => {
    const found = known.get(name);
    if (!found) throw new Error(`cargo's tree has ${name}, which its metadata has not`);
    return found.source === null ? [] : [found];
  });
}

/** The text of the MPL, which names nobody, from a crate of the build that ships it. */
function mpl(crates) {
  const found = crates.find(
    ({ license, manifest_path }) => license === 'MPL-2.0' && licenceFiles(dirname(manifest_path)).length > 0,
  );
  if (!found) throw new Error('no crate of this build ships the text of the MPL: add it to scripts/notices.mjs');
  const folder = dirname(found.manifest_path);
  return licenceFiles(folder).map((file) => readText(join(folder, file)));
}

/** Some crates ship a link to their repository's licence as a file that holds its path: that is no licence. */
const LINK = /^\S+$/;

function licenceFiles(folder) {
  const isLicence = (path) => statSync(path).isFile() && !LINK.test(readText(path));
  return readdirSync(folder).filter((file) => LICENCE_FILE.test(file) && isLicence(join(folder, file)));
}

function readText(path) {
  return readFileSync(path, 'utf8').replace(/\r\n/g, '\n').trim();
}

/** A crate's licences: of several on offer the MIT's, where the crate has a file for each. */
function texts({ name, version, license, authors, manifest_path }, crates) {
  const folder = dirname(manifest_path);
  const files = licenceFiles(folder);
  const free = !/\bAND\b/.test(license ?? '');
  const mit = free && /\bMIT\b/.test(license) ? files.filter((file) => /mit/i.test(file)) : [];
  const chosen = mit.length > 0 ? [...mit, ...files.filter((file) => /^(notice|copyright)/i.test(file))] : files;
  if (chosen.length > 0) return chosen.map((file) => readText(join(folder, file)));
  const holders = authors.length > 0 ? authors.join(', ') : `the authors of ${name}`;
  if (free && /\bMIT\b/.test(license ?? '')) return [`MIT License\n\nCopyright (c) ${holders}\n\n${MIT}`];
  if (free && /\bApache-2\.0\b/.test(license ?? '')) return [readText(join(root, 'LICENSE'))];
  if (license === 'MPL-2.0') return mpl(crates);
  throw new Error(`${name} ${version} (${license}) ships no licence: find its text and add it to scripts/notices.mjs`);
}

/** Rust's own: the copyright of the library that every build holds. */
function standardLibrary() {
  const version = compiler('--version').trim();
  const text = `MIT License\n\nCopyright (c) The Rust Project Contributors\n\n${MIT}`;
  return { title: `the Rust standard library (${version})`, licence: 'MIT OR Apache-2.0', texts: [text] };
}

/** The model's weights are derived from others. */
export function modelNotice({ name, provenance: { licence, source } }) {
  return `The model ${name} (${licence}) starts from the weights of ${source}, under the Apache License 2.0.\n`;
}

function model(manifest) {
  const { name, provenance } = manifest;
  return { title: `the model ${name}`, licence: provenance.licence, texts: [modelNotice(manifest).trim()] };
}

/** The notices of a build as one text; `manifest` is that of the model that is compiled in.
 * @param {Build} build */
function notices(build, manifest) {
  const found = crates(build);
  const parts = found.map((each) => ({
    title: `${each.name} ${each.version}`,
    licence: `${each.license ?? 'see below'}, ${each.repository ?? `https://crates.io/crates/${each.name}`}`,
    texts: texts(each, found),
  }));
  const all = [...parts, standardLibrary(), ...(manifest ? [model(manifest)] : [])];
  const owners = new Map();
  for (const { title, texts } of all) {
    for (const text of texts) owners.set(text, [...(owners.get(text) ?? []), title]);
  }
  const list = all.map(({ title, licence }) => `  ${title} (${licence})`).join('\n');
  const rule = '-'.repeat(80);
  const sections = [...owners].map(([text, titles]) => `${rule}\n${titles.join('\n')}\n${rule}\n\n${text}\n`);
  return `rsafe is licensed under the Apache License 2.0, see LICENSE. It holds code of these:\n\n${list}\n\n${sections.join('\n')}`;
}

/** The notices that go with the package.
 * @param {{webgpu: boolean}} build whether the build for WebGPU is in it */
export function packageNotices({ webgpu }) {
  const features = webgpu ? 'cpu,webgpu,web' : 'cpu,web';
  return notices({ target: 'wasm32-unknown-unknown', features });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [file] = process.argv.slice(2);
  if (file === undefined) throw new Error('expected the name of a file to write, e.g. THIRD_PARTY_LICENSES');
  const manifest = JSON.parse(readFileSync(join(root, 'models/rsafe-mini/manifest.json'), 'utf8'));
  const target = /^host: (.+)$/m.exec(compiler('-vV'))[1];
  writeFileSync(file, notices({ target }, manifest));
}
