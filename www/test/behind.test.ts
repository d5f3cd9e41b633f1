/** The demo page while its build for WebGPU is still being made, and the server behind whose back that happens. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildDemo } from '../scripts/demo.mjs';
import { serve } from '../scripts/serve.mjs';
import { launch, until } from './support/browser.ts';
import { built, dist, www } from './support/paths.ts';

let folder: string;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'rsafe-behind-'));
  writeFileSync(join(folder, 'index.html'), '<!doctype html>');
});

after(() => rmSync(folder, { recursive: true }));

/** The server as `make demo` starts it, with another command behind it. */
function started(command: string): { server: ChildProcess; said: () => string } {
  const args = [join(www, 'scripts/serve.mjs'), folder, '--port', '0', '--behind', command];
  const server = spawn(process.execPath, args, { cwd: folder });
  let said = '';
  for (const stream of [server.stdout!, server.stderr!]) stream.on('data', (text) => (said += text));
  return { server, said: () => said };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('what is built behind the page ends with the server, down to what it started itself', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const pidFile = join(folder, signal);
    const lasting = `require('fs').writeFileSync('${signal}', String(process.pid)); setInterval(() => {}, 1e6)`;
    const { server, said } = started(`true && "${process.execPath}" -e "${lasting}"`);
    await until('the command runs', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
    const pid = Number(readFileSync(pidFile, 'utf8'));
    assert.match(said(), /http:\/\/127\.0\.0\.1:\d+\//);
    server.kill(signal);
    await once(server, 'exit');
    await until('the command has ended', () => !isAlive(pid));
  }
});

test('the server says when the page has more, or what went wrong, and serves on', async () => {
  for (const [command, expected] of [
    ['echo a detail', /^(?!.*a detail).*load the page again/s],
    ['echo a detail && exit 3', /a detail.*failed/s],
  ] as const) {
    const { server, said } = started(command);
    try {
      await until('the command has ended', () => /load the page again|failed/.test(said()));
      assert.match(said(), expected);
      const [url] = /http:\S+/.exec(said())!;
      assert.equal((await fetch(url)).status, 200);
    } finally {
      server.kill();
      await once(server, 'exit');
    }
  }
});

test('until WebGPU is built the page judges on the CPU and says so; the next load takes the whole page', async () => {
  built('wasm/cpu.wasm');
  const page = join(folder, 'page');
  await buildDemo({ library: dist, folder: page, webgpuLater: true });
  const browser = await launch();
  const site = await serve({ root: page });
  try {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(180_000);
    const complaints: string[] = [];
    tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    const ready = () => tab.waitForSelector('#model-state[data-state=ready]');
    const note = tab.getByText('WebGPU is still being built');
    const choice = tab.locator('#device input[value=webgpu]');
    const isKept = () => tab.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length > 0);

    await tab.goto(site.url);
    await ready();
    assert.equal(await tab.locator('#model-state-text').textContent(), 'Ready on CPU');
    assert.match((await tab.locator('#machine-facts').textContent())!, /WebGPU is still being made/);
    assert.ok(await note.isVisible());
    assert.ok(await choice.isDisabled());

    await buildDemo({ library: dist, folder: page });
    assert.equal(await isKept(), false, 'a page for the time until then is not kept for offline use');
    await tab.reload();
    await ready();
    assert.ok(await note.isHidden());
    assert.ok(await choice.isEnabled());
    await tab.getByText('Works offline').waitFor();
    assert.ok(await isKept());
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
    await site.close();
  }
});
