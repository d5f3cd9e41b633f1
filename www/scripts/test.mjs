/** Runs the tests: bundles each `test/*.test.ts` (Node 20 reads no TypeScript) into a scratch folder and gives them to
 * `node --test`. Arguments choose files by a part of their name; those that start with `--` go to Node. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const www = dirname(dirname(fileURLToPath(import.meta.url)));
const tests = join(www, 'test');
const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
const parts = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));

const files = readdirSync(tests).filter((name) => name.endsWith('.test.ts'));
const chosen = files.filter((name) => parts.length === 0 || parts.some((part) => name.includes(part)));
if (chosen.length === 0) {
  console.error(`no test's name has ${parts.join(' or ')} in it; there are ${files.join(', ')}`);
  process.exit(1);
}

// As deep as the sources, so that tests find files relative to themselves, as the sources do.
const out = join(www, '.test');
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await build({
  entryPoints: chosen.map((name) => join(tests, name)),
  outdir: out,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
  external: ['*/wasm/cpu.js', '../dist/*', '../scripts/*'],
  sourcemap: 'inline',
  outExtension: { '.js': '.mjs' },
  logLevel: 'warning',
});
const built = chosen.map((name) => join(out, name.replace(/\.ts$/, '.mjs')));
const args = ['--test', '--test-timeout=1500000', '--enable-source-maps', '--test-reporter=spec', ...flags, ...built];
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: www });
rmSync(out, { recursive: true, force: true });
process.exit(status ?? 1);
