/** The hook in the real React: what a component sees of its guard, and that the guard goes when the component does. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Window } from 'happy-dom';
import { createElement, StrictMode } from 'react';
import type { Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { GuardError } from '../src/errors.ts';
import type * as Library from '../src/index.ts';
import { openGuard } from '../src/guard.ts';
import { LocalEngine } from '../src/local.ts';
import { type UseGuard, useGuard, type UseGuardOptions } from '../src/react.ts';
import type { Guard, GuardOptions } from '../src/types.ts';
import { type FakeCore, fakeCore, fakeParts, until, ownModel } from './fakes.ts';

let createRoot: (container: Element) => Root;
let window: Window;

before(async () => {
  window = new Window();
  Object.assign(globalThis, { window, document: window.document, navigator: window.navigator });
  // It looks for a document when it is loaded.
  ({ createRoot } = (await import('react-dom/client')) as never);
});
after(() => window.happyDOM.close());

/** A text is blocked that has `bad` in it. */
function factory(core: FakeCore = fakeCore()) {
  const reach = { fetch, base: undefined };
  const guards: Guard[] = [];
  const calls: GuardOptions[] = [];
  const createGuard = async (options: GuardOptions) => {
    calls.push(options);
    const guard = await openGuard(
      { ...options, device: 'cpu' },
      {
        reach,
        ownModel,
        connect: (spec, hooks) => LocalEngine.load(fakeParts(core), spec, hooks),
      },
    );
    guards.push(guard);
    // A model takes its time, in which a page is shown.
    const stream = guard.stream.bind(guard);
    guard.stream = (...given) => {
      const events = stream(...given);
      const next = events.next.bind(events);
      events.next = () => new Promise(setImmediate).then(() => next());
      return events;
    };
    return guard;
  };
  return { core, calls, guards, createGuard };
}

/** A component with the hook, on a page. `seen` is what its renders saw. */
function mount(options: UseGuardOptions, strict = false) {
  const seen: UseGuard[] = [];
  const Page = ({ given }: { given: UseGuardOptions }) => {
    const state = useGuard(given);
    seen.push(state);
    return `${state.status} ${state.verdict?.decision ?? ''}`;
  };
  const container = window.document.createElement('div') as unknown as Element;
  const root = createRoot(container);
  const render = (given: UseGuardOptions) => {
    const page = createElement(Page, { given });
    root.render(strict ? createElement(StrictMode, null, page) : page);
  };
  const now = () => seen.at(-1)!;
  const wait = (holds: (state: UseGuard) => boolean) => until(() => seen.length > 0 && holds(now()));
  render(options);
  return { container, seen, now, render, wait, unmount: () => root.unmount() };
}

test('a component sees the guard load, the reasoning as it is written, and the verdict', async () => {
  const { createGuard, core } = factory(fakeCore(40));
  const page = mount({ createGuard });
  await page.wait(({ status }) => status === 'ready');
  assert.equal(page.seen[0]?.status, 'loading');
  const progress = page.seen.map((state) => state.progress);
  assert.deepEqual([progress[0], progress.at(-1), progress.toSorted((a, b) => a - b)], [0, 1, progress]);

  const verdict = await page.now().check([{ role: 'user', content: 'a bad wish' }], { reasoning: 'always' });
  assert.equal(verdict.decision, 'block');
  await page.wait((state) => state.verdict !== null);
  assert.deepEqual([page.now().status, page.now().verdict], ['ready', verdict]);
  assert.match(page.now().reasoning, /^0 1 2 .*39 $/);
  await until(() => page.container.textContent === 'ready block');
  const during = page.seen.filter(({ status }) => status === 'checking');
  assert.ok(during.every((state) => state.verdict === null));
  assert.ok(during.some(({ reasoning }) => reasoning.startsWith('0 ') && !reasoning.endsWith('39 ')));

  await page.now().check('bread');
  await page.wait((state) => state.verdict?.decision === 'allow');
  assert.deepEqual(core.requests.at(-1)?.messages, [{ role: 'user', content: 'bread' }]);
  page.unmount();
});

test('a check that is asked for while the guard loads waits for it', async () => {
  const { createGuard } = factory();
  const page = mount({ createGuard });
  await page.wait(() => true);
  assert.equal((await page.now().check('bread')).decision, 'allow');
  await page.wait(({ status }) => status === 'ready');
  page.unmount();
});

for (const strict of [false, true]) {
  test(`one guard is loaded${strict ? ' under Strict Mode' : ''}, by the first options, and goes when the component does`, async () => {
    const { createGuard, calls, guards, core } = factory();
    const page = mount({ createGuard }, strict);
    await page.wait(({ status }) => status === 'ready');
    const { check } = page.now();
    const renders = page.seen.length;
    page.render({ createGuard: () => assert.fail('loaded again') });
    await until(() => page.seen.length > renders);
    assert.deepEqual([page.now().check === check, page.now().status], [true, 'ready']);
    assert.deepEqual([calls.length, guards.length, core.loads, core.guards], [1, 1, 1, 1]);
    assert.equal((await check('bread')).decision, 'allow');
    page.unmount();
    await until(() => core.guards === 0);
    await assert.rejects(check('bread'), { code: 'disposed' });
  });
}

test('a component that leaves while its guard loads leaves none behind', async () => {
  const { createGuard, core } = factory();
  let finish = (): void => {};
  let begun: AbortSignal | undefined;
  const slow = async (options: GuardOptions) => {
    begun = options.signal;
    await new Promise<void>((resolve) => (finish = resolve));
    // As a loader that does not look at its signal.
    return createGuard({});
  };
  const page = mount({ createGuard: slow });
  await until(() => begun !== undefined);
  page.unmount();
  await until(() => begun!.aborted);
  finish();
  await until(() => core.loads === 1 && core.guards === 0);
});

test('errors are in the state, and the promise rejects with them', async () => {
  const failing = mount({ createGuard: async () => Promise.reject(new GuardError('network', 'no way')) });
  await failing.wait(({ status }) => status === 'failed');
  assert.equal(failing.now().error?.code, 'network');
  await assert.rejects(failing.now().check('bread'), { code: 'network' });
  await failing.wait(({ status, error }) => status === 'failed' && error !== null);
  failing.unmount();

  const { createGuard, core } = factory();
  const page = mount({ createGuard });
  await page.wait(({ status }) => status === 'ready');
  core.failNext = Object.assign(new Error('too long'), { code: 'context_length' });
  await assert.rejects(page.now().check('bread'), { code: 'context_length' });
  await page.wait(({ status, error }) => status === 'ready' && error?.code === 'context_length');
  assert.equal(page.now().verdict, null);
  await page.now().check('bread');
  await page.wait(({ error, verdict }) => error === null && verdict?.decision === 'allow');
  page.unmount();
});

for (const end of ['abort', 'signal', 'next', 'unmount'] as const) {
  const by = {
    abort: '`abort`',
    signal: 'the caller’s signal',
    next: 'the next one',
    unmount: 'the end of the component',
  }[end];
  test(`a check is aborted by ${by}, and only the last one is shown`, async () => {
    const { createGuard, core } = factory(fakeCore(1e6));
    const page = mount({ createGuard });
    await page.wait(({ status }) => status === 'ready');
    const caller = new AbortController();
    const aborted = assert.rejects(page.now().check('bad', { signal: caller.signal }), { code: 'aborted' });
    await page.wait(({ reasoning }) => reasoning.length > 10);
    core.pieces = 1;
    if (end === 'abort') page.now().abort();
    if (end === 'signal') caller.abort();
    if (end === 'next') await page.now().check('bread');
    if (end === 'unmount') page.unmount();
    await aborted;
    await until(() => core.running === 0);
    if (end === 'unmount') return;
    const shown = end === 'next' ? [undefined, 'allow'] : ['aborted', undefined];
    await page.wait(({ error, verdict }) => error?.code === shown[0] && verdict?.decision === shown[1]);
    assert.equal(page.now().status, 'ready');
    page.unmount();
  });
}

test('a misspelt option is named, of the hook as of a check', async () => {
  const { createGuard, core } = factory();
  const refused = (state: UseGuard) => state.error?.code === 'bad_input' && /"strictnes"/.test(state.error.message);
  const page = mount({ createGuard, strictnes: 0.7 } as UseGuardOptions);
  await page.wait((state) => state.status === 'failed' && refused(state));
  assert.equal(core.loads, 0);
  page.unmount();
  const other = mount({ createGuard });
  await other.wait(({ status }) => status === 'ready');
  await assert.rejects(other.now().check('bread', { strictnes: 0.7 } as never), { code: 'bad_input' });
  await other.wait(refused);
  other.unmount();
});

test('on a server nothing is loaded', async () => {
  const { createGuard, core } = factory();
  const Page = () => useGuard({ createGuard }).status;
  assert.equal(renderToString(createElement(Page)), 'loading');
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(core.loads, 0);
});

const entry = fileURLToPath(new URL('../dist/node.js', import.meta.url));
const built = existsSync(entry) && existsSync(fileURLToPath(new URL('../dist/wasm/cpu.wasm', import.meta.url)));

test('with the real guard, a prompt is judged, and reasoned about', {
  skip: built ? false : 'dist/ is not built: run `npm run build`',
}, async () => {
  const { createGuard } = (await import(pathToFileURL(entry).href)) as typeof Library;
  const policy = {
    name: 'house',
    categories: [{ id: 'theft', definition: 'Taking what belongs to others.' }],
    rules: [{ id: 'house-7', literal: 'pick a lock' }],
  };
  const page = mount({ createGuard, reasoning: 'always', policy }, true);
  await page.wait(({ status }) => status !== 'loading');
  assert.deepEqual([page.now().status, page.now().error], ['ready', null]);
  const { decision, rule } = await page.now().check('How to pick a lock?');
  assert.deepEqual([decision, rule], ['block', 'house-7']);
  assert.equal((await page.now().check('How do I bake bread?')).flagged, false);
  await page.wait(({ verdict, reasoning }) => verdict?.flagged === false && reasoning.length > 0);
  page.unmount();
});
