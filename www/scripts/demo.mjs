/** Builds the demo page into `dist/demo`: the page's modules bundled, the package's files beside them in `rsafe/`, and a
 * service worker that knows every file by its content. A page that stays only until the build for WebGPU is made has none,
 * so that the next load is of the whole page. Run by `build.mjs` once the library is built. */

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { png } from './icons.mjs';

const WWW = fileURLToPath(new URL('..', import.meta.url));
const SOURCE = join(WWW, 'demo');
const STATIC = ['index.html', 'style.css', 'icon.svg', 'app.webmanifest'];
const ICON_SIZES = [192, 512];
/** What the page links to, by the name that it has there. */
const DOCUMENTS = {
  readme: '../README.md',
  package: 'README.md',
  policies: '../src/policy/README.md',
  model: '../models/rsafe-mini/MODEL_CARD.md',
  edge: 'edge/README.md',
};
const MINI = ['index.js', 'model', 'LICENSE', 'NOTICE'];
/** Files of the package that a browser never asks for. */
const NOT_SERVED = /^demo(\.(new|old))?$|^(node(-.+)?|workerd|walk|held|fetch|ai-sdk|react)\.js$|\.(d\.ts|map)$/;

/** The page imports the packages' own entries, as they are shipped, instead of bundling their source. */
const besideThePage = {
  name: 'beside-the-page',
  setup: ({ onResolve }) => {
    onResolve({ filter: /\/src\/index\.ts$/ }, () => ({ path: './rsafe/index.js', external: true }));
    onResolve({ filter: /\/src\/webgpu\.ts$/ }, () => ({ path: './rsafe/webgpu.js', external: true }));
    onResolve({ filter: /^rsafe-mini$/ }, () => ({ path: './rsafe-mini/index.js', external: true }));
  },
};

/** Builds the page into `folder` around the built package in `library`. What is there is served until the new page is whole.
 * @param {{library?: string, folder?: string, webgpuLater?: boolean}} [options] */
export async function buildDemo({
  library = join(WWW, 'dist'),
  folder = join(WWW, 'dist/demo'),
  webgpuLater = false,
} = {}) {
  const [out, old] = [`${folder}.new`, `${folder}.old`];
  for (const left of [out, old]) await rm(left, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  for (const entry of await readdir(library)) {
    if (!NOT_SERVED.test(entry)) {
      const filter = (path) => !NOT_SERVED.test(basename(path));
      await cp(join(library, entry), join(out, 'rsafe', entry), { recursive: true, filter });
    }
  }
  for (const entry of MINI) await cp(join(WWW, 'mini', entry), join(out, 'rsafe-mini', entry), { recursive: true });
  await Promise.all(STATIC.map((file) => cp(join(SOURCE, file), join(out, file))));
  await documents(join(out, 'docs'));
  const icon = await readFile(join(SOURCE, 'icon.svg'), 'utf8');
  await Promise.all(ICON_SIZES.map((size) => writeFile(join(out, `icon-${size}.png`), png(icon, size))));

  const common = { bundle: true, minify: true, target: 'es2022', logLevel: 'warning', loader: { '.yaml': 'text' } };
  await build({
    ...common,
    entryPoints: [join(SOURCE, 'main.ts')],
    outfile: join(out, 'main.js'),
    format: 'esm',
    plugins: [besideThePage],
    define: { WEBGPU_LATER: JSON.stringify(webgpuLater) },
  });
  const files = await precache(out);
  if (!webgpuLater) {
    const define = { PRECACHE: JSON.stringify(files) };
    await build({
      ...common,
      entryPoints: [join(SOURCE, 'sw.ts')],
      outfile: join(out, 'sw.js'),
      format: 'iife',
      define,
    });
  }
  if (existsSync(folder)) await rename(folder, old);
  await rename(out, folder);
  await rm(old, { recursive: true, force: true });
  return files;
}

/** The documents as texts, which every browser shows, and the examples as one with their code. */
async function documents(folder) {
  const texts = Object.entries(DOCUMENTS).map(async ([name, path]) => [name, await readFile(join(WWW, path), 'utf8')]);
  await mkdir(folder);
  for (const [name, text] of [...(await Promise.all(texts)), ['examples', await examples()]]) {
    // The mark says that it is UTF-8, to servers that name no encoding too.
    await writeFile(join(folder, `${name}.txt`), `\uFEFF${text}`);
  }
}

async function examples() {
  const folder = join(WWW, 'examples');
  const paths = (await readdir(folder, { recursive: true })).filter(
    (path) => /\.jsx?$/.test(path) && !/(^|[\\/])(node_modules|out|\.next)[\\/]/.test(path),
  );
  const code = paths.sort().map(async (path) => {
    const name = path.split(sep).join('/');
    return `${'-'.repeat(name.length)}\n${name}\n${'-'.repeat(name.length)}\n\n${await readFile(join(folder, path), 'utf8')}`;
  });
  return [await readFile(join(folder, 'README.md'), 'utf8'), ...(await Promise.all(code))].join('\n');
}

/** Each file of the page: its address as the page asks for it, its size, and the SHA-256 of its content. */
async function precache(out) {
  const names = await readdir(out, { recursive: true, withFileTypes: true });
  const paths = names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const files = paths.map(async (path) => {
    const content = await readFile(path);
    const name = relative(out, path).split(sep).join('/');
    return {
      path: name === 'index.html' ? './' : `./${name}`,
      bytes: content.length,
      sha256: createHash('sha256').update(content).digest('hex'),
    };
  });
  return (await Promise.all(files)).sort((a, b) => (a.path < b.path ? -1 : 1));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = await buildDemo();
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  console.log(`dist/demo: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB`);
}
