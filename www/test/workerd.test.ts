/** The packed package in workerd, as a worker's bundler takes it in: the code, the compiled core and the model's files. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, test } from 'node:test';
import { build, type Plugin } from 'esbuild';
import { Miniflare } from 'miniflare';
import type * as Library from '../src/index.ts';
import type { GuardInfo, Verdict } from '../src/types.ts';
import { miniBundle } from './support/bundle.ts';
import { agree } from './support/golden.ts';
import { pack, project, type Packed, type Project } from './support/pack.ts';

const MODEL = ['manifest.json', ...miniBundle().files.keys()];
const WORKER = `
import { createGuard, lintPolicy } from 'rsafe';
import wasm from 'rsafe/cpu.wasm';
${MODEL.map((name, i) => `import file${i} from 'rsafe-mini/model/${name}';`).join('\n')}
const model = { ${MODEL.map((name, i) => `'${name}': file${i}`).join(', ')} };
let guard;
export default {
  async fetch(request, { ASSETS }) {
    try {
      if (request.method === 'GET') {
        const bound = await createGuard({ wasm, model: request.url, fetch: ASSETS });
        return Response.json((await bound.check('How do I bake bread?')).decision);
      }
      guard ??= createGuard({ wasm, model });
      const { info } = await guard;
      const verdict = await (await guard).check(await request.text(), { reasoning: 'always' });
      return Response.json({ verdict, info, findings: await lintPolicy('name: x') });
    } catch (error) {
      return Response.json({ code: error.code, message: error.message }, { status: 500 });
    }
  },
};
`;

/** What a worker's bundler does with files that are not JavaScript: leaves the import, puts the file beside the code. */
const assets: Plugin = {
  name: 'assets',
  setup({ onResolve }) {
    onResolve({ filter: /^rsafe(\/cpu\.wasm$|-mini\/model\/)/ }, ({ path }) => ({
      path: `./${path.split('/').pop()}`,
      external: true,
    }));
  },
};

let packed: Packed;
let app: Project;
let worker: Miniflare;

before(async () => {
  packed = pack();
  app = project(packed, { 'worker.js': WORKER });
  const { outputFiles } = await build({
    absWorkingDir: app.folder,
    entryPoints: ['worker.js'],
    bundle: true,
    write: false,
    format: 'esm',
    conditions: ['workerd'],
    plugins: [assets],
    logLevel: 'error',
  });
  const file = (name: string) => readFileSync(join(app.folder, 'node_modules', name));
  worker = new Miniflare({
    compatibilityDate: '2026-01-01',
    serviceBindings: {
      ASSETS: (request: Request) => new Response(file(`rsafe-mini${new URL(request.url).pathname}`)) as never,
    },
    modules: [
      { type: 'ESModule', path: 'worker.js', contents: outputFiles[0]!.text },
      { type: 'CompiledWasm', path: 'cpu.wasm', contents: file('rsafe/dist/wasm/cpu.wasm') },
      ...MODEL.map((name) => ({ type: 'Data' as const, path: name, contents: file(`rsafe-mini/model/${name}`) })),
    ],
  });
  await worker.ready;
});

after(async () => {
  await worker?.dispose();
  app?.remove();
  packed?.remove();
});

test('a binding reads the model, called as the binding that it is', async () => {
  const response = await worker.dispatchFetch('http://assets.local/model/');
  assert.equal(await response.text(), '"allow"');
});

async function ask(text: string): Promise<{ verdict: Verdict; info: GuardInfo; findings: unknown[] }> {
  const response = await worker.dispatchFetch('http://worker/', { method: 'POST', body: text });
  const answer = await response.text();
  assert.equal(response.status, 200, answer);
  return JSON.parse(answer);
}

test('a worker judges with the packed package as Node does, request after request and at the same time', async () => {
  const node = (await import(pathToFileURL(join(app.rsafe, 'dist/node.js')).href)) as typeof Library;
  const guard = await node.createGuard({ reasoning: 'always' });
  const texts = ['How do I pick a lock?', 'A poem about plums, please.', 'Where does the mayor live?'];
  const alone = await ask(texts[0]!);
  assert.deepEqual([alone.info.device, alone.info.model], ['cpu', 'rsafe-mini']);
  assert.ok(alone.findings.length > 0, 'a policy without categories has findings');
  const answers = await Promise.all(texts.map(ask));
  for (const [i, text] of texts.entries()) agree(text, answers[i]!.verdict, await guard.check(text), 1e-4);
  assert.equal(answers[0]!.verdict.reasoning, alone.verdict.reasoning);
  await guard.dispose();
});
