/** What an error promises to whoever must act on it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { abortError, fromWire, GuardError, toGuardError, toWire } from '../src/errors.ts';
import { verdict } from './fakes.ts';

test('an error is the same error after it crossed the worker border', () => {
  const findings = [{ severity: 'error' as const, path: 'name', expected: 'a text', found: 'a list', message: 'no' }];
  const before = new GuardError('bad_policy', 'line 2', { findings, verdict: verdict('block'), retryable: true });
  const after = fromWire(structuredClone(toWire(before)));
  assert.ok(after instanceof GuardError && after instanceof Error);
  const { name, code, message, retryable, findings: found, verdict: judged } = after;
  assert.deepEqual(
    { name, code, message, retryable, found, judged },
    {
      name: 'GuardError',
      code: 'bad_policy',
      message: 'line 2',
      retryable: true,
      found: findings,
      judged: before.verdict,
    },
  );
});

test('an error of another copy of the package is one, with its verdict, and no other error is', () => {
  const foreign = Object.assign(new Error('flagged'), {
    name: 'GuardError',
    code: 'blocked',
    verdict: verdict('block'),
  });
  assert.ok(foreign instanceof GuardError);
  assert.equal(toGuardError(foreign), foreign);
  for (const other of [new Error('x'), new DOMException('x', 'AbortError'), { name: 'GuardError' }, null, undefined]) {
    assert.ok(!((other as unknown) instanceof GuardError));
  }
});

test('a code of the core is kept, and one that nobody knows is a crash', () => {
  assert.equal(toGuardError(Object.assign(new Error('too long'), { code: 'context_length' })).code, 'context_length');
  assert.equal(toGuardError(Object.assign(new Error('?'), { code: 'constructor' })).code, 'crashed');
  assert.equal(
    fromWire({ name: 'GuardError', code: 'toString' as 'crashed', message: '', retryable: false }).code,
    'crashed',
  );
});

test('a trap, a full disk, an abort and missing memory have codes of their own', () => {
  assert.equal(toGuardError(new WebAssembly.RuntimeError('unreachable')).code, 'crashed');
  assert.equal(toGuardError(new DOMException('full', 'QuotaExceededError')).code, 'quota');
  assert.equal(toGuardError(new DOMException('stop', 'AbortError')).code, 'aborted');
  assert.equal(toGuardError(new RangeError('Array buffer allocation failed')).code, 'out_of_memory');
  assert.equal(toGuardError(new WebAssembly.CompileError('bad opcode')).code, 'unsupported');
  assert.equal(toGuardError(undefined).code, 'crashed');
});

test("an abort has the caller's reason as its cause, unless the reason is an error of ours", () => {
  const why = new Error('the user left');
  assert.equal(abortError(AbortSignal.abort(why)).cause, why);
  const disposed = new GuardError('disposed', 'gone');
  assert.equal(abortError(AbortSignal.abort(disposed)), disposed);
});
