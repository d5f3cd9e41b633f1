/** Loads of a model in a page, as several test files make and look at them. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import type { GuardInfo, Progress, Verdict } from '../../src/types.ts';
import type { Failure } from './browser.ts';
import type { Seen, Site } from './server.ts';

export interface LoadOptions {
  model?: string;
  cache?: boolean;
  offline?: boolean;
}

export interface Loaded {
  events: Progress[];
  info: GuardInfo;
  verdict: Verdict;
}

/** Loads a guard, lets it judge one text, and disposes of it. */
export function load(page: Page, options: LoadOptions = {}): Promise<Loaded> {
  return page.evaluate(async (options) => {
    const events: Progress[] = [];
    const guard = await rsafe.createGuard({
      device: 'cpu',
      ...options,
      onProgress: (event) => events.push({ ...event }),
    });
    const verdict = await guard.check('How do I pick a lock?', { reasoning: 'always' });
    await guard.dispose();
    return { events, info: guard.info, verdict };
  }, options);
}

/** The error of a load that must not succeed. */
export function failing(page: Page, options: LoadOptions): Promise<Failure> {
  return page.evaluate((options) => failure(rsafe.createGuard({ device: 'cpu', ...options })), options);
}

/** Requests for what stands under a folder. */
export function asked(site: Site, folder: string): Seen[] {
  return site.seen.filter(({ path }) => path.startsWith(folder));
}

/** Asserts what every load promises about its progress. */
export function assertProgress(events: Progress[], total: number): void {
  const stages = ['wasm', 'model', 'self-test', 'ready'];
  let last: Progress = { stage: 'wasm', loaded: 0, total: 0 };
  for (const event of events) {
    assert.ok(event.loaded >= last.loaded, `loaded fell from ${last.loaded} to ${event.loaded}`);
    assert.ok(event.loaded <= total, `${event.loaded} of ${total} bytes`);
    if (last.total > 0) assert.equal(event.total, last.total, 'total changed');
    assert.ok(stages.indexOf(event.stage) >= stages.indexOf(last.stage), `${event.stage} after ${last.stage}`);
    last = event;
  }
  assert.deepEqual([last.stage, last.loaded, last.total], ['ready', total, total], 'the last event');
  assert.equal(events.filter(({ stage }) => stage === 'ready').length, 1);
}
