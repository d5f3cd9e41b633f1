/** What is published: the files of the package, its metadata, its types and maps, and the worker that comes as a template. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { build } from 'esbuild';
import { publint } from 'publint';
import { serve } from './edge-worker.ts';
import { pack, project, type Packed, type Project } from './support/pack.ts';
import { cpuOnly, www } from './support/paths.ts';

type Conditions = string | { [condition: string]: Conditions };

interface Manifest {
  exports: { [path: string]: Conditions };
  license: string;
  keywords: string[];
  publishConfig: { provenance: boolean };
}

let packed: Packed;
let app: Project;
let manifest: Manifest;
let paths: string[];

before(() => {
  packed = pack();
  app = project(packed, {});
  // As the template's README says.
  cpSync(join(app.rsafe, 'edge'), app.folder, { recursive: true });
  manifest = JSON.parse(readFileSync(join(app.rsafe, 'package.json'), 'utf8'));
  paths = packed.files.map(({ path }) => path);
});

after(() => {
  app?.remove();
  packed?.remove();
});

/** What stands under a condition, or all that stands there. */
function targets(entry: Conditions, condition?: string): string[] {
  if (typeof entry === 'string') return condition === undefined ? [entry] : [];
  return Object.entries(entry).flatMap(([name, value]) =>
    typeof value === 'string'
      ? condition === undefined || condition === name
        ? [value]
        : []
      : targets(value, condition),
  );
}

test('the tarball holds the library with its maps, the wasm and the template, and nothing else', (t) => {
  const allowed = [
    /^(package\.json|README\.md|(dist\/)?LICENSE|dist\/THIRD_PARTY_LICENSES)$/,
    /^dist\/[\w.-]+\.js(\.map)?$/,
    /^dist\/[\w-]+\.d\.ts$/,
    /^dist\/wasm\/(cpu|webgpu)\.(js|wasm)$/,
    /^edge\/(README\.md|wrangler\.toml|src\/[\w.-]+\.ts)$/,
  ];
  assert.deepEqual(
    paths.filter((path) => !allowed.some((pattern) => pattern.test(path))),
    [],
  );
  for (const path of ['README.md', 'dist/THIRD_PARTY_LICENSES', 'edge/README.md'])
    assert.ok(paths.includes(path), `${path} is missing`);
  for (const target of targets(manifest.exports)) {
    if (!target.includes('*') && !(cpuOnly() && target.includes('wasm/webgpu')))
      assert.ok(existsSync(join(app.rsafe, target)), `${target} is missing`);
  }
  t.diagnostic(`tarball ${packed.size} bytes, unpacked ${packed.unpackedSize} bytes`);
});

test('each entry has one file of types, and no other is published', () => {
  const typed = new Set(targets(manifest.exports, 'types').map((path) => path.replace('./', '')));
  assert.deepEqual(paths.filter((path) => path.endsWith('.d.ts')).sort(), [...typed].sort());
  for (const path of typed) {
    const text = readFileSync(join(app.rsafe, path), 'utf8');
    const relative = [...text.matchAll(/(?:from|import\()\s*['"](\.[^'"]*)/g)].map(([, from]) => from);
    assert.deepEqual(relative, [], path);
  }
});

test('every script of ours has a map with the sources in it', () => {
  for (const path of paths.filter((path) => /^dist\/[^/]+\.js$/.test(path))) {
    const script = readFileSync(join(app.rsafe, path), 'utf8');
    assert.ok(script.trimEnd().endsWith(`//# sourceMappingURL=${basename(path)}.map`), path);
    const { sources, sourcesContent } = JSON.parse(readFileSync(join(app.rsafe, `${path}.map`), 'utf8'));
    assert.equal(sourcesContent.length, sources.length, path);
    assert.ok(
      sourcesContent.every((content: unknown) => typeof content === 'string'),
      path,
    );
  }
});

test('the licence is at the root, and registries learn where a package was built', () => {
  assert.equal(manifest.license, 'Apache-2.0');
  const ours = readFileSync(join(www, '../LICENSE'), 'utf8');
  assert.equal(readFileSync(join(app.rsafe, 'LICENSE'), 'utf8'), ours);
  assert.equal(manifest.publishConfig.provenance, true);
  assert.ok(manifest.keywords.length > 0);
});

test('publint finds nothing to mend', async () => {
  const bytes = readFileSync(packed.tarball);
  const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  const { messages } = await publint({ pack: { tarball } });
  // Some bundlers know `browser` and no conditions; a build without WebGPU lacks its files.
  const mended = messages.filter(
    ({ code, path }) => code !== 'USE_EXPORTS_BROWSER' && !(cpuOnly() && path.join().includes('webgpu')),
  );
  assert.deepEqual(mended, []);
});

test('the types are right wherever modules are resolved by `exports`', async () => {
  const analysis = await checkPackage(createPackageFromTarballData(readFileSync(packed.tarball)));
  assert.ok(analysis.types);
  // Resolution without `exports` knows the main entry alone; `require` of a module is what Node has since 20.19.
  const wrong = analysis.problems.filter(
    (problem) =>
      problem.kind !== 'CJSResolvesToESM' && !('resolutionKind' in problem && problem.resolutionKind === 'node10'),
  );
  assert.deepEqual(wrong, []);
});

test('the worker for the edge is typed by the package, where it is copied to', () => {
  const flags = ['--noEmit', '--strict', '--target', 'es2023', '--types', '', '--allowImportingTsExtensions'];
  const libraries = ['--lib', 'es2023,esnext.disposable,dom,dom.iterable,dom.asynciterable'];
  const resolution = ['--module', 'esnext', '--moduleResolution', 'bundler', '--customConditions', 'workerd'];
  const compiler = join(www, 'node_modules/typescript/bin/tsc');
  const args = [compiler, ...flags, ...libraries, ...resolution, 'src/index.ts'];
  const { status, stdout } = spawnSync(process.execPath, args, { cwd: app.folder, encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});

test('the worker for the edge runs where it is copied to', async () => {
  const { outputFiles } = await build({
    absWorkingDir: app.folder,
    entryPoints: ['src/index.ts'],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2023',
    conditions: ['workerd'],
    alias: { 'rsafe/cpu.wasm': './cpu.wasm' },
    external: ['./cpu.wasm'],
    logLevel: 'error',
  });
  const [, assets] = /^directory = "(.*)"$/m.exec(readFileSync(join(app.folder, 'wrangler.toml'), 'utf8')) ?? [];
  const wasm = readFileSync(join(app.rsafe, 'dist/wasm/cpu.wasm'));
  const worker = serve({ script: outputFiles[0]!.text, wasm }, { LOAD_MS: 120_000 }, join(app.folder, assets!));
  try {
    const body = JSON.stringify({ prompt: 'How do I bake bread?' });
    const answer = await worker.dispatchFetch('http://edge/v1/check', { method: 'POST', body });
    const verdict = (await answer.json()) as { decision?: string };
    assert.equal(verdict.decision, 'allow', JSON.stringify(verdict));
  } finally {
    await worker.dispose();
  }
});
