/** Builds the package into `dist/`: the code, its types, the model, and the compiled core that `scripts/wasm.mjs` made;
 * and the demo page beside it, which is not packed.
 * Fails where a file is missing or larger than promised. `--cpu-only` allows for a missing WebGPU build. */

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { buildDemo } from './demo.mjs';
import { packageNotices } from './notices.mjs';

const www = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(www, 'dist');
const cpuOnly = process.argv.includes('--cpu-only');

/** gzip bytes. */
const LIMITS = { js: 30_000, 'fetch.js': 8_000, 'cpu.wasm': 2_000_000, 'webgpu.wasm': 4_000_000 };

const model = 'rsafe-mini';
const modelFrom = join(www, '..', 'models', model);
const manifest = JSON.parse(readFileSync(join(modelFrom, 'manifest.json'), 'utf8'));
const { dependencies } = JSON.parse(readFileSync(join(www, 'package.json'), 'utf8'));

function clean() {
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist)) if (name !== 'wasm') rmSync(join(dist, name), { recursive: true });
}

/** The manifest's text, after a look at whether `src/bundled.ts` names its files. */
function manifestText() {
  const source = readFileSync(join(www, 'src/bundled.ts'), 'utf8');
  for (const { name } of manifest.files) {
    if (!source.includes(`'./model/${model}/${name}'`)) throw new Error(`src/bundled.ts does not name ${name} of ${model}`);
  }
  return JSON.stringify(manifest);
}

const ENTRIES = ['index', 'worker', 'node', 'node-worker', 'workerd', 'walk', 'held', 'fetch'];

/** Gives what went in, and what came out of it. */
async function code() {
  const { metafile } = await build({
    absWorkingDir: www,
    entryPoints: ENTRIES.map((name) => `src/${name}.ts`),
    outdir: dist,
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['node:*', './wasm/*', ...Object.keys(dependencies)],
    chunkNames: '[name]-[hash]',
    define: { RSAFE_MINI_MANIFEST: JSON.stringify(manifestText()) },
    logLevel: 'warning',
    metafile: true,
  });
  for (const name of readdirSync(dist)) if (name.endsWith('.js')) keepImport(join(dist, name));
  return metafile;
}

/** Minifying drops the comments that keep a user's bundler away from the import of the glue. */
function keepImport(path) {
  const source = readFileSync(path, 'utf8');
  writeFileSync(path, source.replace(/\bimport\((\w+\.href)\)/g, 'import(/* webpackIgnore: true *//* @vite-ignore */$1)'));
}

/** Declarations, one file each; `.ts` in an import is a source's, `.js` what a user's compiler resolves. */
function types() {
  const tsc = join(www, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--outDir', dist, '--rootDir', 'src'];
  const project = join(www, 'tsconfig.build.json');
  execFileSync(process.execPath, [tsc, '-p', project, ...options], { cwd: www, stdio: 'inherit' });
  for (const file of readdirSync(dist, { recursive: true })) {
    if (!file.endsWith('.d.ts')) continue;
    const path = join(dist, file);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/(['"]\.{1,2}\/[^'"]+)\.ts(['"])/g, '$1.js$2'));
  }
}

/** Our licence, and those of what is compiled in. JavaScript of others is not: it would have to be named there, too. */
function licences({ inputs }) {
  const foreign = Object.keys(inputs).filter((input) => input.includes('node_modules/'));
  if (foreign.length > 0) throw new Error(`scripts/notices.mjs does not know the licence of ${foreign.join(', ')}`);
  copyFileSync(join(www, '..', 'LICENSE'), join(dist, 'LICENSE'));
  writeFileSync(join(dist, 'THIRD_PARTY_LICENSES'), packageNotices({ webgpu: !cpuOnly, manifest }));
}

function copyModel() {
  const to = join(dist, 'model', model);
  mkdirSync(to, { recursive: true });
  for (const name of ['manifest.json', ...manifest.files.map((file) => file.name)]) {
    copyFileSync(join(modelFrom, name), join(to, name));
  }
}

/** The compiled core is there, and comes in pairs. */
function core() {
  for (const build of cpuOnly ? ['cpu'] : ['cpu', 'webgpu']) {
    for (const file of [`wasm/${build}.js`, `wasm/${build}.wasm`]) {
      if (existsSync(join(dist, file))) continue;
      const otherwise = build === 'webgpu' ? ', or build with --cpu-only' : '';
      throw new Error(`dist/${file} is missing: run \`node scripts/wasm.mjs ${build}\` first${otherwise}`);
    }
  }
}

/** The scripts that these entries are, with those that they import. */
function closure({ outputs }, ...entries) {
  const found = new Set();
  const visit = (path) => {
    if (found.has(path)) return;
    found.add(path);
    for (const { path: imported, external } of outputs[path].imports) if (!external) visit(imported);
  };
  for (const entry of entries) visit(`dist/${entry}.js`);
  return [...found];
}

/** Sizes after gzip, those with a limit held to it. */
function report(metafile) {
  const gzip = (path) => gzipSync(readFileSync(path), { level: 9 }).length;
  const sum = (paths) => paths.reduce((total, path) => total + gzip(join(www, path)), 0);
  const builds = existsSync(join(dist, 'wasm')) ? readdirSync(join(dist, 'wasm')).filter((name) => /\.(js|wasm)$/.test(name)) : [];
  const rows = [];
  const add = (name, size, limit) => rows.push({ file: name, 'gzip bytes': size, limit: limit ?? '' });
  for (const name of readdirSync(dist)) if (name.endsWith('.js')) add(name, gzip(join(dist, name)));
  let glue = 0;
  for (const name of builds) {
    const size = gzip(join(dist, 'wasm', name));
    if (name.endsWith('.js')) glue = Math.max(glue, size);
    add(`wasm/${name}`, size, LIMITS[name]);
  }
  const beside = ['held', 'fetch'];
  add('all JavaScript but the glue and `fetch`', sum(closure(metafile, ...ENTRIES.filter((name) => !beside.includes(name)))), LIMITS.js);
  add('what a page loads of it, with the larger glue', sum(closure(metafile, 'index', 'worker')) + glue);
  add('`fetch`, with all that it imports of the package', sum(closure(metafile, 'fetch')), LIMITS['fetch.js']);
  for (const name of readdirSync(join(dist, 'model', model))) {
    add(`model/${model}/${name} (as it is)`, statSync(join(dist, 'model', model, name)).size);
  }
  console.table(rows);
  const over = rows.filter((row) => row.limit !== '' && row['gzip bytes'] > row.limit);
  if (over.length > 0) throw new Error(`larger than promised: ${over.map((row) => row.file).join(', ')}`);
}

clean();
const metafile = await code();
licences(metafile);
types();
copyModel();
core();
report(metafile);
await buildDemo();
