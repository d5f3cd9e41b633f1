/** Finds Chromium, starts it, and opens pages that have the built library as `globalThis.rsafe`. */

import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import type * as Library from '../../src/index.ts';
import { built, dist, miniFolder } from './paths.ts';
import { Site } from './server.ts';

declare global {
  /** The built library, in a page of `openPage`. */
  var rsafe: typeof Library;
  /** Its build for WebGPU. */
  var webgpu: Library.WebgpuBuild;
  /** A guard that a test left in its page for the next step. */
  var guard: Library.Guard;
  /** The error that a promise of the library rejects with; that it resolves is an error itself. */
  var failure: (promise: PromiseLike<unknown>) => Promise<Failure>;
}

/** A `GuardError` as it crosses from a page to a test. */
export interface Failure {
  name: string;
  code: string;
  message: string;
  retryable: boolean;
  findings?: Library.Finding[];
  /** Whether it is an instance of the library's class. */
  known: boolean;
}

const PAGE_SCRIPT = `
import * as rsafe from '/rsafe/index.js';
import webgpu from '/rsafe/webgpu.js';
globalThis.rsafe = rsafe;
globalThis.webgpu = webgpu;
globalThis.failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    const { name, code, message, retryable, findings } = error;
    return { name, code, message, retryable, findings, known: error instanceof rsafe.GuardError };
  }
  throw new Error('expected a rejection, but it resolved');
};
document.title = 'loaded';
`;

/** A GPU in software: right, and about 10 ms a dispatch. */
const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];
/** A name that leads to this machine and does not count as secure, unlike `localhost`. */
export const INSECURE_HOST = 'insecure.example';
const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];

/** A browser's program: `CHROMIUM`, else a common name on the PATH. */
export function findChromium(): string {
  const asked = process.env['CHROMIUM'];
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const candidates = asked ? [asked] : NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = candidates.find(isProgram);
  if (found) return found;
  throw new Error(
    asked
      ? `CHROMIUM is ${asked}, which is not a program; set it to a Chromium or unset it`
      : `expected a Chromium on the PATH (${NAMES.join(', ')}) and found none; ` +
          'install one (Debian: `apt-get install chromium`) or set CHROMIUM to its path',
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function launch(options: { webgpu?: boolean } = {}): Promise<Browser> {
  const gpu = options.webgpu ? WEBGPU : ['--disable-gpu'];
  const args = [`--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`, ...gpu, ...sandbox()];
  return chromium.launch({ executablePath: findChromium(), args });
}

/** A browser with the unpacked extension in `folder`, and its popup as a page. */
export async function launchExtension(folder: string) {
  const args = [`--disable-extensions-except=${folder}`, `--load-extension=${folder}`, '--disable-gpu', ...sandbox()];
  const context = await chromium.launchPersistentContext('', { executablePath: findChromium(), args });
  context.setDefaultTimeout(180_000);
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker'));
  const page = await context.newPage();
  await page.goto(new URL('popup.html', worker.url()).href);
  return { page, [Symbol.asyncDispose]: () => context.close() };
}

/** As root, which containers often are, Chromium refuses to start with its sandbox. */
function sandbox(): string[] {
  return process.getuid?.() === 0 ? ['--no-sandbox'] : [];
}

/** The packages under `/rsafe/` and `/rsafe-mini/`, as a page finds them whose bundler knows the model's name. */
export function mountPackages(site: Site, folder = dist): Site {
  site
    .mount('/rsafe-mini/', miniFolder)
    .mount('/rsafe/', folder)
    .mount('/rsafe/rsafe-mini/', join(miniFolder, 'model'));
  const scripts = readdirSync(folder).filter((name) => name.endsWith('.js'));
  for (const name of scripts) {
    const script = readFileSync(join(folder, name), 'utf8');
    const known = script.replace(/import\((['"`])rsafe-mini\1\)/, "import('/rsafe-mini/index.js')");
    if (known !== script) site.put(`/rsafe/${name}`, known);
  }
  return site;
}

/** A site with the built package under `/rsafe/` and a page that loads it. */
export async function librarySite(headers: Record<string, string> = {}): Promise<Site> {
  built('index.js');
  const site = await Site.open(headers);
  return mountPackages(site).put('/page.html', page('/page.js')).put('/page.js', PAGE_SCRIPT);
}

/** A page with nothing but one module; scripts lie in files, as a strict policy wants them. */
export function page(script: string): string {
  return `<!doctype html><meta charset="utf-8"><title>loading</title><input type="file" multiple><script type="module" src="${script}"></script>`;
}

/** What a page complained about. */
export interface Complaints {
  /** Breaches of the content security policy, uncaught errors and unhandled rejections. */
  errors: string[];
  warnings: string[];
  /** The addresses that were asked for outside the page's own origin. */
  strangers: string[];
}

/** Opens a page of the site and waits until the library is there. */
export async function openPage(
  where: Browser | BrowserContext,
  site: Site,
  path = '/page.html',
): Promise<{ page: Page; complaints: Complaints }> {
  const page = await where.newPage();
  // A loaded machine is slow, not broken.
  page.setDefaultTimeout(180_000);
  const complaints: Complaints = { errors: [], warnings: [], strangers: [] };
  page.on('pageerror', (error) => complaints.errors.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'warning') complaints.warnings.push(message.text());
    if (message.type() === 'error' && /content security policy/i.test(message.text())) {
      complaints.errors.push(message.text());
    }
  });
  const origin = new URL(site.url('/')).origin;
  page.on('request', (request) => {
    const url = request.url();
    if (!/^(blob|data):/.test(url) && new URL(url).origin !== origin) complaints.strangers.push(url);
  });
  await page.goto(site.url(path));
  if (path === '/page.html') await page.waitForFunction(() => document.title === 'loaded');
  return { page, complaints };
}

/** A page whose realm, and whose workers' realms, run this script before anything else. */
export async function sabotagedPage(browser: Browser, site: Site, script: string) {
  const context = await browser.newContext();
  await context.addInitScript(script);
  site.put('/rsafe/worker.js', `${script}\n${readFileSync(built('worker.js'), 'utf8')}`);
  const opened = await openPage(context, site);
  const close = () => {
    site.drop('/rsafe/worker.js');
    return context.close();
  };
  return { ...opened, [Symbol.asyncDispose]: close };
}

/** Waits until a condition holds that no event announces; an error after three minutes. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 180_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited three minutes for this: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
