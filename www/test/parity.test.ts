/** The same prompts through the compiled cpu build in Node and through the native program. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, test } from 'node:test';
import { result } from '../edge/src/moderations.ts';
import type * as Library from '../src/index.ts';
import type { Evidence, Verdict } from '../src/types.ts';
import { agree, byPolicy, type Golden } from './support/golden.ts';
import { built, miniFolder, nativeProgram } from './support/paths.ts';

/** Both are f32 on a CPU, but SIMD widths order the sums differently. */
const TOLERANCE = 1e-3;

let guard: Library.Guard;
let rsafe: typeof Library;
let folder: string;

before(async () => {
  rsafe = await import(pathToFileURL(built('node.js')).href);
  guard = await rsafe.createGuard({ reasoning: 'always' });
  folder = mkdtempSync(join(tmpdir(), 'rsafe-parity-'));
});

after(async () => {
  await guard?.dispose();
  if (folder) rmSync(folder, { recursive: true });
});

/** What the native program answers to rows. Its verdicts have the package's names, `usage` apart. */
function native<Answer = Verdict>(conversations: Golden[], policy: string | undefined, ...more: string[]): Answer[] {
  const args = ['check', '--reasoning', 'always', '--input', 'rows', ...more];
  args.push('--model', join(miniFolder, 'model'));
  if (policy !== undefined) {
    const file = join(folder, 'policy.yaml');
    if (!rsafe.builtinPolicies.includes(policy)) writeFileSync(file, policy);
    args.push('--policy', rsafe.builtinPolicies.includes(policy) ? policy : file);
  }
  const input = conversations.map(({ id, messages }) => JSON.stringify({ id, messages })).join('\n');
  const run = spawnSync(nativeProgram(), args, { input, encoding: 'utf8' });
  assert.ok(run.status === 0 || run.status === 1, `${run.error ?? run.stderr}`);
  return run.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('the wasm build in Node and the native program judge the golden conversations alike', async () => {
  for (const [policy, conversations] of byPolicy()) {
    const wanted = native(conversations, policy);
    for (const [i, { id, messages }] of conversations.entries()) {
      const got = await guard.check(messages, policy === undefined ? {} : { policy });
      agree(id, got, wanted[i]!, TOLERANCE);
      // A score that is told to two digits may be rounded the other way.
      const words = ({ reasoning }: Verdict) => reasoning?.replaceAll(/\d\.\d\d/g, '#');
      assert.equal(words(got), words(wanted[i]!), `${id}: the reasoning differs`);
      // The native program counts bytes, the package UTF-16 units: only the quotes can be compared.
      const quotes = ({ evidence }: { evidence: Evidence[] }) =>
        evidence.map(({ quote, category }) => [quote, category]);
      assert.deepEqual(quotes(got), quotes(wanted[i]!), `${id}: the evidence differs`);
    }
  }
});

test('a text that is empty or white space alone is nothing to judge in both', async () => {
  const calls = { role: 'assistant', content: null, tool_calls: [] } as const;
  const conversations = [
    [{ role: 'user', content: '' }],
    [{ role: 'user', content: ' \n\t' }],
    [{ role: 'user', content: 'What is the weather?' }, calls],
  ] as const;
  const wanted = native(
    conversations.map((messages, i) => ({ id: `empty-${i}`, messages }) as unknown as Golden),
    undefined,
  );
  for (const [i, messages] of conversations.entries()) {
    const { decision, tier, score, notes } = await guard.check(messages);
    assert.deepEqual([decision, tier, score, notes], ['allow', 'clear', 0, wanted[i]?.notes]);
    assert.deepEqual(
      notes.map(({ code }) => code),
      ['empty'],
    );
  }
});

test('the native program renders verdicts for the clients of OpenAI as the worker at the edge does', () => {
  for (const [policy, conversations] of byPolicy()) {
    const wanted = native(conversations, policy).map(result);
    const got = native<{ id: string; results: object[] }>(conversations, policy, '--format', 'openai');
    assert.deepEqual(
      got.map(({ results }) => results),
      wanted.map((one) => [one]),
    );
    assert.deepEqual(
      got.map(({ id }) => id),
      conversations.map(({ id }) => id),
    );
  }
});

test('built-in policies are the same policies in both', async () => {
  for (const name of rsafe.builtinPolicies) {
    const run = spawnSync(nativeProgram(), ['policy', 'show', name, '--format', 'json'], { encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
    assert.deepEqual(await rsafe.parsePolicy(name), JSON.parse(run.stdout), name);
  }
});
