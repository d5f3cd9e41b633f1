/** Bundles for the tests, made from the model in the package: the same weights in several shards, and broken ones. */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { modelFile } from './paths.ts';
import type { Site } from './server.ts';

interface FileEntry {
  name: string;
  size: number;
  sha256: string;
}

interface Manifest {
  files: FileEntry[];
  self_test: { cases: { own: number[] }[] };
}

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A bundle in memory: `manifest.json` and the files that it lists. */
export interface Bundle {
  manifest: Manifest;
  files: Map<string, Uint8Array>;
}

/** The model rsafe-mini. */
export function miniBundle(): Bundle {
  const manifest = JSON.parse(readFileSync(modelFile('manifest.json'), 'utf8')) as Manifest;
  const files = manifest.files.map(({ name }) => [name, readFileSync(modelFile(name))] as const);
  return { manifest, files: new Map(files) };
}

/** The same model with its tensors spread over several shards, as `rsafe convert` does it with large ones. */
export function shardedBundle(shards = 3): Bundle {
  const { manifest, files } = miniBundle();
  const whole = files.get('model-00001.safetensors')!;
  files.delete('model-00001.safetensors');
  const { tensors, metadata, data } = readSafetensors(whole);
  const parts: [string, Tensor][][] = Array.from({ length: shards }, () => []);
  for (const [name, tensor] of tensors) {
    const part = Math.min(shards - 1, Math.floor((tensor.data_offsets[0] / data.length) * shards));
    parts[part]!.push([name, tensor]);
  }
  parts.forEach((part, i) => files.set(shardName(i + 1), writeSafetensors(part, metadata, data)));
  return sealed({ manifest, files });
}

export function shardName(number: number): string {
  return `model-${String(number).padStart(5, '0')}.safetensors`;
}

/** A bundle whose hashes are right and whose known answers are not: it loads, and its self-test fails. */
export function lyingBundle(): Bundle {
  const { manifest, files } = miniBundle();
  const cases = manifest.self_test.cases.map((known) => ({ ...known, own: known.own.map((logit) => -logit) }));
  return { manifest: { ...manifest, self_test: { ...manifest.self_test, cases } }, files };
}

/** The bundle with the sizes and hashes of its files as they are. */
export function sealed({ manifest, files }: Bundle): Bundle {
  const entries = [...files].map(([name, bytes]) => ({
    name,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }));
  return { manifest: { ...manifest, files: entries }, files };
}

/** How many bytes the files of a bundle have, as its manifest says. */
export function totalBytes(bundle: Bundle): number {
  return bundle.manifest.files.reduce((sum, file) => sum + file.size, 0);
}

/** Puts a bundle on a site, under a folder that ends with `/`. */
export function serveBundle(site: Site, folder: string, bundle: Bundle): void {
  site.put(`${folder}manifest.json`, JSON.stringify(bundle.manifest));
  for (const [name, bytes] of bundle.files) site.put(folder + name, bytes);
}

/** Writes a bundle's files into a folder and gives their paths, as an `<input type=file>` takes them. */
export function writeBundle(folder: string, bundle: Bundle): string[] {
  const files = [['manifest.json', JSON.stringify(bundle.manifest)] as const, ...bundle.files];
  return files.map(([name, content]) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  });
}

function readSafetensors(file: Uint8Array): { tensors: [string, Tensor][]; metadata: unknown; data: Uint8Array } {
  const size = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(file.subarray(8, 8 + size)).toString('utf8')) as Record<string, Tensor>;
  const { __metadata__: metadata, ...rest } = header as Record<string, Tensor> & { __metadata__: unknown };
  const tensors = Object.entries(rest).sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
  return { tensors, metadata, data: file.subarray(8 + size) };
}

function writeSafetensors(tensors: [string, Tensor][], metadata: unknown, data: Uint8Array): Uint8Array {
  // Shapes of packed matrices stand in the metadata by tensor name; those of absent tensors would be errors.
  const named = Object.entries((metadata ?? {}) as Record<string, string>).filter(([key]) =>
    tensors.some(([name]) => name === key),
  );
  const header: Record<string, unknown> = { __metadata__: Object.fromEntries(named) };
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const [name, tensor] of tensors) {
    const [start, end] = tensor.data_offsets;
    header[name] = { ...tensor, data_offsets: [at, at + end - start] };
    pieces.push(data.subarray(start, end));
    at += end - start;
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([size, json, ...pieces]);
}
