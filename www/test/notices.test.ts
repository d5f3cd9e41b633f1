/** The licences that go with the package: of everything that is compiled into it. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { built, cpuOnly, miniFolder, www } from './support/paths.ts';

const notices = readFileSync(built('THIRD_PARTY_LICENSES'), 'utf8');
/** Each text, behind the names of those whose it is. */
const sections = notices.split(/^-{80}\n/m).slice(1);
const named = (title: string) =>
  sections.some(
    (section, i) =>
      i % 2 === 0 && section.split('\n').includes(title) && /\w{200}|(\w+\W+){20}/.test(sections[i + 1] ?? ''),
  );

test('every crate of the compiled core’s tree is named, with the text of its licence', () => {
  const features = cpuOnly() ? 'cpu,web' : 'cpu,webgpu,web';
  const asked = [
    'tree',
    '--locked',
    '--quiet',
    '--target',
    'wasm32-unknown-unknown',
    '--no-default-features',
    '--features',
    features,
  ];
  const tree = execFileSync('cargo', [...asked, '--edges', 'normal', '--prefix', 'none'], {
    cwd: join(www, '..'),
    encoding: 'utf8',
  });
  const crates = new Set(
    tree
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ').slice(0, 2).join(' ').replace(' v', ' ')),
  );
  const ours = [...crates].filter((crate) => crate.startsWith('rsafe '));
  assert.equal(ours.length, 1);
  assert.ok(crates.size > 50, `expected a tree but got ${crates.size} crates`);
  assert.deepEqual(
    [...crates].filter((crate) => !ours.includes(crate) && !named(crate)),
    [],
  );
});

test('every crate whose code left its name in the compiled core is named', () => {
  const code = readFileSync(built('wasm/cpu.wasm'), 'latin1');
  const found = new Set(
    [...code.matchAll(/registry\/src\/[^/]+\/([\w-]+?)-(\d+\.\d+\.\d+[\w.+-]*)\//g)].map(
      ([, name, version]) => `${name} ${version}`,
    ),
  );
  assert.ok(found.size > 5, `expected paths of crates in cpu.wasm but found ${[...found].join(', ') || 'none'}`);
  assert.deepEqual(
    [...found].filter((crate) => !named(crate)),
    [],
  );
});

test('Rust’s library is named too, and the model’s starting weights with the model', () => {
  assert.match(notices, /the Rust standard library \(rustc /);
  assert.match(readFileSync(join(miniFolder, 'NOTICE'), 'utf8'), /^The model rsafe-mini .* weights of /);
  assert.match(notices, /Copyright \(c\) The Rust Project Contributors/);
});
