/** The packages as a stranger gets them: packed with `npm pack`, installed from the tarballs outside the repository. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { built, miniFolder, www } from './paths.ts';

export interface Packed {
  tarball: string;
  /** That of `rsafe-mini`. */
  model: string;
  /** Paths inside of the package, with their bytes. */
  files: { path: string; size: number }[];
  /** Bytes of the tarball, and of what it unpacks to. */
  size: number;
  unpackedSize: number;
  remove(): void;
}

export function pack(): Packed {
  built('index.js');
  const folder = mkdtempSync(join(tmpdir(), 'rsafe-pack-'));
  const packed = (from: string) => {
    const out = npm(from, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder);
    const [report] = JSON.parse(out) as [{ filename: string } & Omit<Packed, 'tarball' | 'model'>];
    return { ...report, tarball: join(folder, report.filename) };
  };
  const model = packed(miniFolder).tarball;
  return { ...packed(www), model, remove: () => rmSync(folder, { recursive: true }) };
}

export interface Project {
  folder: string;
  /** Where the package lies in it. */
  rsafe: string;
  remove(): void;
}

const FLAGS = ['--no-audit', '--no-fund', '--ignore-scripts'];

/** A new project with these files and the packages installed, without a network; `model: false` leaves `rsafe-mini` out. What a
 * lock file of its own names comes from npm's registry first. */
export function project(packed: Packed, files: Record<string, string>, { model = true } = {}): Project {
  const folder = mkdtempSync(join(tmpdir(), 'rsafe-project-'));
  const manifest = { name: 'stranger', private: true, type: 'module' };
  for (const [name, content] of Object.entries({ 'package.json': JSON.stringify(manifest), ...files })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  if ('package-lock.json' in files) npm(folder, 'ci', '--prefer-offline', ...FLAGS);
  // What the package depends on is taken from here, since npm's cache may not know it.
  const needed = Object.keys(JSON.parse(readFileSync(join(www, 'package.json'), 'utf8')).dependencies);
  const sources = needed.map((name) => join(www, 'node_modules', name));
  npm(
    folder,
    'install',
    '--offline',
    ...FLAGS,
    '--install-links',
    packed.tarball,
    ...(model ? [packed.model] : []),
    ...sources,
  );
  return { folder, rsafe: join(folder, 'node_modules/rsafe'), remove: () => rmSync(folder, { recursive: true }) };
}

function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 24 });
}
