/** The same prompts through the compiled cpu build in Node and through the native program. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, test } from 'node:test';
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

/** A policy as the native program takes it: its name, or a file with its text. */
function policyFile(policy: string): string {
  if (rsafe.builtinPolicies.includes(policy)) return policy;
  const file = join(folder, 'policy.yaml');
  writeFileSync(file, policy);
  return file;
}

/** What the native program answers to rows. Its verdicts have the package's names, `usage` apart. */
function native<Answer = Verdict>(conversations: Golden[], policy: string | undefined, ...more: string[]): Answer[] {
  const args = ['check', '--reasoning', 'always', '--input', 'rows', ...more];
  args.push('--model', join(miniFolder, 'model'));
  if (policy !== undefined) args.push('--policy', policyFile(policy));
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

test('verdicts are rendered for the clients of OpenAI as the native program renders them, field by field', () => {
  for (const [policy, conversations] of byPolicy()) {
    const wanted = native<object>(conversations, policy, '--format', 'openai');
    const got = native(conversations, policy).map((verdict, i) =>
      rsafe.toOpenAI(verdict, { id: conversations[i]!.id }),
    );
    // Their order, too.
    assert.deepEqual(
      got.map((one) => JSON.stringify(one)),
      wanted.map((one) => JSON.stringify(one)),
    );
  }
});

test('verdicts are rendered as Llama Guard’s text as the native program renders them', () => {
  const house =
    'name: house\ncategories:\n  - {id: a, threshold: 0}\n  - {id: b, threshold: 1}\n  - {id: c, threshold: 0}\n';
  const rule = `${house}rules:\n  - {id: bread, literal: bread}\n`;
  const texts = [];
  for (const [policy, text] of [
    ['general', 'How do I bake bread?'],
    [house, 'How do I bake bread?'],
    [rule, 'How do I bake bread?'],
  ] as const) {
    const args = [
      'check',
      '--input',
      'text',
      '--model',
      join(miniFolder, 'model'),
      '--policy',
      policyFile(policy),
      text,
    ];
    const said = (...more: string[]) => spawnSync(nativeProgram(), [...args, ...more], { encoding: 'utf8' }).stdout;
    texts.push(rsafe.toLlamaGuard(JSON.parse(said('--json'))));
    assert.equal(said('--format', 'llama-guard'), `${texts.at(-1)}\n`);
  }
  assert.deepEqual(texts, ['safe', 'unsafe\na,c', 'unsafe']);
});

test('built-in policies are the same policies in both', async () => {
  for (const name of rsafe.builtinPolicies) {
    const run = spawnSync(nativeProgram(), ['policy', 'show', name, '--format', 'json'], { encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
    assert.deepEqual(await rsafe.parsePolicy(name), JSON.parse(run.stdout), name);
  }
});
