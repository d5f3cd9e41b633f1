/** What the page must know of a bundle's `manifest.json` to fetch its files. The core reads all of it, and stricter. */

import { GuardError } from '../errors.ts';

export const MANIFEST = 'manifest.json';

export interface FileEntry {
  name: string;
  /** Bytes. */
  size: number;
  /** 64 lower-case hexadecimal digits. */
  sha256: string;
}

export interface Manifest {
  name: string;
  files: readonly FileEntry[];
  /** Bytes of all files. */
  total: number;
  /** The manifest as it came. */
  bytes: Uint8Array;
}

/** As in Rust: names that cannot leave the bundle's folder. */
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Bytes of a manifest. */
export const MAX_MANIFEST = 4 << 20;

/** Reads a manifest.
 *
 * @throws GuardError `bad_model` with the field that makes no sense. */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST) throw bad(`expected at most ${MAX_MANIFEST} bytes but got ${bytes.length}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw bad(`expected JSON but got ${preview(bytes)}`, error);
  }
  const { format, version, name, files } = (json ?? {}) as Record<string, unknown>;
  if (format !== 'rsafe-bundle') throw bad(`\`format\`: expected \`rsafe-bundle\` but got ${JSON.stringify(format)}`);
  if (version !== 1) {
    const found = JSON.stringify(version);
    throw bad(`\`version\`: this rsafe reads version 1 but got ${found}; update rsafe or convert the model again`);
  }
  if (typeof name !== 'string' || name === '') throw bad('`name`: expected the name of the model');
  if (!Array.isArray(files) || files.length === 0) throw bad('`files`: expected a list of the files');
  const entries = files.map(entry);
  return { name, files: entries, total: entries.reduce((sum, file) => sum + file.size, 0), bytes };
}

/** The entry of a file.
 *
 * @throws GuardError `bad_model` if the manifest does not list it. */
export function fileEntry(manifest: Manifest, name: string): FileEntry {
  const found = manifest.files.find((file) => file.name === name);
  if (!found) throw bad(`\`files\` does not list \`${name}\``);
  return found;
}

function entry(file: unknown): FileEntry {
  const { name, size, sha256 } = (file ?? {}) as Record<string, unknown>;
  if (typeof name !== 'string' || !PLAIN_NAME.test(name)) {
    throw bad(`file name ${JSON.stringify(name)}: expected letters, digits, \`.\`, \`_\`, \`-\`, and no folders`);
  }
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw bad(`\`${name}\`: expected its size in bytes`);
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw bad(`\`${name}\`: expected sha256 as 64 lower-case hexadecimal digits`);
  }
  return { name, size: size as number, sha256 };
}

/** What came instead of JSON: most often a web server's page for a wrong address. */
function preview(bytes: Uint8Array): string {
  return JSON.stringify(new TextDecoder().decode(bytes.subarray(0, 40)));
}

function bad(what: string, cause?: unknown): GuardError {
  return new GuardError('bad_model', `${MANIFEST}: ${what}`, { cause });
}
