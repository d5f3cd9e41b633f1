/** How a policy's source is told apart and read. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuardError } from '../src/errors.ts';
import { builtinPolicies, isAddress, type Reach, resolvePolicy } from '../src/policy.ts';

function reachOf(answer: (url: string) => Response | Promise<Response>): Reach & { asked: string[] } {
  const asked: string[] = [];
  const fetch = (async (url: string) => (asked.push(url), answer(url))) as unknown as typeof globalThis.fetch;
  return { fetch, base: 'https://example.org/app/page.html', asked };
}

test('a string is an address if it is one line with a slash, dots and slash, or a scheme in front', async () => {
  for (const address of ['/p.yaml', './p.yaml', '../p.yaml', 'https://x.org/p', 'data:text/plain,a', 'file:///p.md']) {
    assert.ok(isAddress(address), address);
    // What a border holds for an address is what would be fetched.
    for (const blank of [' ', '\t', '\n', '\u00a0', '\ufeff']) {
      const reach = reachOf(() => new Response('name: x'));
      assert.ok(isAddress(blank + address + blank), JSON.stringify(blank));
      await resolvePolicy(blank + address + blank, reach);
      assert.deepEqual(reach.asked, [new URL(address, reach.base).href]);
    }
  }
  assert.ok(isAddress(new URL('https://x.org/p')) && !isAddress({ name: 'x', categories: [] }));
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
  assert.deepEqual(await resolvePolicy(new URL('https://x.org/a.yaml'), reach), {
    text: '# Policy',
    fileName: 'a.yaml',
  });
  assert.deepEqual(reach.asked, ['https://example.org/app/rules.md?v=2', 'https://x.org/a.yaml']);
});

test('a policy that cannot be read is a network error, never an empty policy; one that is missing is not asked for again', async () => {
  for (const [answer, retryable] of [
    [() => new Response('', { status: 404 }), false],
    [() => new Response('', { status: 503 }), true],
    [() => Promise.reject(new TypeError('offline')), true],
  ] as const) {
    const failing = resolvePolicy('/p.yaml', reachOf(answer));
    await assert.rejects(failing, { name: 'GuardError', code: 'network', retryable });
  }
});

test('a misspelt name is told from a text, and an aborted reading is aborted', async () => {
  const reach = reachOf(() => Promise.reject(new DOMException('x', 'AbortError')));
  await assert.rejects(resolvePolicy('generl', reach), { code: 'bad_policy', message: /generl.*rsafe, mlcommons/ });
  await assert.rejects(resolvePolicy('/p.yaml', reach, AbortSignal.abort()), { code: 'aborted' });
  await assert.rejects(resolvePolicy(7 as unknown as string, reach), { code: 'bad_policy' });
});

test('an object says no less than a file would: what JSON drops is refused with its path', async () => {
  const reach = reachOf(() => assert.fail('fetched'));
  const policy = (category: object) => ({ name: 'x', categories: [{ id: 'a', ...category }] });
  const refused: [unknown, string, RegExp][] = [
    [policy({ threshold: NaN }), 'categories[0].threshold', /NaN/],
    [policy({ threshold: Infinity }), 'categories[0].threshold', /Infinity/],
    [policy({ threshold: -Infinity }), 'categories[0].threshold', /finite/],
    [policy({ threshold: 1n }), 'categories[0].threshold', /bigint/],
    [policy({ threshold: new Number(1) }), 'categories[0].threshold', /Number/],
    [policy({ definition: () => 'x' }), 'categories[0].definition', /function/],
    [policy({ definition: Symbol('x') }), 'categories[0].definition', /symbol/],
    [policy({ definition: new Date(0) }), 'categories[0].definition', /Date/],
    [policy({ examples: new Map([['safe', ['x']]]) }), 'categories[0].examples', /Map/],
    [policy({ examples: { safe: new Set(['x']) } }), 'categories[0].examples.safe', /Set/],
    [policy({ examples: { safe: ['x', undefined] } }), 'categories[0].examples.safe[1]', /undefined/],
    // biome-ignore lint/suspicious/noSparseArray: the hole is what is tested
    [policy({ examples: { safe: [, 'x'] } }), 'categories[0].examples.safe[0]', /undefined/],
    [{ name: 'x', toJSON: () => ({ name: 'y', categories: [] }) }, 'toJSON', /function/],
    [new Map([['name', 'x']]), '', /Map/],
  ];
  for (const [source, path, found] of refused) {
    const error = await resolvePolicy(source as never, reach).then(
      () => assert.fail(`taken: ${path}`),
      (error: unknown) => error,
    );
    assert.ok(error instanceof GuardError && error.code === 'bad_policy', String(error));
    assert.equal(error.findings?.[0]?.path, path);
    assert.match(error.message, found);
  }
  // What is passed on without a value is not there.
  const { text } = (await resolvePolicy(policy({ threshold: undefined }) as never, reach)) as { text: string };
  assert.deepEqual(JSON.parse(text), policy({}));
});

test('a policy that holds itself, throws, or unfolds without end is refused and not followed', async () => {
  const reach = reachOf(() => assert.fail('fetched'));
  const cyclic: { name: string; categories: unknown[] } = { name: 'x', categories: [] };
  cyclic.categories.push(cyclic);
  let bomb: unknown = ['x'];
  for (let level = 0; level < 12; level++) bomb = Array(10).fill(bomb);
  let deep: unknown = 'x';
  for (let level = 0; level < 10_000; level++) deep = [deep];
  const thrower = {
    name: 'x',
    get categories() {
      throw new Error('not now');
    },
  };
  const proxy = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error('not now');
      },
    },
  );
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  for (const source of [cyclic, { name: bomb }, { name: deep }, thrower, proxy]) {
    await assert.rejects(resolvePolicy(source as never, reach), { name: 'GuardError', code: 'bad_policy' });
  }
  await assert.rejects(resolvePolicy(revoked as never, reach), { name: 'GuardError', code: 'bad_input' });
});

test('a policy without an end is not read to it', async () => {
  let given = 0;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array((given += 65536) && 65536)),
  });
  await assert.rejects(
    resolvePolicy(
      '/p.yaml',
      reachOf(() => new Response(endless)),
    ),
    { code: 'bad_policy' },
  );
  assert.ok(given < 1 << 20, `${given} bytes`);
});
