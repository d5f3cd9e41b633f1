/** Who gets which instance of the compiled core, and what happens to it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuardError } from '../src/errors.ts';
import { type Builds, Instances, whileLeased } from '../src/instance.ts';
import type { WasmModule } from '../src/wasm.ts';
import { fakeCore } from './fakes.ts';

const EMPTY = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
const crash = new GuardError('crashed', 'it trapped');

function builds(changes: Partial<Builds> = {}, resettable = true) {
  const made: WasmModule[] = [];
  const state = { made, resets: 0, compiled: 0 };
  const instances = new Instances({
    async glue() {
      const { __wbg_reset_state: _, ...module } = fakeCore().module;
      made.push(resettable ? { ...module, __wbg_reset_state: () => void state.resets++ } : module);
      return made.at(-1)!;
    },
    async code() {
      state.compiled++;
      return WebAssembly.compile(EMPTY);
    },
    ...changes,
  });
  return { instances, state };
}

test('two guards have an instance each, of code that is compiled once', async () => {
  const { instances, state } = builds();
  const [a, b] = await Promise.all([instances.lease('cpu'), instances.lease('cpu')]);
  assert.notEqual(a.module, b.module);
  assert.equal(state.compiled, 1);
});

test('an instance that is given back is made new and used again', async () => {
  const { instances, state } = builds();
  const first = await instances.lease('cpu');
  first.release();
  first.release();
  const [second, third] = [await instances.lease('cpu'), await instances.lease('cpu')];
  assert.equal(second.module, first.module);
  assert.notEqual(third.module, first.module);
  assert.equal(state.resets, 1);
});

test('after a trap the glue is used again only if it can make a new instance', async () => {
  for (const resettable of [true, false]) {
    const { instances } = builds({}, resettable);
    const first = await instances.lease('cpu');
    first.discard(crash);
    assert.equal((await instances.lease('cpu')).module === first.module, resettable);
  }
});

test('guards that share an instance all learn of its loss, and share the next one', async () => {
  const { instances, state } = builds({ single: true });
  const [a, b] = await Promise.all([instances.lease('cpu'), instances.lease('cpu')]);
  assert.equal(a.module, b.module);
  const waiting = whileLeased(b, new Promise(() => {}));
  a.discard(crash);
  await assert.rejects(waiting, crash);
  b.discard(crash);
  assert.equal(state.resets, 1);
  assert.equal((await instances.lease('cpu')).module, a.module);
});

test('a shared instance is made new when its last guard has given it back', async () => {
  const { instances, state } = builds({ single: true });
  const [a, b] = await Promise.all([instances.lease('cpu'), instances.lease('cpu')]);
  a.release();
  assert.equal(state.resets, 0);
  b.release();
  assert.equal(state.resets, 1);
});

test('code that cannot be read is asked for again by the next guard', async () => {
  let down = true;
  const { instances } = builds({
    code: async () => {
      if (down) throw new GuardError('network', 'away');
      return WebAssembly.compile(EMPTY);
    },
  });
  await assert.rejects(instances.lease('cpu'), { code: 'network' });
  down = false;
  await instances.lease('cpu');
});

test('code that does not compile here is unsupported', async () => {
  const { instances } = builds({ code: () => WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 9])) });
  await assert.rejects(instances.lease('webgpu'), { code: 'unsupported' });
});
