/** How a policy's source is told apart and read. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtinPolicies, isAddress, type Reach, resolvePolicy } from '../src/policy.ts';

function reachOf(answer: (url: string) => Response | Promise<Response>): Reach & { asked: string[] } {
  const asked: string[] = [];
  const fetch = (async (url: string) => (asked.push(url), answer(url))) as unknown as typeof globalThis.fetch;
  return { fetch, base: 'https://example.org/app/page.html', asked };
}

test('a string is an address if it is one line with a slash, dots and slash, or a scheme in front', () => {
  for (const address of ['/p.yaml', './p.yaml', '../p.yaml', 'https://x.org/p', 'data:text/plain,a', 'file:///p.md']) {
    assert.ok(isAddress(address), address);
  }
  for (const text of ['name: x', 'general', '# Policy', '{"name":"x"}', 'p.yaml', '/a\n/b', 'https://x\nname: y', '']) {
    assert.ok(!isAddress(text), text);
  }
});

test('a built-in name, an object and a text are not fetched', async () => {
  const reach = reachOf(() => assert.fail('fetched'));
  for (const builtin of builtinPolicies) assert.deepEqual(await resolvePolicy(builtin, reach), { builtin });
  assert.deepEqual(await resolvePolicy('name: x\ncategories: []', reach), { text: 'name: x\ncategories: []' });
  const object = { name: 'x', categories: [] };
  assert.deepEqual(await resolvePolicy(object, reach), { text: JSON.stringify(object), fileName: 'policy.json' });
});

test('an address is read relative to the page, and its file name tells the format', async () => {
  const reach = reachOf(() => new Response('# Policy'));
  assert.deepEqual(await resolvePolicy('./rules.md?v=2', reach), { text: '# Policy', fileName: 'rules.md' });
  assert.deepEqual(await resolvePolicy(new URL('https://x.org/a.yaml'), reach), { text: '# Policy', fileName: 'a.yaml' });
  assert.deepEqual(reach.asked, ['https://example.org/app/rules.md?v=2', 'https://x.org/a.yaml']);
});

test('a policy that cannot be read is a network error, never an empty policy', async () => {
  for (const answer of [() => new Response('', { status: 404 }), () => Promise.reject(new TypeError('offline'))]) {
    await assert.rejects(resolvePolicy('/p.yaml', reachOf(answer)), { name: 'GuardError', code: 'network' });
  }
});

test('a misspelt name is told from a text, and an aborted reading is aborted', async () => {
  const reach = reachOf(() => Promise.reject(new DOMException('x', 'AbortError')));
  await assert.rejects(resolvePolicy('generl', reach), { code: 'bad_policy', message: /generl.*rsafe, mlcommons/ });
  await assert.rejects(resolvePolicy('/p.yaml', reach, AbortSignal.abort()), { code: 'aborted' });
  await assert.rejects(resolvePolicy(7 as unknown as string, reach), { code: 'bad_policy' });
});
